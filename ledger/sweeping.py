"""What time alone brings, purely: expiries, leases that ended, unknowns nobody looked at."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ledger import edges
from ledger.rows import ENCODER, CallRow
from ledger.settlement import make_unknown
from ledger.times import SECOND_US
from ledger.world import World
from policy.errors import ApprovalExpired, RunByPassed

ALERT_AGAIN_US: Final = 86_400 * SECOND_US  # M7: an unknown is said again every day.


class Swept(Struct):
    """How many of each a sweep found."""

    requests_expired: int = 0
    calls_expired: int = 0
    leases_ended: int = 0
    alerts: int = 0
    runs_turned: int = 0
    processes_lost: int = 0

    @property
    def total(self) -> int:
        """Everything together; 0 means nothing was written."""
        return sum(int(getattr(self, name)) for name in self.__struct_fields__)


def sweep_call(world: World, row: CallRow, at_us: int, swept: Swept) -> None:
    """Take one open call where time has brought it."""
    if row.state == "awaiting_approval":
        request = world.approvals.get(row.approval_id or "")
        if request is not None and at_us >= request.expires_at_us:
            _expire(world, row, ApprovalExpired.code, "nobody answered in time", at_us)
            swept.requests_expired += 1
    elif row.state == "queued":
        if row.run_by_us is not None and at_us >= row.run_by_us:
            _expire(world, row, RunByPassed.code, "it could not run before its time was over", at_us)
            swept.calls_expired += 1
    elif row.state == "executing":
        if row.lease_until_us is not None and at_us >= row.lease_until_us:
            _end_attempts(world, row, at_us)
            make_unknown(world, row, "lease_ended", "its process went silent while it ran", at_us)
            swept.leases_ended += 1
    elif row.alert_at_us is not None and at_us >= row.alert_at_us:
        row.alert_at_us = at_us + ALERT_AGAIN_US
        world.change(row)
        world.tell("call.unknown", ENCODER.encode({"call_id": row.call_id, "code": row.code}), at_us)
        swept.alerts += 1


def _expire(world: World, row: CallRow, code: str, message: str, at_us: int) -> None:
    edges.end_unrun(world, row, "expired", code=code, message=message, actor=edges.SYSTEM, at_us=at_us)


def _end_attempts(world: World, row: CallRow, at_us: int) -> None:
    for attempt in world.attempts[row.call_id].values():
        if attempt.ended_at_us is None:
            attempt.ended_at_us, attempt.outcome, attempt.detail = at_us, "unknown", "lease ended"
            world.change_attempt(attempt)
