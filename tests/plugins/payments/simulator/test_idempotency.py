"""Idempotency keys: one key, one effect, one answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.simulator import Simulator

KEY: Any = {"idempotency_key": "call_1:create"}


def headers(obj: Any) -> Any:  # noqa: ANN401  any object of the SDK
    """Give the headers of the answer that an object came with."""
    return obj.last_response.headers


async def test_the_same_key_gives_the_same_object(sim: Simulator, client: stripe.StripeClient) -> None:
    """A retry after a lost answer finds what the first attempt made, and says so."""
    first = await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    again = await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert first.id == again.id
    assert "idempotent-replayed" not in headers(first)
    assert headers(again)["idempotent-replayed"] == "true"
    assert headers(again)["original-request"] == headers(first)["request-id"]
    assert len(sim.world.all("product")) == 1


async def test_other_parameters_under_a_key_are_refused(client: stripe.StripeClient) -> None:
    """The key belongs to one intention; another one under it is a bug to be heard of."""
    await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    with pytest.raises(stripe.IdempotencyError) as caught:
        await client.v1.products.create_async({"name": "Other"}, KEY)
    assert caught.value.http_status == 400


async def test_a_key_in_flight_answers_409(sim: Simulator, client: stripe.StripeClient) -> None:
    """Two attempts at once: one executes, the other is told to wait."""
    sim.faults.add(Fault("latency", match="POST /v1/products", seconds=0.3))
    results = await asyncio.gather(
        *(client.v1.products.create_async({"name": "Snapshot"}, KEY) for _ in range(3)),
        return_exceptions=True,
    )
    refused = [r for r in results if isinstance(r, stripe.APIError)]
    assert [r.http_status for r in refused] == [409, 409]
    assert {r.error.code for r in refused if r.error is not None} == {"idempotency_key_in_use"}
    assert len(sim.world.all("product")) == 1


async def test_a_stored_500_is_replayed(sim: Simulator, client: stripe.StripeClient) -> None:
    """Stripe stores its own failures: the same key can never succeed afterwards."""
    sim.faults.add(Fault("stored_500", match="POST /v1/products"))
    for replayed in (None, "true"):
        with pytest.raises(stripe.APIError) as caught:
            await client.v1.products.create_async({"name": "Snapshot"}, KEY)
        assert caught.value.http_status == 500
        assert caught.value.headers is not None
        assert caught.value.headers.get("idempotent-replayed") == replayed
    assert sim.world.all("product") == []


async def test_a_500_may_have_committed(sim: Simulator, client: stripe.StripeClient) -> None:
    """The nasty one: the effect is there, the answer says failure, and the replay says it again."""
    sim.faults.add(Fault("stored_500", match="POST /v1/products", after_commit=True))
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert len(sim.world.all("product")) == 1


async def test_a_refusal_after_execution_began_is_replayed(client: stripe.StripeClient) -> None:
    """A 404 of an object inside the call is an answer like any other."""
    body: Any = {"charge": "ch_sim_none"}
    for replayed in (None, "true"):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await client.v1.refunds.create_async(body, KEY)
        assert caught.value.headers is not None
        assert caught.value.headers.get("idempotent-replayed") == replayed


async def test_a_refusal_before_execution_frees_the_key(client: stripe.StripeClient) -> None:
    """Bad parameters stored nothing, so the mended call may use the key."""
    bad: Any = {"nme": "Snapshot"}
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.products.create_async(bad, KEY)
    assert (await client.v1.products.create_async({"name": "Snapshot"}, KEY)).name == "Snapshot"


async def test_a_rate_limit_stores_nothing(sim: Simulator, client: stripe.StripeClient) -> None:
    """429 comes before the key is looked at: the same key works afterwards."""
    sim.faults.add(Fault("rate_limited"))
    with pytest.raises(stripe.RateLimitError):
        await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert len(sim.world.all("product")) == 1


async def test_a_key_is_forgotten_after_a_day(sim: Simulator, client: stripe.StripeClient) -> None:
    """M3: past its life a replay is a second purchase; a sender that forgets this must be caught here."""
    await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    await sim.advance(24 * 3600 - 1)
    await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert len(sim.world.all("product")) == 1
    await sim.advance(2)
    await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert len(sim.world.all("product")) == 2


async def test_v2_remembers_for_thirty_days(sim: Simulator, client: stripe.StripeClient) -> None:
    """The payout side keeps its keys longer."""
    body: Any = {
        "amount": {"value": 500, "currency": "usd"},
        "from": {"financial_account": sim.world.financial_account, "currency": "usd"},
        "to": {"recipient": sim.world.recipient},
    }
    create: Callable[..., Any] = client.v2.money_management.outbound_payments.create_async
    first = await create(body, KEY)
    await sim.advance(29 * 24 * 3600)
    assert (await create(body, KEY)).id == first.id
    await sim.advance(2 * 24 * 3600)
    assert (await create(body, KEY)).id != first.id


async def test_a_key_longer_than_255_is_refused(client: stripe.StripeClient) -> None:
    """A key that Stripe refuses must not work here."""
    long: Any = {"idempotency_key": "k" * 256}
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.products.create_async({"name": "Snapshot"}, long)


async def test_a_client_that_hangs_up_does_not_undo_the_commit() -> None:
    """Cancellation is the caller's; the effect is there all the same, and the retry finds it."""
    started, release, committed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        started.set()
        await release.wait()

    sim = Simulator(7, sleep=sleep)
    sim.faults.add(Fault("latency", match="POST /v1/products"))
    sim.world.listeners.append(lambda _: committed.set())
    head = {"idempotency-key": "call_1", "content-type": "application/x-www-form-urlencoded"}
    transport = httpx.ASGITransport(app=sim.app())
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://sim", auth=(sim.secret_key, "")) as http,
        asyncio.timeout(20),
    ):
        call = asyncio.create_task(http.post("/v1/products", content=b"name=Snapshot", headers=head))
        await started.wait()
        call.cancel()
        release.set()
        await committed.wait()
        again = await http.post("/v1/products", content=b"name=Snapshot", headers=head)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert len(sim.world.all("product")) == 1


async def test_a_get_ignores_its_key(sim: Simulator, client: stripe.StripeClient) -> None:
    """Reading is never replayed."""
    product = await client.v1.products.create_async({"name": "Snapshot"})
    await client.v1.products.retrieve_async(product.id, {}, KEY)
    await client.v1.products.update_async(product.id, {"name": "Better"})
    assert (await client.v1.products.retrieve_async(product.id, {}, KEY)).name == "Better"
    assert sim.world.all("product")[0]["updated"] >= product.updated
