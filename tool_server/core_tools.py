"""Bursar's own five tools: where an agent stands, what became of its calls, what the policy would say.

They read and take back; none spends, and none shows a call of another agent: an id that is somebody else's
and one that does not exist get the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Protocol, TypeVar

from msgspec import Meta, Struct, structs

from ledger.reads import CallFilter
from ledger.records import CallRecord, CallState, CapView, PostureRecord, RunRecord
from plugins.tool import Annotations
from policy.errors import RecordMissing
from policy.model import Kind, Mode, Posture, Scope
from policy.money import Money
from tool_server.books import Books
from tool_server.core import CoreContext, CoreTool
from tool_server.envelope import CallResult, Envelope, Principal, answered
from tool_server.shown import STATUS, decision_shown, with_purchase

MOST_LISTED: Final = 50  # Calls in one answer: about 6,000 characters, below what clients cut.
LONGEST_WAIT_S: Final = 20  # Above it common clients give up, and a long poll blocks an agent's other calls.
_REMEMBERED: Final = timedelta(days=1)  # What counts as unseen where nobody knows when the agent last looked.

_READS: Final = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)
_TAKES_BACK: Final = Annotations(read_only=False, destructive=False, idempotent=True, open_world=False)

A = TypeVar("A", bound=Struct)
CallId = Annotated[str, Meta(description="The id of one of your calls, call_...", max_length=64)]


class HouseFacts(Protocol):
    """What only this process knows and an agent may."""

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Return the mode each provider is bound to."""
        ...

    @property
    def live_spend(self) -> bool:
        """Say whether this process was started with LIVE_SPEND=1."""
        ...


class NoArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


class CallStatusArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Which call, and how long to wait for it to move."""

    call_id: CallId
    wait_seconds: Annotated[
        int, Meta(ge=0, le=LONGEST_WAIT_S, description="0 to 20: answer at once, or wait for a change.")
    ] = 0


class CallsListArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the caller's own calls."""

    state: Annotated[
        Literal["open", "pending_approval", "in_progress", "outcome_unknown", "ended"] | None,
        Meta(description="Only calls that stand so; open is everything that has not ended."),
    ] = None
    unseen: Annotated[bool, Meta(description="Only calls that moved since you last looked.")] = False
    limit: Annotated[int, Meta(ge=1, le=MOST_LISTED, description="1 to 50, newest first.")] = 20


class CallPreviewArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """A call as it would be made."""

    tool: Annotated[str, Meta(description="The tool's name.", max_length=40)]
    arguments: Annotated[str, Meta(description="Its arguments as one JSON object, written as text.")] = "{}"


class CallCancelArguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Which call to take back."""

    call_id: CallId


_WAITING: Final = frozenset({CallState.AWAITING_APPROVAL})
_RUNNING: Final = frozenset({CallState.QUEUED, CallState.EXECUTING})
_UNKNOWN: Final = frozenset({CallState.UNKNOWN})
_STATES: Final[Mapping[str, frozenset[CallState]]] = {
    "open": _WAITING | _RUNNING | _UNKNOWN,
    "pending_approval": _WAITING,
    "in_progress": _RUNNING,
    "outcome_unknown": _UNKNOWN,
    "ended": frozenset(CallState) - _WAITING - _RUNNING - _UNKNOWN,
}


_SAYS: Final = {
    "my_status": (
        "Start here: shows your project, mode (live, test or simulated), posture, open runs, the room "
        "left under each spending cap that applies to you, and which of your calls were decided or "
        "settled since you last looked. Nothing is bought. Ask again after a pause or a restart: calls "
        "that waited for a person may have run meanwhile."
    ),
    "call_status": (
        "Shows one of your calls with its final result once it has one. Use it whenever a call answered "
        "pending_approval (nothing has run, a person decides), in_progress or outcome_unknown, instead of "
        "calling the tool again. After an approval Bursar runs the call by itself. Wait at least "
        "retry_after_seconds between looks, and do other work meanwhile; wait_seconds blocks your other "
        "calls for as long."
    ),
    "calls_list": (
        "Lists your recent and open calls, newest first, with their ids and where they stand. Use it when "
        "you lost a call_id, after a restart, or before you repeat a purchase whose answer you never saw. "
        "unseen shows only what moved since you last looked."
    ),
    "call_preview": (
        "Says what the policy would answer to a call now: allow, require_approval (a person would be "
        "asked) or deny, by which rule, and the room left under each cap. Nothing is done, reserved or "
        "asked of anybody, and the answer may differ when you really call. Give the arguments as a JSON "
        "object written as text; no idempotency key is needed."
    ),
    "call_cancel": (
        "Takes back one of your calls that has not started: one that waits for a person or for its turn. "
        "What it held under the caps is free again. A call that runs, has ended or whose outcome is "
        "unknown cannot be taken back; its status is shown instead."
    ),
}


class CoreTools:
    """The five tools over one ledger; `tools` is what the catalogue takes."""

    def __init__(self, books: Books, house: HouseFacts) -> None:
        self._books = books
        self._house = house
        # When each agent last looked. It is kept in memory: after a start the last day counts as unseen, so
        # an agent may be told something twice, and never misses it.
        self._looked: dict[str, datetime] = {}

    def tools(self) -> tuple[CoreTool[Any], ...]:
        """Return the tools in the order agents read them."""
        return (
            _tool("my_status", Kind.READ, NoArguments, self._my_status),
            _tool("call_status", Kind.READ, CallStatusArguments, self._call_status),
            _tool("calls_list", Kind.READ, CallsListArguments, self._calls_list),
            _tool("call_preview", Kind.READ, CallPreviewArguments, self._call_preview),
            _tool("call_cancel", Kind.WITHDRAW, CallCancelArguments, self._call_cancel),
        )

    async def _my_status(self, _args: NoArguments, context: CoreContext) -> CallResult:
        who, now = context.principal, context.now
        ledger = self._books.ledger
        postures, runs, moved, caps = await asyncio.gather(
            ledger.postures(),
            ledger.runs(project=who.project, state="open", limit=MOST_LISTED),
            self._moved(who, now),
            ledger.caps(now),
        )
        mine = [run for run in runs.items if who.run_id in {None, run.run_id}]
        data: dict[str, object] = {
            "project": who.project,
            "agent": who.agent,
            "mode": {name: mode.value for name, mode in self._house.modes.items()},
            "live_spend": self._house.live_spend,
            "posture": _strictest(postures, who).value,
            "open_runs": [_run(run) for run in mine],
            "caps": _room(caps, _scopes(who, mine)),
            "news": [_line(call) for call in moved],
        }
        self._looked[who.agent_id] = now
        return answered(
            Envelope(status="succeeded", data=data), lead=f"STATUS of {who.agent} in {who.project}"
        )

    async def _call_status(self, args: CallStatusArguments, context: CoreContext) -> CallResult:
        call = await self._own(args.call_id, context.principal)
        if args.wait_seconds:
            call = await context.gate.watch_change(call, float(args.wait_seconds))
        return await context.gate.shown(await self._with_purchase(call))

    async def _calls_list(self, args: CallsListArguments, context: CoreContext) -> CallResult:
        who = context.principal
        since = self._last_look(who, context.now) if args.unseen else None
        states = tuple(sorted(_STATES[args.state])) if args.state else ()
        wanted = CallFilter(project=who.project, agent=who.agent, states=states, settled_after=since)
        calls = (await self._books.ledger.calls(wanted, limit=args.limit)).items
        if args.unseen:
            self._looked[who.agent_id] = context.now
        lines = [_line(call) for call in calls]
        return answered(
            Envelope(status="succeeded", data={"calls": lines}),
            lead=f"{len(lines)} of your calls, newest first",
        )

    async def _call_preview(self, args: CallPreviewArguments, context: CoreContext) -> CallResult:
        decision = await context.gate.preview(
            context.principal, args.tool, args.arguments.encode(errors="surrogatepass"), context.meta
        )
        data: dict[str, object] = {"would": decision.answer.value}
        if decision.message:
            data["because"] = decision.message
        if decision.would_change:
            data["would_change"] = list(decision.would_change)
        if decision.asks:
            data["asks"] = [ask.desk.id for ask in decision.asks]
        lead = f"PREVIEW, nothing was done: {args.tool} would be {_VERBS[decision.answer.value]}"
        return answered(Envelope(status="succeeded", data=data, decision=decision_shown(decision)), lead=lead)

    async def _call_cancel(self, args: CallCancelArguments, context: CoreContext) -> CallResult:
        call = await self._own(args.call_id, context.principal)
        if call.state in _WAITING | {CallState.QUEUED}:
            by = f"agent:{context.principal.agent}"
            call = await self._books.ledger.cancel(call.call_id, by=by, at=context.now)
        return await context.gate.shown(call)

    async def _with_purchase(self, call: CallRecord) -> CallRecord:
        """Return a call with its purchase as it stands now; one that bought nothing stays as it is."""
        if call.state is not CallState.SUCCEEDED or call.kind is not Kind.SPEND:
            return call
        try:
            return with_purchase(call, await self._books.ledger.purchase(call.call_id))
        except RecordMissing:
            return call

    async def _own(self, call_id: str, who: Principal) -> CallRecord:
        """Return a call of this agent. Raises RecordMissing, alike for another's call and for none."""
        call = await self._books.find_call(call_id)
        mine = call is not None and (call.account_id, call.project, call.agent) == (
            who.account_id,
            who.project,
            who.agent,
        )
        if call is None or not mine:
            raise RecordMissing("you have no call with this id; calls_list shows yours", field="call_id")
        return call

    async def _moved(self, who: Principal, now: datetime) -> Sequence[CallRecord]:
        """Return what was decided or settled since the agent last looked."""
        wanted = CallFilter(project=who.project, agent=who.agent, settled_after=self._last_look(who, now))
        return (await self._books.ledger.calls(wanted, limit=MOST_LISTED)).items

    def _last_look(self, who: Principal, now: datetime) -> datetime:
        return self._looked.get(who.agent_id, now - _REMEMBERED)


