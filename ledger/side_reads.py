"""The reading side of the facade: pages for people and tools, reviews, late evidence, the audit of reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ledger import evidence, house, reads, reviews
from ledger import schema as s
from ledger.audit.call_kinds import CallInvalid, CallRead
from ledger.audit.entry import Draft
from ledger.audit.stored import StoredSource
from ledger.audit.verify import Verified, verify_account
from ledger.budgets import budget_lines, run_budget
from ledger.cap_views import cap_views
from ledger.core import Core
from ledger.discrepancies import adjust
from ledger.earnings import book_earning
from ledger.engines.tx import Tx
from ledger.load import Wanted, load_facts, readings_of, want_usage
from ledger.people import need_operator
from ledger.queries import load_query
from ledger.read_log import ReadLog
from ledger.reads import CallFilter, Timeline, TimelineEntry
from ledger.records import (
    ApprovalRecord,
    CallRecord,
    CapView,
    Page,
    Query,
    Reader,
    RecordRef,
    ReviewRecord,
    ReviewState,
    Role,
    RunRecord,
    VerdictRecord,
)
from ledger.records_crm import RunById
from ledger.refs import record_ref
from ledger.side_calls import load_whole
from ledger.times import to_us
from ledger.world import World
from policy.errors import KeyConflict, PolicyDenied, RecordMissing
from policy.language import Mode
from policy.model import Call
from policy.money import Money


class ReadSide:
    """What happened, in pages by key; nothing here counts whole tables."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.read_log = ReadLog(self._write_reads)

    # --- calls -------------------------------------------------------------------------------------------

    async def call(self, call_id: str) -> CallRecord:
        """Return one call. Raises RecordMissing."""
        return await self._core.readers.glance(lambda tx: reads.call(tx, self._core.account_id, call_id))

    async def calls(
        self, wanted: CallFilter | None = None, *, after: str | None = None, limit: int = 50
    ) -> Page[CallRecord]:
        """Return calls, newest first."""
        chosen = wanted or CallFilter()
        return await self._core.read(lambda tx: reads.calls(tx, self._core.account_id, chosen, after, limit))

    async def stored(self, agent: str, tool: str, key: str, fingerprint: str) -> CallRecord | None:
        """Return the call that a key and the same intention already made, or None.

        Raises KeyConflict (M24).
        """
        found = await self._core.read(
            lambda tx: reads.stored_call(tx, self._core.account_id, agent, tool, key)
        )
        if found is None:
            return None
        if found[1] != fingerprint:
            raise KeyConflict("this idempotency key already names another intention; use a new key")
        return found[0]

    async def timeline(self, call_id: str) -> Timeline:
        """Return everything about one call.

        Attempts, requests, verdicts, audit entries. Raises RecordMissing.
        """
        return await self._core.read(lambda tx: reads.timeline(tx, self._core.account_id, call_id))

    async def open_counts(self) -> dict[str, int]:
        """Return how many calls are open in each state."""
        return await self._core.read(lambda tx: reads.open_counts(tx, self._core.account_id))

    # --- approvals, runs, caps ---------------------------------------------------------------------------

    async def approval(self, approval_id: str) -> ApprovalRecord:
        """Return one request. Raises RecordMissing."""
        return await self._core.read(lambda tx: reads.approval(tx, self._core.account_id, approval_id))

    async def approvals(
        self, states: tuple[str, ...] = (), *, after: str | None = None, limit: int = 50
    ) -> Page[ApprovalRecord]:
        """Return requests, newest first."""
        return await self._core.read(
            lambda tx: reads.approvals(tx, self._core.account_id, states, after, limit)
        )

    async def queue(
        self, *, after: str | None = None, limit: int = 50
    ) -> Page[tuple[ApprovalRecord, CallRecord]]:
        """Return pending requests with their calls, oldest deadline first."""
        return await self._core.read(lambda tx: reads.queue(tx, self._core.account_id, after, limit))

    async def verdicts(self, call_id: str) -> tuple[VerdictRecord, ...]:
        """Return every answer and comment on a call's requests."""
        return await self._core.read(lambda tx: reads.verdicts(tx, self._core.account_id, call_id))

    async def runs(
        self,
        *,
        project: str | None = None,
        state: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[RunRecord]:
        """Return runs, newest first."""
        return await self._core.read(
            lambda tx: reads.runs(
                tx, self._core.account_id, project=project, state=state, after=after, limit=limit
            )
        )

    async def caps(self, at: datetime) -> tuple[CapView, ...]:
        """Return each cap with what stands against it now, in every scope, unit and mode."""
        return await self._core.read_world(lambda tx, world: cap_views(tx, world, at))

    async def run_budget(self, run_id: str, at: datetime) -> tuple[CapView, ...]:
        """Return what the caps per run leave to one run."""
        return await self._core.read_world(lambda tx, world: run_budget(tx, world, run_id, at))

    # --- records and reviews -----------------------------------------------------------------------------

    async def read(self, queries: tuple[Query, ...], reader: Reader) -> tuple[RecordRef, ...]:
        """Answer queries for one reader. Raises RecordMissing for what is absent or another project's."""
        table = self._core.machine.sources.loaders

        def work(tx: Tx) -> tuple[RecordRef, ...]:
            return tuple(ref for query in queries for ref in load_query(tx, query, reader, table))

        found = await self._core.read(work)
        asked = {each.run_id for each in queries if isinstance(each, RunById) and each.budget}
        return tuple([await self._budgeted(ref) if ref.record_id in asked else ref for ref in found])

    async def _budgeted(self, run: RecordRef) -> RecordRef:
        lines = budget_lines(await self.run_budget(run.record_id, self._core.clock()))
        return record_ref(run.kind, run.record_id, {**run.data, "budget": lines})[0]

    async def review(self, review_id: str) -> ReviewRecord:
        """Return one review. Raises RecordMissing."""
        return await self._core.read(lambda tx: reads.review(tx, self._core.account_id, review_id))

    async def reviews(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        run_id: str | None = None,
        subject_id: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[ReviewRecord]:
        """Return reviews, newest first."""
        return await self._core.read(
            lambda tx: reads.reviews(
                tx,
                self._core.account_id,
                state=state,
                kind=kind,
                run_id=run_id,
                subject_id=subject_id,
                after=after,
                limit=limit,
            )
        )

    async def answer_review(
        self, review_id: str, operator: str, state: ReviewState, *, words: str = "", at: datetime
    ) -> ReviewRecord:
        """Give an owner's judgement, once. Raises RecordMissing, RecordChanged, PolicyDenied."""
        return await self._core.rare(
            "answer_review",
            lambda tx, world: reviews.answer_review(
                tx, world, review_id, operator, state, words=words, at=at
            ),
        )

    # --- evidence ----------------------------------------------------------------------------------------

    async def adjust(
        self,
        call_id: str,
        *,
        amount_minor: int,
        currency: str,
        reason: str,
        at: datetime,
        purchase_id: str | None = None,
        evidence: str = "",
    ) -> str:
        """Book money that moved after a call ended, in today's windows (M9, M14); return its id."""

        def work(tx: Tx, world: World) -> str:
            rows = load_whole(tx, world, [call_id])
            if not rows:
                raise RecordMissing(f"there is no call {call_id!r}")
            row = rows[0]
            if world.law is not None:
                call, want = world.policy_call(row), Wanted()
                want_usage(world, want, readings_of(world, call, world.needs(call_id, call)), to_us(at))
                load_facts(tx, world, want)
            return adjust(
                world,
                row,
                amount_minor=amount_minor,
                currency=currency,
                reason=reason,
                at_us=to_us(at),
                purchase_id=purchase_id,
                evidence=evidence,
            )

        return await self._core.rare("adjust", work)

    async def book_earning(
        self, earning_id: str, *, project: str, amount: Money, mode: Mode, proof_level: str, at: datetime
    ) -> None:
        """Book one amount that shares of earnings are computed from; negative for what was lost (M15).

        Revenue books its own through `ledger.earnings.book_earning`, in the transaction of its event.
        """

        def work(_tx: Tx, world: World) -> None:
            book_earning(
                world,
                earning_id,
                project=project,
                amount_minor=amount.minor_units,
                currency=amount.currency,
                mode=mode.value,
                proof_level=proof_level,
                at_us=to_us(at),
            )

        await self._core.rare("book_earning", work)

    async def discrepancies(self, state: str | None = "open") -> tuple[dict[str, Any], ...]:
        """Return discrepancies, newest first."""
        return await self._core.read(
            lambda tx: reads.listing(tx, s.discrepancies, self._core.account_id, "found_at_us", state=state)
        )

    async def adjustments(self, call_id: str | None = None) -> tuple[dict[str, Any], ...]:
        """Return adjustments, newest first."""
        return await self._core.read(
            lambda tx: reads.listing(tx, s.adjustments, self._core.account_id, "at_us", call_id=call_id)
        )

    async def resolve_discrepancy(
        self, discrepancy_id: str, operator: str, *, words: str, at: datetime
    ) -> None:
        """Close a discrepancy.

        Raises PolicyDenied for anybody but an owner, RecordMissing, InvalidArguments.
        """

        def work(tx: Tx, world: World) -> None:
            person = need_operator(world, operator)
            if not person.active or person.role is not Role.OWNER:
                raise PolicyDenied("an owner closes a discrepancy")
            evidence.resolve_discrepancy(tx, world, discrepancy_id, person.operator_id, words=words, at=at)

        await self._core.rare("resolve_discrepancy", work)

    async def outbox_take(self, at: datetime, limit: int = 50) -> list[tuple[str, str, bytes]]:
        """Lease messages to people that are due: id, topic, JSON payload."""
        account = self._core.account_id
        return await self._core.plain("outbox_take", lambda tx: evidence.take_outbox(tx, account, at, limit))

    async def outbox_done(self, outbox_id: str, at: datetime) -> None:
        """Note that a message was delivered."""
        account = self._core.account_id
        await self._core.plain("outbox_done", lambda tx: evidence.done_outbox(tx, account, outbox_id, at))

    # --- the log -----------------------------------------------------------------------------------------

    async def entries(self, *, after: str | None = None, limit: int = 50) -> Page[TimelineEntry]:
        """Return audit entries, newest first."""
        return await self._core.read(lambda tx: reads.entries(tx, self._core.account_id, after, limit))

    async def checked(self) -> Verified:
        """Replay the log against its tree and the tables; `bad` names the first row that differs."""
        await self.read_log.flush()

        def work(tx: Tx) -> Verified:
            return verify_account(StoredSource(tx.connection), self._core.account_id, keys=None)

        return await self._core.read(work)

    async def note_read(self, call: Call, at: datetime, args: bytes, code: str = "") -> None:
        """Queue the audit entry of a read; waits only where the queue is full (M36)."""
        fact = CallRead(
            tool=call.tool, agent=call.agent, project=call.project, run_id=call.run or None, code=code or None
        )
        read_id = self._core.machine.sources.new_id("read")
        draft = Draft(
            fact=fact,
            subject_id=read_id,
            actor=f"agent:{call.agent}",
            at_us=to_us(at),
            payload={"arguments": args.decode()},
        )
        await self.read_log.note(draft)

    async def note_invalid(self, agent: str, tool: str, code: str, message: str, at: datetime) -> None:
        """Queue the audit entry of arguments that never became a call."""
        draft = Draft(
            fact=CallInvalid(tool=_sayable(tool), code=code),
            subject_id=agent,
            actor=f"agent:{agent}",
            at_us=to_us(at),
            payload={"problem": _sayable(message)},
        )
        await self.read_log.note(draft)

    async def _write_reads(self, drafts: list[Draft]) -> None:
        def work(_tx: Tx, world: World) -> None:
            world.drafts.extend(_by_id(world, draft) for draft in drafts)

        await self._core.rare("reads", work)

    async def seen(self, agents: Mapping[str, datetime]) -> None:
        """Note when agents were last seen."""
        names = {name: to_us(at) for name, at in agents.items()}
        await self._core.plain("seen", lambda tx: house.seen(tx, self._core.account_id, names))


def _by_id(world: World, draft: Draft) -> Draft:
    """Name an agent by its id, as the log does."""
    agent = world.house.agents.get(draft.subject_id) if isinstance(draft.fact, CallInvalid) else None
    return draft if agent is None else msgspec.structs.replace(draft, subject_id=agent.agent_id)


def _sayable(text: str) -> str:
    """Return a text that has a canonical form: half a surrogate pair would hold up every entry behind it."""
    return text.encode("utf-8", "backslashreplace").decode()
