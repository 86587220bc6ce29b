"""Every payment tool through the gate on the simulator.

What it does there, and what the ledger makes of it.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.audit.stored import StoredSource
from ledger.audit.verify import Verified, verify_account
from ledger.engines.tx import Tx
from ledger.records import CallState
from ledger.schema import earnings
from ledger.schema_revenue import purchases
from plugins.payments.simulator.faults import Fault
from policy.language import Posture
from tests.plugins.payments.desk import ACCOUNT, StripeDesk, data, desk_on
from tool_server.envelope import CallResult


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> str:
    """Give a database of either engine; empty for a file of the house's own."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
async def desk(db: str, tmp_path: Path) -> AsyncIterator[StripeDesk]:
    """Give a house on either engine."""
    async with desk_on(tmp_path, db) as made:
        yield made


def effects(desk: StripeDesk, kind: str) -> list[dict[str, Any]]:
    """Give what really exists at the simulator."""
    return [row for row in desk.sim.effects() if row["kind"] == kind]


async def test_a_checkout_is_sold_paid_and_becomes_an_order_with_work(desk: StripeDesk) -> None:
    """The revenue loop through the real gate; M23's marks are those that the tool wrote itself."""
    order = await desk.sold()
    assert (str(order.amount), order.state, order.deal_id) == ("1.00 USD", "paid", desk.deal_id)
    assert (await desk.ledger.deal(desk.deal_id)).stage == "won"
    assert order.lead_id == desk.lead_id
    run = await desk.call("run_get", run_id=order.run_id)
    assert data(run)["run"]["earned"] == ["0.67 USD"]
    listed = await desk.call("stripe_payments")
    assert data(listed)["payments"][0]["order_id"] == order.order_id


async def test_a_payment_link_is_paid_and_then_closed(desk: StripeDesk) -> None:
    """Each payment of a link is a session of its own (M23)."""
    made = await desk.call(
        "stripe_create_payment_link", deal_id=desk.deal_id, offer="snapshot", most_payments=3
    )
    visit = await desk.web.get(str(data(made)["url"]).removeprefix(desk.sim.world.settings.base_url))
    await desk.pay(visit.headers["location"])
    await desk.work()
    assert len((await desk.ledger.orders()).items) == 1
    closed = await desk.call("stripe_close_offer", sale_id=data(made)["link_id"])
    assert closed.envelope.status == "succeeded", closed.text
    assert effects(desk, "payment_link")[0]["status"] == "inactive"


async def test_a_lost_answer_then_a_retry_is_one_session(desk: StripeDesk) -> None:
    """M2: the same key goes out again, and Stripe answers with what it made."""
    desk.sim.faults.add(Fault("lost_after_commit", match="POST /v1/checkout/sessions"))
    lost = await desk.call("stripe_create_checkout", key="once", deal_id=desk.deal_id, offer="snapshot")
    call = await desk.until(lost, CallState.SUCCEEDED)
    assert len(effects(desk, "checkout_session")) == 1
    again = await desk.call("stripe_create_checkout", key="once", deal_id=desk.deal_id, offer="snapshot")
    assert again.envelope.replayed
    assert again.envelope.call_id == call.call_id
    assert len(effects(desk, "checkout_session")) == 1


LOST = {
    "stripe_create_payment_link": ("POST /v1/payment_links", "payment_link"),
    "request_card_purchase": ("POST /v1/issuing/cards", "card"),
    "pay_vendor": ("POST /v2/money_management/outbound_payments", "outbound_payment"),
    "refund_payment": ("POST /v1/refunds", "refund"),
}


