"""What the gate and the people's side may tell the ledger to do, and what it answers.

Each command is one transaction under the account's lock. `ledger.ledger.Ledger` takes them; planners decide
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from ledger.records import (
    AgentRecord,
    ApprovalRecord,
    CallRecord,
    CallState,
    Change,
    Outcome,
    Proof,
    ProviderIdentity,
    Query,
    RecordRef,
)
from policy.model import Call, Decision
from policy.money import Money


class ProcessFacts(Struct, frozen=True, kw_only=True):
    """What only this process can know when it decides; the ledger adds what other processes say (M6)."""

    live_spend: bool
    ready: Mapping[str, bool]  # By provider; absent means not ready.
    missing: Mapping[str, tuple[str, ...]] = {}
    identities: Mapping[str, ProviderIdentity] = {}  # As measured, by provider (M4).


class Changed(Struct, frozen=True):
    """What a local tool's pure `apply` made of its arguments: data for the agent, changes for the ledger."""

    data: Mapping[str, object]
    changes: tuple[Change, ...] = ()


class Local(Struct, frozen=True):
    """A local tool's work, run purely inside the admitting transaction on records read under the lock."""

    apply: Callable[[tuple[RecordRef, ...], datetime], Changed]


class Admission(Struct, frozen=True, kw_only=True):
    """A normalized call on its way in (step 2)."""

    call_id: str
    at: datetime
    call: Call
    agent_id: str
    tool_hash: str
    provider_account: str
    op_hash: str
    fingerprint: str  # Of tool, arguments and run (M24).
    args: bytes  # Canonical JSON.
    process: ProcessFacts
    key_required: bool = False
    idempotency_key: str | None = None
    references: tuple[Query, ...] = ()
    records_sha256: tuple[str, ...] = ()  # Of the records `describe` saw, in the order of `references`.
    prepare: tuple[Change, ...] = ()
    local: Local | None = None
    replay_key: str | None = None  # Derived from the call id by the server; what the provider gets.
    replay_lifetime_s: int = 0
    run_by_s: int = 900  # M7: how long an allowed call may wait for its claim.
    requested_by: str = ""
    enforcer_id: str | None = None  # Set where another tool server asks for the agent.
    supersedes: str | None = None  # The call an edit-and-approve replaces (M28).
    traceparent: str = ""
    reason: str = ""


class Admitted(Struct, frozen=True, kw_only=True):
    """What came of an admission: the call as stored, the decision, the request where a person is asked.

    `replayed` is set where the key or an equal open call answered with what was stored (M24, M25).
    """

    call: CallRecord
    decision: Decision | None
    approval: ApprovalRecord | None = None
    replayed: bool = False


class Claim(Struct, frozen=True, kw_only=True):
    """Ask for the right to execute one queued call, or to replay one unknown call (step 4, M5, M8)."""

    call_id: str
    at: datetime
    holder: str  # The process.
    lease_s: float
    process: ProcessFacts
    # Re-describes; a code and its words where it differs.
    expect: Callable[[CallRecord, tuple[RecordRef, ...]], tuple[str, str] | None]
    references: tuple[Query, ...] = ()
    purpose: str = "execute"  # "execute", "replay" or "lookup".
    tool_hash: str = ""  # Of the tool as this process defines it; empty where it defines none.
    allowed: Callable[[AgentRecord], bool] | None = None  # Whether the agent's kits still hold the tool.


class Claimed(Struct, frozen=True, kw_only=True):
    """The fenced right to act, once: settle with `lease_token` or the lease ends and the call is unknown."""

    call: CallRecord
    attempt: int
    lease_token: int
    lease_until: datetime
    records: tuple[RecordRef, ...] = ()


class NotClaimed(Struct, frozen=True, kw_only=True):
    """Why there is nothing to execute, and where the call stands now."""

    state: CallState
    code: str
    message: str


class Settlement(Struct, frozen=True, kw_only=True):
    """How an attempt ended (step 6). `unknown` keeps the reservation."""

    call_id: str
    at: datetime
    attempt: int
    lease_token: int
    outcome: Outcome
    proof: Proof | None = None
    identity: ProviderIdentity | None = None  # As measured by the answer.
    actual: Money | None = None
    committed: bool = False  # The instrument is armed; the reservation becomes a commitment (M19).
    stored_answer: bool = False  # The provider's stored answer, e.g. Idempotent-Replayed (M2).
    provider_ref: str | None = None
    result: bytes = b""
    changes: tuple[Change, ...] = ()
    code: str = ""
    message: str = ""
    retry: str = "never"
    settle_after_s: float | None = None  # Request timeout + settle_delay: when "absent" may be believed (M3).
    evidence: str = ""  # What was seen, as text for the audit log.


class Settled(Struct, frozen=True, kw_only=True):
    """The call after its settlement, and whether this settlement was the one that counted."""

    call: CallRecord
    applied: bool
    discrepancy: str | None = None
