"""The outcome table: what each answer, refusal and silence of Stripe means, row by row, with the real SDK."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import respx

from ledger.records import Outcome
from plugins.hookspecs import PluginContext, Secret
from plugins.payments.keys import read_keys
from plugins.payments.offers import ensure_offer
from plugins.payments.outcomes import reported
from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.stripe_api import StripeApi
from plugins.tool import OutcomeReport
from policy.money import Money

BASE = "http://127.0.0.1:9997"


@pytest.fixture
def sim() -> Simulator:
    """Give a simulator."""
    return Simulator(3)


@pytest.fixture
async def api(sim: Simulator) -> AsyncIterator[StripeApi]:
    """Give the plugin's way to it."""
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=respx.handlers.ASGIHandler(sim.app()))
        context = PluginContext(
            name="payments",
            settings={},
            secrets={"STRIPE_EARN_KEY": Secret("STRIPE_EARN_KEY", sim.earn_key)},
            now=lambda: None,  # type: ignore[arg-type,return-value]  # nothing here asks for the time
            new_id=str,
            api_base=BASE,
        )
        made = StripeApi(read_keys(context), monotonic=lambda: 0.0)
        yield made
        await made.close()


async def create(api: StripeApi, key: str = "key-1", **params: Any) -> OutcomeReport:  # noqa: ANN401  Stripe's parameters
    """Create a product under a key, and report how it went."""

    async def work() -> OutcomeReport:
        body: Any = {"name": "Snapshot", **params}
        answer = await api.ask(api.client("earn").v1.products.create_async(body, {"idempotency_key": key}))
        return OutcomeReport(outcome=Outcome.SUCCEEDED, stored_answer=answer.replayed, data=answer.data)

    return await reported(work())


ROWS = [
    ("unreachable", Outcome.NOT_SENT, "not_sent", 0),
    ("rate_limited", Outcome.NOT_SENT, "provider_busy", 0),
    ("lost_before_commit", Outcome.UNKNOWN, "no_answer", 0),
    ("lost_after_commit", Outcome.UNKNOWN, "no_answer", 1),
    ("reset", Outcome.UNKNOWN, "no_answer", 0),
    ("stored_500", Outcome.UNKNOWN, "provider_broke", 0),
    ("html_502", Outcome.UNKNOWN, "provider_broke", 0),
    ("key_rotated", Outcome.FAILED, "credentials_refused", 0),
]


@pytest.mark.parametrize(("fault", "outcome", "code", "made"), ROWS, ids=[row[0] for row in ROWS])
async def test_each_way_to_fail_has_one_meaning(
    sim: Simulator, api: StripeApi, fault: str, outcome: Outcome, code: str, made: int
) -> None:
    """Not sent is only what provably never left; a definite no is only what Stripe says it did not do."""
    sim.faults.add(Fault(fault, match="POST /v1/products"))
    report = await create(api)
    assert (report.outcome, report.code) == (outcome, code)
    assert len(sim.world.all("product")) == made


@pytest.mark.parametrize("fault", ["lost_after_commit", "html_502", "reset"])
async def test_after_a_lost_answer_the_same_key_makes_one_object(
    sim: Simulator, api: StripeApi, fault: str
) -> None:
    """M2: the provider's stored answer is the answer, and it says that it is one."""
    sim.faults.add(Fault(fault, match="POST /v1/products", after_commit=fault != "lost_after_commit"))
    assert (await create(api)).outcome is Outcome.UNKNOWN
    again = await create(api)
    assert (again.outcome, again.stored_answer) == (Outcome.SUCCEEDED, True)
    assert len(sim.world.all("product")) == 1


async def test_a_key_with_other_parameters_is_for_a_person(sim: Simulator, api: StripeApi) -> None:
    """Our own bug or a forged record: never "nothing happened"."""
    await create(api)
    report = await create(api, name="Another")
    assert (report.outcome, report.code) == (Outcome.UNKNOWN, "provider_key_conflict")
    assert len(sim.world.all("product")) == 1


async def test_a_request_that_is_still_under_way_is_not_over(sim: Simulator, api: StripeApi) -> None:
    """409: the first attempt may yet succeed."""
    under_way, over = asyncio.Event(), asyncio.Event()

    async def held(_seconds: float) -> None:
        under_way.set()
        await over.wait()

    sim._api._sleep = held  # noqa: SLF001  the simulator's own latency, ended by hand
    sim.faults.add(Fault("latency", match="POST /v1/products", seconds=0.3))
    first = asyncio.create_task(create(api))
    await under_way.wait()
    second = await create(api)
    over.set()
    assert second.outcome is Outcome.UNKNOWN
    assert (await first).outcome is Outcome.SUCCEEDED


async def test_what_stripe_refuses_is_a_definite_no(sim: Simulator, api: StripeApi) -> None:
    """400: nothing was made, and a new key may try something else."""
    report = await create(api, frobnicate="x")
    assert (report.outcome, report.retry) == (Outcome.FAILED, "new_key")
    assert sim.world.all("product") == []


async def test_an_offer_is_put_on_sale_once_however_often_it_is_asked(sim: Simulator, api: StripeApi) -> None:
    """Stable ids: a command that was cut off and typed again finds what it made."""
    first = await ensure_offer(api, "snapshot", "Snapshot", Money(100, "USD"))
    assert await ensure_offer(api, "snapshot", "Snapshot", Money(100, "USD")) == first
    dearer = await ensure_offer(api, "snapshot", "Snapshot, better", Money(200, "USD"))
    assert dearer.product_ref == first.product_ref
    assert dearer.price_ref != first.price_ref
    assert await ensure_offer(api, "snapshot", "Snapshot", Money(100, "USD")) == first
    assert (len(sim.world.all("product")), len(sim.world.all("price"))) == (1, 2)
