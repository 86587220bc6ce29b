"""A stored call as the answer its agent gets: state to status, reasons, proof, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import structs

from ledger.records import ApprovalRecord, CallRecord, CallState
from ledger.records_revenue import Purchase
from policy.errors import OutcomeUnknown, refusal
from policy.model import CapLine, Decision, Kind
from policy.money import Money, dec_hook
from tool_server.envelope import (
    ApprovalShown,
    CallResult,
    CapShown,
    DecisionShown,
    Envelope,
    Problem,
    ProofShown,
    RuleShown,
    Status,
    answered,
)

STATUS: Final[Mapping[CallState, Status]] = {
    CallState.DENIED: "denied",
    CallState.AWAITING_APPROVAL: "pending_approval",
    CallState.QUEUED: "in_progress",
    CallState.EXECUTING: "in_progress",
    CallState.SUCCEEDED: "succeeded",
    CallState.FAILED: "not_executed",
    CallState.UNKNOWN: "outcome_unknown",
    CallState.CANCELLED: "cancelled",
    CallState.EXPIRED: "expired",
}
FIRST_HINT_S: Final = 15
LAST_HINT_S: Final = 300
_GROWS_EVERY_S: Final = 60  # The hint grows with the age of the question: people who slept on it sleep on.

_DECISION: Final = msgspec.json.Decoder(Decision, dec_hook=dec_hook)


def shown(
    call: CallRecord,
    *,
    now: datetime,
    public_url: str,
    approval: ApprovalRecord | None = None,
    replayed: bool = False,
) -> CallResult:
    """Render a call as it stands now; `approval` is its open request, where there is one."""
    status = STATUS[call.state]
    envelope = Envelope(
        status=status,
        call_id=call.call_id,
        replayed=replayed,
        similar_to=call.similar_to,
        replaced_by=call.replaced_by,
        proof=_proof(call),
        data=_data(call),
        approval=_approval(call, approval, now=now, public_url=public_url),
        problem=_problem(call, status),
        decision=decision_shown(decoded(call.decision)) if status in {"denied", "pending_approval"} else None,
    )
    return answered(envelope, lead=_lead(call, envelope))


def with_purchase(call: CallRecord, purchase: Purchase) -> CallRecord:
    """Return a call whose result says where its purchase stands now, not how it was armed (M19)."""
    data = dict(_data(call) or {})
    before = data.get("purchase")
    if not isinstance(before, dict) or before.get("state") == purchase.state.value:
        return call
    data["purchase"] = {**before, "state": purchase.state.value, "posted": str(purchase.posted)}
    data["say"] = f"the purchase is {purchase.state.value.replace('_', ' ')}, {purchase.posted} posted"
    return structs.replace(call, result=msgspec.json.encode(data))


def decision_shown(decision: Decision | None) -> DecisionShown | None:
    """Return a decision's rules and caps for an agent; None where there is nothing to show."""
    if decision is None:
        return None
    rules = tuple(RuleShown(line.id, str(line.at)) for line in decision.rules)
    caps = tuple(CapShown(line.id, left_of(line)) for line in decision.caps)
    return DecisionShown(rules=rules, caps=caps) if rules or caps else None


def left_of(cap: CapLine) -> str:
    """Return what is left under a cap in its own notation."""
    return f"{cap.left} calls" if cap.unit == "calls" else str(Money(cap.left, cap.unit))


def decoded(decision: bytes) -> Decision | None:
    """Return a stored decision, or None where none is stored."""
    return _DECISION.decode(decision) if decision else None


def hint_s(asked_at: datetime, now: datetime, *, human_only: bool) -> int:
    """Return when to look again: 15 s at first, up to 300 s; human-only questions begin where others end."""
    if human_only:
        return LAST_HINT_S
    age_s = max(0, int((now - asked_at).total_seconds()))
    return min(LAST_HINT_S, FIRST_HINT_S * (1 + age_s // _GROWS_EVERY_S))


def _approval(
    call: CallRecord, approval: ApprovalRecord | None, *, now: datetime, public_url: str
) -> ApprovalShown | None:
    if call.state is not CallState.AWAITING_APPROVAL or approval is None:
        return None
    return ApprovalShown(
        approval_id=approval.approval_id,
        url=f"{public_url}/approvals/{approval.approval_id}",
        expires_at=approval.expires_at,
        retry_after_seconds=hint_s(approval.created_at, now, human_only=call.kind is Kind.HUMAN_ONLY),
    )


def _problem(call: CallRecord, status: Status) -> Problem | None:
    if status in {"succeeded", "pending_approval"} or (status == "in_progress" and not call.held_reason):
        return None
    if status == "in_progress":
        return Problem(code="held", message=call.held_reason or "", retry="later")
    if status == "outcome_unknown":
        message = call.message or "the provider's answer was lost; it is being reconciled"
        return Problem(code=call.code or OutcomeUnknown.code, message=message, retry="same_key")
    return Problem(
        code=call.code or status,
        message=call.message or meaning(call.code),
        ran=False,
        retry=call.retry,
        retry_at=call.retry_at,
    )


def meaning(code: str) -> str:
    """Return the sentence that stands for a code."""
    try:
        return (refusal(code).__doc__ or "").splitlines()[0]
    except KeyError:
        return "it was not done"


def _proof(call: CallRecord) -> ProofShown | None:
    proof = call.proof
    return ProofShown(proof.level.value, proof.by.value, proof.provider) if proof else None


def _data(call: CallRecord) -> Mapping[str, Any] | None:
    if not call.result:
        return None
    data = msgspec.json.decode(call.result)
    return data if isinstance(data, dict) and data else None


def _lead(call: CallRecord, envelope: Envelope) -> str:
    """Return a first line of its own where the plain status would mislead."""
    purchase = envelope.data.get("purchase") if envelope.data else None
    if call.state is CallState.SUCCEEDED and isinstance(purchase, dict) and purchase.get("state") == "armed":
        return f"Card ready, nothing bought yet [{call.call_id}]"
    if call.state is CallState.AWAITING_APPROVAL and call.kind is Kind.HUMAN_ONLY:
        return (
            f"PENDING APPROVAL, nothing has run [{call.call_id}]. A person decides this one, which may take "
            "days. Do not call again; use call_status"
        )
    return ""
