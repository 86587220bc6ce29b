"""Issuing: cards, the synchronous authorization request, and what is captured of it."""

from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
import stripe

from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.http import Response
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Receiver, Shop

URL = "http://bursar.example/webhooks/stripe/issuing"
REQUEST = "issuing_authorization.request"
VERSION = {"stripe-version": "2026-10-28.endive"}


def answering(**body: Any) -> Callable[[dict[str, Any]], Response]:  # noqa: ANN401  JSON values
    """Give a receiver's answer to every authorization request."""
    return lambda _: Response(200, orjson.dumps(body), VERSION)


def reasons(authorization: stripe.issuing.Authorization) -> list[str]:
    """Give the reason of each decision, oldest first."""
    return [row.reason for row in authorization.request_history]


async def test_a_card_is_born_inactive_and_dies_once(shop: Shop, sim: Simulator) -> None:
    """M20: created, activated, cancelled; nothing brings a cancelled card back."""
    card = await shop.card(status="inactive")
    assert reasons(await shop.authorize(card.id, 500)) == ["card_inactive"]
    update = shop.client.v1.issuing.cards.update_async
    assert (await update(card.id, {"status": "active"})).status == "active"
    assert (await update(card.id, {"status": "canceled"})).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        await update(card.id, {"status": "active"})
    assert reasons(await shop.authorize(card.id, 500)) == ["card_canceled"]
    types = [event["type"] for event in sim.world.all("event")]
    assert types.count("issuing_card.updated") == 2


async def test_the_number_is_given_only_to_who_asks_for_it(shop: Shop, sim: Simulator) -> None:
    """PCI data stays out of answers and events; expand is the one door, and nobody here uses it."""
    card = await shop.card()
    assert "number" not in card.to_dict()
    asked = await shop.client.v1.issuing.cards.retrieve_async(card.id, {"expand": ["number", "cvc"]})
    number = str(asked.number)
    assert number.endswith(card.last4)
    assert number not in orjson.dumps([sim.world.all("event"), sim.effects()]).decode()


async def test_a_single_use_card_pays_once(shop: Shop, sim: Simulator) -> None:
    """cancel_after cancels it with its first payment; the second finds a cancelled card."""
    card = await shop.card(1106)
    first = await shop.authorize(card.id, 600)
    assert (first.approved, first.status, first.amount) == (True, "pending", 600)
    assert sim.world.get("issuing.card", card.id)["status"] == "canceled"
    second = await shop.authorize(card.id, 100)
    assert (second.approved, second.status, reasons(second)) == (False, "closed", ["card_canceled"])


async def test_the_limit_holds_over_several_payments(shop: Shop) -> None:
    """An all-time limit counts what is held and what was captured."""
    card = await shop.card(1000, lifecycle_controls={"cancel_after": {"payment_count": 9}})
    first = await shop.authorize(card.id, 600)
    assert reasons(await shop.authorize(card.id, 401)) == ["spending_controls"]
    await shop.client.v1.test_helpers.issuing.authorizations.capture_async(first.id)
    assert reasons(await shop.authorize(card.id, 401)) == ["spending_controls"]
    assert (await shop.authorize(card.id, 400)).approved


async def test_the_limit_may_lag(shop: Shop, sim: Simulator) -> None:
    """Stripe's aggregates are best effort: only the real-time answer can hold the sum."""
    sim.configure(limits_lag=True)
    card = await shop.card(1000, lifecycle_controls={"cancel_after": {"payment_count": 9}})
    assert (await shop.authorize(card.id, 900)).approved
    assert (await shop.authorize(card.id, 900)).approved


