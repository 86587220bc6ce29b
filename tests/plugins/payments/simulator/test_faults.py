"""Faults: each looks to the real SDK like what it stands for, and the truth says what happened."""

from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.faults import API_KINDS, Fault, FaultPlan
from plugins.payments.simulator.simulator import Simulator

KEY: Any = {"idempotency_key": "call_1:create"}


async def create(client: stripe.StripeClient) -> stripe.Product:
    """Make a product under one key."""
    return await client.v1.products.create_async({"name": "Snapshot"}, KEY)


@pytest.mark.parametrize(
    ("fault", "cause", "effects"),
    [
        (Fault("lost_before_commit"), httpx.RemoteProtocolError, 0),
        (Fault("lost_before_commit", how="timeout"), httpx.ReadTimeout, 0),
        (Fault("lost_after_commit"), httpx.RemoteProtocolError, 1),
        (Fault("lost_after_commit", how="timeout"), httpx.ReadTimeout, 1),
        (Fault("lost_after_commit", how="reset"), httpx.ReadError, 1),
        (Fault("reset"), httpx.ReadError, 0),
        (Fault("reset", after_commit=True), httpx.ReadError, 1),
        (Fault("unreachable"), httpx.ConnectError, 0),
    ],
    ids=lambda v: f"{v.kind}-{v.how}-{v.after_commit}" if isinstance(v, Fault) else None,
)
async def test_a_broken_connection_tells_nothing_and_the_retry_tells_all(
    sim: Simulator, client: stripe.StripeClient, fault: Fault, cause: type[Exception], effects: int
) -> None:
    """Whether it was executed cannot be seen from the error; the same key then makes exactly one."""
    sim.faults.add(fault)
    with pytest.raises(stripe.APIConnectionError) as caught:
        await create(client)
    assert isinstance(caught.value.__cause__, cause)
    assert len(sim.world.all("product")) == effects
    again = await create(client)
    headers: Any = again.last_response.headers  # type: ignore[union-attr]  # set on every fetched object
    assert headers.get("idempotent-replayed") == ("true" if effects else None)
    assert len(sim.world.all("product")) == 1


@pytest.mark.parametrize("fault", [Fault("html_502"), Fault("html_502", after_commit=True)])
async def test_a_proxys_page_is_no_answer(sim: Simulator, client: stripe.StripeClient, fault: Fault) -> None:
    """502 as HTML: an APIError, outcome unknown."""
    sim.faults.add(fault)
    with pytest.raises(stripe.APIError) as caught:
        await create(client)
    assert caught.value.http_status == 502
    assert len(sim.world.all("product")) == int(fault.after_commit)
    await create(client)
    assert len(sim.world.all("product")) == 1


async def test_a_rotated_key_for_one_request(sim: Simulator, client: stripe.StripeClient) -> None:
    """M2: a 401 on a replay is no refusal of the first attempt."""
    await create(client)
    sim.faults.add(Fault("key_rotated"))
    with pytest.raises(stripe.AuthenticationError):
        await create(client)
    await create(client)
    assert len(sim.world.all("product")) == 1


async def test_a_swapped_account_knows_nothing(sim: Simulator, client: stripe.StripeClient) -> None:
    """M4: in another account the same key makes a second object; only the measured account shows it."""
    before = (await client.v1.accounts.retrieve_current_async()).id
    product = await create(client)
    sim.faults.add(Fault("account_swapped", match="GET /v1/account"))
    assert (await client.v1.accounts.retrieve_current_async()).id != before
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.products.retrieve_async(product.id)
    assert (await create(client)).id != product.id
    sim.restore_account()
    assert (await client.v1.products.retrieve_async(product.id)).id == product.id


async def test_faults_wait_for_their_match_and_their_turn(
    sim: Simulator, client: stripe.StripeClient
) -> None:
    """A script can say: the third refund, not any other request."""
    sim.faults.add(Fault("rate_limited", match="POST /v1/products", skip=1, count=2))
    await client.v1.balance.retrieve_async()
    outcomes = []
    for _ in range(4):
        try:
            await client.v1.products.create_async({"name": "Snapshot"})
            outcomes.append("made")
        except stripe.RateLimitError:
            outcomes.append("429")
    assert outcomes == ["made", "429", "429", "made"]
    assert sim.faults.taken == [("rate_limited", "POST /v1/products")] * 2
    assert sim.faults.pending() == []


async def test_two_scripted_losses_are_two_requests(sim: Simulator, client: stripe.StripeClient) -> None:
    """Faults of one group are taken one at a time, in order."""
    sim.faults.add(Fault("lost_before_commit"), Fault("reset"))
    causes = []
    for _ in range(2):
        with pytest.raises(stripe.APIConnectionError) as caught:
            await create(client)
        causes.append(type(caught.value.__cause__))
    assert causes == [httpx.RemoteProtocolError, httpx.ReadError]


async def test_a_seeded_stream_repeats() -> None:
    """The same seed spoils the same requests, so that a failure found once is found again."""
    runs = []
    for _ in range(2):
        sim = Simulator(3)
        sim.faults.by_seed(11, rate=0.5, faults=[Fault("rate_limited"), Fault("html_502")])
        app = httpx.ASGITransport(app=sim.app())
        async with httpx.AsyncClient(transport=app, base_url="http://sim") as http:
            answers = [await http.get("/v1/balance", auth=(sim.secret_key, "")) for _ in range(30)]
        runs.append([answer.status_code for answer in answers])
    assert runs[0] == runs[1]
    assert {200, 429, 502} == set(runs[0])


def test_a_fault_of_an_unknown_kind_is_refused() -> None:
    """A misspelt fault would let a test pass that tests nothing."""
    with pytest.raises(ValueError, match="fault kind 'lost' is not known"):
        Fault("lost")
    with pytest.raises(ValueError, match="how 'slowly' is not known"):
        Fault("lost_after_commit", how="slowly")


@pytest.mark.parametrize("kind", sorted(API_KINDS))
def test_a_stream_gives_each_kind_as_a_script_does(kind: str) -> None:
    """A fault that cannot be copied would break the stand-in, and pass for a lost answer."""
    plan, fault = FaultPlan(), Fault(kind)
    plan.by_seed(1, rate=1.0, faults=[fault])
    assert plan.take("POST /v1/refunds", API_KINDS) == [fault]
