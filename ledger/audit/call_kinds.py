"""Kinds of audit entries about calls, approvals, reviews, and money that moves after a call."""

from ledger.audit.fact import Fact

# ---- calls. The subject is the call's id. `state` is the state after the entry.


class CallAdmitted(Fact, frozen=True, kw_only=True):
    """A call entered the ledger: denied, waiting, queued, or (a local tool) already settled."""

    KIND = "call.admitted"
    SUBJECT = "call"
    PAYLOAD = (
        *("arguments", "records", "op_hash", "fingerprint", "payee", "effect"),
        *("decision", "reason", "result"),
    )
    state: str
    tool: str
    kind: str
    agent: str
    project: str
    tool_hash: str | None = None
    operation: str | None = None
    provider: str | None = None
    provider_account: str | None = None
    mode: str | None = None
    run_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    actual_minor: int | None = None
    policy_sha256: str | None = None
    code: str | None = None
    similar_to: str | None = None
    run_by_us: int | None = None
    enforcer_id: str | None = None
    proof_level: str | None = None
    proof_by: str | None = None


class CallApproved(Fact, frozen=True, kw_only=True):
    """Every desk asked was met, and the call waits for its claim."""

    KIND = "call.approved"
    SUBJECT = "call"
    state: str = "queued"
    run_by_us: int | None = None


class CallDenied(Fact, frozen=True, kw_only=True):
    """A verdict, the posture, LIVE_SPEND or a deny rule of now ended a call before it ran."""

    KIND = "call.denied"
    SUBJECT = "call"
    PAYLOAD = ("reason", "decision")
    code: str
    state: str = "denied"


class CallReturned(Fact, frozen=True, kw_only=True):
    """The decision of now asks for more than the verdicts given: back to approval."""

    KIND = "call.returned"
    SUBJECT = "call"
    PAYLOAD = ("decision",)
    policy_sha256: str
    state: str = "awaiting_approval"


class CallHeld(Fact, frozen=True, kw_only=True):
    """A queued call could not be claimed for now and stays queued; empty when it can again."""

    KIND = "call.held"
    SUBJECT = "call"
    held_reason: str
    state: str = "queued"


class CallClaimed(Fact, frozen=True, kw_only=True):
    """An attempt may now be sent: the lease is fenced and committed before any byte leaves.

    `state` is `executing`, or `unknown` for a replay of an unknown call (M8).
    """

    KIND = "call.claimed"
    SUBJECT = "call"
    PAYLOAD = ("decision",)
    attempts: int
    lease_token: int
    lease_until_us: int
    purpose: str
    policy_sha256: str
    provider_account: str | None = None
    mode: str | None = None
    instance: str | None = None
    state: str = "executing"


class CallRequeued(Fact, frozen=True, kw_only=True):
    """Every attempt so far is provably unsent, so the call may wait again (M1). `unsent` is the last."""

    KIND = "call.requeued"
    SUBJECT = "call"
    PAYLOAD = ("reason",)
    attempts: int
    unsent: int | None = None
    state: str = "queued"


class CallUnknown(Fact, frozen=True, kw_only=True):
    """The money may have moved: the lease ended, or the answer was lost. The hold stays."""

    KIND = "call.unknown"
    SUBJECT = "call"
    PAYLOAD = ("reason", "evidence")
    attempts: int
    unsent: int | None = None
    code: str | None = None
    state: str = "unknown"


class CallSettled(Fact, frozen=True, kw_only=True):
    """The outcome is known: `succeeded` posts the actual amount, `failed` voids the hold."""

    KIND = "call.settled"
    SUBJECT = "call"
    PAYLOAD = ("result", "evidence", "reason")
    state: str
    proof_level: str
    proof_by: str
    attempts: int | None = None
    unsent: int | None = None
    actual_minor: int | None = None
    currency: str | None = None
    code: str | None = None


class CallCancelled(Fact, frozen=True, kw_only=True):
    """A call was taken back, or what it rested on changed, before it ran."""

    KIND = "call.cancelled"
    SUBJECT = "call"
    PAYLOAD = ("reason",)
    code: str
    replaced_by: str | None = None
    state: str = "cancelled"


class CallExpired(Fact, frozen=True, kw_only=True):
    """Nobody answered, or nothing could run it, in time."""

    KIND = "call.expired"
    SUBJECT = "call"
    code: str
    state: str = "expired"