async def test_categories_and_countries_are_held(shop: Shop) -> None:
    """What the approver allowed is what the network lets through."""
    controls = {"allowed_categories": ["computer_software_stores"], "allowed_merchant_countries": ["US"]}
    card = await shop.card(
        spending_controls=controls, lifecycle_controls={"cancel_after": {"payment_count": 9}}
    )
    create = shop.client.v1.test_helpers.issuing.authorizations.create_async
    elsewhere: Any = {"card": card.id, "amount": 100, "merchant_data": {"category": "bars_and_pubs"}}
    with pytest.raises(stripe.InvalidRequestError):
        await create(elsewhere)
    elsewhere["merchant_data"]["category"] = "book_stores"
    assert reasons(await create(elsewhere)) == ["spending_controls"]
    abroad: Any = {"card": card.id, "amount": 100, "merchant_data": {"country": "DE"}}
    assert reasons(await create(abroad)) == ["spending_controls"]
    assert (await shop.authorize(card.id, 100)).approved


async def test_without_funds_nothing_is_approved(shop: Shop, sim: Simulator) -> None:
    """The issuing balance is what all cards together can spend."""
    sim.configure(issuing_balance=1000)
    first, second = await shop.card(), await shop.card()
    assert (await shop.authorize(first.id, 900)).approved
    assert reasons(await shop.authorize(second.id, 101)) == ["insufficient_funds"]
    balance = await shop.client.v1.balance.retrieve_async()
    assert balance.to_dict(for_json=True)["issuing"]["available"] == [{"amount": 100, "currency": "usd"}]


async def test_the_receiver_decides(shop: Shop, sim: Simulator, receiver: Receiver) -> None:
    """Approve or decline, with metadata, in the answer to the webhook itself."""
    secret = sim.subscribe(URL, [REQUEST])
    card = await shop.card(lifecycle_controls={"cancel_after": {"payment_count": 9}})
    receiver.approve = answering(approved=True, metadata={"purchase": "pur_1"})
    approved = await shop.authorize(card.id, 500)
    assert (approved.approved, reasons(approved)) == (True, ["webhook_approved"])
    assert approved.to_dict(for_json=True)["metadata"] == {"purchase": "pur_1"}
    receiver.approve = answering(approved=False)
    assert reasons(await shop.authorize(card.id, 500)) == ["webhook_declined"]
    stripe.WebhookSignature.verify_header(receiver.bodies[0], receiver.signatures[0], secret, 300)
    asked = receiver.events[0]["data"]["object"]
    assert (asked["pending_request"]["amount"], asked["amount"], asked["approved"]) == (500, 0, False)
    assert asked["card"]["metadata"] == {"call": "call_1"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Response(500, b""), "status was 500"),
        (Response(200, b'{"approved": true}'), "no Stripe-Version header"),
        (Response(200, b"yes", VERSION), "not JSON"),
        (Response(200, b'{"approved": "yes"}', VERSION), "was not"),
        (Response(200, b"[]", VERSION), "was not"),
    ],
)
async def test_an_answer_that_is_none_is_declined(
    shop: Shop, sim: Simulator, receiver: Receiver, answer: Response, message: str
) -> None:
    """M20, decline when in doubt: what cannot be read approves nothing, and says why."""
    sim.subscribe(URL, [REQUEST])
    receiver.approve = lambda _: answer
    authorization = await shop.authorize((await shop.card()).id, 500)
    assert (authorization.approved, reasons(authorization)) == (False, ["webhook_error"])
    assert message in str(authorization.request_history[0].reason_message)


@pytest.mark.parametrize("default", ["decline", "approve"])
async def test_silence_comes_to_the_accounts_default(shop: Shop, sim: Simulator, default: str) -> None:
    """Which is decline, unless an account is set up dangerously."""
    sim.configure(authorization_default=default == "approve")
    sim.subscribe(URL, [REQUEST])
    sim.faults.add(Fault("webhook_dropped", match=REQUEST))
    authorization = await shop.authorize((await shop.card()).id, 500)
    assert (authorization.approved, reasons(authorization)) == (default == "approve", ["webhook_timeout"])


async def test_a_request_may_come_twice(shop: Shop, sim: Simulator, receiver: Receiver) -> None:
    """M20: redelivered, the same answer; the first one counts."""
    sim.subscribe(URL, [REQUEST])
    answers = [True, False]
    receiver.approve = lambda _: answering(approved=answers.pop(0))({})
    sim.faults.add(Fault("webhook_duplicated", match=REQUEST))
    assert (await shop.authorize((await shop.card()).id, 500)).approved
    assert len({event["id"] for event in receiver.events}) == 1
    assert answers == []


