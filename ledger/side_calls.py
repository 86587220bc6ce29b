"""The call side of the facade: people's answers, cancelling, resolving, sweeps, the dispatcher's work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Select, and_, literal_column, or_, select

from ledger import answering, house, house_policy, sweeping
from ledger import statements as sql
from ledger.admission import plan_admission
from ledger.approvals import Confirmed
from ledger.commands import Admission, Admitted
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.guards import EDGES
from ledger.load import Wanted, load_batch, load_calls, load_usage, want_held
from ledger.people import need_operator
from ledger.records import ApprovalRecord, CallRecord, OperatorRecord, Outcome
from ledger.rows import ApprovalRow, CallRow, approval_record, call_record
from ledger.schema import approvals, tool_calls
from ledger.sweeping import Swept
from ledger.times import to_us
from ledger.world import World
from policy.errors import RecordMissing

T = TypeVar("T")

SWEPT_AT_ONCE = 200  # So that a sweep after a long pause lets agents' commands through in between.


class CallSide:
    """What happens to calls beside admission, claim and settlement."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def _on_call(self, name: str, call_id: str, work: Callable[[Tx, World], T]) -> T:
        """Run a planner on one call with all that belongs to it."""

        def run(tx: Tx, world: World) -> T:
            load_whole(tx, world, [call_id])
            return work(tx, world)

        return await self._core.rare(name, run)

    async def _on_request(self, name: str, approval_id: str, work: Callable[[World], T]) -> T:
        """Run a planner on one request, its call and all that belongs to it."""

        def run(tx: Tx, world: World) -> T:
            load_whole(tx, world, [call_of_request(tx, world, approval_id)])
            load_request(tx, world, approval_id)
            return work(world)

        return await self._core.rare(name, run)

    # --- approvals ---------------------------------------------------------------------------------------

    async def answer(
        self,
        approval_id: str,
        operator: str,
        op_hash: str,
        verdict: str,
        *,
        comment: str = "",
        at: datetime,
        confirmed_by: str | None = None,
        typed_amount: str = "",
    ) -> tuple[ApprovalRecord, CallRecord]:
        """Give one person's verdict, "approve" or "deny", for exactly the operation that was shown (M27).

        `confirmed_by` says how the person proved who they are with it, `typed_amount` is what they typed.
        Raises RecordChanged, ApprovalExpired, NotYours, Unconfirmed, RecordMissing.
        """

        def work(world: World) -> tuple[ApprovalRecord, CallRecord]:
            person = need_operator(world, operator)
            answering.give(
                world,
                approval_id,
                person,
                op_hash,
                verdict,
                comment=comment,
                at_us=to_us(at),
                confirmed=Confirmed(by=confirmed_by, typed_amount=typed_amount),
            )
            return _both(world, approval_id)

        return await self._on_request("answer", approval_id, work)

    async def ask_comment(
        self, approval_id: str, operator: str, comment: str, *, at: datetime
    ) -> ApprovalRecord:
        """Ask something about a request without a verdict."""

        def work(world: World) -> ApprovalRecord:
            person = need_operator(world, operator)
            answering.comment_on(world, approval_id, person, comment, at_us=to_us(at))
            return approval_record(world.approvals[approval_id])

        return await self._on_request("ask_comment", approval_id, work)

    async def revoke(
        self, approval_id: str, operator: str, *, at: datetime, comment: str = ""
    ) -> tuple[ApprovalRecord, CallRecord]:
        """Take an approval back before the claim. Raises RecordChanged, NotYours."""

        def work(world: World) -> tuple[ApprovalRecord, CallRecord]:
            person = need_operator(world, operator)
            answering.revoke(world, approval_id, person, comment=comment, at_us=to_us(at))
            return _both(world, approval_id)

        return await self._on_request("revoke", approval_id, work)

    # --- by hand -----------------------------------------------------------------------------------------

    async def cancel(self, call_id: str, *, by: str, at: datetime, message: str = "") -> CallRecord:
        """Take back what has not started; `by` is `agent:NAME` or `operator:ID`. Raises InvalidArguments."""

        def work(_tx: Tx, world: World) -> CallRecord:
            said = message or "it was taken back before it ran"
            return call_record(answering.cancel(world, call_id, by, message=said, at_us=to_us(at)))

        return await self._on_call("cancel", call_id, work)

    async def resolve(
        self,
        call_id: str,
        operator: str,
        outcome: Outcome,
        *,
        evidence: str,
        at: datetime,
        actual_minor: int | None = None,
        settle_after_s: float | None = None,
    ) -> CallRecord:
        """Settle an unknown call by a person's evidence. Raises InvalidArguments, TooEarly."""

        def work(_tx: Tx, world: World) -> CallRecord:
            person: OperatorRecord = need_operator(world, operator)
            row = answering.resolve(
                world,
                call_id,
                person,
                outcome,
                evidence=evidence,
                at_us=to_us(at),
                actual_minor=actual_minor,
                settle_after_s=settle_after_s,
            )
            return call_record(row)

        return await self._on_call("resolve", call_id, work)

    async def edit_and_approve(
        self, old_call_id: str, admission: Admission, operator: str, op_hash: str
    ) -> Admitted:
        """Cancel a waiting call and admit its edited twin, approved by the editor, in one transaction (M28).

        The requester is then the agent and the editor, so the editor's approval alone suffices only where a
        desk says `allow_self: true`. `op_hash` is the old call's, as it was shown.
        """
        sources = self._core.machine.sources

        def work(tx: Tx, world: World) -> Admitted:
            load_whole(tx, world, [old_call_id])
            load_batch(tx, world, [admission], sources)
            person = need_operator(world, operator)
            return answering.edit(world, old_call_id, admission, person, op_hash, admit=plan_admission)

        return await self._core.rare("edit_and_approve", work)

    # --- time --------------------------------------------------------------------------------------------

    async def sweep(self, at: datetime) -> Swept:
        """Expire what nobody answered or could run, end leases, alert about unknowns, turn standing runs."""
        swept = Swept()
        at_us = to_us(at)
        before = -1
        while before < swept.total:  # A sweep that moved nothing would find the same calls again.
            before = swept.total
            due = await self._core.read(lambda tx: _due(tx, self._core.account_id, at_us))
            if not due:
                break

            def work(tx: Tx, world: World, due: list[str] = due) -> None:
                load_whole(tx, world, due)
                for call_id in due:
                    sweeping.sweep_call(world, world.calls[call_id], at_us, swept)

            await self._core.rare("sweep", work)
            if len(due) < SWEPT_AT_ONCE:
                break
        stale = await self._core.read_world(lambda tx, world: house.due_standing_runs(tx, world, at))
        for project in stale:

            def turn(tx: Tx, world: World, project: str = project) -> None:
                house.standing_run(tx, world, project, at)

            await self._core.rare("standing_run", turn)
            swept.runs_turned += 1
        lost = await self._core.read(lambda tx: house_policy.silent(tx, self._core.account_id, at))
        if lost:
            await self._core.rare("bury", lambda tx, world: house_policy.bury(tx, world, lost, at))
            swept.processes_lost = len(lost)
        return swept

    # --- work --------------------------------------------------------------------------------------------

    async def runnable(self, limit: int = 100) -> tuple[str, ...]:
        """Return queued calls, oldest first, without those that are an enforcer's to claim."""
        return await self._open("queued", limit)

    async def unknowns(self, limit: int = 100) -> tuple[str, ...]:
        """Return unknown calls to reconcile, oldest first."""
        return await self._open("unknown", limit)

    async def _open(self, state: str, limit: int) -> tuple[str, ...]:
        asked = {"account": self._core.account_id, "state": state, "most": limit, "skipped": 0}
        return await self._core.readers.glance(lambda tx: tuple(row[0] for row in tx.rows(sql.OURS, **asked)))

    async def wait_changes(self, since: int, timeout_s: float | None = None) -> int:
        """Wait until something happens after `since` (a length of the log) and return the new length."""
        return await self._core.wait_changes(since, timeout_s)

    async def log_size(self) -> int:
        """Return how long the log is: what to hand to the first `wait_changes`."""
        return await self._core.log_size()


