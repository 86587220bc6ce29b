"""Checkout Sessions and their hosted page."""

from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.cards import BY_NUMBER, PageCard
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop


async def test_a_buyer_pays_on_the_page_and_returns(shop: Shop, web: httpx.AsyncClient) -> None:
    """The whole way: link, page, form, redirect with the session's id."""
    session = await shop.session(1900)
    page = await web.get(str(session.url))
    assert page.status_code == 200
    assert "SIMULATED" in page.text
    assert "19.00 USD" in page.text
    assert "https://shop.example/cancel" in page.text
    assert "<script" not in page.text
    answer = await shop.pay(session.id)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"https://shop.example/paid?cs={session.id}"


async def test_a_paid_session_has_its_charge_its_metadata_and_its_fee(shop: Shop) -> None:
    """What books revenue: amount, metadata on intent and charge, and what Stripe kept."""
    session = await shop.session(1900)
    await shop.pay(session.id)
    expand: Any = {"expand": ["payment_intent.latest_charge.balance_transaction", "line_items"]}
    full = (await shop.client.v1.checkout.sessions.retrieve_async(session.id, expand)).to_dict(for_json=True)
    charge = full["payment_intent"]["latest_charge"]
    assert (full["status"], full["payment_status"], full["amount_total"]) == ("complete", "paid", 1900)
    assert full["payment_intent"]["metadata"] == charge["metadata"] == {"deal": "deal_1"}
    assert full["line_items"]["data"][0]["amount_total"] == 1900
    assert (charge["balance_transaction"]["fee"], charge["balance_transaction"]["net"]) == (85, 1815)
    balance = await shop.client.v1.balance.retrieve_async()
    assert (balance.pending[0].amount, balance.available[0].amount) == (1815, 0)


async def test_the_money_becomes_available_after_two_days(sim: Simulator, shop: Shop) -> None:
    """Pending and available are not the same money."""
    await shop.charge(1900)
    await sim.advance(2 * 24 * 3600)
    balance = await shop.client.v1.balance.retrieve_async()
    assert (balance.pending[0].amount, balance.available[0].amount) == (0, 1815)


@pytest.mark.parametrize("card", [c for c in BY_NUMBER.values() if c.code], ids=lambda c: str(c.decline_code))
async def test_a_declined_card_leaves_the_session_open(sim: Simulator, shop: Shop, card: PageCard) -> None:
    """A decline is said on the page with its code, and the buyer may try another card."""
    session = await shop.session()
    answer = await shop.pay(session.id, card.number)
    assert answer.status_code == 402
    assert str(card.decline_code) in answer.text
    assert sim.world.get("checkout.session", session.id)["status"] == "open"
    failed = sim.world.all("charge")[0]
    assert (failed["status"], failed["failure_code"], failed["paid"]) == ("failed", card.code, False)
    assert (await shop.pay(session.id)).status_code == 303
    assert len(sim.world.all("payment_intent")) == 1


async def test_paying_twice_makes_one_charge(sim: Simulator, shop: Shop) -> None:
    """A double click is one payment."""
    session = await shop.session()
    await shop.pay(session.id)
    again = await shop.pay(session.id)
    assert again.status_code == 200
    assert "is paid" in again.text
    assert len(sim.world.all("charge")) == 1


@pytest.mark.parametrize(("number", "outcome"), [("000123456789", "succeeded"), ("000111111116", "failed")])
async def test_a_bank_debit_settles_later(sim: Simulator, shop: Shop, number: str, outcome: str) -> None:
    """Completed is not paid: the money of a delayed method comes, or does not, in an event of its own."""
    sim.configure(settle_after_s=3600.0)
    session = await shop.session()
    await shop.pay(session.id, number)
    row = sim.world.get("checkout.session", session.id)
    assert (row["status"], row["payment_status"]) == ("complete", "unpaid")
    await sim.advance(3600)
    assert row["payment_status"] == ("paid" if outcome == "succeeded" else "unpaid")
    types = [event["type"] for event in sim.world.all("event")]
    assert f"checkout.session.async_payment_{outcome}" in types


async def test_an_open_session_expires_at_its_time(sim: Simulator, shop: Shop) -> None:
    """By the simulated clock, with its event, and its page then says so."""
    session = await shop.session(expires_at=sim.clock.now() + 1800)
    await sim.advance(1799)
    assert sim.world.get("checkout.session", session.id)["status"] == "open"
    await sim.advance(2)
    assert sim.world.get("checkout.session", session.id)["status"] == "expired"
    assert sim.world.all("event")[-1]["type"] == "checkout.session.expired"
    assert (await shop.pay(session.id)).status_code == 410


@pytest.mark.parametrize("life_s", [1799, 24 * 3600 + 1])
async def test_a_session_lives_between_half_an_hour_and_a_day(
    sim: Simulator, shop: Shop, life_s: int
) -> None:
    """Stripe refuses anything else, so a plugin that asks for it must fail here."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await shop.session(expires_at=sim.clock.now() + life_s)
    assert caught.value.param == "expires_at"


async def test_a_paid_session_cannot_be_expired(shop: Shop) -> None:
    """Closing an offer that was just paid is refused, never a silent success."""
    session = await shop.session()
    await shop.pay(session.id)
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.checkout.sessions.expire_async(session.id)


async def test_an_expired_session_takes_no_money(sim: Simulator, shop: Shop) -> None:
    """Ending an offer ends it."""
    session = await shop.session()
    ended = await shop.client.v1.checkout.sessions.expire_async(session.id)
    assert (ended.status, ended.url) == ("expired", None)
    await shop.pay(session.id)
    assert sim.world.all("charge") == []


async def test_sessions_are_listed_by_creation_newest_first(sim: Simulator, shop: Shop) -> None:
    """The reconciler's backstop: what was created since, page by page."""
    made = []
    for _ in range(5):
        made.append((await shop.session()).id)
        await sim.advance(10)
    since: Any = {"created": {"gte": sim.clock.now() - 40}, "limit": 2}
    page = await shop.client.v1.checkout.sessions.list_async(since)
    found = [row.id async for row in page.auto_paging_iter()]
    assert found == made[:0:-1]
    assert page.has_more is True


async def test_a_session_too_small_to_charge_is_refused(shop: Shop) -> None:
    """Stripe takes no card payment below 0.50 USD."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await shop.session(49)
    assert caught.value.code == "amount_too_small"


async def test_what_cannot_be_expanded_is_refused(shop: Shop) -> None:
    """A misspelt expansion must not come back as a silent null."""
    session = await shop.session()
    for path in ("paymnt_intent", "status", "intent_data"):
        with pytest.raises(stripe.InvalidRequestError):
            await shop.client.v1.checkout.sessions.retrieve_async(session.id, {"expand": [path]})


async def test_text_of_the_seller_is_not_markup(shop: Shop, web: httpx.AsyncClient) -> None:
    """Product names come from an agent; the page shows them as text."""
    price = {"currency": "usd", "unit_amount": 100, "product_data": {"name": "<img src=x onerror=alert(1)>"}}
    session = await shop.session(line_items=[{"price_data": price, "quantity": 1}])
    page = await web.get(str(session.url))
    assert "<img" not in page.text
    assert "&lt;img" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