@pytest.mark.parametrize("tool", LOST)
async def test_a_lost_answer_then_a_retry_is_one_effect_whatever_the_tool(
    desk: StripeDesk, tool: str
) -> None:
    """M2, M24, M29: one object at the simulator, always; also where nothing may be sent a second time."""
    path, kind = LOST[tool]
    order = await desk.sold() if tool == "refund_payment" else None
    buys = {"vendor": "a.example", "url": "https://a.example/", "category": "software", "purpose": "one"}
    given: dict[str, dict[str, Any]] = {
        "stripe_create_payment_link": {"deal_id": desk.deal_id, "offer": "snapshot"},
        "request_card_purchase": {**buys, "amount": "5.00 USD"},
        "pay_vendor": {"recipient": "acme", "invoice": "R", "purpose": "hosting", "amount": "5.00 USD"},
        "refund_payment": {"order_id": order and order.order_id, "amount": "0.40 USD", "why": "it was late"},
    }
    desk.sim.faults.add(Fault("lost_after_commit", match=path))
    lost = await desk.call(tool, key="once", **given[tool])
    if lost.envelope.approval is not None:
        await desk.approve(lost)
    call = await desk.until(lost, CallState.SUCCEEDED)
    again = await desk.call(tool, key="once", **given[tool])
    assert again.envelope.replayed
    assert again.envelope.call_id == call.call_id
    assert len(effects(desk, kind)) == 1


async def test_a_card_is_armed_authorized_once_and_captured(desk: StripeDesk) -> None:
    """M19, M20: armed is not bought; one payment within the approval, a second one is declined."""
    done = await _purchase(desk, "11.06 USD")
    purchase = await desk.ledger.purchase(done.envelope.call_id or "")
    assert (purchase.state, str(purchase.approved)) == ("armed", "11.06 USD")
    assert await _used(desk, "account-month") == (0, 1106)
    first = await desk.web.post(
        f"/cards/{purchase.instrument_ref}", data={"merchant": "porkbun", "amount": "11.06", "hold": "1"}
    )
    assert first.status_code == 200, first.text
    assert (await desk.ledger.purchase(purchase.purchase_id)).state == "authorized"
    second = await desk.web.post(
        f"/cards/{purchase.instrument_ref}", data={"merchant": "other", "amount": "0.01"}
    )
    assert second.status_code == 402
    await _capture(desk, effects(desk, "authorization")[0]["id"])
    await desk.work()
    bought = await desk.ledger.purchase(purchase.purchase_id)
    assert (bought.state, str(bought.posted), str(bought.authorized)) == ("captured", "11.06 USD", "0.00 USD")
    assert await _used(desk, "account-month") == (1106, 0)


async def test_a_partial_capture_posts_its_part_and_the_rest_stays_committed(desk: StripeDesk) -> None:
    """M19; and what is taken beyond the approval is an overrun that closes the provider (M13)."""
    done = await _purchase(desk, "10.00 USD")
    purchase = await desk.ledger.purchase(done.envelope.call_id or "")
    await desk.web.post(
        f"/cards/{purchase.instrument_ref}", data={"merchant": "m", "amount": "10.00", "hold": "1"}
    )
    await _capture(desk, effects(desk, "authorization")[0]["id"], 400)
    await desk.work()
    assert await _used(desk, "account-month") == (400, 600)
    await _force_capture(desk, purchase.instrument_ref, 700)
    await desk.work()
    over = await desk.ledger.purchase(purchase.purchase_id)
    assert str(over.posted) == "11.00 USD"
    assert await _used(desk, "account-month") == (1100, 0)
    postures = {(each.scope, each.scope_key): each.posture for each in await desk.ledger.postures()}
    assert postures["provider", "stripe"] is Posture.NO_SPEND
    assert [row["amount_minor"] for row in await desk.ledger.adjustments()] == [100]


async def test_two_captures_in_one_round_are_posted_to_the_last_cent(desk: StripeDesk) -> None:
    """M19: objects fetched together share a transaction, and the second finds what the first has posted."""
    purchases = [await _purchase(desk, "10.00 USD", f"v{n}.example") for n in range(3)]
    for number, done in enumerate(purchases):
        purchase = await desk.ledger.purchase(done.envelope.call_id or "")
        await _force_capture(desk, purchase.instrument_ref, 300 + number)
    await desk.work()
    assert await _used(desk, "account-month") == (903, 2097)


