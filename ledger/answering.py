"""People's answers, purely: verdicts, revoking, cancelling, resolving, editing (M27 to M29)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from ledger import approvals, edges
from ledger.approvals import Confirmed
from ledger.audit.call_kinds import CallApproved, VerdictGiven, VerdictRevoked
from ledger.claiming import asker_of
from ledger.commands import Admission, Admitted
from ledger.records import OperatorRecord, Outcome, Proof, ProofBy, ProofLevel, Role
from ledger.rows import ApprovalRow, CallRow, VerdictRow, approval_record, call_record, money
from ledger.settlement import settled_by_us
from ledger.settling import fail, succeed
from ledger.times import SECOND_US, from_us, to_us
from ledger.world import World
from policy.errors import (
    ApprovalExpired,
    CallCancelled,
    CallRefused,
    Declined,
    HumanDenied,
    InvalidArguments,
    PolicyDenied,
    RecordChanged,
    RecordMissing,
    Replaced,
)
from policy.model import Answer

NO_DELAY_DECLARED_S: Final = (
    86_400  # M3: how long a person waits before saying "it failed", where no tool said.
)


NOT_CONFIRMED: Final = Confirmed()
_EDITED: Final = "edited"  # The comment of the approval that an edit gives by itself.


class NotYours(PolicyDenied):
    """This person may not give this answer."""

    code = "not_yours"


class Unconfirmed(CallRefused):
    """A desk wants more with the answer than came: a password, the amount typed, a reason."""

    code = "unconfirmed"
    retry = "with_changes"


class TooEarly(CallRefused):
    """The effect may still arrive: it is too early to say that it failed (M3)."""

    code = "too_early"
    retry = "later"


def need_call(world: World, call_id: str) -> CallRow:
    """Return a loaded call. Raises RecordMissing."""
    row = world.calls.get(call_id)
    if row is None:
        raise RecordMissing(f"there is no call {call_id!r}")
    return row


def need_request(world: World, approval_id: str) -> tuple[ApprovalRow, CallRow]:
    """Return a loaded request and its call. Raises RecordMissing."""
    request = world.approvals.get(approval_id)
    if request is None:
        raise RecordMissing(f"there is no approval request {approval_id!r}")
    return request, need_call(world, request.call_id)


# --- verdicts --------------------------------------------------------------------------------------------


def give(
    world: World,
    approval_id: str,
    person: OperatorRecord,
    op_hash: str,
    verdict: str,
    *,
    comment: str,
    at_us: int,
    confirmed: Confirmed = NOT_CONFIRMED,
) -> None:
    """Count one person's answer for one exact operation; a denial ends it, the last desk met queues it.

    Raises RecordChanged where the form showed another operation or the request is answered already,
    ApprovalExpired, NotYours, Unconfirmed where a desk asks for more than came, through whatever door.
    """
    request, row = need_request(world, approval_id)
    asks = approvals.read_asks(request.asks)
    _check(request, row, op_hash, at_us)
    if not approvals.may_answer(asks, person):
        raise NotYours(
            f"{person.name} sits at none of the desks asked: {', '.join(ask.desk.id for ask in asks)}"
        )
    if verdict == "approve" and not any(
        approvals.counts_at(ask.desk, person, asker_of(world, row)) for ask in asks
    ):
        raise NotYours(f"{person.name} asked for this, and a request is not approved by whoever made it")
    wanted = approvals.wanted(asks, row.kind, money(row.amount_minor, row.currency))
    if lacks := approvals.unconfirmed(wanted, confirmed, verdict, comment):
        raise Unconfirmed(lacks)
    _replace_earlier(world, row, person, at_us)
    given = VerdictRow(
        row.account_id,
        world.new_id("vrd"),
        approval_id,
        row.call_id,
        person.operator_id,
        op_hash,
        verdict,
        comment,
        confirmed.by,
        at_us,
    )
    world.give(given)
    if verdict == "deny":
        request.state = "denied"
    elif verdict == "approve" and not _missing(world, request, row):
        request.state, request.approved_at_us = "approved", at_us
    world.change_approval(request)
    _log_verdict(world, given, request, at_us)
    _follow(world, request, row, comment, person, at_us=at_us)


def _check(request: ApprovalRow, row: CallRow, op_hash: str, at_us: int) -> None:
    if request.op_hash != op_hash or row.op_hash != op_hash:
        raise RecordChanged("this request changed since it was shown; read it again before you answer")
    if request.state != "pending" or row.state != "awaiting_approval":
        raise RecordChanged(f"this request is {request.state} already, its call {row.state}")
    if at_us >= request.expires_at_us:
        raise ApprovalExpired(f"nobody answered by {from_us(request.expires_at_us):%Y-%m-%d %H:%M} UTC")


def _replace_earlier(world: World, row: CallRow, person: OperatorRecord, at_us: int) -> None:
    """Let a person's last answer be the one that counts."""
    for old in world.verdicts[row.call_id]:
        if old.operator == person.operator_id and old.verdict == "approve" and old.revoked_at_us is None:
            old.revoked_at_us = at_us
            world.change_verdict(old)


