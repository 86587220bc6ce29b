"""Payment links: every payment is a session of its own."""

from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop


async def make(shop: Shop, **params: Any) -> stripe.PaymentLink:  # noqa: ANN401  params
    """Create a link for one item."""
    price = {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Snapshot"}}
    body: Any = {
        "line_items": [{"price_data": price, "quantity": 2}],
        "metadata": {"deal": "deal_2"},
        **params,
    }
    return await shop.client.v1.payment_links.create_async(body)


async def visit(web: httpx.AsyncClient, link: stripe.PaymentLink, query: str = "") -> str:
    """Open a link and give the session's page it leads to."""
    answer = await web.get(link.url + query)
    assert answer.status_code == 303
    return answer.headers["location"]


async def test_each_visit_is_a_session_of_the_link(
    sim: Simulator, shop: Shop, web: httpx.AsyncClient
) -> None:
    """M23: what is booked is a session whose payment_link we made, with its items and amount."""
    link = await make(shop, payment_intent_data={"metadata": {"deal": "deal_2"}})
    for _ in range(2):
        assert (await web.post(await visit(web, link), data={"card": "4242424242424242"})).status_code == 200
    sessions = (await shop.client.v1.checkout.sessions.list_async({"payment_link": link.id})).data
    assert len({row.id for row in sessions}) == 2
    assert {(row.amount_total, row.payment_status) for row in sessions} == {(1000, "paid")}
    assert all(row["metadata"] == {"deal": "deal_2"} for row in sim.world.all("charge"))
    assert all(row["metadata"] == {"deal": "deal_2"} for row in sim.world.all("checkout.session"))


async def test_a_limited_link_closes_itself(sim: Simulator, shop: Shop, web: httpx.AsyncClient) -> None:
    """One shot is one shot, also for the buyer who had the page open before."""
    link = await make(shop, restrictions={"completed_sessions": {"limit": 1}})
    first, second = await visit(web, link), await visit(web, link)
    assert (await web.post(first, data={"card": "4242424242424242"})).status_code == 200
    assert (await web.post(second, data={"card": "4242424242424242"})).status_code == 400
    assert (await web.get(link.url)).status_code == 400
    assert len(sim.world.all("charge")) == 1
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.payment_links.update_async(link.id, {"active": True})


async def test_a_closed_link_takes_no_more_money(sim: Simulator, shop: Shop, web: httpx.AsyncClient) -> None:
    """Ending an offer ends its open pages too."""
    link = await make(shop)
    page = await visit(web, link)
    await shop.client.v1.payment_links.update_async(link.id, {"active": False})
    assert (await web.post(page, data={"card": "4242424242424242"})).status_code == 400
    assert sim.world.all("charge") == []


async def test_anybody_may_set_the_client_reference(
    sim: Simulator, shop: Shop, web: httpx.AsyncClient
) -> None:
    """It comes from the URL, so nothing may be booked on it; the simulator lets a test try."""
    await visit(web, await make(shop), "?client_reference_id=deal_of_somebody_else")
    assert sim.world.all("checkout.session")[0]["client_reference_id"] == "deal_of_somebody_else"


async def test_a_link_can_lead_back_to_the_shop(shop: Shop, web: httpx.AsyncClient) -> None:
    """after_completion redirects, with the session's id filled in."""
    after = {"type": "redirect", "redirect": {"url": "https://shop.example/paid?cs={CHECKOUT_SESSION_ID}"}}
    page = await visit(web, await make(shop, after_completion=after))
    answer = await web.post(page, data={"card": "4242424242424242"})
    assert answer.headers["location"] == f"https://shop.example/paid?cs={page.rsplit('/', 1)[1]}"