async def test_under_no_spend_a_card_is_declined_and_switched_off(desk: StripeDesk) -> None:
    """M20: the posture reaches cards that are out already."""
    done = await _purchase(desk, "10.00 USD")
    purchase = await desk.ledger.purchase(done.envelope.call_id or "")
    now = desk.house.now()
    await desk.ledger.set_posture("account", ACCOUNT, Posture.NO_SPEND, because="stop", by=desk.owner, at=now)
    tried = await desk.web.post(f"/cards/{purchase.instrument_ref}", data={"merchant": "m", "amount": "1.00"})
    assert tried.status_code == 402
    rows = await desk.ledger.purchase_rows(purchase.call_id)
    assert [row["code"] for row in rows if "event_id" in row] == ["posture_closed"]
    assert await desk.worker.switch_cards() == 1
    assert desk.sim.world.get("issuing.card", purchase.instrument_ref)["status"] == "inactive"
    assert await desk.worker.switch_cards() == 0


async def test_a_cancelled_purchase_stays_committed_until_a_month_has_passed(desk: StripeDesk) -> None:
    """M19: a late capture may come, so the room is not given back with the card."""
    done = await _purchase(desk, "10.00 USD")
    purchase = await desk.ledger.purchase(done.envelope.call_id or "")
    cancelled = await desk.call("cancel_purchase", purchase_id=purchase.purchase_id)
    assert cancelled.envelope.status == "succeeded", cancelled.text
    assert await _used(desk, "account-month") == (0, 1000)
    assert await desk.ledger.close_purchases(desk.house.now()) == 0
    closed = await desk.ledger.close_purchase(
        purchase.purchase_id,
        by=desk.owner,
        evidence="the vendor confirmed it took nothing",
        at=desk.house.now(),
    )
    assert closed.state == "closed_unused"
    assert await _used(desk, "account-month") == (0, 0)


async def test_an_invoice_is_committed_then_posted_and_a_return_is_a_credit(desk: StripeDesk) -> None:
    """M22; a credit restores no room unless a cap says so (M14)."""
    paid = await desk.call(
        "pay_vendor", recipient="acme", invoice="R1", purpose="hosting", amount="20.00 USD"
    )
    assert paid.envelope.status == "succeeded", paid.text
    purchase = await desk.ledger.purchase(paid.envelope.call_id or "")
    assert await _used(desk, "account-month") == (0, 2000)
    await desk.web.post(f"/_sim/outbound_payments/{purchase.instrument_ref}", json={"status": "posted"})
    await desk.work()
    assert (await desk.ledger.purchase(purchase.purchase_id)).state == "posted"
    assert await _used(desk, "account-month") == (2000, 0)
    await desk.web.post(f"/_sim/outbound_payments/{purchase.instrument_ref}", json={"status": "returned"})
    await desk.work()
    assert (await desk.ledger.purchase(purchase.purchase_id)).state == "returned"
    assert await _used(desk, "account-month") == (2000, 0)


async def test_a_payment_stopped_while_it_is_processing_is_voided(desk: StripeDesk) -> None:
    """M22: canceled gives the room back."""
    paid = await desk.call(
        "pay_vendor", recipient="acme", invoice="R2", purpose="hosting", amount="20.00 USD"
    )
    purchase = await desk.ledger.purchase(paid.envelope.call_id or "")
    await desk.call("cancel_purchase", purchase_id=purchase.purchase_id)
    await desk.work()
    assert (await desk.ledger.purchase(purchase.purchase_id)).state == "failed"
    assert await _used(desk, "account-month") == (0, 0)


async def test_a_refund_needs_a_person_and_then_holds_the_order(desk: StripeDesk) -> None:
    """M29; the webhook books it as any refund, and the work on it waits."""
    order = await desk.sold()
    asked = await desk.call(
        "refund_payment", order_id=order.order_id, amount="0.40 USD", why="half of it was late"
    )
    assert asked.envelope.status == "pending_approval"
    assert effects(desk, "refund") == []
    await desk.approve(asked)
    await desk.until(asked, CallState.SUCCEEDED)
    await desk.work()
    after = await desk.ledger.order(order.order_id)
    assert (after.state, after.on_hold) == ("partially_refunded", True)
    refused = await desk.call("run_submit_plan", run_id=order.run_id, title="Plan", text="What we shall do.")
    assert refused.envelope.status == "invalid"
    more = await desk.call(
        "refund_payment", order_id=order.order_id, amount="0.61 USD", why="more than is left"
    )
    assert more.envelope.status == "invalid"


