"""Admission, purely: the key, the facts, the decision, the reservations, the stored call (step 2).

Everything that can refuse does so before anything is changed, so a refused command leaves the batch as it
was.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ledger import approvals, caps, edges, twins
from ledger.audit.call_kinds import CallAdmitted
from ledger.commands import Admission, Admitted, Changed
from ledger.gather import gather
from ledger.records import Reader, RecordRef
from ledger.rows import ENCODER, CallRow, approval_record, call_record
from ledger.settling import settle_local
from ledger.times import SECOND_US, to_us
from ledger.world import World
from policy.errors import KeyConflict, KeyMissing, NoActivePolicy, RecordChanged, RunClosed, ScopeMismatch
from policy.model import Answer, Decision

NO_POLICY: Final = Decision(
    answer=Answer.DENY,
    code=NoActivePolicy.code,
    message="this account has no active policy yet; an owner activates one with `bursar policy activate`",
    retry=NoActivePolicy.retry,
)


class Judged(Struct, frozen=True):
    """A command that nothing refused: what was decided and what a local tool made of it."""

    decision: Decision
    changed: Changed | None


def plan_admission(world: World, command: Admission) -> Admitted:
    """Admit one call, or answer with the stored one.

    Raises KeyMissing, KeyConflict (M24), ScopeMismatch, RunClosed, RecordMissing, RecordChanged; nothing was
    changed then, and no key was claimed.
    """
    at_us = to_us(command.at)
    stored = _stored(world, command, at_us)
    if stored is not None:
        return _again(world, stored)
    _check_scope(world, command)
    judged = _judge(world, command, at_us)
    row = _row(world, command, judged.decision, at_us)
    world.admit(row)
    if command.idempotency_key is not None:
        key = command.idempotency_key
        world.claim_key(command.call.agent, command.call.tool, key, command.fingerprint, row.call_id)
    if judged.decision.answer is Answer.DENY:
        return _denied(world, row, judged.decision, at_us)
    return _admitted(world, command, row, judged, at_us)


def _stored(world: World, command: Admission, at_us: int) -> CallRow | None:
    """Return the call this intention already is (M24, M25)."""
    if command.idempotency_key is None:
        if command.key_required:
            raise KeyMissing("this call needs an idempotency key: a name of your own for this one intention")
        found = None
        if command.call.effect.kind in twins.KEYLESS:
            found = twins.same_call(world, command.fingerprint, command.call.agent, at_us)
        return None if found is None else world.calls[found]
    known = world.keys.get((command.call.agent, command.call.tool, command.idempotency_key))
    if known is None:
        return None
    call_id, fingerprint = known
    if fingerprint != command.fingerprint:
        raise KeyConflict(
            "this idempotency key already names another intention; "
            "use a new key for new arguments or another run"
        )
    return world.calls[call_id]


def _again(world: World, row: CallRow) -> Admitted:
    request = world.approvals.get(row.approval_id or "")
    return Admitted(
        call=call_record(row),
        decision=None,
        approval=None if request is None else approval_record(request),
        replayed=True,
    )


def _check_scope(world: World, command: Admission) -> None:
    call = command.call
    run = world.runs.get(call.run)
    if run is None or run.project != call.project:
        raise ScopeMismatch(f"run {call.run!r} is not one of project {call.project!r}", field="run_id")
    if run.state != "open":
        raise RunClosed(f"run {call.run!r} is closed; ask for work in an open run")
    agent = world.house.agents.get(call.agent)
    if agent is None or not agent.active or agent.project != call.project:
        raise ScopeMismatch(f"agent {call.agent!r} is not an active agent of project {call.project!r}")


def _judge(world: World, command: Admission, at_us: int) -> Judged:
    """Decide on what is true now, and let a local tool say what it would change."""
    records = records_of(world, command)
    if world.law is None:
        return Judged(NO_POLICY, None)
    policy = world.law.policy
    needs = world.needs(command.call_id, command.call)
    facts = gather(world, command.call, needs, command.process, at_us, own=None)
    decision = world.judge.decide(policy, command.call, facts)
    changed = None
    if decision.answer is Answer.ALLOW and command.local is not None:
        changed = command.local.apply(records, command.at)
    return Judged(decision, changed)


def records_of(world: World, command: Admission) -> tuple[RecordRef, ...]:
    """Return the records the call speaks of, read under the lock; they must be what `describe` saw."""
    call = command.call
    reader = Reader(call.account, call.project, call.agent, call.run)
    found = tuple(ref for query in command.references for ref in world.records_for(query, reader))
    if tuple(ref.sha256 for ref in found) != command.records_sha256:
        raise RecordChanged("a record this call speaks of has just changed; read it again and ask again")
    return found


def _row(world: World, command: Admission, decision: Decision, at_us: int) -> CallRow:
    call, effect = command.call, command.call.effect
    twin = decision.twin
    return CallRow(
        world.account_id,
        command.call_id,
        world.next_ordinal,
        call.project,
        call.run,
        call.agent,
        command.enforcer_id,
        call.tool,
        command.tool_hash,
        effect.kind,
        effect.operation,
        effect.provider,
        command.provider_account,
        effect.mode,
        effect.payee,
        effect.payee_basis,
        None if effect.amount is None else effect.amount.minor_units,
        None if effect.amount is None else effect.amount.currency,
        ENCODER.encode(effect),
        command.args,
        command.op_hash,
        command.fingerprint,
        command.idempotency_key,
        twins.twin_key(call),
        ENCODER.encode(command.records_sha256).decode(),
        int(call.core),
        int(call.own),
        command.replay_key,
        command.replay_lifetime_s,
        at_us,
        None if twin is None else twin.call_id,
        command.requested_by,
        command.traceparent,
        command.reason,
        "denied",
        1,
        None,
        decision.policy_sha256 or ("" if world.law is None else world.law.policy.sha256),
        ENCODER.encode(decision),
    )


def _denied(world: World, row: CallRow, decision: Decision, at_us: int) -> Admitted:
    row.code, row.message, row.retry = decision.code, decision.message, decision.retry
    row.retry_at_us = None if decision.retry_at is None else to_us(decision.retry_at)
    row.settled_at_us = at_us
    _log_admission(world, row, at_us)
    return Admitted(call=call_record(row), decision=decision)


def _admitted(world: World, command: Admission, row: CallRow, judged: Judged, at_us: int) -> Admitted:
    decision = judged.decision
    caps.reserve(world, row, caps.holds_of(world, command.call, decision.reserves))
    request = None
    if decision.answer is Answer.REQUIRE_APPROVAL:
        row.state = "awaiting_approval"
    else:
        row.state = "queued"
        row.run_by_us = at_us + command.run_by_s * SECOND_US
        row.held_reason = decision.held_reason or None
    twins.mark(row, at_us)
    twins.remember(world, row)
    world.apply(row, command.prepare, command.at)
    if judged.changed is not None:
        settle_local(world, row, command, judged.changed, at_us)
    _log_admission(world, row, at_us)
    if decision.answer is Answer.REQUIRE_APPROVAL:
        expires_in_s, run_within_s = approvals.clocks(decision.asks)
        request = edges.ask_people(
            world, row, decision.asks, expires_in_s=expires_in_s, run_within_s=run_within_s, at_us=at_us
        )
    return Admitted(
        call=call_record(row),
        decision=decision,
        approval=None if request is None else approval_record(request),
    )


def _log_admission(world: World, row: CallRow, at_us: int) -> None:
    fact = CallAdmitted(
        state=row.state,
        tool=row.tool,
        kind=row.kind,
        agent=row.agent,
        project=row.project,
        tool_hash=row.tool_hash,
        operation=row.operation,
        provider=row.provider,
        provider_account=row.provider_account,
        mode=row.mode,
        run_id=row.run_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        actual_minor=row.actual_minor,
        policy_sha256=row.policy_sha256,
        code=row.code or None,
        similar_to=row.similar_to,
        run_by_us=row.run_by_us,
        enforcer_id=row.enforcer_id,
        proof_level=row.proof_level,
        proof_by=row.proof_by,
    )
    # Texts, not objects: what is hashed are the very bytes that were decided on and are stored beside it.
    payload: dict[str, object] = {
        "arguments": row.args.decode(),
        "op_hash": row.op_hash,
        "fingerprint": row.fingerprint,
        "effect": row.effect.decode(),
        "decision": row.decision.decode(),
    }
    if row.records != "[]":
        payload["records"] = row.records
    if row.payee is not None:
        payload["payee"] = row.payee
    if row.reason:
        payload["reason"] = row.reason
    if row.result:
        payload["result"] = row.result.decode()
    world.log(fact, row.call_id, actor_of(row), at_us, payload)


def actor_of(row: CallRow) -> str:
    """Return who the audit log names for what this call's side asked."""
    if row.enforcer_id is not None:
        return f"enforcer:{row.enforcer_id}"
    return f"agent:{row.agent}"