class AttemptEnded(Fact, frozen=True, kw_only=True):
    """An attempt ended without settling its call: refused on a replay, found absent too early (M2, M3).

    Here and below `unsent` is the number of an attempt that provably never left.
    """

    KIND = "attempt.ended"
    SUBJECT = "call"
    PAYLOAD = ("evidence", "reason")
    attempts: int
    unsent: int | None = None
    outcome: str


class CallRead(Fact, frozen=True, kw_only=True):
    """A read tool answered (M36: queued, never waited for)."""

    KIND = "call.read"
    SUBJECT = "read"
    PAYLOAD = ("arguments",)
    tool: str
    agent: str
    project: str
    run_id: str | None = None
    code: str | None = None


class CallInvalid(Fact, frozen=True, kw_only=True):
    """Arguments were refused before they became a call. The subject is the agent."""

    KIND = "call.invalid"
    SUBJECT = "agent"
    PAYLOAD = ("problem",)
    tool: str
    code: str


# ---- approvals and reviews


class ApprovalRequested(Fact, frozen=True, kw_only=True):
    """Desks were asked about one op_hash. The subject is the approval request."""

    KIND = "approval.requested"
    SUBJECT = "approval"
    PAYLOAD = ("op_hash", "desks", "rules")
    call_id: str
    expires_at_us: int
    state: str = "pending"
    supersedes: str | None = None


class VerdictGiven(Fact, frozen=True, kw_only=True):
    """A person answered for one op_hash. The subject is the approval request."""

    KIND = "verdict.given"
    SUBJECT = "approval"
    PAYLOAD = ("op_hash", "comment")
    verdict_id: str
    operator: str
    verdict: str
    state: str
    confirmed_by: str | None = None


class VerdictRevoked(Fact, frozen=True, kw_only=True):
    """A person took an answer back before the claim."""

    KIND = "verdict.revoked"
    SUBJECT = "approval"
    PAYLOAD = ("comment",)
    operator: str
    state: str


class ApprovalClosed(Fact, frozen=True, kw_only=True):
    """A request ended: consumed by its claim, expired, superseded, withdrawn."""

    KIND = "approval.closed"
    SUBJECT = "approval"
    PAYLOAD = ("reason",)
    state: str


class ReviewOpened(Fact, frozen=True, kw_only=True):
    """A lead, plan, draft or delivery waits for an owner's judgement."""

    KIND = "review.opened"
    SUBJECT = "review"
    PAYLOAD = ("content",)
    kind: str
    subject_type: str
    subject_id: str
    run_id: str | None = None
    call_id: str | None = None
    state: str = "waiting"


class ReviewAnswered(Fact, frozen=True, kw_only=True):
    """An owner approved, asked for changes or rejected."""

    KIND = "review.answered"
    SUBJECT = "review"
    PAYLOAD = ("comment",)
    operator: str
    state: str


# ---- money after the call


class PurchaseOpened(Fact, frozen=True, kw_only=True):
    """An instrument was armed; its reservation is now committed (M19)."""

    KIND = "purchase.opened"
    SUBJECT = "purchase"
    PAYLOAD = ("payee", "reference")
    call_id: str
    provider: str
    mode: str
    amount_minor: int
    currency: str
    state: str = "armed"


class PurchaseMoved(Fact, frozen=True, kw_only=True):
    """A purchase went on: authorized, captured, closed_unused, refunded, disputed, returned."""

    KIND = "purchase.moved"
    SUBJECT = "purchase"
    PAYLOAD = ("evidence",)
    state: str
    captured_minor: int | None = None
    authorized_minor: int | None = None


class AdjustmentBooked(Fact, frozen=True, kw_only=True):
    """Money moved after its call was terminal: an overrun, a late capture, a refund (M9, M13, M14)."""

    KIND = "adjustment.booked"
    SUBJECT = "adjustment"
    PAYLOAD = ("evidence", "reason")
    reason_code: str
    amount_minor: int
    currency: str
    mode: str
    call_id: str | None = None
    purchase_id: str | None = None


class DiscrepancyFound(Fact, frozen=True, kw_only=True):
    """Evidence speaks against a terminal state; no state changes, the provider closes (M9)."""

    KIND = "discrepancy.found"
    SUBJECT = "discrepancy"
    PAYLOAD = ("evidence",)
    code: str
    provider: str | None = None
    call_id: str | None = None
    state: str = "open"


class DiscrepancyResolved(Fact, frozen=True, kw_only=True):
    """An owner looked at the evidence and closed it."""

    KIND = "discrepancy.resolved"
    SUBJECT = "discrepancy"
    PAYLOAD = ("evidence", "reason")
    operator: str
    state: str = "resolved"
