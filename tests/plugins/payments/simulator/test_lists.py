"""Lists honour their filters: a filter that were ignored would answer with everything."""

from typing import Any

import httpx
import pytest

from plugins.payments.simulator.resources import supported
from plugins.payments.simulator.resources.table import ROUTES
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop
from tests.plugins.payments.simulator.life import live_a_full_life

# For each list and filter a value that fits none of the objects of a full life.
NOTHING: dict[str, list[dict[str, str]]] = {
    "/v1/products": [{"active": "false"}, {"ids[0]": "prod_none"}],
    "/v1/prices": [
        {"active": "false"},
        {"product": "prod_none"},
        {"currency": "eur"},
        {"type": "recurring"},
        {"lookup_keys[0]": "none"},
    ],
    "/v1/checkout/sessions": [
        {"status": "expired"},
        {"payment_intent": "pi_none"},
        {"payment_link": "plink_none"},
        {"customer": "cus_none"},
        {"customer_details[email]": "nobody@example.com"},
    ],
    "/v1/payment_links": [{"active": "false"}],
    "/v1/payment_intents": [],
    "/v1/charges": [{"payment_intent": "pi_none"}],
    "/v1/refunds": [{"charge": "ch_none"}, {"payment_intent": "pi_none"}],
    "/v1/disputes": [{"charge": "ch_none"}, {"payment_intent": "pi_none"}],
    "/v1/radar/early_fraud_warnings": [{"charge": "ch_none"}, {"payment_intent": "pi_none"}],
    "/v1/balance_transactions": [{"source": "ch_none"}, {"type": "payout"}, {"currency": "eur"}],
    "/v1/events": [{"type": "charge.expired"}, {"types[0]": "charge.expired"}, {"delivery_success": "false"}],
    "/v1/webhook_endpoints": [],
    "/v1/issuing/cardholders": [
        {"email": "nobody@example.com"},
        {"status": "blocked"},
        {"type": "individual"},
        {"phone_number": "1"},
    ],
    "/v1/issuing/cards": [
        {"status": "inactive"},
        {"type": "physical"},
        {"last4": "none"},
        {"exp_month": "1"},
        {"exp_year": "1999"},
        {"cardholder": "ich_none"},
    ],
    "/v1/issuing/authorizations": [{"card": "ic_none"}, {"cardholder": "ich_none"}, {"status": "reversed"}],
    "/v1/issuing/transactions": [{"card": "ic_none"}, {"cardholder": "ich_none"}, {"type": "refund"}],
    "/v2/money_management/outbound_payments": [{"recipient": "acct_none"}, {"status[0]": "returned"}],
    "/v2/money_management/financial_accounts": [],
    "/v2/core/accounts": [],
    "/v2/core/events": [
        {"types[0]": "v2.core.none"},
        {"object_id": "obp_none"},
        {"created[gt]": "2999-01-01T00:00:00Z"},
    ],
}


@pytest.fixture
def key(sim: Simulator) -> tuple[str, str]:
    """Give the authorization of a plain HTTP request."""
    return (sim.secret_key, "")


async def test_each_filter_leaves_out_what_does_not_fit(
    sim: Simulator, shop: Shop, web: httpx.AsyncClient, key: tuple[str, str]
) -> None:
    """Without the filter there is something, with a value that fits nothing there is nothing."""
    await live_a_full_life(sim, shop)
    for path, filters in NOTHING.items():
        full = await web.get(path, auth=key)
        assert full.json()["data"], path
        for query in filters:
            answer = await web.get(path, params=query, auth=key)
            assert (answer.status_code, answer.json().get("data")) == (200, []), (path, query)


def test_every_list_and_every_filter_is_in_the_table() -> None:
    """A filter added to the simulator must be added here."""
    lists: dict[str, set[str]] = {}
    for route in ROUTES.all():
        if route.method == "GET" and str(route.spec).endswith("ListParams"):
            lists[route.template] = set(supported.HONOURED.get(str(route.spec), ()))
    tested = {
        path: {name.partition("[")[0] for query in rows for name in query} for path, rows in NOTHING.items()
    }
    assert tested == lists


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/v1/charges", {"limit": "0"}, "limit"),
        ("/v1/charges", {"limit": "101"}, "limit"),
        ("/v1/charges", {"starting_after": "ch_none"}, "starting_after"),
        ("/v1/events", {"type": "a", "types[0]": "b"}, "types"),
        ("/v2/core/accounts", {"limit": "0"}, "limit"),
        ("/v2/core/accounts", {"page": "next"}, "page"),
        ("/v2/money_management/outbound_payments", {"created[gt]": "yesterday"}, "created"),
    ],
)
async def test_a_list_refuses_what_is_no_page(
    sim: Simulator,
    shop: Shop,
    web: httpx.AsyncClient,
    key: tuple[str, str],
    path: str,
    query: dict[str, str],
    param: str,
) -> None:
    """A cursor of another list would silently repeat or skip."""
    body: Any = {"amount": {"value": 500, "currency": "usd"}, "to": {"recipient": sim.world.recipient}}
    body["from"] = {"financial_account": sim.world.financial_account, "currency": "usd"}
    await shop.client.v2.money_management.outbound_payments.create_async(body)
    answer = await web.get(path, params=query, auth=key)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_every_object_is_found_by_its_id(
    sim: Simulator, shop: Shop, web: httpx.AsyncClient, key: tuple[str, str]
) -> None:
    """What a list shows can be retrieved, and an id that does not exist is a 404."""
    await live_a_full_life(sim, shop)
    retrievable = {route.template for route in ROUTES.all() if route.method == "GET"}
    for path in NOTHING:
        if f"{path}/{{id}}" in retrievable:
            first = (await web.get(path, auth=key)).json()["data"][0]
            assert (await web.get(f"{path}/{first['id']}", auth=key)).json()["id"] == first["id"]
            assert (await web.get(f"{path}/none_sim_x", auth=key)).status_code == 404
