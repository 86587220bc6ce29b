"""Which keys open the simulator, and how far."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.keys import SPEND_SCOPES
from plugins.payments.simulator.resources.table import ROUTES
from plugins.payments.simulator.simulator import Simulator

Sdk = Callable[[str], stripe.StripeClient]


@pytest.mark.parametrize(
    "key", ["sk_test_51AbCdEfGh", "sk_live_51AbCdEfGh", "rk_live_x", "sk_test_sim_ofanother"]
)
async def test_a_key_it_did_not_make_is_refused(sdk: Sdk, key: str) -> None:
    """M30: a real key, test or live, that reaches a simulator is a mistake somebody must hear about."""
    with pytest.raises(stripe.AuthenticationError) as caught:
        await sdk(key).v1.balance.retrieve_async()
    assert caught.value.http_status == 401
    assert key not in str(caught.value)


async def test_an_earn_key_cannot_reach_cards_or_payouts(sim: Simulator, sdk: Sdk) -> None:
    """LIVE_SPEND off is also held by the provider: the key of the earning side cannot spend."""
    client = sdk(sim.earn_key)
    await client.v1.products.create_async({"name": "Snapshot"})
    with pytest.raises(stripe.PermissionError):
        await client.v1.issuing.cards.list_async()
    with pytest.raises(stripe.PermissionError):
        await client.v2.money_management.outbound_payments.list_async()


async def test_a_spend_key_cannot_sell(sim: Simulator, sdk: Sdk) -> None:
    """And the key of the spending side cannot touch what was earned."""
    client = sdk(sim.spend_key)
    await client.v1.issuing.cards.list_async()
    await client.v1.balance.retrieve_async()
    with pytest.raises(stripe.PermissionError):
        await client.v1.refunds.create_async({"charge": "ch_sim_x"})


async def test_a_read_scope_does_not_write(sim: Simulator, sdk: Sdk) -> None:
    """A restricted key may look where it may not act."""
    client = sdk(sim.keys.make(frozenset({"catalogue:read"})).secret)
    assert (await client.v1.products.list_async()).data == []
    with pytest.raises(stripe.PermissionError):
        await client.v1.products.create_async({"name": "Snapshot"})


async def test_a_rotated_key_answers_401_and_its_successor_works(sim: Simulator, sdk: Sdk) -> None:
    """A key rotation in the dashboard looks like this to a running process."""
    old = sim.earn_key
    new = sim.rotate_key(old)
    with pytest.raises(stripe.AuthenticationError):
        await sdk(old).v1.balance.retrieve_async()
    await sdk(new).v1.balance.retrieve_async()
    assert sim.earn_key == new


async def test_without_a_key_nothing_answers(web: httpx.AsyncClient) -> None:
    """Not even reading is free."""
    answer = await web.get("/v1/balance")
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.headers["bursar-simulator"].startswith("inst_sim_")


async def test_every_answer_says_that_it_is_simulated(sim: Simulator, client: stripe.StripeClient) -> None:
    """M30: the proof of a simulated answer is the header and the `_sim` in the ids."""
    product = await client.v1.products.create_async({"name": "Snapshot"})
    headers: Any = product.last_response.headers  # type: ignore[union-attr]  # set on every fetched object
    assert headers["bursar-simulator"] == sim.instance
    assert headers["request-id"].startswith("req_sim_")
    assert "_sim_" in product.id
    assert product.livemode is False


async def test_another_accounts_header_is_refused(client: stripe.StripeClient) -> None:
    """M4: acting in another account is never silently acting in this one."""
    with pytest.raises(stripe.PermissionError):
        await client.v1.balance.retrieve_async({}, {"stripe_account": "acct_other"})


def test_every_route_names_a_scope_that_some_key_has() -> None:
    """A scope with a spelling of its own would be reachable by secret keys only."""
    known = {
        "account",
        "balance",
        "catalogue",
        "checkout",
        "payment_links",
        "payments",
        "refunds",
        "disputes",
    }
    known |= {"events", "webhooks", "issuing", "outbound"}
    assert {route.scope for route in ROUTES.all()} == known
    assert {scope.partition(":")[0] for scope in SPEND_SCOPES} <= known