async def test_a_dispute_is_listed_and_its_answer_needs_a_person(desk: StripeDesk) -> None:
    """Lost and open disputes are negative revenue at once (M15)."""
    order = await desk.sold()
    charge = effects(desk, "charge")[0]["id"]
    await desk.web.post("/_sim/disputes", json={"charge": charge})
    await desk.work()
    assert (await desk.ledger.order(order.order_id)).state == "disputed"
    listed = await desk.call("stripe_disputes")
    dispute_id = data(listed)["disputes"][0]["dispute_id"]
    answer = await desk.call("answer_dispute", dispute_id=dispute_id, text="The buyer received the snapshot.")
    assert answer.envelope.status == "pending_approval"
    await desk.approve(answer)
    await desk.until(answer, CallState.SUCCEEDED)
    await desk.web.post(f"/_sim/disputes/{dispute_id}/close", json={"status": "won"})
    await desk.work()
    won = await desk.ledger.order(order.order_id)
    assert (won.state, won.on_hold) == ("paid", False)


async def test_a_payment_with_a_card_of_ours_earns_nothing(desk: StripeDesk) -> None:
    """M15: an agent that bought from its own shop would raise its own caps."""
    await _purchase(desk, "10.00 USD")

    def is_the_buyers(tx: Tx) -> None:
        tx.connection.execute(update(purchases).values(last4="4242"))

    def earned(tx: Tx) -> list[int]:
        return sorted(tx.connection.scalars(select(earnings.c.amount_minor)))

    await desk.ledger._core.plain("test", is_the_buyers)  # noqa: SLF001  the simulator's numbers never meet
    order = await desk.sold()
    assert [event.own_card for event in await desk.ledger.revenue(order_id=order.order_id)] == [True, True]
    assert await desk.ledger._core.read(earned) == [-33]  # noqa: SLF001  what shares are computed from: only the fee


async def test_the_ledger_verifies_after_everything_that_money_can_do(tmp_path: Path) -> None:
    """What the log says of orders, revenue, events, purchases and usage is what the tables hold."""
    async with desk_on(tmp_path) as desk:
        order = await desk.sold()
        asked = await desk.call(
            "refund_payment", order_id=order.order_id, amount="0.40 USD", why="it was late"
        )
        await desk.approve(asked)
        await desk.until(asked, CallState.SUCCEEDED)
        done = await _purchase(desk, "10.00 USD")
        purchase = await desk.ledger.purchase(done.envelope.call_id or "")
        await desk.web.post(
            f"/cards/{purchase.instrument_ref}", data={"merchant": "m", "amount": "10.00", "hold": "1"}
        )
        await _capture(desk, effects(desk, "authorization")[0]["id"], 400)
        await desk.work()

        def verified(tx: Tx) -> Verified:
            return verify_account(StoredSource(tx.connection), ACCOUNT, keys=None)

        found = await desk.ledger._core.read(verified)  # noqa: SLF001  as `bursar ledger verify` reads it
        assert found.bad is None
        assert found.entries > 50


# --- parts -----------------------------------------------------------------------------------------------


async def _purchase(desk: StripeDesk, amount: str, vendor: str = "porkbun.com") -> CallResult:
    done = await desk.card(amount, vendor)
    assert done.envelope.status == "succeeded", done.text
    return done


async def _used(desk: StripeDesk, cap: str) -> tuple[int, int]:
    views = [view for view in await desk.ledger.caps(desk.house.now()) if view.cap_id == cap]
    return sum(view.posted for view in views), sum(view.held for view in views)


async def _capture(desk: StripeDesk, authorization: str, amount: int | None = None) -> None:
    form = {} if amount is None else {"capture_amount": str(amount), "close_authorization": "false"}
    await _helper(desk, f"authorizations/{authorization}/capture", form)


async def _force_capture(desk: StripeDesk, card: str, amount: int) -> None:
    await _helper(desk, "transactions/create_force_capture", {"card": card, "amount": str(amount)})


async def _helper(desk: StripeDesk, path: str, form: dict[str, str]) -> None:
    head = {"authorization": f"Bearer {desk.sim.spend_key}"}
    answer = await desk.web.post(f"/v1/test_helpers/issuing/{path}", data=form, headers=head)
    assert answer.status_code == 200, answer.text
