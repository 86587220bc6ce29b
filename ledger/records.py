"""What the ledger remembers, as frozen records; what a plugin may ask to be changed, and to read.

No behaviour lives here: `ledger.ledger.Ledger` is the only way in. Instants are aware UTC, amounts `Money`,
ids opaque strings with a prefix (`call_`, `apr_`, `run_`, `agt_`, `opr_`, `rev_`, `prc_`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from msgspec import Struct

from policy.model import Kind, Mode, PayeeBasis, Posture, Scope
from policy.money import Money

T = TypeVar("T")


class CallState(StrEnum):
    """Where a call stands. No edge leaves the terminal ones."""

    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    QUEUED = "queued"
    EXECUTING = "executing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # The provider said no: nothing happened there.
    UNKNOWN = "unknown"  # It never answered: the money may have moved. Reconcile, never run again.
    CANCELLED = "cancelled"
    EXPIRED = "expired"


TERMINAL = frozenset(
    {CallState.DENIED, CallState.SUCCEEDED, CallState.FAILED, CallState.CANCELLED, CallState.EXPIRED}
)


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # A definite no: nothing happened there.
    UNKNOWN = "unknown"  # No answer that can be trusted.
    NOT_SENT = "not_sent"  # Provably no byte left.


class ProofLevel(StrEnum):
    """What the evidence shows a record to be, never what configuration says."""

    RECORDED = "recorded"
    SIMULATED = "simulated"
    TEST = "test"
    LIVE = "live"


class ProofBy(StrEnum):
    """Who or what the evidence came from."""

    RESPONSE = "response"
    WEBHOOK = "webhook"
    LOOKUP = "lookup"
    OPERATOR = "operator"
    ENFORCER = "enforcer"


class Proof(Struct, frozen=True):
    """The evidence of a record: how real, by whom, at which provider."""

    level: ProofLevel
    by: ProofBy
    provider: str


class ProviderIdentity(Struct, frozen=True):
    """Which account answered, as measured and not as configured (M4)."""

    account: str
    mode: Mode
    instance: str = ""  # The simulator's instance; empty for a real provider.


class Role(StrEnum):
    """What an operator may do; each includes those before it."""

    VIEWER = "viewer"
    APPROVER = "approver"
    OWNER = "owner"


class ReviewKind(StrEnum):
    """What an owner judges without money waiting on it."""

    LEAD = "lead"
    PLAN = "plan"
    DRAFT = "draft"  # A run's draft.
    OUTREACH = "outreach"
    DELIVERY = "delivery"


class ReviewState(StrEnum):
    """Where a review stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    CHANGES_ASKED = "changes_asked"
    REJECTED = "rejected"


# --- who -----------------------------------------------------------------------------------------------


class AgentRecord(Struct, frozen=True, kw_only=True):
    """A registered agent and what its token opens. The token itself is stored only as a hash."""

    agent_id: str
    name: str
    account_id: str
    project: str
    kits: tuple[str, ...]
    run_id: str | None
    expires_at: datetime | None
    owner: str  # The operator whose password made it.
    strict_errors: bool
    active: bool
    created_at: datetime
    last_seen_at: datetime | None = None


class EnforcerRecord(Struct, frozen=True, kw_only=True):
    """Another tool server that asks through the sidecar. Its token is stored only as a hash."""

    enforcer_id: str
    name: str
    account_id: str
    project: str
    owner: str  # The operator whose password made it.
    active: bool
    created_at: datetime
    last_seen_at: datetime | None = None


class OperatorRecord(Struct, frozen=True, kw_only=True):
    """A person who answers."""

    operator_id: str
    name: str
    account_id: str
    role: Role
    active: bool
    has_password: bool
    created_at: datetime


class ProjectRecord(Struct, frozen=True, kw_only=True):
    """A budget with agents and runs."""

    name: str
    account_id: str
    created_at: datetime


class RunRecord(Struct, frozen=True, kw_only=True):
    """One bounded piece of work; a standing run holds the calls that belong to no other."""

    run_id: str
    account_id: str
    project: str
    title: str
    state: str  # "open" or "closed".
    standing: bool
    opened_at: datetime
    closed_at: datetime | None = None
    order_id: str | None = None


# --- what happened -------------------------------------------------------------------------------------


