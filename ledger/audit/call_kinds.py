"""Kinds of audit entries about calls, approvals, reviews, and money that moves after a call."""

from ledger.audit.fact import Fact

# ---- calls: design.md section 2. The subject is the call's id. `state` is the state after the entry.


class CallAdmitted(Fact, frozen=True, kw_only=True):
    """A call entered the ledger: denied, waiting, queued, or (a local tool) already settled."""

    kind = "call.admitted"
    subject = "call"
    payload = (
        *("arguments", "records", "op_hash", "fingerprint", "payee", "effect"),
        *("decision", "reason", "result"),
    )
    state: str
    tool: str
    effect_kind: str
    agent_id: str
    project_id: str
    operation: str | None = None
    provider: str | None = None
    provider_account: str | None = None
    mode: str | None = None
    run_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    actual_minor: int | None = None
    policy_hash: str | None = None
    code: str | None = None
    similar_to: str | None = None
    run_by_us: int | None = None
    enforcer_id: str | None = None
    proof_level: str | None = None
    proof_by: str | None = None


class CallApproved(Fact, frozen=True, kw_only=True):
    """Every desk asked was met, and the call waits for its claim."""

    kind = "call.approved"
    subject = "call"
    state: str = "queued"
    run_by_us: int | None = None


class CallDenied(Fact, frozen=True, kw_only=True):
    """A verdict, the posture, LIVE_SPEND or a deny rule of now ended a call before it ran."""

    kind = "call.denied"
    subject = "call"
    payload = ("reason", "decision")
    code: str
    state: str = "denied"


class CallReturned(Fact, frozen=True, kw_only=True):
    """The decision of now asks for more than the verdicts given: back to approval."""

    kind = "call.returned"
    subject = "call"
    payload = ("decision",)
    policy_hash: str
    state: str = "awaiting_approval"


class CallHeld(Fact, frozen=True, kw_only=True):
    """A queued call could not be claimed for now and stays queued; empty when it can again."""

    kind = "call.held"
    subject = "call"
    held_reason: str
    state: str = "queued"


class CallClaimed(Fact, frozen=True, kw_only=True):
    """An attempt may now be sent: the lease is fenced and committed before any byte leaves.

    `state` is `executing`, or `unknown` for a replay of an unknown call (M8).
    """

    kind = "call.claimed"
    subject = "call"
    payload = ("decision",)
    attempt: int
    lease_until_us: int
    policy_hash: str
    provider_account: str | None = None
    mode: str | None = None
    simulator_instance: str | None = None
    state: str = "executing"


class CallRenewed(Fact, frozen=True, kw_only=True):
    """The lease of a running attempt was lengthened."""

    kind = "call.renewed"
    subject = "call"
    attempt: int
    lease_until_us: int


class CallRequeued(Fact, frozen=True, kw_only=True):
    """Every attempt so far is provably unsent, so the call may wait again (M1)."""

    kind = "call.requeued"
    subject = "call"
    payload = ("reason",)
    attempt: int
    state: str = "queued"


class CallUnknown(Fact, frozen=True, kw_only=True):
    """The money may have moved: the lease ended, or the answer was lost. The hold stays."""

    kind = "call.unknown"
    subject = "call"
    payload = ("reason", "evidence")
    attempt: int
    code: str | None = None
    state: str = "unknown"


class CallSettled(Fact, frozen=True, kw_only=True):
    """The outcome is known: `succeeded` posts the actual amount, `failed` voids the hold."""

    kind = "call.settled"
    subject = "call"
    payload = ("result", "evidence", "reason")
    state: str
    proof_level: str
    proof_by: str
    attempt: int | None = None
    actual_minor: int | None = None
    currency: str | None = None
    code: str | None = None


class CallCancelled(Fact, frozen=True, kw_only=True):
    """A call was taken back, or what it rested on changed, before it ran."""

    kind = "call.cancelled"
    subject = "call"
    payload = ("reason",)
    code: str
    replaced_by: str | None = None
    state: str = "cancelled"


class CallExpired(Fact, frozen=True, kw_only=True):
    """Nobody answered, or nothing could run it, in time."""

    kind = "call.expired"
    subject = "call"
    code: str
    state: str = "expired"


