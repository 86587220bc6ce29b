"""The edges of a call, each with its audit entry: nothing else writes a call's state. Pure.

Illegal edges raise `IllegalEdge` here and are refused once more by a trigger of the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger import twins
from ledger.audit.call_kinds import ApprovalClosed, ApprovalRequested, CallCancelled, CallDenied, CallExpired
from ledger.audit.fact import Fact
from ledger.caps import release
from ledger.guards import EDGES
from ledger.rows import ENCODER, ApprovalRow, CallRow
from ledger.times import SECOND_US
from ledger.world import World
from policy.errors import refusal
from policy.model import Ask

SYSTEM: Final = "system:ledger"


class IllegalEdge(AssertionError):  # noqa: N818 -- it says what was met
    """A planner asked for an edge that does not exist; nothing was written."""


def move(world: World, row: CallRow, state: str, at_us: int) -> None:
    """Take a call along one edge; the caller writes the audit entry that speaks of it."""
    if state not in EDGES.get(row.state, ()):
        raise IllegalEdge(f"a call that is {row.state} cannot become {state}")
    was, row.state = row.state, state
    if state in twins.OPEN:
        row.held_reason = None
    else:
        row.settled_at_us = at_us
        row.lease_until_us = None
    if was == "awaiting_approval":
        world.waiting[row.agent].pop(row.call_id, None)
    twins.mark(row, at_us)
    world.change(row)


def end_unrun(
    world: World,
    row: CallRow,
    state: str,
    *,
    code: str,
    message: str,
    actor: str,
    at_us: int,
    decided: bool = False,
) -> None:
    """End a call that never ran: denied, cancelled or expired; its holds are let go and its request closes.

    `decided` where `row.decision` is the decision that ended it.
    """
    release(world, row)
    move(world, row, state, at_us)
    row.code, row.message, row.retry = code, message, refusal(code).retry
    close_request(world, row, {"denied": "superseded", "expired": "expired"}.get(state, "withdrawn"), at_us)
    payload: dict[str, object] = {"reason": message} if message and state != "expired" else {}
    if decided:
        payload["decision"] = row.decision.decode()
    world.log(_ended(state, code, row.replaced_by), row.call_id, actor, at_us, payload or None)


def _ended(state: str, code: str, replaced_by: str | None) -> Fact:
    if state == "denied":
        return CallDenied(code=code)
    if state == "cancelled":
        return CallCancelled(code=code, replaced_by=replaced_by)
    return CallExpired(code=code)


def close_request(world: World, row: CallRow, state: str, at_us: int) -> None:
    """Close a call's request where it still waits or stands approved."""
    request = world.approvals.get(row.approval_id or "")
    if request is None or request.state not in {"pending", "approved"}:
        return
    request.state = state
    world.change_approval(request)
    world.log(ApprovalClosed(state=state), request.approval_id, SYSTEM, at_us)


def ask_people(
    world: World, row: CallRow, asks: tuple[Ask, ...], *, expires_in_s: int, run_within_s: int, at_us: int
) -> ApprovalRow:
    """Open a request for one call, superseding the one it had.

    `expires_in` counts from the call's admission, so asking again never lengthens a hold (M7).
    """
    old = row.approval_id
    request = ApprovalRow(
        row.account_id,
        world.new_id("apr"),
        row.call_id,
        row.op_hash,
        "pending",
        ENCODER.encode(asks),
        at_us,
        row.admitted_at_us + expires_in_s * SECOND_US,
        run_within_s,
        supersedes=old,
    )
    if old is not None:
        close_request(world, row, "superseded", at_us)
    world.ask(request)
    row.approval_id = request.approval_id
    row.run_by_us = None
    # M17, for later commands of the same batch; a claim or a revoked verdict brings a call back here, too.
    held = world.reservations[row.call_id].values()
    world.waiting[row.agent][row.call_id] = {each.meter: each.amount for each in held if each.state == "held"}
    desks: Mapping[str, object] = {
        "op_hash": row.op_hash,
        "desks": [ask.desk.id for ask in asks],
        "rules": [rule for ask in asks for rule in ask.rules],
    }
    fact = ApprovalRequested(call_id=row.call_id, expires_at_us=request.expires_at_us, supersedes=old)
    world.log(fact, request.approval_id, SYSTEM, at_us, desks)
    told = ENCODER.encode({"approval_id": request.approval_id, "call_id": row.call_id})
    world.tell("approval.requested", told, at_us)
    return request
