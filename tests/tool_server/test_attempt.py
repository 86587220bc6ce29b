"""One attempt writes one settlement, whatever the tool, the provider or the ledger does in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs

from ledger.commands import Claim, Claimed, NotClaimed, Settled, Settlement
from ledger.records import CallState, Outcome, Proof, ProofBy, ProofLevel, ProviderIdentity
from plugins.conformance.samples import a_call
from plugins.registry import LoadedTool
from plugins.tool import ExecuteContext, Lookup, OutcomeReport, Replay
from policy.errors import Declined
from policy.model import Mode
from tests.tool_server.benches import NOW, parts_over, shop_tools
from tool_server.attempt import LARGEST_RESULT, attempt
from tool_server.providers import Providers

ARGS = b'{"amount":"1.00 USD","item":"a","vendor":"b.example"}'
DONE = OutcomeReport(outcome=Outcome.SUCCEEDED)

Execute = Callable[[Any, ExecuteContext], Awaitable[OutcomeReport]]


class Bench:
    """One tool, one call, and a ledger that notes what it is told."""

    def __init__(self) -> None:
        registry = shop_tools()
        self.loaded: LoadedTool = registry.tools["shop_buy"]
        self.providers = Providers(registry.providers, monotonic=self.now_s, now=lambda: NOW)
        self.clock = 100.0
        self.claims: list[Claim] = []
        self.settled: list[Settlement] = []
        self.failures: list[Exception] = []
        self.call = structs.replace(a_call(self.loaded, None, NOW), args=ARGS)

    def now_s(self) -> float:
        """Tell this bench's time."""
        return self.clock

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Give the right to execute."""
        self.claims.append(command)
        until = NOW + timedelta(seconds=command.lease_s)
        return Claimed(call=self.call, attempt=1, lease_token=1, lease_until=until)

    async def settle(self, command: Settlement) -> Settled:
        """Note the settlement, after as many failures as a test wants."""
        if self.failures:
            raise self.failures.pop()
        self.settled.append(command)
        return Settled(call=self.call, applied=True)

    async def run(self, execute: Execute, *, purpose: str = "execute", **changes: Any) -> Settlement:  # noqa: ANN401 -- fields of a tool
        """Make one attempt with this tool, and return what was settled."""
        tool = structs.replace(self.loaded.tool, execute=execute, **changes)
        parts = parts_over(self, self.providers, self.now_s)
        await attempt(parts, self.call, structs.replace(self.loaded, tool=tool), purpose=purpose)
        assert len(self.settled) == 1
        return self.settled[0]


def answering(report: object) -> Execute:
    """Return an execution that passes the guard and answers so."""

    async def execute(_args: object, context: ExecuteContext) -> Any:  # noqa: ANN401 -- also what is no report
        context.guard()
        return report

    return execute


async def test_m3_nothing_is_sent_past_the_lease() -> None:
    """M3: the guard counts on the monotonic clock, from before the claim was asked for."""
    bench = Bench()

    async def late(_args: object, context: ExecuteContext) -> OutcomeReport:
        bench.clock += 15.0
        context.guard()
        raise AssertionError("it was sent")

    settled = await bench.run(late)
    assert (settled.outcome, settled.code) == (Outcome.NOT_SENT, "send_too_late")
    assert settled.proof is None


async def test_m3_nothing_is_sent_past_the_providers_key() -> None:
    """M3: a key the provider forgot makes the same request a second purchase."""
    bench = Bench()
    bench.call = structs.replace(bench.call, provider_key_until=NOW + timedelta(seconds=2))

    async def late(_args: object, context: ExecuteContext) -> OutcomeReport:
        bench.clock += 2.0
        context.guard()
        raise AssertionError("it was sent")

    assert (await bench.run(late)).outcome is Outcome.NOT_SENT


async def test_m1_what_was_begun_and_came_too_late_is_a_doubt() -> None:
    """M1: the first step went out, the second was refused: nobody knows what the first one did."""
    bench = Bench()

    async def half(_args: object, context: ExecuteContext) -> OutcomeReport:
        context.guard()
        bench.clock += 60
        context.guard()
        raise AssertionError("it was sent")

    settled = await bench.run(half)
    assert (settled.outcome, settled.code) == (Outcome.UNKNOWN, "no_answer")


async def _raise_declined(_args: object, _context: ExecuteContext) -> OutcomeReport:
    raise Declined("no")


async def _send_and_raise(_args: object, context: ExecuteContext) -> OutcomeReport:
    context.guard()
    raise Declined("no")


@pytest.mark.parametrize(
    ("execute", "purpose", "outcome"),
    [
        (_raise_declined, "execute", Outcome.FAILED),
        (_send_and_raise, "execute", Outcome.UNKNOWN),
        (_raise_declined, "lookup", Outcome.UNKNOWN),
    ],
)
async def test_m2_a_refusal_counts_only_before_anything_was_sent(
    execute: Execute, purpose: str, outcome: Outcome
) -> None:
    """M2: past the guard a refusal by the plugin's own code proves nothing about the provider."""
    reconcile = Lookup(execute, settle_delay_s=1)
    settled = await Bench().run(execute, purpose=purpose, reconcile=reconcile)
    assert (settled.outcome, settled.code) == (outcome, "declined")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"value": object()}, b"could not be written down"),
        ({"value": "x" * 70_000}, b"too large"),
        ({"value": "x" * (LARGEST_RESULT - 11)}, b"too large"),
        ({"value": "x" * (LARGEST_RESULT - 12)}, b"xxx"),  # With the name and quotes just small enough.
        ({}, b""),
        ({"key": "sk_live_51HqabcdefGH"}, b"sk_live_[redacted]"),
    ],
)
async def test_a_success_is_kept_even_where_its_data_cannot_be(data: dict[str, object], said: bytes) -> None:
    """The money moved; what cannot be stored, or must not be, is left out and said."""
    settled = await Bench().run(answering(structs.replace(DONE, data=data)))
    assert settled.outcome is Outcome.SUCCEEDED
    assert said in settled.result
    assert bool(settled.result) is bool(data)
    assert b"51Hq" not in settled.result


