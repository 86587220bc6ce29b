"""One attempt at one call: steps 4 to 6, from the claim to its settlement, and nothing in between left open.

However it ends (an answer, a refusal, silence, a crash of the plugin, a stopping server), exactly one
settlement is written for it; where even that is impossible the lease runs out and the call is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct

from ledger.commands import Claim, Claimed, NotClaimed, Settled, Settlement
from ledger.records import (
    AgentRecord,
    CallRecord,
    Outcome,
    Proof,
    ProofBy,
    ProofLevel,
    ProviderIdentity,
    Query,
    RecordRef,
)
from plugins.registry import HOUSE_PROVIDER, LoadedTool
from plugins.tool import ApplyContext, ExecuteContext, Finder, OutcomeReport, SendTooLate
from policy.errors import CallRefused
from policy.model import Mode
from policy.money import enc_hook
from tool_server.operation import changed_since, stored_args
from tool_server.providers import Providers
from tool_server.redaction import redact, redacted_data
from tool_server.shown import meaning

SEND_WINDOW_S: Final = (
    15.0  # From the claim to the last moment anything may be sent; then nobody is surprised later.
)
LARGEST_RESULT: Final = 65_536  # Bytes of a tool's result; clients write longer ones to files.
FIRST_RETRY_S: Final = 0.05  # A settlement that the ledger could not take is offered again, soon at first.
LAST_RETRY_S: Final = 2.0

_log = structlog.get_logger("bursar.attempt")

_LEVELS: Final = {
    Mode.LIVE: ProofLevel.LIVE,
    Mode.TEST: ProofLevel.TEST,
    Mode.SIMULATED: ProofLevel.SIMULATED,
}


class AttemptBooks(Protocol):
    """What an attempt asks of the ledger."""

    async def claim(self, command: Claim) -> Claimed | NotClaimed: ...  # noqa: D102 -- ledger.ledger.Ledger tells
    async def settle(self, command: Settlement) -> Settled: ...  # noqa: D102 -- the Ledger tells


class AttemptParts(Struct, frozen=True, kw_only=True):
    """What attempts are wired to."""

    books: AttemptBooks
    providers: Providers
    holder: str  # This process.
    live_spend: bool
    public_url: str
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    new_id: Callable[[str], str]
    send_window_s: float = SEND_WINDOW_S


class Guard:
    """Says no once it is too late to send (M3), and remembers whether anything may have been sent."""

    def __init__(self, send_by_s: float, monotonic: Callable[[], float]) -> None:
        self._send_by_s = send_by_s
        self._monotonic = monotonic
        self.passed = False

    def __call__(self) -> None:
        """Return while there is time to send and to hear the answer; raise SendTooLate past that."""
        if self._monotonic() >= self._send_by_s:
            raise SendTooLate(
                "the lease or the provider's key would end before an answer came; nothing was sent"
            )
        self.passed = True


async def attempt(
    parts: AttemptParts, call: CallRecord, loaded: LoadedTool, *, purpose: str = "execute"
) -> Settled | NotClaimed:
    """Claim one call, carry it out and settle it.

    Raises CallRefused where the ledger cannot take the claim.
    """
    await parts.providers.fresh(call.provider)
    begun_s = parts.monotonic()
    asked = claim_of(parts, call.call_id, loaded, references=_references(loaded, call), purpose=purpose)
    claimed = await parts.books.claim(asked)
    if isinstance(claimed, NotClaimed):
        return claimed
    return await carried_out(parts, claimed, loaded, begun_s=begun_s, purpose=purpose)


async def carried_out(
    parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, *, begun_s: float, purpose: str = "execute"
) -> Settled:
    """Carry out what was claimed and settle it; `begun_s` is the monotonic clock from before the claim."""
    end_s = begun_s + lease_s(parts, loaded)
    guard = Guard(_send_by_s(parts, claimed, loaded, end_s), parts.monotonic)
    try:
        report = await _carry_out(parts, claimed, loaded, purpose, guard, end_s=end_s)
    except BaseException as stop:
        # Cancelled or worse, in the middle: whoever asks later must not believe that nothing happened.
        _log.warning("an attempt was stopped", call_id=claimed.call.call_id, by=type(stop).__name__)
        await _settle(
            parts, _settlement(parts, claimed, loaded, _doubt("stopped", "the server stopped"), purpose)
        )
        raise
    return await _settle(parts, _settlement(parts, claimed, loaded, report, purpose))


def lease_s(parts: AttemptParts, loaded: LoadedTool) -> float:
    """Return how long a claim of this tool is good for: time to send, then time to hear the answer."""
    return parts.send_window_s + loaded.tool.timeout_s


def claim_of(
    parts: AttemptParts,
    call_id: str,
    loaded: LoadedTool,
    *,
    references: tuple[Query, ...],
    purpose: str = "execute",
) -> Claim:
    """Return what asks for the right to act; all that M5 lists is looked at again under the ledger's lock."""
    tool, at = loaded.tool, parts.now()
    binding = parts.providers.binding(tool.provider)

    def expect(stored: CallRecord, records: tuple[RecordRef, ...]) -> tuple[str, str] | None:
        code = changed_since(stored, loaded, records, binding=binding, now=at)
        return None if code is None else (code, meaning(code))

    def allowed(agent: AgentRecord) -> bool:
        return tool.kit in agent.kits

    return Claim(
        call_id=call_id,
        at=at,
        holder=parts.holder,
        lease_s=lease_s(parts, loaded),
        process=parts.providers.facts(live_spend=parts.live_spend),
        expect=expect,
        references=references,
        purpose=purpose,
        tool_hash=loaded.info.definition_hash,
        allowed=allowed,
    )


