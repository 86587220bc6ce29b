"""Outbound payments: money to a recipient, over v2."""

from typing import Any

import pytest
import stripe

from plugins.payments.simulator.resources import outbound
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop


def body(sim: Simulator, value: int = 500, **more: Any) -> Any:  # noqa: ANN401  params
    """Give the parameters of one payment."""
    return {
        "amount": {"value": value, "currency": "usd"},
        "from": {"financial_account": sim.world.financial_account, "currency": "usd"},
        "to": {"recipient": sim.world.recipient},
        "metadata": {"call": "call_5"},
        **more,
    }


async def test_a_payment_is_processing_until_it_posts(sim: Simulator, client: stripe.StripeClient) -> None:
    """M22: committed at processing, posted at posted."""
    payments = client.v2.money_management.outbound_payments
    made = await payments.create_async(body(sim))
    assert (made.status, made.cancelable, made.amount.value) == ("processing", True, 500)
    outbound.move(sim.world, sim.world.get(outbound.PAYMENT, made.id), "posted")
    after = await payments.retrieve_async(made.id)
    assert (after.status, after.cancelable) == ("posted", False)
    types = [event["type"] for event in sim.world.all("v2.core.event")]
    assert types == [f"{outbound.PAYMENT}.created", f"{outbound.PAYMENT}.posted"]


@pytest.mark.parametrize(
    ("steps", "end"), [(["failed"], 10_000), (["posted"], 9_500), (["posted", "returned"], 10_000)]
)
async def test_money_that_did_not_arrive_is_back(
    sim: Simulator, client: stripe.StripeClient, steps: list[str], end: int
) -> None:
    """M22: voided at failed, a credit at returned."""
    sim.configure(outbound_balance=10_000)
    made = await client.v2.money_management.outbound_payments.create_async(body(sim))
    for step in steps:
        outbound.move(sim.world, sim.world.get(outbound.PAYMENT, made.id), step)
    funds = await client.v2.money_management.financial_accounts.retrieve_async(sim.world.financial_account)
    available = funds.to_dict(for_json=True)["balance"]["available"]["usd"]["value"]
    assert available == end


async def test_only_what_is_processing_can_be_canceled(sim: Simulator, client: stripe.StripeClient) -> None:
    """Taking back works once and in time."""
    payments = client.v2.money_management.outbound_payments
    made = await payments.create_async(body(sim))
    assert (await payments.cancel_async(made.id)).status == "canceled"
    with pytest.raises(stripe.StripeError) as caught:
        await payments.cancel_async(made.id)
    assert caught.value.http_status == 400


async def test_more_than_there_is_cannot_be_sent(sim: Simulator, client: stripe.StripeClient) -> None:
    """A definite no, with the SDK's own class for it; what is on its way counts."""
    sim.configure(outbound_balance=900)
    payments = client.v2.money_management.outbound_payments
    await payments.create_async(body(sim, 500))
    with pytest.raises(stripe.InsufficientFundsError):
        await payments.create_async(body(sim, 401))
    await payments.create_async(body(sim, 400))


async def test_payments_are_listed_by_recipient_status_and_time(
    sim: Simulator, client: stripe.StripeClient
) -> None:
    """What finds a payment again whose answer was lost: our metadata in the list."""
    payments = client.v2.money_management.outbound_payments
    first = await payments.create_async(body(sim))
    await payments.cancel_async(first.id)
    await sim.advance(60)
    second = await payments.create_async(body(sim))
    processing = await payments.list_async({"status": ["processing"], "recipient": sim.world.recipient})
    assert [row.id for row in processing.data] == [second.id]
    since: Any = {"created": {"gt": first.created}}
    later = await payments.list_async(since)
    assert [row.to_dict(for_json=True)["metadata"] for row in later.data] == [{"call": "call_5"}]
    every = await payments.list_async({"limit": 1})
    assert [row.id async for row in every.auto_paging_iter()] == [second.id, first.id]


async def test_an_unknown_recipient_is_refused(sim: Simulator, client: stripe.StripeClient) -> None:
    """M21: the provider pays exactly that party, so it must exist."""
    with pytest.raises(stripe.InvalidRequestError):
        await client.v2.money_management.outbound_payments.create_async(
            body(sim, to={"recipient": "acct_no"})
        )
    made = await client.v2.core.accounts.create_async(
        {"display_name": "Vendor", "configuration": {"recipient": {}}}
    )
    paid = await client.v2.money_management.outbound_payments.create_async(
        body(sim, to={"recipient": made.id})
    )
    assert paid.to.recipient == made.id


@pytest.mark.parametrize(
    "more", [{"statement_descriptor": "x"}, {"to": {"recipient": "", "currency": "eur"}}]
)
async def test_what_the_real_one_refuses_is_refused(
    sim: Simulator, client: stripe.StripeClient, more: dict[str, Any]
) -> None:
    """Descriptors that are too short, conversions that are not offered."""
    with pytest.raises(stripe.InvalidRequestError):
        await client.v2.money_management.outbound_payments.create_async(body(sim, **more))


async def test_payments_can_post_by_themselves(sim: Simulator, shop: Shop) -> None:
    """For the demo, where nobody stands at the controls."""
    sim.configure(post_after_s=30.0)
    made = await shop.client.v2.money_management.outbound_payments.create_async(body(sim))
    await sim.advance(31)
    after = await shop.client.v2.money_management.outbound_payments.retrieve_async(made.id)
    assert after.status == "posted"
