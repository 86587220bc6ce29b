"""Every tool that makes something at Stripe, on the simulator and, where a key is given, on Stripe itself.

    STRIPE_SANDBOX_KEY=sk_test_... ./test -m stripe_sandbox -n 0

One set of functions, so that the stand-in and the real thing are held to the same words.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger.records import CallState
from policy.language import Mode
from tests.plugins.payments.desk import StripeDesk, data, desk_on
from tests.plugins.payments.sandbox import sandbox_on

WHERE = ["simulator", pytest.param("sandbox", marks=pytest.mark.stripe_sandbox)]


@pytest.fixture(params=WHERE)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StripeDesk]:
    """Give a house on the simulator or on a sandbox of Stripe's."""
    async with desk_on(tmp_path) if request.param == "simulator" else sandbox_on(tmp_path) as made:
        yield made


def simulated(desk: StripeDesk) -> bool:
    """Say whether this is the simulator."""
    return desk.house.modes["stripe"] is Mode.SIMULATED


async def shown(desk: StripeDesk, call_id: str | None) -> Any:  # noqa: ANN401  Stripe's JSON
    """Give the object that a call made, as Stripe shows it now."""
    call = await desk.ledger.call(call_id or "")
    evidence = await desk.house.registry.providers["stripe"].fetch(call.provider_ref or "")
    assert evidence.found
    assert evidence.proof is not None
    assert evidence.proof.level == ("simulated" if simulated(desk) else "test")
    found: Any = evidence.data
    assert found["metadata"]["bursar_call"] == call_id
    return found


async def test_a_checkout_is_made_once_and_closed(desk: StripeDesk) -> None:
    """The address leads to a page, the marks are there, the retry finds the same session, the end is one."""
    asked: dict[str, Any] = {"deal_id": desk.deal_id, "offer": "snapshot"}
    made = await desk.call("stripe_create_checkout", key="once", **asked)
    assert made.envelope.status == "succeeded", made.text
    session = await shown(desk, made.envelope.call_id)
    assert (session["status"], session["amount_total"], session["currency"]) == ("open", 100, "usd")
    assert session["payment_intent"] is None
    again = await desk.call("stripe_create_checkout", key="once", **asked)
    assert again.envelope.replayed
    assert data(again)["url"] == data(made)["url"] == session["url"]
    closed = await desk.call("stripe_close_offer", sale_id=data(made)["checkout_id"])
    assert closed.envelope.status == "succeeded", closed.text
    assert (await shown(desk, made.envelope.call_id))["status"] == "expired"


async def test_a_payment_link_is_made_and_closed(desk: StripeDesk) -> None:
    """Its limit is the one that was asked for."""
    asked: dict[str, Any] = {"deal_id": desk.deal_id, "offer": "snapshot", "most_payments": 2}
    made = await desk.call("stripe_create_payment_link", **asked)
    assert made.envelope.status == "succeeded", made.text
    link = await shown(desk, made.envelope.call_id)
    assert link["active"]
    assert link["restrictions"]["completed_sessions"]["limit"] == 2
    closed = await desk.call("stripe_close_offer", sale_id=data(made)["link_id"])
    assert closed.envelope.status == "succeeded", closed.text
    assert not (await shown(desk, made.envelope.call_id))["active"]


async def test_a_card_is_armed_for_one_payment_of_the_amount_and_cancelled(desk: StripeDesk) -> None:
    """M19, M20: limit, count and category as approved; the number is in nothing that we keep."""
    made = await desk.card("5.00 USD", "example.com")
    if not simulated(desk) and made.envelope.status == "not_executed":
        pytest.skip(f"this sandbox issues no cards: {made.text}")
    assert made.envelope.status == "succeeded", made.text
    card = await shown(desk, made.envelope.call_id)
    limit = card["spending_controls"]["spending_limits"][0]
    assert (card["status"], limit["amount"], limit["interval"]) == ("active", 500, "all_time")
    assert card["lifecycle_controls"]["cancel_after"]["payment_count"] == 1
    assert not re.search(r"\d{16}", made.text)
    purchase = await desk.ledger.purchase(made.envelope.call_id or "")
    ended = await desk.call("cancel_purchase", purchase_id=purchase.purchase_id)
    assert ended.envelope.status == "succeeded", ended.text
    assert (await shown(desk, made.envelope.call_id))["status"] == "canceled"


async def test_an_invoice_is_paid_and_stopped_while_it_is_processing(desk: StripeDesk) -> None:
    """M22: exactly the recipient, exactly the amount."""
    made = await desk.call("pay_vendor", recipient="acme", invoice="R1", purpose="hosting", amount="1.00 USD")
    if not simulated(desk) and made.envelope.status in {"not_executed", "invalid"}:
        pytest.skip(f"this sandbox pays nothing out: {made.text}")
    assert made.envelope.status == "succeeded", made.text
    payment = await shown(desk, made.envelope.call_id)
    assert (payment["amount"], payment["status"]) == ({"value": 100, "currency": "usd"}, "processing")


async def test_a_lookup_finds_what_was_made(desk: StripeDesk) -> None:
    """Step 7: our mark is found in Stripe's own list, which is what settles a lost answer."""
    made = await desk.call("stripe_create_checkout", deal_id=desk.deal_id, offer="snapshot")
    await desk.until(made, CallState.SUCCEEDED, within_s=30)
    events = await desk.house.registry.providers["stripe"].events(desk.house.now().replace(minute=0))
    assert isinstance(events, tuple)
    missing = await desk.house.registry.providers["stripe"].fetch("cs_test_absent")
    assert not missing.found