def _missing(world: World, request: ApprovalRow, row: CallRow) -> tuple[str, ...]:
    people = approvals.approvers(world.verdicts[row.call_id], row.op_hash, world.house.operators)
    return approvals.missing(approvals.read_asks(request.asks), people, asker_of(world, row))


def _log_verdict(world: World, given: VerdictRow, request: ApprovalRow, at_us: int) -> None:
    fact = VerdictGiven(
        verdict_id=given.verdict_id,
        operator=given.operator,
        verdict=given.verdict,
        state=request.state,
        confirmed_by=given.confirmed_by,
    )
    payload: dict[str, object] = {"op_hash": given.op_hash}
    if given.comment:
        payload["comment"] = given.comment
    world.log(fact, request.approval_id, f"operator:{given.operator}", at_us, payload)


def _follow(
    world: World, request: ApprovalRow, row: CallRow, comment: str, person: OperatorRecord, *, at_us: int
) -> None:
    """Take the call where its request went."""
    if request.state == "approved":
        edges.move(world, row, "queued", at_us)
        row.run_by_us = at_us + request.run_within_s * SECOND_US
        world.log(CallApproved(run_by_us=row.run_by_us), row.call_id, f"operator:{person.operator_id}", at_us)
    elif request.state == "denied":
        said = comment or "a person said no"
        actor = f"operator:{person.operator_id}"
        edges.end_unrun(world, row, "denied", code=HumanDenied.code, message=said, actor=actor, at_us=at_us)


def comment_on(world: World, approval_id: str, person: OperatorRecord, comment: str, *, at_us: int) -> None:
    """Ask or say something about a request without a verdict."""
    request, row = need_request(world, approval_id)
    given = VerdictRow(
        row.account_id,
        world.new_id("vrd"),
        approval_id,
        row.call_id,
        person.operator_id,
        row.op_hash,
        "comment",
        comment,
        None,
        at_us,
    )
    world.give(given)
    _log_verdict(world, given, request, at_us)


def revoke(world: World, approval_id: str, person: OperatorRecord, *, comment: str, at_us: int) -> None:
    """Take an approval back before the claim: the call waits again, or ends where it cannot.

    Raises RecordChanged once it was claimed, NotYours where this person gave none.
    """
    request, row = need_request(world, approval_id)
    if row.state not in {"awaiting_approval", "queued"} or row.approval_id != approval_id:
        raise RecordChanged(f"the call is {row.state}: it is too late to take this back")
    mine = [
        verdict
        for verdict in world.verdicts[row.call_id]
        if verdict.operator == person.operator_id
        and verdict.verdict == "approve"
        and verdict.revoked_at_us is None
    ]
    if not mine:
        raise NotYours(f"{person.name} gave no approval that could be taken back")
    for verdict in mine:
        verdict.revoked_at_us = at_us
        world.change_verdict(verdict)
    if request.state == "approved":
        request.state = "revoked"
        world.change_approval(request)
    fact = VerdictRevoked(operator=person.operator_id, state=request.state)
    payload = {"comment": comment} if comment else None
    world.log(fact, approval_id, f"operator:{person.operator_id}", at_us, payload)
    if row.state == "queued":
        _ask_again(world, request, row, at_us)


def _ask_again(world: World, request: ApprovalRow, row: CallRow, at_us: int) -> None:
    """Put a queued call back before its desks, within the time it had from the start (M7)."""
    if at_us >= request.expires_at_us:
        said = "its approval was taken back after the time to ask was over"
        edges.end_unrun(
            world, row, "cancelled", code=CallCancelled.code, message=said, actor=edges.SYSTEM, at_us=at_us
        )
        return
    edges.move(world, row, "awaiting_approval", at_us)
    asks = approvals.read_asks(request.asks)
    expires_in_s, run_within_s = approvals.clocks(asks)
    edges.ask_people(world, row, asks, expires_in_s=expires_in_s, run_within_s=run_within_s, at_us=at_us)


# --- ending a call by hand -------------------------------------------------------------------------------


def cancel(world: World, call_id: str, actor: str, *, message: str, at_us: int) -> CallRow:
    """Take back what has not started. Raises InvalidArguments for a call that has."""
    row = need_call(world, call_id)
    if row.state == "cancelled":
        return row
    if row.state not in {"awaiting_approval", "queued"}:
        raise InvalidArguments(f"the call is {row.state}: only what has not started can be taken back")
    edges.end_unrun(
        world, row, "cancelled", code=CallCancelled.code, message=message, actor=actor, at_us=at_us
    )
    return row


