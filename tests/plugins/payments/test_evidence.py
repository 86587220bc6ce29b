"""What nobody told, what was told before its answer came, and what is told of others: events as evidence."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import update

from ledger.engines.tx import Tx
from ledger.records import CallState
from ledger.schema_revenue import purchases
from ledger.times import to_us
from plugins.payments.simulator.faults import Fault
from policy.language import Posture
from tests.plugins.payments.desk import StripeDesk, data, desk_on
from tool_server.bootstrap import Wiring
from tool_server.envelope import CallResult
from webhooks.worker import WebhookWorker

LATE_S = 3_600.0  # When an unknown call would be looked into by itself.


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[StripeDesk]:
    """Give a house whose reconciler takes its time."""
    wiring = Wiring(fresh_s=0.0, first_look_s=LATE_S, accept_all=True, seed=7)
    async with desk_on(tmp_path, wiring=wiring) as made:
        yield made


async def pay(desk: StripeDesk, invoice: str, amount: str = "20.00 USD") -> CallResult:
    """Ask to pay an invoice."""
    return await desk.call("pay_vendor", recipient="acme", invoice=invoice, purpose="hosting", amount=amount)


async def _later(desk: StripeDesk) -> None:
    """Work what waits, as if its pauses were over."""
    real = desk.house.now
    for hours in range(1, 4):
        deps = structs.replace(desk.worker._deps, now=lambda hours=hours: real() + timedelta(hours=hours))  # noqa: SLF001  see above
        await WebhookWorker(deps, desk.house.registry.providers["stripe"]).work_due()


LOST = {
    "card": "POST /v1/issuing/cards",
    "payment": "POST /v2/money_management/outbound_payments",
    "checkout": "POST /v1/checkout/sessions",
}


async def lost(desk: StripeDesk, what: str) -> CallResult:
    """Do something whose answer is lost after it was done."""
    desk.sim.faults.add(Fault("lost_after_commit", match=LOST[what]))
    if what == "card":
        made = await desk.card()
    elif what == "payment":
        made = await pay(desk, "R1")
    else:
        made = await desk.call("stripe_create_checkout", deal_id=desk.deal_id, offer="snapshot")
    await desk.until(made, CallState.UNKNOWN)
    return made


@pytest.mark.parametrize("what", ["card", "payment", "checkout"])
async def test_an_event_about_an_unknown_call_has_it_looked_into_at_once(desk: StripeDesk, what: str) -> None:
    """Step 7, M4, M8: the event settles nothing itself; it only brings the call's own reconcile forward."""
    made = await lost(desk, what)
    if what == "checkout":
        await desk.pay(desk.sim.world.all("checkout.session")[0]["url"])
    elif what == "payment":
        payment = desk.sim.world.all("v2.money_management.outbound_payment")[0]
        await desk.web.post(f"/_sim/outbound_payments/{payment['id']}", json={"status": "posted"})
    await desk.work()
    call = await desk.until(made, CallState.SUCCEEDED)
    assert call.proof is not None
    assert call.proof.by in {"lookup", "response"}  # Never the event.
    kinds = [row["kind"] for row in desk.sim.effects()]
    name = {"card": "card", "payment": "outbound_payment", "checkout": "checkout_session"}[what]
    assert kinds.count(name) == 1


async def test_a_worker_that_tells_nobody_would_be_caught(desk: StripeDesk) -> None:
    """The broken twin: without the word to the reconciler the call waits for its own turn, an hour away."""
    made = await lost(desk, "card")
    deaf = structs.replace(desk.worker._deps, seen=lambda _call_id: None)  # noqa: SLF001  the twin's own
    desk.worker = WebhookWorker(deaf, desk.house.registry.providers["stripe"])
    await desk.work()
    with pytest.raises(AssertionError, match="unknown"):
        await desk.until(made, CallState.SUCCEEDED, within_s=2.5)


async def test_a_payment_posted_while_nobody_listened_is_found_in_the_list_of_events(
    desk: StripeDesk,
) -> None:
    """v2's events have a list of their own; the reconciler reads both (M22)."""
    made = await pay(desk, "R1")
    purchase = await desk.ledger.purchase(made.envelope.call_id or "")
    desk.sim.hooks.targets.clear()  # The house is down.
    await desk.web.post(f"/_sim/outbound_payments/{purchase.instrument_ref}", json={"status": "posted"})
    found = await desk.worker.reconcile()
    assert found.looked_at == 0  # Not found by looking at what is open: it is too young for that.
    await desk.work()
    assert (await desk.ledger.purchase(purchase.purchase_id)).state == "posted"
    types = {event.type for event in (await desk.ledger.webhook_events()).items}
    assert "v2.money_management.outbound_payment.posted" in types


async def test_an_account_that_lists_no_v2_events_misses_none_of_the_others(desk: StripeDesk) -> None:
    """Most accounts have no outbound payments; that must not keep their checkouts from being found."""
    desk.sim.hooks.targets.clear()
    refused = desk.sim.keys._keys[desk.sim.spend_key]  # noqa: SLF001  a restricted key without that scope
    scopes = (refused.scopes or frozenset()) - {"events"}
    desk.sim.keys._keys[desk.sim.spend_key] = type(refused)(refused.secret, scopes)  # noqa: SLF001  the same
    made = await desk.call("stripe_create_checkout", deal_id=desk.deal_id, offer="snapshot")
    await desk.pay(data(made)["url"])
    assert (await desk.worker.reconcile()).new > 0
    await desk.work()
    assert len((await desk.ledger.orders()).items) == 1


