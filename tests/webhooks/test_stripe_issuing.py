"""Real-time authorizations: one answer for each question, in time, and no when in doubt (M20)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import update

from ledger.authorizations import Question
from ledger.engines.tx import Tx
from ledger.records import CallState
from ledger.records_revenue import Purchase
from ledger.schema_revenue import purchases
from plugins.payments.simulator.delivery import AppDeliver
from plugins.payments.simulator.webhooks import sign
from policy.language import Mode, Posture
from tests.plugins.payments.desk import ACCOUNT, URL, StripeDesk, desk_on


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[StripeDesk]:
    """Give a house with one armed card for 10.00 USD."""
    async with desk_on(tmp_path) as made:
        yield made


async def armed(desk: StripeDesk, amount: str = "10.00 USD", vendor: str = "a.example") -> Purchase:
    """Arm a card."""
    done = await desk.card(amount, vendor)
    await desk.until(done, CallState.SUCCEEDED, within_s=30)  # On a crowded machine it is still in progress.
    return await desk.ledger.purchase(done.envelope.call_id or "")


def request(desk: StripeDesk, card: str, *, event: str, authorization: str = "iauth_1", **more: Any) -> bytes:  # noqa: ANN401 -- any field of what is pending, as JSON
    """Return a signed question's body."""
    asked = {"amount": 1000, "currency": "usd", **more}
    thing = {
        "id": authorization,
        "object": "issuing.authorization",
        "card": {"id": card},
        "pending_request": asked,
    }
    made = {"id": event, "object": "event", "type": "issuing_authorization.request", "livemode": False}
    return orjson.dumps({**made, "created": int(desk.house.now().timestamp()), "data": {"object": thing}})


async def ask(desk: StripeDesk, body: bytes) -> tuple[int, dict[str, Any], dict[str, str], float]:
    """Ask as the network does; give status, answer, headers and seconds."""
    secret = next(iter(reversed(desk.sim.hooks.targets.values()))).secrets[0][0]
    header = {"stripe-signature": sign(body, [secret], int(desk.house.now().timestamp()))}
    began = time.perf_counter()
    deliver: AppDeliver = desk.sim.hooks._deliver  # type: ignore[assignment]  # noqa: SLF001  the house's own app
    answer = await deliver(f"{URL}/issuing", body, header)
    return answer.status, orjson.loads(answer.body), dict(answer.headers), time.perf_counter() - began


async def test_a_question_asked_again_gets_the_same_answer(desk: StripeDesk) -> None:
    """Redelivered: the answer is the stored one, and nothing is held twice."""
    purchase = await armed(desk)
    body = request(desk, purchase.instrument_ref, event="evt_q1")
    for _ in range(3):
        status, answer, headers, _ = await ask(desk, body)
        assert (status, answer["approved"]) == (200, True)
        assert "stripe-version" in headers
    assert str((await desk.ledger.purchase(purchase.purchase_id)).authorized) == "10.00 USD"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"amount": 1001}, "above_approval"),
        ({"amount": -1}, "above_approval"),
        ({"amount": "1000"}, "above_approval"),
        ({"currency": "eur"}, "wrong_currency"),
    ],
)
async def test_what_was_not_approved_is_declined(desk: StripeDesk, more: dict[str, Any], code: str) -> None:
    """Amount, count and currency are enforced here as well, since the card's own controls may lag."""
    purchase = await armed(desk)
    _, answer, _, _ = await ask(desk, request(desk, purchase.instrument_ref, event="evt_q2", **more))
    assert (answer["approved"], answer["metadata"]["bursar_code"]) == (False, code)


async def test_increments_stay_within_the_approval_and_a_second_payment_is_declined(desk: StripeDesk) -> None:
    """M18, M20: one payment, in as many steps as the merchant likes, never beyond what was approved."""
    purchase = await armed(desk)
    card = purchase.instrument_ref
    steps = [("e1", "iauth_1", 600), ("e2", "iauth_1", 400), ("e3", "iauth_1", 1), ("e4", "iauth_2", 1)]
    said = []
    for event, authorization, amount in steps:
        body = request(desk, card, event=event, authorization=authorization, amount=amount)
        said.append((await ask(desk, body))[1]["metadata"]["bursar_code"])
    assert said == ["within_approval", "within_approval", "above_approval", "second_payment"]