async def test_cards_are_not_asked_about_what_their_controls_refuse(
    shop: Shop, sim: Simulator, receiver: Receiver
) -> None:
    """As at Stripe: the request comes only for what would otherwise be approved."""
    sim.subscribe(URL, [REQUEST])
    receiver.approve = answering(approved=True)
    assert reasons(await shop.authorize((await shop.card(1000)).id, 1001)) == ["spending_controls"]
    assert receiver.bodies == []


async def test_a_card_cancelled_during_the_question_is_not_charged(
    shop: Shop, sim: Simulator, receiver: Receiver
) -> None:
    """The answer is two seconds old when it arrives; what changed meanwhile counts."""
    sim.subscribe(URL, [REQUEST])
    card = await shop.card()

    def cancel_and_approve(_: dict[str, Any]) -> Response:
        sim.world.get("issuing.card", card.id)["status"] = "canceled"
        return answering(approved=True)({})

    receiver.approve = cancel_and_approve
    assert reasons(await shop.authorize(card.id, 500)) == ["card_canceled"]


async def test_an_increment_is_asked_for_like_a_payment(
    shop: Shop, sim: Simulator, receiver: Receiver
) -> None:
    """M20: increments up to the approved amount, else declined; a declined one changes nothing."""
    sim.subscribe(URL, [REQUEST])
    receiver.approve = answering(approved=True)
    card = await shop.card(1000)
    made = await shop.authorize(card.id, 600)
    increment = shop.client.v1.test_helpers.issuing.authorizations.increment_async
    assert (await increment(made.id, {"increment_amount": 300})).amount == 900
    assert receiver.events[-1]["data"]["object"]["pending_request"]["amount"] == 300
    receiver.approve = answering(approved=False)
    after = await increment(made.id, {"increment_amount": 50})
    assert (after.amount, reasons(after)[-1]) == (900, "webhook_declined")
    assert reasons(await increment(made.id, {"increment_amount": 200}))[-1] == "spending_controls"


@pytest.mark.parametrize("taken", [400, 1000, 1500])
async def test_a_capture_may_be_less_or_more(shop: Shop, sim: Simulator, taken: int) -> None:
    """M19: partial, whole and over; the merchant decides, and the transaction says what was taken."""
    card = await shop.card(1000)
    made = await shop.authorize(card.id, 1000)
    helper = shop.client.v1.test_helpers.issuing.authorizations
    closed = await helper.capture_async(made.id, {"capture_amount": taken})
    assert (closed.status, closed.amount, [t.amount for t in closed.transactions]) == ("closed", 0, [-taken])
    listed = await shop.client.v1.issuing.transactions.list_async({"card": card.id})
    assert [(t.amount, t.type, t.authorization) for t in listed.data] == [(-taken, "capture", made.id)]
    assert sum(sim.world.issuing_spent.values()) == taken
    with pytest.raises(stripe.InvalidRequestError):
        await helper.capture_async(made.id)


async def test_an_open_capture_keeps_the_rest(shop: Shop, sim: Simulator) -> None:
    """Several shipments, several captures, one authorization."""
    made = await shop.authorize((await shop.card(1000)).id, 1000)
    helper = shop.client.v1.test_helpers.issuing.authorizations
    part: Any = {"capture_amount": 300, "close_authorization": False}
    after = await helper.capture_async(made.id, part)
    assert (after.status, after.amount) == ("pending", 700)
    closed = await helper.capture_async(made.id)
    assert sorted(t.amount for t in closed.transactions) == [-700, -300]
    assert sum(sim.world.issuing_spent.values()) == 1000