def replace(world: World, old: CallRow, new_call_id: str, actor: str, *, at_us: int) -> None:
    """Cancel a call that an approver edits into another one, which the same transaction admits."""
    if old.state != "awaiting_approval":
        raise RecordChanged(f"the call is {old.state}: it can be edited no more")
    old.replaced_by = new_call_id
    said = "an approver edited it into another call"
    edges.end_unrun(world, old, "cancelled", code=Replaced.code, message=said, actor=actor, at_us=at_us)


def resolve(
    world: World,
    call_id: str,
    person: OperatorRecord,
    outcome: Outcome,
    *,
    evidence: str,
    at_us: int,
    actual_minor: int | None = None,
    settle_after_s: float | None = None,
) -> CallRow:
    """Settle an unknown call by a person's evidence.

    "It failed" waits until nothing can arrive any more (M3).

    Raises InvalidArguments for a call that is not unknown or no evidence, TooEarly.
    """
    row = need_call(world, call_id)
    if not person.active or person.role is Role.VIEWER:
        raise NotYours(f"{person.name} may look, not say what happened: an approver or an owner does")
    if row.state != "unknown":
        raise InvalidArguments(f"the call is {row.state}: only an unknown one can be resolved")
    if not evidence.strip():
        raise InvalidArguments("say what you saw: a resolution without evidence is a guess", field="evidence")
    level = {"live": ProofLevel.LIVE, "test": ProofLevel.TEST}.get(row.mode, ProofLevel.SIMULATED)
    proof = Proof(level, ProofBy.OPERATOR, row.provider)
    actor = f"operator:{person.operator_id}"
    if outcome is Outcome.SUCCEEDED:
        succeed(
            world,
            row,
            actual_minor=actual_minor,
            committed=False,
            proof=proof,
            result=b"",
            actor=actor,
            at_us=at_us,
            evidence=evidence,
        )
        return row
    if outcome is not Outcome.FAILED:
        raise InvalidArguments("a person can say that it succeeded or that it failed", field="outcome")
    safe_us = settled_by_us(world, row, NO_DELAY_DECLARED_S if settle_after_s is None else settle_after_s)
    if at_us < safe_us:
        raise TooEarly(
            f"it may still have happened; call it failed from {from_us(safe_us):%Y-%m-%d %H:%M} UTC on",
            retry_at=from_us(safe_us),
        )
    fail(
        world,
        row,
        code=Declined.code,
        message="a person found that it did not happen",
        retry="new_key",
        proof=proof,
        actor=actor,
        at_us=at_us,
        evidence=evidence,
    )
    return row


def edit(
    world: World,
    old_call_id: str,
    admission: Admission,
    person: OperatorRecord,
    op_hash: str,
    *,
    admit: Callable[[World, Admission], Admitted],
) -> Admitted:
    """Cancel a waiting call, admit its edited form, and count the editor's approval of that (M28).

    The old hold is let go before the new one is taken, in one transaction: it moves.
    """
    old = need_call(world, old_call_id)
    if old.op_hash != op_hash:
        raise RecordChanged("this request changed since it was shown; read it again before you edit it")
    asked = world.approvals.get(old.approval_id or "")
    if asked is None or not approvals.may_answer(approvals.read_asks(asked.asks), person):
        raise NotYours(f"{person.name} sits at none of the desks asked")
    at_us = to_us(admission.at)
    replace(world, old, admission.call_id, f"operator:{person.operator_id}", at_us=at_us)
    edited = msgspec.structs.replace(admission, requested_by=person.operator_id, supersedes=old_call_id)
    admitted = admit(world, edited)
    if admitted.replayed or admitted.decision is None:
        raise InvalidArguments("the edited call is one that exists already; change it, or answer that one")
    if admitted.decision.answer is Answer.DENY:
        raise PolicyDenied(f"the edited call would be denied: {admitted.decision.message}")
    request = admitted.approval
    if request is None:
        return admitted
    new = world.calls[admitted.call.call_id]
    asks = approvals.read_asks(request.asks)
    asker = asker_of(world, new)
    wanted = approvals.wanted(asks, new.kind, money(new.amount_minor, new.currency))
    # What wants more than the editor's word waits for the editor too, on its own card.
    confirmed = not approvals.unconfirmed(wanted, NOT_CONFIRMED, "approve", _EDITED)
    if confirmed and any(approvals.counts_at(ask.desk, person, asker) for ask in asks):
        give(world, request.approval_id, person, new.op_hash, "approve", comment=_EDITED, at_us=at_us)
    return Admitted(
        call=call_record(new),
        decision=admitted.decision,
        approval=approval_record(world.approvals[request.approval_id]),
    )