def _tool(
    name: str, kind: Kind, arguments: type[A], answer: Callable[[A, CoreContext], Awaitable[CallResult]]
) -> CoreTool[A]:
    hints = _READS if kind is Kind.READ else _TAKES_BACK
    return CoreTool(
        name=name, kind=kind, description=_SAYS[name], arguments=arguments, annotations=hints, answer=answer
    )


_VERBS: Final[Mapping[str, str]] = {
    "allow": "allowed",
    "require_approval": "put before a person",
    "deny": "denied",
}


def _scopes(who: Principal, runs: Sequence[RunRecord]) -> Mapping[Scope, frozenset[str]]:
    """Return whose caps apply to this agent; those per payee, provider or tool are for call_preview."""
    return {
        Scope.ACCOUNT: frozenset({who.account_id}),
        Scope.PROJECT: frozenset({who.project}),
        Scope.AGENT: frozenset({who.agent}),
        Scope.RUN: frozenset(run.run_id for run in runs),
    }


def _run(run: RunRecord) -> dict[str, object]:
    return {"run_id": run.run_id, "title": run.title, "standing": run.standing}


def _strictest(postures: Sequence[PostureRecord], who: Principal) -> Posture:
    """Return the posture that binds this agent; those of single providers are for call_preview."""
    mine = {("account", ""), ("account", who.account_id), ("project", who.project), ("agent", who.agent)}
    set_for_me = [each.posture for each in postures if (each.scope, each.scope_key) in mine]
    return max(set_for_me, key=list(Posture).index, default=Posture.NORMAL)


def _room(caps: Sequence[CapView], mine: Mapping[Scope, frozenset[str]]) -> list[dict[str, object]]:
    """Return the room under each cap that binds this agent; an untouched one shows its whole limit."""
    used = [cap for cap in caps if cap.scope_key in mine.get(cap.scope, frozenset())]
    known = {cap.cap_id for cap in used}
    fresh = {cap.cap_id: cap for cap in caps if cap.scope in mine and cap.cap_id not in known}
    untouched = [structs.replace(cap, posted=0, held=0) for cap in fresh.values()]
    return [_cap(cap, named=cap.cap_id in known) for cap in (*used, *untouched)]


def _cap(cap: CapView, *, named: bool) -> dict[str, object]:
    """Return the room under one cap in its own notation, with the mode where something is used."""
    line: dict[str, object] = {"id": cap.cap_id, "per": cap.scope.value}
    if named:
        line |= {"mode": cap.mode.value} | ({"run_id": cap.scope_key} if cap.scope is Scope.RUN else {})
    if cap.limit is not None:
        line["left"] = _amount(max(0, cap.limit - cap.posted - cap.held), cap.unit)
        line["limit"] = _amount(cap.limit, cap.unit)
    return line


def _amount(units: int, unit: str) -> str:
    return f"{units} calls" if unit == "calls" else str(Money(units, unit))


def _line(call: CallRecord) -> dict[str, object]:
    """Return one call on one line, without what is empty."""
    line: dict[str, object] = {
        "call_id": call.call_id,
        "tool": call.tool,
        "status": STATUS[call.state],
        "asked_at": call.admitted_at.isoformat(timespec="seconds"),
    }
    optional = {
        "amount": str(call.amount) if call.amount else "",
        "payee": call.payee or "",
        "code": call.code,
        "settled_at": call.settled_at.isoformat(timespec="seconds") if call.settled_at else "",
    }
    return line | {name: value for name, value in optional.items() if value}