async def test_a_strange_card_and_a_posture_are_declined(desk: StripeDesk) -> None:
    """No purchase, no money; and the stop button reaches what was armed before."""
    _, answer, _, _ = await ask(desk, request(desk, "ic_strange", event="evt_q3"))
    assert answer["metadata"]["bursar_code"] == "no_purchase"
    purchase = await armed(desk)
    now = desk.house.now()
    await desk.ledger.set_posture("agent", "scout", Posture.NO_SPEND, because="stop", by=desk.owner, at=now)
    _, answer, _, _ = await ask(desk, request(desk, purchase.instrument_ref, event="evt_q4"))
    assert answer["metadata"]["bursar_code"] == "posture_closed"


async def test_a_live_card_needs_live_spend_of_every_process(desk: StripeDesk) -> None:
    """M6, M20: LIVE_SPEND=0 anywhere declines; a card of another mode than its question is none of ours."""
    purchase = await armed(desk)

    async def asked(event: str, *, mode: Mode, live_spend: bool) -> str:
        question = Question(
            event_id=event,
            authorization_id="iauth_live",
            instrument_ref=purchase.instrument_ref,
            provider="stripe",
            provider_account=None,
            mode=mode,
            amount_minor=1,
            currency="USD",
            merchant="m",
            live_spend=live_spend,
        )
        return (await desk.ledger.decide_authorization(question, desk.house.now())).code

    def goes_live(tx: Tx) -> None:
        tx.connection.execute(update(purchases).values(mode="live"))

    assert await asked("evt_1", mode=Mode.LIVE, live_spend=True) == "wrong_mode"
    await desk.ledger._core.plain("test", goes_live)  # noqa: SLF001  no test has a live key
    assert await asked("evt_2", mode=Mode.LIVE, live_spend=False) == "live_spend_off"
    now = desk.house.now()
    await desk.ledger.heartbeat("other", live_spend=False, policy_sha256=None, at=now)
    assert await asked("evt_3", mode=Mode.LIVE, live_spend=True) == "live_spend_off"
    wanted = await desk.ledger.instruments_to_switch(live_spend=True, at=now)
    assert wanted == ((purchase.instrument_ref, False),)


async def test_many_authorizations_at_once_are_answered_in_time_and_never_beyond(
    desk: StripeDesk,
    deep: bool,  # noqa: FBT001 -- pytest's fixture
) -> None:
    """All within two seconds, none approved beyond its purchase, none under `no_spend`."""
    cards = [(await armed(desk, "5.00 USD", f"v{n}.example")).instrument_ref for n in range(8)]
    count = 1_000 if deep else 160
    bodies = [
        request(
            desk,
            cards[n % 8],
            event=f"evt_l{n}",
            authorization=f"iauth_{n % 8}_{n % 3}",
            amount=100 + n % 400,
        )
        for n in range(count)
    ]
    slots = asyncio.Semaphore(16)

    async def one(body: bytes) -> tuple[int, bool, float]:
        async with slots:
            status, answer, _, took = await ask(desk, body)
            return status, answer["approved"], took

    answers = await asyncio.gather(*(one(body) for body in bodies))
    assert {status for status, _, _ in answers} == {200}
    assert max(took for _, _, took in answers) < 2.0
    assert any(approved for _, approved, _ in answers)
    for purchase in (await desk.ledger.purchases(limit=100)).items:
        assert purchase.authorized <= purchase.approved
    now = desk.house.now()
    await desk.ledger.set_posture("account", ACCOUNT, Posture.NO_SPEND, because="stop", by=desk.owner, at=now)
    late = [request(desk, cards[n % 8], event=f"evt_s{n}", amount=0) for n in range(count // 8)]
    stopped = await asyncio.gather(*(one(body) for body in late))
    assert not any(approved for _, approved, _ in stopped)
