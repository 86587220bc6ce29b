"""From a paid page to work: the road that all revenue takes."""

from pathlib import Path

import pytest

from tests.webhooks.rig import rig_on


async def test_a_paid_checkout_becomes_an_order_its_revenue_a_won_deal_and_a_run(tmp_path: Path) -> None:
    """The one transaction of the revenue loop, from a signed event to open work."""
    async with rig_on(f"sqlite:///{tmp_path}/ledger.db") as rig:
        deal_id = await rig.deal()
        checkout_id, session = await rig.checkout(deal_id=deal_id)
        assert (await rig.pay(session)).status_code == 303
        await rig.work()
        order = (await rig.ledger.orders()).items[0]
        assert (order.session_ref, order.deal_id, str(order.amount)) == (session, deal_id, "1.00 USD")
        assert (order.proof.level, order.mode, order.state) == ("simulated", "simulated", "paid")
        assert (await rig.ledger.deal(deal_id)).stage == "won"
        run = await rig.ledger.run(order.run_id or "")
        assert (run.state, run.order_id, run.project) == ("open", order.order_id, "shop")
        intake = await rig.ledger.intake_of(run.run_id)
        assert intake is not None
        assert intake.order_id == order.order_id
        kinds = {event.kind: event.minor_units for event in await rig.ledger.revenue()}
        assert kinds == {"payment": 100, "fee": -33}
        assert checkout_id.startswith("chk_")
        assert await rig.ledger.webhook_counts() == {}


@pytest.mark.parametrize("card", ["4242424242424242"])
async def test_every_event_of_a_payment_is_worked_and_there_is_one_order(tmp_path: Path, card: str) -> None:
    """Six events tell of one payment; which of them books it does not matter."""
    async with rig_on(f"sqlite:///{tmp_path}/ledger.db") as rig:
        _, session = await rig.checkout()
        await rig.pay(session, card)
        await rig.work()
        states = {event.type: event.state for event in (await rig.ledger.webhook_events()).items}
        assert states["checkout.session.completed"] == "processed"
        assert len((await rig.ledger.orders()).items) == 1
