"""Step 1: who asks, for what exactly, in which scope. Nothing is written here.

The bearer token says who. The raw arguments are decoded strictly, the gate's own taken out; the run is
resolved against the token; the records the call speaks of are read for its project only; the tool describes
its effect.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from msgspec import Struct, structs

from ledger.records import Query, Reader, RecordRef, RunRecord
from plugins.registry import LoadedTool
from plugins.schema import (
    KEY_ARGUMENT,
    LONGEST_KEY,
    LONGEST_REASON,
    REASON_ARGUMENT,
    RUN_ARGUMENT,
    gate_arguments,
)
from plugins.tool import ApplyContext, Binding, Tool
from policy.errors import InvalidArguments, KeyMissing, NotReady, ScopeMismatch
from policy.model import Call, Effect, Kind
from tool_server.decode import into, read_arguments
from tool_server.envelope import CallMeta, Principal
from tool_server.operation import (
    Operation,
    canonical_args,
    described,
    fingerprint,
    op_hash,
    plain_args,
)

META_KEY: Final = "io.bursar/idempotency_key"
META_RUN: Final = "io.bursar/run_id"
_TAKEN: Final = {kind: tuple(gate_arguments(kind)) for kind in Kind}
STANDING: Final = "standing"  # Stands for the standing run in a fingerprint: the next day's is another run.
_KEY: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")  # Printable ASCII: two keys that look alike are alike.
_TRACEPARENT: Final = re.compile(
    r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
)  # W3C Trace Context, 3.2.


class Intent(Struct, frozen=True, kw_only=True):
    """What the caller wants, before any record was read."""

    principal: Principal
    loaded: LoadedTool
    args: Struct
    args_json: bytes
    run: RunRecord
    named: str  # The run as the caller named it; STANDING where it did not.
    key: str | None
    reason: str
    requested_by: str = ""  # The operator who started or edited it; empty where the agent asked.
    traceparent: str
    queries: tuple[Query, ...]

    @property
    def standing(self) -> bool:
        """Whether the run is the project's standing one, because none was named."""
        return self.named == STANDING

    @property
    def fingerprint(self) -> str:
        """What stands for this one intention (M24); worked out where it is asked for: reads never do."""
        return fingerprint(self.loaded.tool.name, self.args_json, self.named)


class Normal(Struct, frozen=True, kw_only=True):
    """One normalized call: everything the policy, the approver and the ledger need to know of it."""

    intent: Intent
    call_id: str
    at: datetime
    records: tuple[RecordRef, ...]
    effect: Effect
    call: Call
    provider_account: str
    context: ApplyContext

    @property
    def op_hash(self) -> str:
        """The hash an approver answers for; worked out where it is asked for, which reads never do."""
        call = self.call
        return op_hash(
            Operation(
                call_id=self.call_id,
                tool=call.tool,
                tool_hash=self.intent.loaded.info.definition_hash,
                provider_account=self.provider_account,
                effect=self.effect,
                args=self.intent.args_json,
                records=tuple(record.sha256 for record in self.records),
                account=call.account,
                project=call.project,
                run=call.run,
                agent=call.agent,
            )
        )


class ScopeBooks(Protocol):
    """What step 1 reads of the ledger."""

    async def run(self, run_id: str) -> RunRecord | None:
        """Return a run of the account, or None."""
        ...

    async def standing_run(self, project: str, *, afresh: bool = False) -> RunRecord:
        """Return the run that holds the project's calls that belong to no other."""
        ...

    async def read(self, queries: tuple[Query, ...], reader: Reader) -> tuple[RecordRef, ...]:
        """Answer queries for one reader. Raises RecordMissing."""
        ...


