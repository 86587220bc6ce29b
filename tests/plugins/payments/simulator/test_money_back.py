"""Refunds and disputes: money that goes back, and never more than came."""

from typing import Any

import pytest
import stripe

from plugins.payments.simulator.resources import disputes, refunds
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop


async def balance_of(shop: Shop) -> int:
    """Give available and pending together."""
    balance = await shop.client.v1.balance.retrieve_async()
    return balance.available[0].amount + balance.pending[0].amount


async def test_refunds_add_up_to_the_charge_and_no_further(shop: Shop) -> None:
    """M29: a refund is bounded by what is left of the payment, and the provider holds it too."""
    charge = await shop.charge(1900)
    create = shop.client.v1.refunds.create_async
    await create({"charge": charge["id"], "amount": 1000})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await create({"charge": charge["id"], "amount": 901})
    assert caught.value.param == "amount"
    await create({"charge": charge["id"], "amount": 900})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await create({"charge": charge["id"]})
    assert caught.value.code == "charge_already_refunded"
    after = await shop.client.v1.charges.retrieve_async(charge["id"])
    assert (after.amount_refunded, after.refunded) == (1900, True)
    assert await balance_of(shop) == -85


async def test_a_refund_by_payment_intent_carries_its_metadata(shop: Shop) -> None:
    """Our reference finds the refund again when its answer was lost."""
    charge = await shop.charge()
    body: Any = {"payment_intent": charge["payment_intent"], "amount": 500, "metadata": {"call": "call_3"}}
    refund = await shop.client.v1.refunds.create_async(body)
    listed = await shop.client.v1.refunds.list_async({"payment_intent": charge["payment_intent"]})
    assert [row.id for row in listed.data] == [refund.id]
    assert listed.data[0].to_dict(for_json=True)["metadata"] == {"call": "call_3"}


@pytest.mark.parametrize("body", [{}, {"charge": "a", "payment_intent": "b"}, {"charge": "ch_sim_none"}])
async def test_a_refund_names_one_payment_that_exists(shop: Shop, body: dict[str, str]) -> None:
    """Neither none nor two, nor one of another account."""
    given: Any = body
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.refunds.create_async(given)


async def test_a_failed_refund_gives_the_room_back(sim: Simulator, shop: Shop) -> None:
    """The buyer's bank may return it days later; then the charge is unrefunded again."""
    charge = await shop.charge(1900)
    refund = await shop.client.v1.refunds.create_async({"charge": charge["id"]})
    refunds.fail(sim.world, sim.world.get("refund", refund.id))
    assert sim.world.get("charge", charge["id"])["amount_refunded"] == 0
    assert await balance_of(shop) == 1815
    assert "refund.failed" in [event["type"] for event in sim.world.all("event")]


@pytest.mark.parametrize(("status", "left"), [("won", 1815 - 1500), ("lost", -85 - 1500)])
async def test_a_dispute_takes_the_money_and_only_a_won_one_returns_it(
    sim: Simulator, shop: Shop, status: str, left: int
) -> None:
    """Withdrawn at once, reinstated when won, the fee gone either way."""
    charge = await shop.charge(1900)
    dispute = disputes.open_dispute(sim.world, sim.world.get("charge", charge["id"]))
    assert await balance_of(shop) == -85 - 1500
    disputes.end(sim.world, dispute, status)
    assert await balance_of(shop) == left
    types = [event["type"] for event in sim.world.all("event") if "dispute" in event["type"]]
    assert types[:2] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    assert ("charge.dispute.funds_reinstated" in types) is (status == "won")


async def test_evidence_is_submitted_once(shop: Shop) -> None:
    """An answer to a dispute is final: the second one is refused, never merged in silence."""
    charge = await shop.charge(card="4000000000000259")
    dispute = (await shop.client.v1.disputes.list_async({"charge": charge["id"]})).data[0]
    update = shop.client.v1.disputes.update_async
    kept = await update(dispute.id, {"evidence": {"product_description": "a snapshot"}, "submit": False})
    assert (kept.status, kept.evidence_details.submission_count) == ("needs_response", 0)
    sent = await update(dispute.id, {"submit": True})
    assert (sent.status, sent.evidence_details.submission_count) == ("under_review", 1)
    with pytest.raises(stripe.InvalidRequestError):
        await update(dispute.id, {"evidence": {"product_description": "something else"}})


async def test_a_dispute_can_be_given_up_and_then_is_over(shop: Shop) -> None:
    """Closing is losing, once."""
    charge = await shop.charge(card="4000000000000259")
    dispute = (await shop.client.v1.disputes.list_async({"charge": charge["id"]})).data[0]
    assert (await shop.client.v1.disputes.close_async(dispute.id)).status == "lost"
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.disputes.close_async(dispute.id)


async def test_a_disputed_charge_cannot_be_refunded_too(sim: Simulator, shop: Shop) -> None:
    """Otherwise the buyer would have the money twice."""
    charge = await shop.charge(card="4000000000000259")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await shop.client.v1.refunds.create_async({"charge": charge["id"]})
    assert caught.value.code == "charge_disputed"
    assert sim.world.all("refund") == []


async def test_a_risky_card_draws_a_warning(sim: Simulator, shop: Shop) -> None:
    """The early sign of a dispute, as an event."""
    charge = await shop.charge(card="4000000000005423")
    listed = (await shop.client.v1.radar.early_fraud_warnings.list_async({"charge": charge["id"]})).data
    found = await shop.client.v1.radar.early_fraud_warnings.retrieve_async(listed[0].id)
    assert (found.charge, found.actionable) == (charge["id"], True)
    assert sim.world.all("event")[-1]["type"] == "radar.early_fraud_warning.created"