class AttemptEnded(Fact, frozen=True, kw_only=True):
    """An attempt ended without settling its call: refused on a replay, found absent too early (M2, M3)."""

    kind = "attempt.ended"
    subject = "call"
    payload = ("evidence", "reason")
    attempt: int
    outcome: str


class CallRead(Fact, frozen=True, kw_only=True):
    """A read tool answered (M36: queued, never waited for)."""

    kind = "call.read"
    subject = "read"
    payload = ("arguments",)
    tool: str
    agent_id: str
    project_id: str
    run_id: str | None = None
    code: str | None = None


class CallInvalid(Fact, frozen=True, kw_only=True):
    """Arguments were refused before they became a call. The subject is the agent."""

    kind = "call.invalid"
    subject = "agent"
    payload = ("problem",)
    tool: str
    code: str


# ---- approvals and reviews


class ApprovalRequested(Fact, frozen=True, kw_only=True):
    """Desks were asked about one op_hash. The subject is the approval request."""

    kind = "approval.requested"
    subject = "approval"
    payload = ("op_hash", "desks", "rules")
    call_id: str
    expires_at_us: int
    state: str = "pending"
    supersedes: str | None = None


class VerdictGiven(Fact, frozen=True, kw_only=True):
    """A person answered for one op_hash. The subject is the approval request."""

    kind = "verdict.given"
    subject = "approval"
    payload = ("op_hash", "comment")
    verdict_id: str
    operator_id: str
    verdict: str
    state: str
    confirmed_by: str | None = None


class VerdictRevoked(Fact, frozen=True, kw_only=True):
    """A person took an answer back before the claim."""

    kind = "verdict.revoked"
    subject = "approval"
    payload = ("comment",)
    verdict_id: str
    operator_id: str
    state: str


class ApprovalClosed(Fact, frozen=True, kw_only=True):
    """A request ended: consumed by its claim, expired, superseded, withdrawn."""

    kind = "approval.closed"
    subject = "approval"
    payload = ("reason",)
    state: str


class ReviewOpened(Fact, frozen=True, kw_only=True):
    """A lead, plan, draft or delivery waits for an owner's judgement."""

    kind = "review.opened"
    subject = "review"
    payload = ("content",)
    review_of: str
    record_id: str
    call_id: str | None = None
    state: str = "waiting"


class ReviewAnswered(Fact, frozen=True, kw_only=True):
    """An owner approved, asked for changes or rejected."""

    kind = "review.answered"
    subject = "review"
    payload = ("comment",)
    operator_id: str
    state: str


# ---- money after the call


class PurchaseOpened(Fact, frozen=True, kw_only=True):
    """An instrument was armed; its reservation is now committed (M19)."""

    kind = "purchase.opened"
    subject = "purchase"
    payload = ("payee", "reference")
    call_id: str
    provider: str
    mode: str
    amount_minor: int
    currency: str
    state: str = "armed"


class PurchaseMoved(Fact, frozen=True, kw_only=True):
    """A purchase went on: authorized, captured, closed_unused, refunded, disputed, returned."""

    kind = "purchase.moved"
    subject = "purchase"
    payload = ("evidence",)
    state: str
    captured_minor: int | None = None
    authorized_minor: int | None = None


class AdjustmentBooked(Fact, frozen=True, kw_only=True):
    """Money moved after its call was terminal: an overrun, a late capture, a refund (M9, M13, M14)."""

    kind = "adjustment.booked"
    subject = "adjustment"
    payload = ("evidence", "reason")
    reason_code: str
    amount_minor: int
    currency: str
    mode: str
    call_id: str | None = None
    purchase_id: str | None = None


class DiscrepancyFound(Fact, frozen=True, kw_only=True):
    """Evidence speaks against a terminal state; no state changes, the provider closes (M9)."""

    kind = "discrepancy.found"
    subject = "discrepancy"
    payload = ("evidence",)
    code: str
    provider: str | None = None
    call_id: str | None = None
    state: str = "open"


class DiscrepancyResolved(Fact, frozen=True, kw_only=True):
    """An owner looked at the evidence and closed it."""

    kind = "discrepancy.resolved"
    subject = "discrepancy"
    payload = ("evidence", "reason")
    operator_id: str
    state: str = "resolved"