async def test_a_reversal_gives_the_hold_back(shop: Shop, sim: Simulator) -> None:
    """A part first, then the rest; a reversed authorization is over."""
    made = await shop.authorize((await shop.card(1000)).id, 1000)
    helper = shop.client.v1.test_helpers.issuing.authorizations
    assert (await helper.reverse_async(made.id, {"reverse_amount": 400})).amount == 600
    over = await helper.reverse_async(made.id)
    assert (over.status, over.amount) == ("reversed", 0)
    assert sum(sim.world.issuing_spent.values()) == 0
    with pytest.raises(stripe.InvalidRequestError):
        await helper.capture_async(made.id)


async def test_an_authorization_lapses_after_a_week(shop: Shop, sim: Simulator) -> None:
    """Nobody captured it; the hold ends by the clock."""
    made = await shop.authorize((await shop.card(1000)).id, 1000)
    await sim.advance(7 * 24 * 3600)
    assert (await shop.client.v1.issuing.authorizations.retrieve_async(made.id)).status == "expired"
    assert sum(sim.world.issuing_spent.values()) == 0


async def test_a_merchant_can_take_money_without_asking(shop: Shop, sim: Simulator) -> None:
    """M19: late and forced captures exist, and post as an overrun; and refunds come as transactions too."""
    card = await shop.card(1000)
    helper = shop.client.v1.test_helpers.issuing.transactions
    forced = await helper.create_force_capture_async({"card": card.id, "amount": 700})
    assert (forced.amount, forced.authorization) == (-700, None)
    back = await helper.refund_async(forced.id, {"refund_amount": 200})
    assert (back.amount, back.type) == (200, "refund")
    with pytest.raises(stripe.InvalidRequestError):
        await helper.refund_async(forced.id, {"refund_amount": 501})
    assert sum(sim.world.issuing_spent.values()) == 500


async def test_an_account_without_issuing_makes_no_cards(shop: Shop, sim: Simulator) -> None:
    """Readiness has something to find."""
    sim.configure(issuing_enabled=False)
    with pytest.raises(stripe.InvalidRequestError):
        await shop.card()
    account = await shop.client.v1.accounts.retrieve_current_async()
    assert account.to_dict(for_json=True)["capabilities"]["card_issuing"] == "inactive"


async def test_the_operator_completes_a_checkout_on_the_cards_page(
    shop: Shop, sim: Simulator, web: httpx.AsyncClient
) -> None:
    """The operator's task after an approved purchase, without a number anywhere."""
    card = await shop.card(1106)
    page = await web.get(f"/cards/{card.id}")
    assert "SIMULATED" in page.text
    assert "11.06 USD all_time" in page.text
    assert "4000" not in page.text
    done = await web.post(f"/cards/{card.id}", data={"merchant": "porkbun.com", "amount": "11.06"})
    assert done.status_code == 200
    assert "porkbun.com, closed" in done.text
    assert [row["amount"] for row in sim.world.all("issuing.transaction")] == [-1106]
    again = await web.post(f"/cards/{card.id}", data={"merchant": "porkbun.com", "amount": "11.06"})
    assert again.status_code == 402
    assert "card_canceled" in again.text
    assert len(sim.world.all("issuing.transaction")) == 1


@pytest.mark.parametrize("amount", ["", "abc", "1.999", "NaN", "-1", "0", "1e9999999"])
async def test_the_cards_page_refuses_what_is_no_amount(
    shop: Shop, sim: Simulator, web: httpx.AsyncClient, amount: str
) -> None:
    """One clear line, no traceback, no payment."""
    card = await shop.card()
    answer = await web.post(f"/cards/{card.id}", data={"merchant": "x", "amount": amount})
    assert answer.status_code == 400
    assert sim.world.all("issuing.authorization") == []


async def test_only_authorizing_leaves_it_to_be_captured(
    shop: Shop, sim: Simulator, web: httpx.AsyncClient
) -> None:
    """The page can stop halfway, so that partial captures can be shown."""
    card = await shop.card()
    await web.post(f"/cards/{card.id}", data={"merchant": "x", "amount": "5", "hold": "1"})
    assert [row["status"] for row in sim.world.all("issuing.authorization")] == ["pending"]
    assert sim.world.all("issuing.transaction") == []
