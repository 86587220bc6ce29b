"""The ledger as the gate, the dispatcher and the core tools ask it: the same facts in the words of this room.

Nothing is decided here. What many calls ask again and again (the standing run) is remembered for seconds,
and what nobody waits for (who was seen) is gathered and written together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, ProcessFacts, Settled, Settlement
from ledger.ledger import Ledger
from ledger.records import (
    ApprovalRecord,
    CallRecord,
    Query,
    Reader,
    RecordRef,
    RunRecord,
)
from policy.errors import RecordMissing
from policy.model import Call, Decision, Posture

STANDING_FOR: Final = timedelta(
    seconds=5
)  # A standing run changes at midnight; the ledger refuses yesterday's.


class Books:
    """One ledger, in this room's words."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self.ledger = ledger
        self._now = now
        self._standing: dict[str, tuple[RunRecord, datetime]] = {}
        self._seen: dict[str, datetime] = {}

    # --- the three hot commands -----------------------------------------------------------------------------

    async def admit(self, command: Admission) -> Admitted:
        """Decide and admit one call (step 2)."""
        return await self.ledger.admit(command)

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Fence the right to execute (step 4)."""
        return await self.ledger.claim(command)

    async def admit_and_claim(
        self, admission: Admission, claim: Claim
    ) -> tuple[Admitted, Claimed | NotClaimed | None]:
        """Take steps 2 and 4 of a call that may run at once."""
        return await self.ledger.admit_and_claim(admission, claim)

    async def settle(self, command: Settlement) -> Settled:
        """Record how an attempt ended (step 6)."""
        return await self.ledger.settle(command)

    async def preview(self, call: Call, process: ProcessFacts, at: datetime) -> Decision:
        """Say what the policy would decide."""
        return await self.ledger.preview(call, process, at)

    # --- reading --------------------------------------------------------------------------------------------

    async def find_call(self, call_id: str) -> CallRecord | None:
        """Return a call of the account, or None."""
        try:
            return await self.ledger.call(call_id)
        except RecordMissing:
            return None

    async def find_approval(self, approval_id: str) -> ApprovalRecord | None:
        """Return a request, or None."""
        try:
            return await self.ledger.approval(approval_id)
        except RecordMissing:
            return None

    async def stored(self, agent: str, tool: str, key: str, fingerprint: str) -> CallRecord | None:
        """Return the call that a key and the same intention already made, or None (M24)."""
        return await self.ledger.stored(agent, tool, key, fingerprint)

    async def read(self, queries: tuple[Query, ...], reader: Reader) -> tuple[RecordRef, ...]:
        """Answer queries for one reader. Raises RecordMissing."""
        return await self.ledger.read(queries, reader)

    async def run(self, run_id: str) -> RunRecord | None:
        """Return a run of the account, or None."""
        try:
            return await self.ledger.run(run_id)
        except RecordMissing:
            return None

    async def standing_run(self, project: str, *, afresh: bool = False) -> RunRecord:
        """Return the project's standing run, as it was at most five seconds ago."""
        now = self._now()
        known = self._standing.get(project)
        if known is not None and not afresh and timedelta() <= now - known[1] < STANDING_FOR:
            return known[0]
        run = await self.ledger.standing_run(project, now)
        self._standing[project] = (run, now)
        return run

    # --- for the core tools ---------------------------------------------------------------------------------

    async def cancel(self, call_id: str, by: str, at: datetime) -> CallRecord:
        """Take back an agent's own call that has not started."""
        return await self.ledger.cancel(call_id, by=f"agent:{by}", at=at)

    async def posture_of(self, project: str, agent: str) -> Posture:
        """Return the strictest posture over an agent."""
        mine = {("account", self.ledger.account_id), ("project", project), ("agent", agent)}
        set_ = await self.ledger.postures()
        found = [each.posture for each in set_ if (each.scope, each.scope_key) in mine]
        return max(found, key=list(Posture).index, default=Posture.NORMAL)

    async def open_runs(self, project: str) -> Sequence[RunRecord]:
        """Return the open runs of a project."""
        return (await self.ledger.runs(project=project, state="open")).items

    # --- what nobody waits for ------------------------------------------------------------------------------

    def touch(self, agent: str, at: datetime) -> None:
        """Note that an agent was seen; `write_seen` writes it."""
        self._seen[agent] = at

    async def write_seen(self) -> None:
        """Write down who was seen since the last time."""
        seen, self._seen = self._seen, {}
        if seen:
            await self.ledger.seen(seen)

    async def note_read(self, call: Call, at: datetime, args: bytes, code: str) -> None:
        """Queue the audit entry of a read (M36)."""
        await self.ledger.note_read(call, at, args, code)

    async def note_invalid(self, agent: str, tool: str, code: str, message: str, at: datetime) -> None:
        """Queue the audit entry of arguments that never became a call."""
        await self.ledger.note_invalid(agent, tool, code, message, at)

    # --- what comes round -----------------------------------------------------------------------------------

    async def runnable(self, limit: int) -> tuple[str, ...]:
        """Return queued calls, oldest first."""
        return await self.ledger.runnable(limit)

    async def unknowns(self, limit: int) -> tuple[str, ...]:
        """Return unknown calls, oldest first."""
        return await self.ledger.unknowns(limit)

    async def wait_changes(self, since: int, timeout_s: float) -> int:
        """Wait until the log is longer than `since`, and return its length."""
        return await self.ledger.wait_changes(since, timeout_s)

    async def sweep(self, at: datetime) -> Mapping[str, int]:
        """Let the clocks speak."""
        swept = await self.ledger.sweep(at)
        return {name: getattr(swept, name) for name in swept.__struct_fields__}

    async def heartbeat(self, process_id: str, *, live_spend: bool, at: datetime) -> None:
        """Say that this process lives (M6)."""
        active = await self.ledger.active()
        await self.ledger.heartbeat(
            process_id, live_spend=live_spend, policy_sha256=active[0] if active else None, at=at
        )