class CallRecord(Struct, frozen=True, kw_only=True):
    """One call, admitted or denied, with everything an approver answers for."""

    call_id: str
    account_id: str
    project: str
    run_id: str
    agent: str
    tool: str
    tool_hash: str
    kind: Kind
    operation: str
    provider: str
    provider_account: str
    mode: Mode
    payee: str | None
    payee_basis: PayeeBasis | None
    amount: Money | None
    effect: bytes  # The Effect as canonical JSON.
    args: bytes  # Canonical JSON of the arguments; empty once erased.
    op_hash: str
    state: CallState
    version: int  # Grows by one with every edge.
    admitted_at: datetime
    run_by: datetime | None
    policy_sha256: str
    decision: bytes  # The Decision as JSON.
    idempotency_key: str | None = None
    approval_id: str | None = None
    held_reason: str | None = None
    code: str = ""  # Why it was denied, failed, cancelled or expired.
    message: str = ""
    retry: str = "never"
    retry_at: datetime | None = None
    attempts: int = 0
    provider_ref: str | None = None
    provider_key: str | None = None  # Derived from the call id by the server.
    provider_key_until: datetime | None = None
    lease_token: int = 0
    lease_until: datetime | None = None
    actual: Money | None = None
    result: bytes = b""  # The tool's result as JSON.
    proof: Proof | None = None
    replaced_by: str | None = None
    similar_to: str | None = None
    settled_at: datetime | None = None
    requested_by: str = ""  # An operator, where a person started or edited it.
    traceparent: str = ""
    reason: str = ""  # The agent's own words; untrusted.


class AttemptRecord(Struct, frozen=True, kw_only=True):
    """One try at the provider, with the identity that was measured for it (M4)."""

    call_id: str
    number: int
    purpose: str  # "execute", "replay" or "lookup".
    identity: ProviderIdentity
    started_at: datetime
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    detail: str = ""
    maybe_sent: bool = True


class ApprovalRecord(Struct, frozen=True, kw_only=True):
    """A held call's question: who is asked, for which exact operation, until when."""

    approval_id: str
    account_id: str
    call_id: str
    op_hash: str
    state: str  # pending, approved, consumed, denied, expired, superseded, withdrawn, revoked.
    asks: bytes  # The desks asked, as JSON of tuple[policy.model.Ask, ...].
    created_at: datetime
    expires_at: datetime
    run_within_s: int
    approved_at: datetime | None = None


class VerdictRecord(Struct, frozen=True, kw_only=True):
    """One person's answer, bound to one op_hash (M27)."""

    approval_id: str
    operator: str
    op_hash: str
    verdict: str  # "approve" or "deny".
    comment: str
    at: datetime
    revoked_at: datetime | None = None


class ReviewRecord(Struct, frozen=True, kw_only=True):
    """An owner's judgement of a lead, a plan, a draft or a delivery."""

    review_id: str
    account_id: str
    kind: ReviewKind
    subject_type: str
    subject_id: str
    run_id: str | None
    agent: str
    state: ReviewState
    submitted_at: datetime
    body: bytes  # JSON of what is judged.
    words: str = ""  # What the owner said; the agent reads it.
    answered_by: str | None = None
    answered_at: datetime | None = None


# --- what plugins speak --------------------------------------------------------------------------------


class Reader(Struct, frozen=True):
    """Whose eyes a query is answered for, taken from the token; a record outside its project is absent."""

    account_id: str
    project: str
    agent: str
    run_id: str = ""


class Query(Struct, frozen=True, tag=True):
    """A question to the ledger that a tool's `references` may ask; each subclass names one kind of record.

    `Ledger.read(queries, reader)` answers it for one `Reader`: a query never says whose records it wants.
    """


class Change(Struct, frozen=True, tag=True):
    """A change to the ledger that `prepare`, `apply` or an outcome may ask for; applied with its call."""


class RecordRef(Struct, frozen=True):
    """One record as it was read: what kind, its id, a hash of its content, and the content."""

    kind: str
    record_id: str
    sha256: str
    data: Mapping[str, object]


# --- what people are told ------------------------------------------------------------------------------


class CapView(Struct, frozen=True, kw_only=True):
    """One cap in one window, for people and agents; amounts in the unit's minor unit."""

    cap_id: str
    scope: Scope
    scope_key: str
    unit: str
    mode: Mode
    window: str
    window_start: datetime | None
    limit: int | None
    posted: int
    held: int


class PostureRecord(Struct, frozen=True, kw_only=True):
    """A posture set for one scope, by whom and why."""

    scope: str  # account, project, agent or provider.
    scope_key: str
    posture: Posture
    because: str
    set_by: str
    at: datetime


class Page(Struct, Generic[T], frozen=True):
    """One page of a listing; `after` is the key to ask the next one with, None at the end."""

    items: tuple[T, ...]
    after: str | None = None


class Seen(Struct, frozen=True, kw_only=True):
    """An object of a provider that carries the mark of one of our calls: what a sweep finds (M33).

    Only what was done is shown: nothing that was refused, or that ended without an effect.
    """

    call_id: str
    provider_ref: str
    provider: str
    kind: Kind
    operation: str
    mode: Mode
    account_id: str  # The four as they were marked; whose ledger it is, and where it counted.
    project: str = ""
    run_id: str = ""
    amount: Money | None = None  # What may have been spent with it.
    armed: bool = False  # An instrument that can still move money.