@pytest.mark.parametrize(("purpose", "by"), [("execute", ProofBy.RESPONSE), ("lookup", ProofBy.LOOKUP)])
async def test_m30_a_success_without_evidence_is_only_recorded(purpose: str, by: ProofBy) -> None:
    """M30: what no evidence shows is not shown as anything more."""
    execute = answering(DONE)
    settled = await Bench().run(execute, purpose=purpose, reconcile=Lookup(execute))
    assert settled.proof == Proof(ProofLevel.RECORDED, by, "shop")


@pytest.mark.parametrize("level", [ProofLevel.SIMULATED, ProofLevel.RECORDED])
async def test_m30_evidence_of_the_bound_mode_or_of_none_is_kept(level: ProofLevel) -> None:
    """M30: a record of ours says nothing about a mode, and contradicts none."""
    proof = Proof(level, ProofBy.WEBHOOK, "shop")
    settled = await Bench().run(answering(structs.replace(DONE, proof=proof)))
    assert (settled.outcome, settled.proof) == (Outcome.SUCCEEDED, proof)


async def test_m30_evidence_of_another_mode_stops_the_provider() -> None:
    """M30: bound as simulated and answered as live: unknown, and nothing more is sent there."""
    bench = Bench()
    await bench.providers.check("shop")
    report = structs.replace(DONE, proof=Proof(ProofLevel.LIVE, ProofBy.RESPONSE, "shop"))
    settled = await bench.run(answering(report))
    assert (settled.outcome, settled.code) == (Outcome.UNKNOWN, "provider_account_changed")
    assert settled.identity == ProviderIdentity(bench.call.provider_account, Mode.LIVE, "")
    assert "it answered as live" in " ".join(bench.providers.readiness("shop").missing)