def _references(loaded: LoadedTool, call: CallRecord) -> tuple[Query, ...]:
    """Return the queries of stored arguments; arguments that no longer fit are found out by `expect`."""
    try:
        return loaded.tool.references(stored_args(loaded, call.args))
    except msgspec.DecodeError:
        return ()


def _send_by_s(parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, lease_end_s: float) -> float:
    """Return when, on the monotonic clock, nothing may be sent any more (M3)."""
    send_by_s = lease_end_s - loaded.tool.timeout_s
    key_until = claimed.call.provider_key_until
    if key_until is None:
        return send_by_s
    return min(send_by_s, parts.monotonic() + (key_until - parts.now()).total_seconds())


# --- step 5 -------------------------------------------------------------------------------------------------


async def _carry_out(
    parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, purpose: str, guard: Guard, *, end_s: float
) -> OutcomeReport:
    """Run the tool's work within the lease and turn every end of it into a report."""
    try:
        async with asyncio.timeout(max(0.0, end_s - parts.monotonic())):
            report: object = await _work(parts, claimed, loaded, purpose, guard)
    except TimeoutError:
        return _doubt("no_answer", f"{loaded.tool.provider} did not answer in time")
    except SendTooLate as late:
        return _late(guard, late)
    except CallRefused as refused:
        # A tool that refuses before it ever passed the guard has sent nothing; one that only looks says
        # nothing.
        outcome = Outcome.UNKNOWN if guard.passed or purpose == "lookup" else Outcome.FAILED
        return OutcomeReport(outcome=outcome, code=refused.code, message=refused.message, retry=refused.retry)
    except Exception as error:  # noqa: BLE001 -- a plugin may raise anything, and then nobody knows what was sent
        _log.exception("a tool broke", tool=loaded.tool.name, call_id=claimed.call.call_id)
        return _doubt("tool_broke", f"the tool broke with {type(error).__name__}; the log has the rest")
    if not isinstance(report, OutcomeReport):
        return _doubt("tool_broke", f"the tool returned {type(report).__name__} where a report is due")
    return report


def _late(guard: Guard, late: SendTooLate) -> OutcomeReport:
    if guard.passed:
        return _doubt("no_answer", "it was begun and could not be finished in time")
    return OutcomeReport(outcome=Outcome.NOT_SENT, code="send_too_late", message=str(late))


async def _work(
    parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, purpose: str, guard: Guard
) -> OutcomeReport:
    tool, call = loaded.tool, claimed.call
    args = stored_args(loaded, call.args)
    if tool.execute is None:
        return await _local(parts, claimed, loaded, args)
    context = ExecuteContext(
        call=call,
        records=claimed.records,
        provider_key=call.provider_key or call.call_id,
        key_step=lambda step: f"{call.provider_key or call.call_id}:{step}",
        timeout_s=tool.timeout_s,
        guard=guard,
        attempt=claimed.attempt,
        purpose=purpose,
        public_url=parts.public_url,
    )
    find = finder(loaded)
    if purpose == "lookup" and find is not None:
        return await find(args, context)
    return await tool.execute(args, context)


def finder(loaded: LoadedTool) -> Finder | None:
    """Return how a tool looks for its effect, or None where it cannot."""
    reconcile = loaded.tool.reconcile
    return getattr(reconcile, "find", None) or getattr(reconcile, "lookup", None)


async def _local(parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, args: Struct) -> OutcomeReport:
    """Carry out a local tool or a read that a person had to allow first."""
    tool, call = loaded.tool, claimed.call
    context = ApplyContext(
        now=parts.now(),
        call_id=call.call_id,
        agent=call.agent,
        project=call.project,
        run_id=call.run_id,
        account_id=call.account_id,
        new_id=parts.new_id,
        binding=parts.providers.binding(tool.provider),
    )
    if tool.read is not None:
        applied = await tool.read(args, claimed.records, context)
    else:
        work: Callable[..., Any] = tool.apply or _no_work
        applied = work(args, claimed.records, context)
    proof = Proof(ProofLevel.RECORDED, ProofBy.RESPONSE, HOUSE_PROVIDER)
    return OutcomeReport(outcome=Outcome.SUCCEEDED, data=applied.data, changes=applied.changes, proof=proof)


