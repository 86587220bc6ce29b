"""Settlement, purely: what an attempt's end makes of its call (step 6), and what late evidence makes of it.

The cautious reading wins: M1 never back to the queue after a doubt, M2 a refusal after a doubt is no refusal,
M4 the same account answers, M9 evidence against a terminal state changes no state, M13 an overrun is posted
whole.
"""

from __future__ import annotations

from typing import Final

from ledger import caps
from ledger.audit.call_kinds import AttemptEnded, CallRequeued, CallUnknown
from ledger.commands import Settled, Settlement
from ledger.discrepancies import close_provider, contradict
from ledger.edges import SYSTEM, move
from ledger.records import Outcome, Proof, ProofBy, ProofLevel
from ledger.rows import ENCODER, AttemptRow, CallRow, call_record, identity_of
from ledger.settling import fail, succeed
from ledger.times import SECOND_US, to_us
from ledger.world import World
from policy.errors import Declined, ProviderAccountChanged, RecordMissing
from policy.language import Kind

ALERT_AFTER_US: Final = 900 * SECOND_US  # M7: an owner hears of an unknown after 15 minutes.

# Which word ends an attempt in the table.
_ENDED: Final = {outcome: outcome.value for outcome in Outcome}


def plan_settlement(world: World, command: Settlement) -> Settled:
    """Settle one attempt, or book late evidence; say whether this settlement is the one that counted.

    An attempt of 0 is evidence that belongs to none: a webhook's, an operator's, an enforcer's.
    """
    row = world.calls.get(command.call_id)
    if row is None:
        raise RecordMissing(f"there is no call {command.call_id!r}")
    at_us = to_us(command.at)
    attempt = world.attempts[row.call_id].get(command.attempt)
    if row.state not in {"executing", "unknown"}:
        return _against_the_end(world, command, row, at_us)
    if _contradicts(world, command, row, attempt):
        return _other_account(world, command, row, attempt, at_us)
    stale = attempt is None or command.lease_token != row.lease_token or attempt.ended_at_us is not None
    _end_attempt(world, command, attempt, at_us)
    if command.outcome is Outcome.SUCCEEDED:
        return _success(world, command, row, at_us)
    if attempt is None or stale:
        return _outdated(command, row)
    return _not_success(world, command, row, attempt, at_us)


# --- good ends -------------------------------------------------------------------------------------------


def _success(world: World, command: Settlement, row: CallRow, at_us: int) -> Settled:
    """End a call as succeeded: from its attempt, or as evidence while it is open (M9)."""
    actual = command.actual
    if actual is not None and row.currency is not None and actual.currency != row.currency:
        said = f"{actual} was taken where {row.currency} was approved"
        return _doubt(world, command, row, "currency_changed", said, at_us=at_us)
    minor = None if actual is None else actual.minor_units
    _take_answer(command, row)
    succeed(
        world,
        row,
        actual_minor=minor,
        committed=command.committed,
        proof=command.proof or proof_of(row),
        result=command.result,
        actor=_actor(command, row),
        at_us=at_us,
        evidence=command.evidence,
    )
    if minor is not None and row.amount_minor is not None and minor > row.amount_minor:
        close_provider(world, row.provider, f"call {row.call_id} cost more than was approved", at_us)
        told = ENCODER.encode({"call_id": row.call_id, "approved": row.amount_minor, "actual": minor})
        world.tell("call.overrun", told, at_us)
    world.apply(row, command.changes, command.at)
    return Settled(call=call_record(row), applied=True)


def _take_answer(command: Settlement, row: CallRow) -> None:
    if command.provider_ref is not None:
        row.provider_ref = command.provider_ref


# --- other ends ------------------------------------------------------------------------------------------