async def test_an_answer_in_hand_is_written_until_it_is_written() -> None:
    """A full disk or a lost connection must not turn a known answer into a doubt."""
    bench = Bench()
    bench.failures = [OSError("full"), OSError("full")]
    assert (await bench.run(answering(DONE))).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("reconcile", "code", "expected"),
    [
        (Lookup(answering(DONE), settle_delay_s=5), "absent", 6.0),
        (Lookup(answering(DONE)), "absent", None),
        (Lookup(answering(DONE)), "declined", 1.0),
        (Replay(60, answering(DONE), settle_delay_s=3), "absent", 4.0),
        (Replay(60), "absent", None),
    ],
)
async def test_m3_how_long_absence_has_to_wait(reconcile: Any, code: str, expected: float | None) -> None:  # noqa: ANN401 -- a Reconcile
    """M3: the request's time and the declared delay; without one, absence is never believed."""
    report = OutcomeReport(outcome=Outcome.FAILED, code=code)
    settled = await Bench().run(answering(report), reconcile=reconcile)
    assert settled.settle_after_s == expected


async def test_stored_arguments_that_no_longer_fit_are_found_at_the_claim() -> None:
    """A tool that changed its arguments in between is another tool: the claim cancels the call."""
    bench = Bench()
    bench.call = structs.replace(bench.call, args=b'{"other":1}')
    assert (await bench.run(answering(DONE))).code == "tool_broke"
    said = bench.claims[0].expect(bench.call, ())
    assert said is not None
    assert said[0] == "tool_changed"


async def test_a_stopping_server_writes_down_its_doubt() -> None:
    """Cancelled in the middle: unknown, and the cancellation goes on its way."""
    bench = Bench()
    begun = asyncio.Event()

    async def slow(_args: object, context: ExecuteContext) -> OutcomeReport:
        context.guard()
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(bench.run(slow))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(each.outcome, each.code) for each in bench.settled] == [(Outcome.UNKNOWN, "stopped")]


async def test_the_claim_asks_whether_all_is_as_it_was() -> None:
    """M5: kits, definition, description and records are judged by this process, under the ledger's lock."""
    bench = Bench()
    await bench.run(answering(DONE))
    claim = bench.claims[0]
    assert claim.tool_hash == bench.loaded.info.definition_hash
    assert claim.allowed is not None
    agent: Any = msgspec.defstruct("Agent", [("kits", tuple)])
    assert claim.allowed(agent(("shop",)))
    assert not claim.allowed(agent(("mail",)))
    stored = structs.replace(bench.call, tool_hash="other", state=CallState.QUEUED)
    assert (claim.expect(stored, ()) or ("", ""))[0] == "tool_changed"
    assert (claim.expect(bench.call, ()) or ("", ""))[0] == "record_changed"


async def test_m3_a_lease_that_is_over_ends_the_wait() -> None:
    """M3: whoever holds no lease any more must not hear an answer as if it did."""
    bench = Bench()
    real = bench.claim

    async def slow(command: Claim) -> Claimed | NotClaimed:
        bench.clock += command.lease_s
        return await real(command)

    async def hang(_args: object, _context: ExecuteContext) -> OutcomeReport:
        await asyncio.Event().wait()
        return DONE

    bench.claim = slow  # type: ignore[method-assign]  # as a ledger that took long
    settled = await bench.run(hang)
    assert (settled.outcome, settled.code) == (Outcome.UNKNOWN, "no_answer")


async def test_a_tool_without_work_is_a_broken_one() -> None:
    """The registry refuses it; should one get through, nobody takes its silence for a success."""
    nothing: Any = None
    settled = await Bench().run(nothing)
    assert (settled.outcome, settled.code) == (Outcome.UNKNOWN, "tool_broke")
    assert "AssertionError" in settled.message


async def test_what_is_no_report_says_nothing() -> None:
    """A plugin that returns anything else has done who knows what."""
    settled = await Bench().run(answering("done"))
    assert (settled.outcome, settled.code) == (Outcome.UNKNOWN, "tool_broke")
    assert "str where a report is due" in settled.message


@pytest.mark.parametrize("way", [Lookup, lambda find: Replay(60, find)])
async def test_a_lookup_looks_and_does_not_send(way: Callable[[Execute], Any]) -> None:
    """M1: who looks by doing it again has done it twice."""
    reports = {"lookup": "found", "execute": "made", "replay": "made"}
    for purpose, ref in reports.items():
        found = answering(structs.replace(DONE, provider_ref="found"))
        made = answering(structs.replace(DONE, provider_ref="made"))
        settled = await Bench().run(made, purpose=purpose, reconcile=way(found))
        assert settled.provider_ref == ref