def _no_work(*_anything: object) -> Any:  # noqa: ANN401 -- it never returns; the registry refuses such a tool
    raise AssertionError("a tool without work was loaded")


def _doubt(code: str, message: str) -> OutcomeReport:
    return OutcomeReport(outcome=Outcome.UNKNOWN, code=code, message=message)


# --- step 6 -------------------------------------------------------------------------------------------------


def _settlement(
    parts: AttemptParts, claimed: Claimed, loaded: LoadedTool, report: OutcomeReport, purpose: str
) -> Settlement:
    call = claimed.call
    report = _against_mode(parts, call, report)
    return Settlement(
        call_id=call.call_id,
        at=parts.now(),
        attempt=claimed.attempt,
        lease_token=claimed.lease_token,
        outcome=report.outcome,
        proof=_proof(report, call, purpose),
        identity=report.identity,
        actual=report.actual,
        committed=report.committed,
        stored_answer=report.stored_answer,
        provider_ref=report.provider_ref,
        result=_result(report),
        changes=report.changes,
        code=report.code,
        message=redact(report.message),
        retry=report.retry,
        settle_after_s=_settle_after_s(loaded, report),
    )


def _against_mode(parts: AttemptParts, call: CallRecord, report: OutcomeReport) -> OutcomeReport:
    """Take evidence of another mode than the bound one for none, and stop the provider (M30)."""
    levels = set(_LEVELS.values())
    if report.proof is None or report.proof.level not in levels or report.proof.level is _LEVELS[call.mode]:
        return report
    why = f"it answered as {report.proof.level} where {call.mode} was bound"
    parts.providers.distrust(call.provider, why)
    other = ProviderIdentity(call.provider_account, _mode_of(report.proof.level), "")
    return OutcomeReport(
        outcome=Outcome.UNKNOWN,
        code="provider_account_changed",
        message=why,
        identity=report.identity or other,
    )


def _mode_of(level: ProofLevel) -> Mode:
    return next(mode for mode, each in _LEVELS.items() if each is level)


def _proof(report: OutcomeReport, call: CallRecord, purpose: str) -> Proof | None:
    """Return the report's proof; where it brought none, only that we recorded an answer."""
    if report.outcome is Outcome.NOT_SENT or report.proof is not None:
        return report.proof
    by = ProofBy.LOOKUP if purpose == "lookup" else ProofBy.RESPONSE
    return Proof(ProofLevel.RECORDED, by, call.provider)


def _result(report: OutcomeReport) -> bytes:
    """Return the result as JSON without secrets; one that cannot be written down says so instead."""
    if not report.data:
        return b""
    try:
        plain = msgspec.to_builtins(dict(report.data), enc_hook=enc_hook, str_keys=True)
        text = msgspec.json.encode(redacted_data(plain))
    except (TypeError, ValueError, NotImplementedError) as error:
        _log.warning("a result cannot be written down", error=str(error))
        return b'{"note":"the result could not be written down"}'
    if len(text) > LARGEST_RESULT:
        return b'{"note":"the result was too large to keep"}'
    return text


def _settle_after_s(loaded: LoadedTool, report: OutcomeReport) -> float | None:
    """Return how long after the last lease a lookup's no may be believed (M3); None where never."""
    delay = getattr(loaded.tool.reconcile, "settle_delay_s", None)
    if delay is None:
        # A thing that is there and says it failed needs no delay for showing up, only the end of every
        # sender.
        return None if report.code == ABSENT else loaded.tool.timeout_s
    return float(loaded.tool.timeout_s + delay)


ABSENT: Final = "absent"  # A lookup found nothing.


async def _settle(parts: AttemptParts, settlement: Settlement) -> Settled:
    """Write how it ended, again and again where the ledger cannot: an answer we hold must not be lost."""
    return await asyncio.shield(asyncio.ensure_future(_until_written(parts.books.settle, settlement)))


async def _until_written(
    settle: Callable[[Settlement], Awaitable[Settled]], settlement: Settlement
) -> Settled:
    pause_s = FIRST_RETRY_S
    while True:
        try:
            return await settle(settlement)
        except Exception as error:  # noqa: BLE001 -- full disk, lost connection: we still hold the answer
            _log.error("a settlement could not be written", call_id=settlement.call_id, error=str(error))
        await asyncio.sleep(pause_s)
        pause_s = min(LAST_RETRY_S, pause_s * 2)