def _not_success(world: World, command: Settlement, row: CallRow, attempt: AttemptRow, at_us: int) -> Settled:
    if command.outcome is Outcome.NOT_SENT:
        return _unsent(world, command, row, attempt, at_us)
    if command.outcome is Outcome.FAILED and _is_definite(world, command, row, attempt, at_us):
        return _failed(world, command, row, at_us)
    return _doubt(world, command, row, command.code, command.message, at_us=at_us)


def _is_definite(world: World, command: Settlement, row: CallRow, attempt: AttemptRow, at_us: int) -> bool:
    """Say whether a no can be believed (M2, M3)."""
    if attempt.purpose == "lookup":
        return command.settle_after_s is not None and at_us >= settled_by_us(
            world, row, command.settle_after_s
        )
    earlier = [each for each in _sent(world, row) if each.number != attempt.number]
    return not earlier or command.stored_answer


def _sent(world: World, row: CallRow) -> list[AttemptRow]:
    """Return the attempts that may have reached the provider."""
    return [each for each in world.attempts[row.call_id].values() if each.maybe_sent]


def settled_by_us(world: World, row: CallRow, after_s: float) -> int:
    """Return the instant from which "absent" may be believed: the last lease's end and then some (M3)."""
    ends = [each.lease_until_us for each in _sent(world, row)]
    return max(ends, default=row.admitted_at_us) + round(after_s * SECOND_US)


def _failed(
    world: World, command: Settlement, row: CallRow, at_us: int, *, unsent: int | None = None
) -> Settled:
    _take_answer(command, row)
    fail(
        world,
        row,
        code=command.code or Declined.code,
        message=command.message,
        retry=command.retry,
        proof=command.proof or proof_of(row),
        actor=_actor(command, row),
        at_us=at_us,
        evidence=command.evidence,
        result=command.result,
        unsent=unsent,
    )
    world.apply(row, command.changes, command.at)
    return Settled(call=call_record(row), applied=True)


def _unsent(world: World, command: Settlement, row: CallRow, attempt: AttemptRow, at_us: int) -> Settled:
    """Put a call back while every attempt of it is provably unsent (M1); a person's has one (M29)."""
    attempt.maybe_sent = 0
    world.change_attempt(attempt)
    row.maybe_sent = int(bool(_sent(world, row)))
    if row.state == "unknown" or row.maybe_sent:
        return _doubt(world, command, row, command.code, command.message, at_us=at_us, unsent=attempt.number)
    if row.kind == Kind.HUMAN_ONLY or (row.run_by_us is not None and at_us >= row.run_by_us):
        return _failed(world, command, row, at_us, unsent=attempt.number)
    caps.float_again(world, row)
    move(world, row, "queued", at_us)
    row.lease_until_us = None
    row.held_reason, row.message = command.code or "not_sent", command.message
    reason = {"reason": command.message} if command.message else None
    fact = CallRequeued(attempts=row.attempts, unsent=attempt.number)
    world.log(fact, row.call_id, _actor(command, row), at_us, reason)
    return Settled(call=call_record(row), applied=True)


def _doubt(
    world: World,
    command: Settlement,
    row: CallRow,
    code: str,
    message: str,
    *,
    at_us: int,
    unsent: int | None = None,
) -> Settled:
    """Leave or make a call unknown: the money may have moved, so its hold stays."""
    if command.outcome is not Outcome.NOT_SENT:
        _take_answer(command, row)
    payload = {name: text for name, text in (("reason", message), ("evidence", command.evidence)) if text}
    if row.state == "executing":
        actor = _actor(command, row)
        make_unknown(world, row, code, message, at_us, actor=actor, evidence=command.evidence, unsent=unsent)
        world.apply(row, command.changes, command.at)
        return Settled(call=call_record(row), applied=True)
    row.lease_until_us = None
    world.change(row)
    ended = AttemptEnded(attempts=row.attempts, outcome=_ENDED[command.outcome], unsent=unsent)
    world.log(ended, row.call_id, _actor(command, row), at_us, payload or None)
    return Settled(call=call_record(row), applied=False)


