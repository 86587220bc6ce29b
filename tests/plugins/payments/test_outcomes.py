"""The outcome table: what each answer, refusal and silence of Stripe means, row by row, with the real SDK."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
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


def api_of(sim: Simulator) -> StripeApi:
    """Give the plugin's way to it."""
    context = PluginContext(
        name="payments",
        settings={},
        secrets={"STRIPE_EARN_KEY": Secret("STRIPE_EARN_KEY", sim.earn_key)},
        now=lambda: None,  # type: ignore[arg-type,return-value]  # nothing here asks for the time
        new_id=str,
        api_base=BASE,
    )
    return StripeApi(read_keys(context), monotonic=lambda: 0.0)


@pytest.fixture
async def api(sim: Simulator) -> AsyncIterator[StripeApi]:
    """Give the plugin's way to a simulator that answers."""
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=respx.handlers.ASGIHandler(sim.app()))
        made = api_of(sim)
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


def said(status: int, kind: str = "invalid_request_error", code: str = "", *, stored: bool = False) -> Any:  # noqa: ANN401  what respx takes
    """Give an error as Stripe words one."""
    head = {"idempotent-replayed": "true"} if stored else {}
    error = {"type": kind, "message": "No.", **({"code": code} if code else {})}
    return httpx.Response(status, json={"error": error}, headers=head)


ANSWERS = {
    "declined": (said(402, "card_error", "card_declined"), Outcome.FAILED, "declined"),
    "declined before": (said(402, "card_error", "card_declined", stored=True), Outcome.FAILED, "declined"),
    "not permitted": (said(403), Outcome.FAILED, "permission_refused"),
    "not there": (said(404, code="resource_missing"), Outcome.FAILED, "resource_missing"),
    "no funds, in v2's words": (said(400, "insufficient_funds"), Outcome.FAILED, "refused"),
    "key in use": (said(409, "idempotency_error", "idempotency_key_in_use"), Outcome.UNKNOWN, ""),
    "object locked": (said(429, code="lock_timeout"), Outcome.NOT_SENT, "provider_busy"),
    "unavailable": (said(503, "api_error"), Outcome.UNKNOWN, "provider_broke"),
    "no JSON, though 200": (httpx.Response(200, text="<html>"), Outcome.UNKNOWN, "provider_broke"),
    "nothing, though 200": (httpx.Response(200), Outcome.UNKNOWN, "provider_broke"),
    "no JSON of a 403": (httpx.Response(403, text="<html>"), Outcome.UNKNOWN, "provider_broke"),
    "no connection": (httpx.ConnectError("x"), Outcome.NOT_SENT, "not_sent"),
    "no connection in time": (httpx.ConnectTimeout("x"), Outcome.NOT_SENT, "not_sent"),
    "no free connection": (httpx.PoolTimeout("x"), Outcome.NOT_SENT, "not_sent"),
    "no answer in time": (httpx.ReadTimeout("x"), Outcome.UNKNOWN, "no_answer"),
    "cut while answering": (httpx.ReadError("x"), Outcome.UNKNOWN, "no_answer"),
    "cut while sending": (httpx.WriteError("x"), Outcome.UNKNOWN, "no_answer"),
    "too slow to send": (httpx.WriteTimeout("x"), Outcome.UNKNOWN, "no_answer"),
    "no HTTP": (httpx.RemoteProtocolError("x"), Outcome.UNKNOWN, "no_answer"),
    "a bug of ours before": (TypeError("x"), Outcome.NOT_SENT, "not_sent"),
    "a loop that is closed": (RuntimeError("Event loop is closed"), Outcome.UNKNOWN, "no_answer"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_each_row_of_the_table_of_outcomes(sim: Simulator, name: str) -> None:
    """M1, M2: what is no provable no keeps its hold, and what provably never left may be tried again."""
    answer, outcome, code = ANSWERS[name]
    with respx.mock(assert_all_called=False) as router:
        given = {"return_value": answer} if isinstance(answer, httpx.Response) else {"side_effect": answer}
        router.route(host="127.0.0.1").mock(**given)
        api = api_of(sim)
        report = await create(api)
        await api.close()
    assert report.outcome is outcome, report
    assert report.code == code or (not code and report.outcome is Outcome.UNKNOWN)
    assert report.stored_answer is (name == "declined before")


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
