"""Products and prices that are found again by names the caller chose."""

from typing import Any

import pytest
import stripe


async def test_a_product_keeps_the_callers_id(client: stripe.StripeClient) -> None:
    """The id is the idempotency that outlives every key: a second create is refused."""
    await client.v1.products.create_async({"id": "offer_snapshot_v1", "name": "Snapshot"})
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.products.create_async({"id": "offer_snapshot_v1", "name": "Snapshot"})
    assert caught.value.code == "resource_already_exists"
    assert (await client.v1.products.retrieve_async("offer_snapshot_v1")).name == "Snapshot"


async def test_a_lookup_key_moves_only_when_told(client: stripe.StripeClient) -> None:
    """transfer_lookup_key gives the name to the new price; without it the old one keeps it."""
    body: Any = {
        "currency": "usd",
        "unit_amount": 100,
        "lookup_key": "snap",
        "product_data": {"name": "Snapshot"},
    }
    first = await client.v1.prices.create_async(body)
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.prices.create_async(body)
    moved: Any = {**body, "unit_amount": 200, "transfer_lookup_key": True}
    second = await client.v1.prices.create_async(moved)
    found = await client.v1.prices.list_async({"lookup_keys": ["snap"]})
    assert [row.id for row in found.data] == [second.id]
    assert (await client.v1.prices.retrieve_async(first.id)).lookup_key is None


async def test_metadata_merges_and_an_empty_value_removes(client: stripe.StripeClient) -> None:
    """As Stripe does: keys add up, empty means gone."""
    made = await client.v1.products.create_async({"name": "Snapshot", "metadata": {"a": "1", "b": "2"}})
    after = await client.v1.products.update_async(made.id, {"metadata": {"b": "", "c": "3"}})
    assert after.to_dict(for_json=True)["metadata"] == {"a": "1", "c": "3"}


async def test_an_inactive_price_sells_nothing(client: stripe.StripeClient) -> None:
    """An offer taken down cannot be put into a new checkout."""
    body: Any = {"currency": "usd", "unit_amount": 100, "product_data": {"name": "Snapshot"}}
    price = await client.v1.prices.create_async(body)
    await client.v1.prices.update_async(price.id, {"active": False})
    session: Any = {
        "mode": "payment",
        "success_url": "https://shop.example/paid",
        "line_items": [{"price": price.id, "quantity": 1}],
    }
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.checkout.sessions.create_async(session)
    assert caught.value.param == "line_items[0][price]"


async def test_pages_are_stable_both_ways(client: stripe.StripeClient) -> None:
    """starting_after and ending_before walk the same order, without gap or repeat."""
    made = [(await client.v1.products.create_async({"name": f"P{n}"})).id for n in range(7)]
    newest_first = made[::-1]
    first = await client.v1.products.list_async({"limit": 3})
    assert [row.id for row in first.data] == newest_first[:3]
    following = await client.v1.products.list_async({"limit": 3, "starting_after": first.data[-1].id})
    assert [row.id for row in following.data] == newest_first[3:6]
    back = await client.v1.products.list_async({"limit": 2, "ending_before": newest_first[4]})
    assert [row.id for row in back.data] == newest_first[2:4]
    assert [row.id async for row in first.auto_paging_iter()] == newest_first
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.products.list_async({"limit": 101})