def _both(world: World, approval_id: str) -> tuple[ApprovalRecord, CallRecord]:
    request = world.approvals[approval_id]
    return approval_record(request), call_record(world.calls[request.call_id])


def load_whole(tx: Tx, world: World, call_ids: list[str]) -> list[CallRow]:
    """Load calls with everything that ending them touches."""
    rows = load_calls(tx, world, call_ids, deep=True)
    want = Wanted()
    want_held(world, want, [row.call_id for row in rows])
    load_usage(tx, world, want)
    return rows


def call_of_request(tx: Tx, world: World, approval_id: str) -> str:
    """Return the call a request is about. Raises RecordMissing."""
    asked = select(approvals.c.call_id).where(
        approvals.c.account_id == world.account_id, approvals.c.approval_id == approval_id
    )
    row = tx.connection.execute(asked).first()
    if row is None:
        raise RecordMissing(f"there is no approval request {approval_id!r}")
    return str(row[0])


def load_request(tx: Tx, world: World, approval_id: str) -> None:
    """Load a request that may not be its call's latest."""
    if approval_id not in world.approvals:
        asked = select(approvals).where(
            approvals.c.account_id == world.account_id, approvals.c.approval_id == approval_id
        )
        for row in tx.connection.execute(asked):
            world.approvals[approval_id] = ApprovalRow(*row)


def _due(tx: Tx, account: str, at_us: int) -> list[str]:
    return [row[0] for row in tx.connection.execute(due_calls(account, at_us))]


def due_calls(account: str, at_us: int) -> Select[str]:
    """Select open calls that time has caught up with."""
    c = tool_calls.c
    waits = approvals.c.expires_at_us <= at_us
    return (
        select(c.call_id)
        .select_from(
            tool_calls.outerjoin(
                approvals,
                and_(approvals.c.account_id == c.account_id, approvals.c.approval_id == c.approval_id),
            )
        )
        .where(
            c.account_id == account,
            c.settled_at_us.is_(None),
            c.state.in_(EDGES),  # Said again, so that the index of open calls is the one that fits best.
            or_(
                and_(c.state == "awaiting_approval", waits),
                and_(c.state == "queued", c.run_by_us <= at_us),
                and_(c.state == "executing", c.lease_until_us <= at_us),
                and_(c.state == "unknown", c.alert_at_us <= at_us),
            ),
        )
        .order_by(c.ordinal + literal_column("0"))  # Else SQLite walks through all calls to spare the sort.
        .limit(SWEPT_AT_ONCE)
    )
