"""One of everything: what a test of all objects starts from."""

from typing import Any

from plugins.payments.simulator.resources import outbound
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop


async def live_a_full_life(sim: Simulator, shop: Shop) -> None:
    """Make at least one object of every kind, in most of their states."""
    client = shop.client
    await shop.charge(card="4000000000005423")
    await shop.pay((await shop.session()).id, "4000000000000002")
    charge = await shop.charge()
    await client.v1.refunds.create_async({"charge": charge["id"], "amount": 100})
    disputed = await shop.charge(card="4000000000000259")
    dispute = (await client.v1.disputes.list_async({"charge": disputed["id"]})).data[0]
    await client.v1.disputes.update_async(dispute.id, {"evidence": {"product_description": "a snapshot"}})
    await shop.pay((await shop.session()).id, "000123456789")
    price: Any = {"currency": "usd", "unit_amount": 100, "product_data": {"name": "Link"}}
    await client.v1.payment_links.create_async({"line_items": [{"price_data": price, "quantity": 1}]})
    card = await shop.card()
    authorization = await shop.authorize(card.id, 1106)
    await client.v1.test_helpers.issuing.authorizations.capture_async(authorization.id)
    endpoint: Any = {"url": "https://x.example/hook", "enabled_events": ["charge.refunded"]}
    await client.v1.webhook_endpoints.create_async(endpoint)
    outgoing: Any = {
        "amount": {"value": 500, "currency": "usd"},
        "from": {"financial_account": sim.world.financial_account, "currency": "usd"},
        "to": {"recipient": sim.world.recipient},
    }
    await client.v2.money_management.outbound_payments.create_async(outgoing)
    first = sim.world.all(outbound.PAYMENT)[0]
    outbound.move(sim.world, first, "failed")