class Normalizer:
    """Step 1, with what it leans on."""

    def __init__(
        self,
        books: ScopeBooks,
        *,
        binding: Callable[[str], Binding | None],
        now: Callable[[], datetime],
        new_id: Callable[[str], str],
    ) -> None:
        self._books = books
        self._binding = binding
        self._now = now
        self._new_id = new_id

    async def intent(
        self, principal: Principal, loaded: LoadedTool, raw: bytes, meta: CallMeta, *, need_key: bool = True
    ) -> Intent:
        """Decode the arguments and settle the scope. Raises InvalidArguments in one of its forms."""
        given = read_arguments(raw)
        taken = taken_of(loaded.tool)
        args = into(
            {name: given[name] for name in given if name not in taken}, loaded.tool.arguments, also=taken
        )
        key = _key(given, meta, loaded, need_key=need_key)
        # A tool with a `reason` of its own shows it among its arguments; it is not shown twice.
        reason = _text(given, REASON_ARGUMENT, LONGEST_REASON) if REASON_ARGUMENT in taken else ""
        run, named = await self._run(principal, given, meta, loaded)
        args_json = canonical_args(args)
        return Intent(
            principal=principal,
            loaded=loaded,
            args=args,
            args_json=args_json,
            run=run,
            named=named,
            key=key,
            reason=reason,
            traceparent=_traceparent(meta.meta),
            queries=loaded.tool.references(args),
        )

    async def next_day(self, intent: Intent) -> Intent:
        """Return the intent in the standing run of now: midnight closed the one it was meant for."""
        run = await self._books.standing_run(intent.principal.project, afresh=True)
        return structs.replace(intent, run=run)

    async def normal(self, intent: Intent, *, call_id: str | None = None) -> Normal:
        """Read the records and let the tool describe its effect. Raises CallRefused, PluginBroke."""
        principal, loaded, run = intent.principal, intent.loaded, intent.run
        tool, at = loaded.tool, self._now()
        call_id = call_id or self._new_id("call")
        binding = self._bound(loaded)
        records = await self._books.read(intent.queries, reader_of(principal, run)) if intent.queries else ()
        who = {"agent": principal.agent, "project": principal.project, "run": run.run_id}
        effect = described(loaded, intent.args, records, binding=binding, who=who, now=at)
        account = binding.account if binding else ""
        return Normal(
            intent=intent,
            call_id=call_id,
            at=at,
            records=records,
            effect=effect,
            call=Call(
                tool=tool.name,
                effect=effect,
                account=principal.account_id,
                project=principal.project,
                run=run.run_id,
                agent=principal.agent,
                args=plain_args(intent.args),
                own=tool.kind is Kind.WITHDRAW and tool.own(intent.args, records, principal.agent),
            ),
            provider_account=account,
            context=ApplyContext(
                now=at,
                call_id=call_id,
                agent=principal.agent,
                project=principal.project,
                run_id=run.run_id,
                account_id=principal.account_id,
                new_id=self._new_id,
                binding=binding,
            ),
        )

    def _bound(self, loaded: LoadedTool) -> Binding | None:
        """Return the tool's binding.

        A provider whose account was never measured cannot be named on a card.
        """
        binding = self._binding(loaded.tool.provider)
        if binding is not None and not binding.account and loaded.tool.execute is not None:
            raise NotReady(
                f"the provider {binding.provider} has not answered since the start, so nobody knows whose "
                "account it is; try again later",
                retry="same_key",
            )
        return binding

    async def _run(
        self, principal: Principal, given: Mapping[str, Any], meta: CallMeta, loaded: LoadedTool
    ) -> tuple[RunRecord, str]:
        """Resolve the run: token, header, `_meta`, argument, else the standing one; they may not disagree."""
        named = [principal.run_id, meta.run_header, meta.meta.get(META_RUN)]
        if (
            loaded.tool.kind is not Kind.READ
        ):  # A read that takes a run_id asks about that run, not within it.
            named.append(given.get(RUN_ARGUMENT))
        wanted = [name for name in named if name is not None]
        if not wanted:
            return await self._books.standing_run(principal.project), STANDING
        first = wanted[0]
        if any(name != first for name in wanted) or not isinstance(first, str):
            raise ScopeMismatch(
                "token, header, _meta and argument name different runs; name one", field=RUN_ARGUMENT
            )
        run = await self._books.run(first)
        if run is None or run.state != "open" or (run.account_id, run.project) != _scope(principal):
            raise ScopeMismatch(
                f"{first[:40]!r} is no open run of your project; leave it out for the standing run",
                field=RUN_ARGUMENT,
            )
        return run, first


def taken_of(tool: Tool[Any]) -> tuple[str, ...]:
    """Return what the gate takes for itself of a call's arguments: what the tool does not claim."""
    own = tool.arguments.__struct_encode_fields__  # Not `fields`, which evaluates annotations each time.
    return tuple([name for name in _TAKEN[tool.kind] if name not in own])


def reader_of(principal: Principal, run: RunRecord) -> Reader:
    """Return whose eyes the records are read with."""
    return Reader(principal.account_id, principal.project, principal.agent, run.run_id)


def _scope(principal: Principal) -> tuple[str, str]:
    return principal.account_id, principal.project


def _key(given: Mapping[str, Any], meta: CallMeta, loaded: LoadedTool, *, need_key: bool) -> str | None:
    """Return the idempotency key (M24). Raises KeyMissing, InvalidArguments."""
    if loaded.tool.kind is Kind.READ:
        return None
    argument, beside = given.get(KEY_ARGUMENT), meta.meta.get(META_KEY)
    if argument is not None and beside is not None and argument != beside:
        raise InvalidArguments(f"{KEY_ARGUMENT} and _meta {META_KEY!r} differ; give one", field=KEY_ARGUMENT)
    key = argument if argument is not None else beside
    if key is None:
        if loaded.key_required and need_key:
            raise KeyMissing(
                f"{loaded.tool.name} needs {KEY_ARGUMENT}: a name for this one intention, the same when you "
                "repeat the call and a new one for a new intention",
                field=KEY_ARGUMENT,
            )
        return None
    if not isinstance(key, str) or len(key) > LONGEST_KEY or _KEY.fullmatch(key) is None:
        raise InvalidArguments(
            f"{KEY_ARGUMENT} takes 1 to {LONGEST_KEY} printable ASCII characters", field=KEY_ARGUMENT
        )
    return key


def _text(given: Mapping[str, Any], name: str, longest: int) -> str:
    text = given.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > longest:
        raise InvalidArguments(f"{name} takes text of at most {longest} characters", field=name)
    return text


def _traceparent(meta: Mapping[str, object]) -> str:
    """Return the caller's trace, where it has the form of one.

    Anything else is no reason to refuse a call.
    """
    text = meta.get("traceparent")
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else ""