def make_unknown(
    world: World,
    row: CallRow,
    code: str,
    message: str,
    at_us: int,
    *,
    actor: str = SYSTEM,
    evidence: str = "",
    unsent: int | None = None,
) -> None:
    """Make an executing call unknown; its hold stays for as long as nobody knows."""
    move(world, row, "unknown", at_us)
    row.code, row.message, row.retry = code or "outcome_unknown", message, "same_key"
    row.lease_until_us = None
    row.unknown_at_us = at_us
    row.alert_at_us = at_us + ALERT_AFTER_US
    payload = {name: text for name, text in (("reason", message), ("evidence", evidence)) if text}
    fact = CallUnknown(attempts=row.attempts, code=row.code, unsent=unsent)
    world.log(fact, row.call_id, actor, at_us, payload or None)


def _outdated(command: Settlement, row: CallRow) -> Settled:
    """Discard an outdated failure, not-sent or unknown: it says nothing about the attempts after it (M9)."""
    del command
    return Settled(call=call_record(row), applied=False)


def _end_attempt(world: World, command: Settlement, attempt: AttemptRow | None, at_us: int) -> None:
    if attempt is None or attempt.ended_at_us is not None:
        return
    attempt.ended_at_us, attempt.outcome = at_us, command.outcome.value
    attempt.detail = command.code or command.message[:200]
    world.change_attempt(attempt)


# --- contradictions --------------------------------------------------------------------------------------


def _contradicts(world: World, command: Settlement, row: CallRow, attempt: AttemptRow | None) -> bool:
    """Say whether another account, mode or simulator answered than the attempt was made to (M4)."""
    if command.identity is None:
        return False
    bound = [attempt] if attempt is not None else list(world.attempts[row.call_id].values())
    return bool(bound) and all(identity_of(each) != command.identity for each in bound)


def _other_account(
    world: World, command: Settlement, row: CallRow, attempt: AttemptRow | None, at_us: int
) -> Settled:
    """Evidence of another identity settles nothing; it stops that provider and alerts."""
    _end_attempt(world, command, attempt, at_us)
    close_provider(world, row.provider, f"call {row.call_id} was answered by another account", at_us)
    world.tell("provider.account_changed", ENCODER.encode({"call_id": row.call_id}), at_us)
    said = "another account, mode or simulator answered than the call was made to"
    return _doubt(world, command, row, ProviderAccountChanged.code, said, at_us=at_us)


def _against_the_end(world: World, command: Settlement, row: CallRow, at_us: int) -> Settled:
    """Compare late evidence with a call that has ended: a contradiction changes no state (M9)."""
    if command.outcome is not Outcome.SUCCEEDED or row.state == "succeeded":
        return Settled(call=call_record(row), applied=False)
    if row.state in {"queued", "awaiting_approval"}:
        # An effect without a claim: somebody else did it, or a backup was restored. No edge leads there.
        found = contradict(world, row, command, "effect_without_claim", at_us)
        return Settled(call=call_record(row), applied=False, discrepancy=found)
    found = contradict(world, row, command, f"succeeded_after_{row.state}", at_us)
    return Settled(call=call_record(row), applied=False, discrepancy=found)


def proof_of(row: CallRow) -> Proof:
    """Return the weakest proof a call's mode allows, for a settlement that brought none."""
    level = {"live": ProofLevel.RECORDED, "test": ProofLevel.RECORDED}.get(row.mode, ProofLevel.SIMULATED)
    return Proof(level, ProofBy.RESPONSE, row.provider)


def _actor(command: Settlement, row: CallRow) -> str:
    by = None if command.proof is None else command.proof.by
    if by is ProofBy.ENFORCER and row.enforcer_id is not None:
        return f"enforcer:{row.enforcer_id}"
    return f"system:{row.lease_holder or 'ledger'}" if command.attempt else f"provider:{row.provider}"
