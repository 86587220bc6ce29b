"""What no webhook told: a payment whose every event is lost is found by looking, once."""

from __future__ import annotations

import asyncio
import time

from ledger.records_revenue import DealStage
from tests.journeys.conftest import Front, fronted
from tool_server.cli.demo_cast import pay
from tool_server.cli.demo_place import Place


async def test_a_payment_whose_webhooks_are_dropped_is_found_by_the_reconciler(place: Place) -> None:
    """Stripe gives up after some days; the order must not depend on its perseverance, on either engine."""
    async with fronted(place, reconcile_s=0.5) as front:
        await _lost_and_found(front)


async def _lost_and_found(front: Front) -> None:
    await front.controls.fault("webhook_dropped", "*", count=1_000, for_ever=True)
    (deal,) = (await front.ledger.deals()).items
    made = await front.call(
        "scout",
        "stripe_create_checkout",
        {"deal_id": deal.deal_id, "offer": "snapshot", "idempotency_key": "k1"},
    )
    assert made.envelope.data is not None, made.text
    await pay(str(made.envelope.data["url"]), "ada@shop.example")
    until = time.monotonic() + 20
    while not (orders := (await front.ledger.orders()).items):
        assert time.monotonic() < until, "nothing was found"
        await asyncio.sleep(0.1)  # The worker finds it by itself; nothing tells us when.
    assert len(orders) == 1
    assert (await front.ledger.deal(deal.deal_id)).stage is DealStage.WON
    sources = {event.source for event in (await front.ledger.webhook_events(limit=100)).items}
    assert sources == {"reconciler"}
    await asyncio.sleep(1.2)  # Two more rounds of looking: what was found stays one.
    assert len((await front.ledger.orders()).items) == 1