async def test_a_card_that_somebody_made_by_hand_is_none_of_ours(desk: StripeDesk) -> None:
    """A shared Stripe account must not fill the inbox with cards that can never match."""
    head = {"authorization": f"Bearer {desk.sim.spend_key}"}
    holder = desk.sim.world.all("issuing.cardholder")[0]["id"]
    form = {"cardholder": holder, "currency": "usd", "type": "virtual", "status": "active"}
    card = (await desk.web.post("/v1/issuing/cards", data=form, headers=head)).json()["id"]
    await desk.web.post(f"/cards/{card}", data={"merchant": "m", "amount": "1.00"})
    force = {"card": card, "amount": "100"}
    path = "/v1/test_helpers/issuing/transactions/create_force_capture"
    assert (await desk.web.post(path, data=force, headers=head)).status_code == 200
    await desk.work()
    types = {event.type for event in (await desk.ledger.webhook_events("ignored")).items}
    assert {"issuing_card.created", "issuing_transaction.created"} <= types
    assert "unmatched" not in await desk.ledger.webhook_counts()


async def test_a_card_that_a_failed_call_left_cancelled_waits_for_nothing(desk: StripeDesk) -> None:
    """M20: it was cancelled because its activation was refused; no purchase will ever match it."""
    desk.sim.faults.add(Fault("stored_500", match="POST /v1/issuing/cards/*", count=1))
    made = await desk.card()
    await desk.until(made, CallState.UNKNOWN)
    await desk.work()  # The event brings the reconcile forward, which cancels the card.
    await desk.until(made, CallState.FAILED)
    await _later(desk)
    assert "unmatched" not in await desk.ledger.webhook_counts()
    assert await desk.ledger.adjustments() == ()


async def test_an_active_card_of_a_call_that_ended_unrun_is_evidence_against_its_end(
    desk: StripeDesk,
) -> None:
    """M9: no state changes; a discrepancy, an adjustment, the provider closed. Told twice, booked once."""
    done = await desk.card()
    call_id = done.envelope.call_id or ""
    card = desk.sim.world.all("issuing.card")[0]

    def never_ran(tx: Tx) -> None:
        run = tx.connection.exec_driver_sql
        for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
            run(f"DROP TRIGGER {name}")
        run("UPDATE tool_calls SET state = 'failed'")
        run("DELETE FROM purchases")

    await desk.ledger._core.plain("test", never_ran)  # noqa: SLF001  as a restored backup would have it
    card["metadata"]["bursar_call"] = call_id
    await desk.work()
    await _later(desk)
    quarantined = (await desk.ledger.webhook_events("quarantined")).items
    assert {event.why.split(":")[0] for event in quarantined} == {"succeeded_after_failed"}
    assert len(quarantined) >= 2
    assert [row["amount_minor"] for row in await desk.ledger.adjustments()] == [1_000]
    postures = {(each.scope, each.scope_key): each.posture for each in await desk.ledger.postures()}
    assert postures["provider", "stripe"] is Posture.NO_SPEND
    assert (await desk.ledger.call(call_id)).state is CallState.FAILED


@pytest.mark.parametrize(
    ("amount", "armed_later_s", "ours"),
    [("10.00 USD", 0, True), ("0.50 USD", 0, False), ("10.00 EUR", 0, True), ("10.00 USD", 3_600, False)],
    ids=["may be it", "approved for less", "another currency may be converted", "armed only later"],
)
async def test_what_no_card_of_ours_can_have_paid_is_earned(
    desk: StripeDesk, amount: str, armed_later_s: int, *, ours: bool
) -> None:
    """M15: four digits meet by chance once in ten thousand; amount and instant tell most of those apart."""
    policy_allows = amount.endswith("USD")
    made = await desk.card(amount if policy_allows else "10.00 USD")
    assert made.envelope.status == "succeeded", made.text

    def is_the_buyers(tx: Tx) -> None:
        at_us = to_us(desk.house.now()) + armed_later_s * 1_000_000
        values = {"last4": "4242", "armed_at_us": at_us, "currency": amount[-3:]}
        tx.connection.execute(update(purchases).values(values))

    await desk.ledger._core.plain("test", is_the_buyers)  # noqa: SLF001  the simulator's numbers never meet
    order = await desk.sold()
    assert {event.own_card for event in await desk.ledger.revenue(order_id=order.order_id)} == {ours}


async def test_what_stripe_cannot_express_is_the_callers_mistake_and_never_sent(desk: StripeDesk) -> None:
    """docs.stripe.com/currencies, special cases: charges in HUF and TWD may have hundredths, payouts not."""
    for amount in ("10.45 HUF", "10.45 TWD", "1.50 MGA", "1.234 KWD", "0.00 USD"):
        refused = await pay(desk, "R1", amount)
        assert refused.envelope.status == "invalid", refused.text
    for amount in ("1.50 MGA", "1.234 KWD", "0.00 USD"):
        refused = await desk.card(amount)
        assert refused.envelope.status == "invalid", refused.text
    assert desk.sim.effects() == []
