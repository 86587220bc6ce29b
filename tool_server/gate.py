"""The only door: every tool call of every agent, over whichever wire, comes through `Gate.call`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
import structlog
from msgspec import Struct, structs

from ledger.commands import Admission, Admitted, Changed, Local, ProcessFacts
from ledger.records import ApprovalRecord, CallRecord, CallState, Query, Reader, RecordRef, RunRecord
from plugins.registry import LoadedTool
from plugins.tool import Applied, Replay
from policy.errors import (
    CallRefused,
    InvalidArguments,
    NotReady,
    RecordChanged,
    RunClosed,
    Unavailable,
    UnknownTool,
)
from policy.model import Answer, Call, Decision, Kind
from policy.money import enc_hook
from tool_server.catalogue import Catalogue, ToolListing
from tool_server.core import CoreContext, CoreTool
from tool_server.decode import into, read_arguments
from tool_server.envelope import CallMeta, CallResult, Envelope, Principal, answered
from tool_server.normalize import Intent, Normal, Normalizer
from tool_server.operation import PluginBroke
from tool_server.providers import Providers
from tool_server.replies import broke, refused
from tool_server.shown import shown
from tool_server.waiting import Waiting, settled

WAIT_S: Final = 4.0  # One client gives up after five seconds and tells its model to call again.
FRESH_READS: Final = 3  # Times a call is normalized anew because a record changed before it was admitted.

_log = structlog.get_logger("bursar.gate")


class Door(Protocol):
    """What the wires (MCP, the console) may ask of the gate."""

    async def call(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> CallResult:
        """Take one tool call through the house; never raises but for cancellation."""
        ...

    def listing(self, principal: Principal) -> tuple[ToolListing, ...]:
        """Return the tools this principal may see: core and its kits, in stable order."""
        ...


class GateBooks(Protocol):
    """What the gate asks of the ledger."""

    async def admit(self, command: Admission) -> Admitted: ...  # noqa: D102 -- ledger.ledger.Ledger tells
    async def preview(self, call: Call, process: ProcessFacts, at: datetime) -> Decision: ...  # noqa: D102 -- the Ledger tells
    async def find_call(self, call_id: str) -> CallRecord | None: ...  # noqa: D102 -- the Ledger tells
    async def find_approval(self, approval_id: str) -> ApprovalRecord | None: ...  # noqa: D102 -- the Ledger tells
    async def stored(self, agent: str, tool: str, key: str, fingerprint: str) -> CallRecord | None: ...  # noqa: D102 -- the Ledger tells
    async def read(self, queries: tuple[Query, ...], reader: Reader) -> tuple[RecordRef, ...]: ...  # noqa: D102 -- the Ledger tells
    async def run(self, run_id: str) -> RunRecord | None: ...  # noqa: D102 -- the Ledger tells
    async def standing_run(self, project: str, *, afresh: bool = False) -> RunRecord: ...  # noqa: D102 -- the Ledger tells
    def touch(self, agent: str, at: datetime) -> None: ...  # noqa: D102 -- the Ledger tells
    async def note_read(self, call: Call, at: datetime, args: bytes, code: str) -> None: ...  # noqa: D102 -- the Ledger tells
    async def note_invalid(self, agent: str, tool: str, code: str, message: str, at: datetime) -> None: ...  # noqa: D102 -- the Ledger tells


class GateParts(Struct, frozen=True, kw_only=True):
    """What the gate is wired to, by bootstrap or by a test."""

    books: GateBooks
    catalogue: Catalogue
    normalizer: Normalizer
    providers: Providers
    waiting: Waiting
    dispatch: Callable[[CallRecord], None]  # Tell the dispatcher of a call that may run now.
    # Have it admitted and begun at once, where that is possible; None where it is not.
    begin: Callable[[Admission], Awaitable[Admitted] | None] = lambda _admission: None
    now: Callable[[], datetime]
    new_id: Callable[[str], str]
    live_spend: bool
    public_url: str
    wait_s: float = WAIT_S


class Gate:
    """Every call's way.

    The gate normalizes, has it admitted, waits for what the dispatcher makes of it, answers.
    """

    def __init__(self, parts: GateParts) -> None:
        self.parts = parts
        self._draining = False
        self.books = parts.books

    def listing(self, principal: Principal) -> tuple[ToolListing, ...]:
        """Return the tools this principal may see: core and its kits, in stable order."""
        return self.parts.catalogue.listing(principal.kits)

    def drain(self) -> None:
        """Admit nothing more and let those who wait go with what they have."""
        self._draining = True
        self.parts.waiting.close()

    async def call(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> CallResult:
        """Take one tool call through the house; never raises but for cancellation.

        1. Normalize: who asks (the token), for what exactly (strict decode, records, the tool's own
        description), in which scope (the run). 2. Decide and admit: one transaction claims the key,
        decides, reserves every cap, records. The answer may be `denied` here, or `pending_approval`. 3.
        Approve: a person answers in the console for one op_hash. Nothing here waits for that. 4. Claim: the
        dispatcher has everything judged again under the policy of now, durably, before a byte leaves. 5.
        Execute: the tool runs in a task of its own, which no client that hangs up interrupts. 6. Settle:
        succeeded posts, a definite no voids, all else is unknown and keeps what it holds. 7. Reconcile: an
        unknown is replayed, looked up, or left to a person, until it is known.

        Local tools take steps 2 to 6 in one transaction. Reads take steps 1 and 2 and hold nothing.
        """
        try:
            return await self._call(principal, tool_name, raw_arguments, meta)
        except InvalidArguments as problem:
            await self._note_invalid(principal, tool_name, problem)
            return refused(problem)
        except UnknownTool as problem:
            # Its name is the caller's own text, and anything: it is said in no field of the log.
            await self._note_invalid(principal, "", problem)
            return refused(problem)
        except CallRefused as problem:
            return refused(problem)
        except Exception:  # noqa: BLE001 -- whatever broke, the agent needs an answer and the log the rest
            reference = self.parts.new_id("ref")
            _log.exception("a call broke", tool=tool_name[:40], agent=principal.agent, reference=reference)
            return broke(f"Something in the tool server broke; tell the operator the reference {reference}")

    async def _call(self, principal: Principal, tool_name: str, raw: bytes, meta: CallMeta) -> CallResult:
        if self._draining:
            raise Unavailable("the server is stopping; nothing was admitted, call again in a minute")
        self.books.touch(principal.agent, self.parts.now())
        core = self.parts.catalogue.core.get(tool_name)
        if core is not None:
            return await self._core(principal, core, raw, meta)
        loaded = self.parts.catalogue.find(principal, tool_name)
        intent = await self.parts.normalizer.intent(principal, loaded, raw, meta)
        return await self._take(intent)

    async def _take(self, intent: Intent) -> CallResult:
        """Take steps 1 and 2, anew where a record changed in between; then wait a little for the rest."""
        for last in (*[False] * (FRESH_READS - 1), True):
            try:
                normal = await self.parts.normalizer.normal(intent)
            except CallRefused:
                stored = await self._stored(intent)
                if stored is None:
                    raise
                return await self._shown(stored, replayed=True)
            try:
                if intent.loaded.tool.kind is Kind.READ:
                    return await self._read(normal)
                return await self._answer(await self._admit(normal))
            except RecordChanged:
                if last:
                    raise
            except RunClosed:
                if last or not intent.standing:
                    raise
                intent = await self.parts.normalizer.next_day(intent)
        raise AssertionError("unreachable")  # pragma: no cover -- the last round returns or raises

    async def _stored(self, intent: Intent) -> CallRecord | None:
        """Return what this intention already is.

        A quote or record it used up must not hide the answer (M24).
        """
        if intent.key is None:
            return None
        who, tool = intent.principal.agent, intent.loaded.tool.name
        return await self.books.stored(who, tool, intent.key, intent.fingerprint)

    # --- what people start or change ------------------------------------------------------------------------

    async def start(self, agent: Principal, tool_name: str, raw: bytes, *, operator: str) -> CallResult:
        """Take a call that a person starts in the console; that person is its requester.

        Nothing is spared: the same steps, the same rules, and M28's about answering one's own request.
        Raises nothing.
        """
        try:
            loaded = self.parts.catalogue.find(agent, tool_name)
            intent = await self.parts.normalizer.intent(agent, loaded, raw, CallMeta())
            return await self._take(structs.replace(intent, requested_by=operator))
        except CallRefused as problem:
            return refused(problem)

    async def edition(self, call: CallRecord, agent: Principal, raw: bytes, *, operator: str) -> Admission:
        """Return what `Ledger.edit_and_approve` takes: a waiting call with other arguments (M28).

        The new call has no key of the agent's: the old key answers with `replaced_by`. Raises CallRefused.
        """
        loaded = self.parts.catalogue.find(agent, call.tool)
        intent = await self.parts.normalizer.intent(
            agent, loaded, raw, CallMeta(run_header=call.run_id), need_key=False
        )
        intent = structs.replace(intent, key=None, requested_by=operator, reason=call.reason)
        admission = self._admission(await self.parts.normalizer.normal(intent), None)
        return structs.replace(admission, key_required=False, supersedes=call.call_id)

    # --- step 2 ---------------------------------------------------------------------------------------------

    async def _admit(self, normal: Normal, local: Local | None = None) -> Admitted:
        # In a task of its own: a client that hangs up now leaves either an admitted call or none, and
        # knows its key.
        admission = self._admission(normal, local)
        begun = self.parts.begin(admission)
        if begun is None:
            begun = asyncio.ensure_future(self.books.admit(admission))
        return await asyncio.shield(begun)

    def _admission(self, normal: Normal, local: Local | None) -> Admission:
        intent = normal.intent
        tool = intent.loaded.tool
        if tool.apply is not None:
            local = Local(apply=applying(intent.loaded, intent.args, normal))
        prepared = tool.prepare(intent.args, normal.records, normal.context) if tool.prepare else ()
        return Admission(
            call_id=normal.call_id,
            at=normal.at,
            call=normal.call,
            agent_id=intent.principal.agent_id,
            tool_hash=intent.loaded.info.definition_hash,
            provider_account=normal.provider_account,
            op_hash=normal.op_hash,
            fingerprint=intent.fingerprint,
            args=intent.args_json,
            process=self._facts(),
            key_required=intent.loaded.key_required,
            idempotency_key=intent.key,
            references=intent.queries,
            records_sha256=tuple(record.sha256 for record in normal.records),
            prepare=prepared,
            local=local,
            replay_key=normal.call_id if tool.execute is not None else None,
            replay_lifetime_s=tool.reconcile.lifetime_s if isinstance(tool.reconcile, Replay) else 0,
            requested_by=intent.requested_by,
            traceparent=intent.traceparent,
            reason=intent.reason,
        )

    def _facts(self) -> ProcessFacts:
        return self.parts.providers.facts(live_spend=self.parts.live_spend)

    # --- after step 2 ---------------------------------------------------------------------------------------

    async def _answer(self, admitted: Admitted) -> CallResult:
        """Hand a call that may run to the dispatcher, wait a little for its end, and render it."""
        call = admitted.call
        if call.state is CallState.QUEUED:
            self.parts.dispatch(call)
        try:
            if call.state in {CallState.QUEUED, CallState.EXECUTING}:
                call = await self.watch(call, self.parts.wait_s)
            return await self._shown(call, approval=admitted.approval, replayed=admitted.replayed)
        except Exception:  # noqa: BLE001 -- whatever broke, the call is there and has an id
            # It is admitted and may run: an answer without its id would let the agent believe that it is not.
            _log.exception("an admitted call could not be shown", call_id=call.call_id)
            return answered(Envelope(status="in_progress", call_id=call.call_id))

    async def watch(self, call: CallRecord, wait_s: float) -> CallRecord:
        """Return the call once it rests: ended, in doubt, asking a person; or as it is after `wait_s`."""
        return await self.parts.waiting.moved(call, wait_s, done=settled)

    async def watch_change(self, call: CallRecord, wait_s: float) -> CallRecord:
        """Return the call once it has moved from where it stands, or as it is after `wait_s`.

        For call_status.
        """
        seen = call.version
        return await self.parts.waiting.moved(
            call, wait_s, done=lambda now: now.version != seen and settled(now)
        )

    async def shown(self, call: CallRecord, *, replayed: bool = False) -> CallResult:
        """Render a stored call as the answer its agent gets now."""
        return await self._shown(call, replayed=replayed)

    async def _shown(
        self, call: CallRecord, *, approval: ApprovalRecord | None = None, replayed: bool = False
    ) -> CallResult:
        if call.state is CallState.AWAITING_APPROVAL and (
            approval is None or approval.approval_id != call.approval_id
        ):
            approval = await self.books.find_approval(call.approval_id or "")
        return shown(
            call,
            now=self.parts.now(),
            public_url=self.parts.public_url,
            approval=approval,
            replayed=replayed,
        )

    # --- reads ----------------------------------------------------------------------------------------------

    async def _read(self, normal: Normal) -> CallResult:
        """Answer a read.

        Decided on, never reserved; what it stores (a quote) is committed before the answer.
        """
        decision = await self.books.preview(normal.call, self._facts(), normal.at)
        if decision.answer is not Answer.ALLOW:
            return await self._answer(await self._admit(normal))
        applied = await read_now(normal)
        if applied.changes:
            kept = Changed(applied.data, applied.changes)
            return await self._answer(await self._admit(normal, Local(apply=lambda _records, _at: kept)))
        await self.books.note_read(normal.call, normal.at, normal.intent.args_json, "")
        return answered(Envelope(status="succeeded", data=plain(applied.data)))

    async def _core(
        self, principal: Principal, core: CoreTool[Any], raw: bytes, meta: CallMeta
    ) -> CallResult:
        args = into(read_arguments(raw), core.arguments)
        context = CoreContext(principal=principal, meta=meta, now=self.parts.now(), gate=self)
        return await core.answer(args, context)

    async def preview(self, principal: Principal, tool_name: str, raw: bytes, meta: CallMeta) -> Decision:
        """Say what the policy would decide now, doing nothing and claiming no key. Raises CallRefused."""
        loaded = self.parts.catalogue.find(principal, tool_name)
        intent = await self.parts.normalizer.intent(principal, loaded, raw, meta, need_key=False)
        normal = await self.parts.normalizer.normal(intent)
        return await self.books.preview(normal.call, self._facts(), normal.at)

    async def _note_invalid(self, principal: Principal, tool_name: str, problem: CallRefused) -> None:
        """Record a refused attempt.

        A ledger that cannot be written must not turn the refusal into a breakdown.
        """
        try:
            await self.books.note_invalid(
                principal.agent, tool_name[:40], problem.code, problem.message, self.parts.now()
            )
        except CallRefused:
            _log.warning("an invalid call could not be recorded", agent=principal.agent, code=problem.code)


def applying(
    loaded: LoadedTool, args: Struct, normal: Normal
) -> Callable[[tuple[RecordRef, ...], datetime], Changed]:
    """Return a local tool's work as the ledger runs it.

    On the records read under the lock, at its instant.
    """
    tool = loaded.tool

    def apply(records: tuple[RecordRef, ...], at: datetime) -> Changed:
        if tool.apply is None:  # pragma: no cover -- the caller looked
            raise PluginBroke(f"{tool.name} has no apply")
        applied = tool.apply(args, records, msgspec.structs.replace(normal.context, now=at))
        return Changed(plain(applied.data), applied.changes)

    return apply


async def read_now(normal: Normal) -> Applied:
    """Let a read tool read, within its time. Raises NotReady where the provider does not answer in it."""
    tool = normal.intent.loaded.tool
    if tool.read is None:  # pragma: no cover -- the registry refuses a read tool without `read`
        raise PluginBroke(f"{tool.name} has no read")
    try:
        async with asyncio.timeout(tool.timeout_s):
            return await tool.read(normal.intent.args, normal.records, normal.context)
    except TimeoutError:
        raise NotReady(
            f"{tool.provider} did not answer within {tool.timeout_s:g} s; ask again later"
        ) from None


def plain(data: Mapping[str, object]) -> dict[str, Any]:
    """Return a tool's data as plain JSON values, nulls left out at the top."""
    values = msgspec.to_builtins(dict(data), enc_hook=enc_hook, str_keys=True)
    return {name: value for name, value in values.items() if value is not None}
