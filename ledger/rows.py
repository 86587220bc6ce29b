"""Rows as planners change them in memory: one class per table, fields in the order of its columns.

They hold words and numbers only, so the garbage collector need not look at them (`gc=False`).

A planner loads them through `ledger.world`, changes them, and the flush writes what was touched. People and
plugins see the frozen records of `ledger.records` instead; `call_record` and its like make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from ledger.records import (
    ApprovalRecord,
    AttemptRecord,
    CallRecord,
    CallState,
    Outcome,
    Proof,
    ProofBy,
    ProofLevel,
    ProviderIdentity,
    VerdictRecord,
)
from ledger.times import from_us
from policy.model import Call, Effect, Kind, Mode, PayeeBasis
from policy.money import Money, dec_hook, enc_hook

_EFFECT = msgspec.json.Decoder(Effect, dec_hook=dec_hook)
_ARGS = msgspec.json.Decoder(dict[str, object])
# Looking a word up costs a tenth of asking its enum.
_KINDS: Final[Mapping[str, Kind]] = {each.value: each for each in Kind}
_MODES: Final[Mapping[str, Mode]] = {each.value: each for each in Mode}
_BASES: Final[Mapping[str, PayeeBasis]] = {each.value: each for each in PayeeBasis}
_STATES: Final[Mapping[str, CallState]] = {each.value: each for each in CallState}
_LEVELS: Final[Mapping[str, ProofLevel]] = {each.value: each for each in ProofLevel}
_BYS: Final[Mapping[str, ProofBy]] = {each.value: each for each in ProofBy}
ENCODER = msgspec.json.Encoder(enc_hook=enc_hook, order="deterministic")


class CallRow(Struct, gc=False):
    """A row of `tool_calls`."""

    account_id: str
    call_id: str
    ordinal: int
    project: str
    run_id: str
    agent: str
    enforcer_id: str | None
    tool: str
    tool_hash: str
    kind: str
    operation: str
    provider: str
    provider_account: str
    mode: str
    payee: str | None
    payee_basis: str | None
    amount_minor: int | None
    currency: str | None
    effect: bytes
    args: bytes
    op_hash: str
    fingerprint: str
    idempotency_key: str | None
    twin_key: str | None
    records: str
    core: int
    own: int
    provider_key: str | None
    replay_lifetime_s: int
    admitted_at_us: int
    similar_to: str | None
    requested_by: str
    traceparent: str
    reason: str
    state: str
    version: int
    run_by_us: int | None
    policy_sha256: str
    decision: bytes
    approval_id: str | None = None
    held_reason: str | None = None
    code: str = ""
    message: str = ""
    retry: str = "never"
    retry_at_us: int | None = None
    attempts: int = 0
    maybe_sent: int = 0
    provider_ref: str | None = None
    provider_key_until_us: int | None = None
    lease_token: int = 0
    lease_holder: str | None = None
    lease_until_us: int | None = None
    instance: str | None = None
    actual_minor: int | None = None
    result: bytes = b""
    proof_level: str | None = None
    proof_by: str | None = None
    proof_provider: str | None = None
    replaced_by: str | None = None
    unknown_at_us: int | None = None
    alert_at_us: int | None = None
    settled_at_us: int | None = None
    twin_until_us: int = 0
    same_until_us: int = 0


class AttemptRow(Struct, gc=False):
    """A row of `attempts`."""

    account_id: str
    call_id: str
    number: int
    purpose: str
    provider_account: str
    mode: str
    instance: str
    holder: str
    lease_token: int
    started_at_us: int
    lease_until_us: int
    ended_at_us: int | None = None
    outcome: str | None = None
    detail: str = ""
    maybe_sent: int = 1


class UsageRow(Struct, gc=False):
    """A row of `cap_usage`."""

    account_id: str
    meter: str
    window_start_us: int
    cap_id: str
    scope: str
    scope_key: str
    unit: str
    mode: str
    window: str
    held: int = 0
    committed: int = 0
    posted: int = 0


class ReservationRow(Struct, gc=False):
    """A row of `reservations`."""

    account_id: str
    call_id: str
    meter: str
    ordinal: int
    amount: int
    window_start_us: int
    state: str = "held"
    posted: int = 0


class ApprovalRow(Struct, gc=False):
    """A row of `approvals`."""

    account_id: str
    approval_id: str
    call_id: str
    op_hash: str
    state: str
    asks: bytes
    created_at_us: int
    expires_at_us: int
    run_within_s: int
    approved_at_us: int | None = None
    supersedes: str | None = None


class VerdictRow(Struct, gc=False):
    """A row of `verdicts`."""

    account_id: str
    verdict_id: str
    approval_id: str
    call_id: str
    operator: str
    op_hash: str
    verdict: str
    comment: str
    confirmed_by: str | None
    at_us: int
    revoked_at_us: int | None = None


class RunRow(Struct, gc=False):
    """A row of `runs`."""

    account_id: str
    run_id: str
    project: str
    title: str
    state: str
    standing: int
    opened_at_us: int
    closed_at_us: int | None = None
    order_id: str | None = None


def indexed_of(row: CallRow) -> tuple[int | str | None, ...]:
    """Return what the indexes of ended calls and of twins stand on (`statements.INDEXED`)."""
    return row.provider_ref, row.settled_at_us, row.twin_until_us, row.same_until_us


def policy_call(row: CallRow) -> Call:
    """Return the call as the policy sees it, from what was stored at its admission."""
    return Call(
        tool=row.tool,
        effect=_EFFECT.decode(row.effect),
        account=row.account_id,
        project=row.project,
        run=row.run_id,
        agent=row.agent,
        args=_ARGS.decode(row.args or b"{}"),  # Empty once erased (M35).
        core=bool(row.core),
        own=bool(row.own),
    )


@lru_cache(maxsize=4_096)  # Money never changes, and prices repeat.
def money(minor: int | None, currency: str | None) -> Money | None:
    """Return an amount from its two columns."""
    return None if minor is None or currency is None else Money(minor, currency)


def call_record(row: CallRow) -> CallRecord:
    """Return what everybody may know of a call."""
    proof = None
    if row.proof_level is not None and row.proof_by is not None:
        level, by = _LEVELS[row.proof_level], _BYS[row.proof_by]
        proof = Proof(level, by, row.proof_provider or row.provider)
    return CallRecord(
        call_id=row.call_id,
        account_id=row.account_id,
        project=row.project,
        run_id=row.run_id,
        agent=row.agent,
        tool=row.tool,
        tool_hash=row.tool_hash,
        kind=_KINDS[row.kind],
        operation=row.operation,
        provider=row.provider,
        provider_account=row.provider_account,
        mode=_MODES[row.mode],
        payee=row.payee,
        payee_basis=None if row.payee_basis is None else _BASES[row.payee_basis],
        amount=money(row.amount_minor, row.currency),
        effect=row.effect,
        args=row.args,
        op_hash=row.op_hash,
        state=_STATES[row.state],
        version=row.version,
        admitted_at=from_us(row.admitted_at_us),
        run_by=from_us(row.run_by_us),
        policy_sha256=row.policy_sha256,
        decision=row.decision,
        idempotency_key=row.idempotency_key,
        approval_id=row.approval_id,
        held_reason=row.held_reason or None,
        code=row.code,
        message=row.message,
        retry=row.retry,
        retry_at=from_us(row.retry_at_us),
        attempts=row.attempts,
        provider_ref=row.provider_ref,
        provider_key=row.provider_key,
        provider_key_until=from_us(row.provider_key_until_us),
        lease_token=row.lease_token,
        lease_until=from_us(row.lease_until_us),
        actual=money(row.actual_minor, row.currency),
        result=row.result,
        proof=proof,
        replaced_by=row.replaced_by,
        similar_to=row.similar_to,
        settled_at=from_us(row.settled_at_us),
        requested_by=row.requested_by,
        traceparent=row.traceparent,
        reason=row.reason,
    )


def attempt_record(row: AttemptRow) -> AttemptRecord:
    """Return one try at the provider."""
    return AttemptRecord(
        call_id=row.call_id,
        number=row.number,
        purpose=row.purpose,
        identity=identity_of(row),
        started_at=from_us(row.started_at_us),
        ended_at=from_us(row.ended_at_us),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        detail=row.detail,
        maybe_sent=bool(row.maybe_sent),
    )


def identity_of(row: AttemptRow) -> ProviderIdentity:
    """Return the identity that was measured for an attempt (M4)."""
    return ProviderIdentity(row.provider_account, Mode(row.mode), row.instance)


def approval_record(row: ApprovalRow) -> ApprovalRecord:
    """Return a held call's question."""
    return ApprovalRecord(
        approval_id=row.approval_id,
        account_id=row.account_id,
        call_id=row.call_id,
        op_hash=row.op_hash,
        state=row.state,
        asks=row.asks,
        created_at=from_us(row.created_at_us),
        expires_at=from_us(row.expires_at_us),
        run_within_s=row.run_within_s,
        approved_at=from_us(row.approved_at_us),
    )


def verdict_record(row: VerdictRow) -> VerdictRecord:
    """Return one person's answer."""
    return VerdictRecord(
        approval_id=row.approval_id,
        operator=row.operator,
        op_hash=row.op_hash,
        verdict=row.verdict,
        comment=row.comment,
        at=from_us(row.at_us),
        revoked_at=from_us(row.revoked_at_us),
    )
