"""The claim, purely: everything is looked at again under the policy of now, then leased (step 4, M5).

A refusal sorts itself into four ends, and a call that stays queued says why in `held_reason`:
denied (a posture, LIVE_SPEND, a rule), cancelled (what it rested on changed), back to approval, or held.
"""

from __future__ import annotations

from typing import Final

from ledger import approvals, caps, edges
from ledger.audit.call_kinds import CallClaimed, CallHeld, CallReturned
from ledger.commands import Claim, Claimed, NotClaimed
from ledger.gather import gather
from ledger.records import CallState, ProviderIdentity, Reader, RecordRef
from ledger.rows import ENCODER, AttemptRow, CallRow, call_record, identity_of
from ledger.times import SECOND_US, from_us, to_us
from ledger.world import World
from policy.errors import (
    AgentRevoked,
    CapExceeded,
    EarnedBelowZero,
    NotReady,
    PostureClosed,
    ProviderAccountChanged,
    RecordChanged,
    RecordMissing,
    RunByPassed,
    RunClosed,
    ToolChanged,
)
from policy.language import Kind, Mode
from policy.model import Answer, Ask, Call, Decision

MOST_REPLAYS: Final = 8  # Beyond it only lookup, a webhook or a person settles an unknown (M7).

# M5: denials that only say "not now": the call stays queued until its run-by.
HOLDING: Final = frozenset({CapExceeded.code, EarnedBelowZero.code, NotReady.code})


def plan_claim(world: World, command: Claim) -> Claimed | NotClaimed:
    """Give the right to execute a queued call, or to replay or look up an unknown one; or say why not."""
    row = world.calls.get(command.call_id)
    if row is None:
        raise RecordMissing(f"there is no call {command.call_id!r}")
    at_us = to_us(command.at)
    if command.purpose == "execute":
        return _claim_queued(world, command, row, at_us)
    return _claim_unknown(world, command, row, at_us)


# --- a queued call ---------------------------------------------------------------------------------------


def _claim_queued(world: World, command: Claim, row: CallRow, at_us: int) -> Claimed | NotClaimed:  # noqa: PLR0911 -- one line for each way it can end
    if row.state != "queued":
        return _not(row, "not_queued", f"the call is {row.state}, not queued")
    if row.run_by_us is not None and at_us >= row.run_by_us:
        return _end(
            world, row, "expired", RunByPassed.code, "it could not run before its time was over", at_us=at_us
        )
    changed = _what_changed(world, command, row)
    if changed is not None:
        return _end(world, row, "cancelled", *changed, at_us=at_us)
    records = _records(world, command, row)
    call = world.policy_call(row)
    decision = _decide(world, command, row, call, at_us)
    if decision.answer is Answer.DENY:
        return _refused(world, row, decision, at_us)
    if decision.answer is Answer.REQUIRE_APPROVAL and _unmet(world, row, decision.asks):
        return _back_to_approval(world, row, decision, at_us)
    identity = _identity(world, command, row)
    held = _why_held(command, row, decision, identity)
    if held is not None:
        return _hold(world, row, *held, at_us)
    return _lease(world, command, row, decision, identity=identity, records=records, call=call, at_us=at_us)


def _what_changed(world: World, command: Claim, row: CallRow) -> tuple[str, str] | None:  # noqa: PLR0911 -- one line for each way it can end
    """Return why a call is to be cancelled: what it rested on is no longer as it was."""
    agent = world.house.agents.get(row.agent)
    now = to_us(command.at)
    expired = agent is not None and agent.expires_at is not None and to_us(agent.expires_at) <= now
    if agent is None or not agent.active or expired:
        return AgentRevoked.code, f"agent {row.agent!r} is no longer active"
    if command.allowed is not None and not command.allowed(agent):
        return AgentRevoked.code, f"agent {row.agent!r} no longer has the tool {row.tool!r}"
    run = world.runs.get(row.run_id)
    # A standing run closes at midnight; a call admitted before keeps it.
    if run is None or (run.state != "open" and not run.standing):
        return RunClosed.code, "its run was closed before it could run"
    accepted = world.house.accepted.get(row.tool, row.tool_hash)
    if accepted != row.tool_hash or (command.tool_hash or row.tool_hash) != row.tool_hash:
        return ToolChanged.code, f"the tool {row.tool!r} is defined otherwise than when this was asked for"
    try:
        records = _records(world, command, row)
    except RecordMissing as missing:
        return RecordChanged.code, missing.message
    if ENCODER.encode([ref.sha256 for ref in records]).decode() != row.records:
        return RecordChanged.code, "a record it speaks of has changed since it was asked for"
    return command.expect(call_record(row), records)


def _records(world: World, command: Claim, row: CallRow) -> tuple[RecordRef, ...]:
    reader = Reader(row.account_id, row.project, row.agent, row.run_id)
    return tuple(ref for query in command.references for ref in world.records_for(query, reader))


def _decide(world: World, command: Claim, row: CallRow, call: Call, at_us: int) -> Decision:
    if world.law is None:
        return Decision(answer=Answer.DENY, code="no_active_policy", message="no policy is active any more")
    needs = world.needs(row.call_id, call)
    facts = gather(world, call, needs, command.process, at_us, own=row)
    return world.judge.decide(world.law.policy, call, facts)


def _unmet(world: World, row: CallRow, asks: tuple[Ask, ...]) -> tuple[str, ...]:
    """Return the desks that the verdicts given do not meet now (M5: every giver active and in role)."""
    people = approvals.approvers(world.verdicts[row.call_id], row.op_hash, world.house.operators)
    return approvals.missing(asks, people, asker_of(world, row))


def asker_of(world: World, row: CallRow) -> approvals.Asker:
    """Return who asked for a call, for the rules on answering one's own request."""
    agent = world.house.agents.get(row.agent)
    requesters = (row.requested_by,) if row.requested_by else ()
    return approvals.Asker(requesters, None if agent is None else agent.owner)


def _refused(world: World, row: CallRow, decision: Decision, at_us: int) -> NotClaimed:
    if decision.code in HOLDING:
        return _hold(world, row, decision.code, decision.message, at_us)
    row.retry_at_us = None if decision.retry_at is None else to_us(decision.retry_at)
    row.decision = ENCODER.encode(decision)
    code = decision.code or PostureClosed.code
    edges.end_unrun(
        world,
        row,
        "denied",
        code=code,
        message=decision.message,
        actor=edges.SYSTEM,
        at_us=at_us,
        decided=True,
    )
    return _not(row, code, decision.message)


def _back_to_approval(world: World, row: CallRow, decision: Decision, at_us: int) -> NotClaimed:
    expires_in_s, run_within_s = approvals.clocks(decision.asks)
    if row.admitted_at_us + expires_in_s * SECOND_US <= at_us:
        said = "the policy now asks for more than was answered, and the time to ask is over"
        return _end(world, row, "expired", "approval_expired", said, at_us=at_us)
    edges.move(world, row, "awaiting_approval", at_us)
    row.decision, row.policy_sha256 = ENCODER.encode(decision), decision.policy_sha256 or row.policy_sha256
    world.log(
        CallReturned(policy_sha256=row.policy_sha256),
        row.call_id,
        edges.SYSTEM,
        at_us,
        {"decision": row.decision.decode()},
    )
    edges.ask_people(
        world, row, decision.asks, expires_in_s=expires_in_s, run_within_s=run_within_s, at_us=at_us
    )
    return _not(row, "approval_needed", "the policy of now asks for more than the verdicts given")


def _identity(world: World, command: Claim, row: CallRow) -> ProviderIdentity | None:
    """Return the provider's identity as measured now, where it is the call's own (M4); None where it is not.

    A call bound to no provider account (a local tool's) has no identity to measure.
    """
    mode = Mode(row.mode)
    if not row.provider_account:
        return command.process.identities.get(row.provider, ProviderIdentity("", mode))
    measured = command.process.identities.get(row.provider)
    if measured is None or measured.account != row.provider_account or measured.mode != mode:
        return None
    # A simulator that was restarted empty would answer "absent" for what it once did.
    earlier = world.attempts[row.call_id].values()
    return measured if all(identity_of(each) == measured for each in earlier) else None


def _why_held(
    command: Claim, row: CallRow, decision: Decision, identity: ProviderIdentity | None
) -> tuple[str, str] | None:
    if decision.held_reason or not _is_ready(command, row):
        lacking = ", ".join(decision.missing or command.process.missing.get(row.provider, ()))
        return decision.held_reason or NotReady.code, f"{row.provider} is not ready: {lacking or 'not known'}"
    if identity is None:
        return (
            ProviderAccountChanged.code,
            f"the key of {row.provider} opens another account than this call's",
        )
    return None


def _is_ready(command: Claim, row: CallRow) -> bool:
    return not row.provider_account or command.process.ready.get(row.provider, False)


def _hold(world: World, row: CallRow, code: str, message: str, at_us: int) -> NotClaimed:
    """Leave a call queued with the reason; said in the log only where it is another one than before."""
    if row.held_reason != code:
        row.held_reason, row.message = code, message
        world.change(row)
        world.log(CallHeld(held_reason=code), row.call_id, edges.SYSTEM, at_us)
    return _not(row, code, message)


def _lease(
    world: World,
    command: Claim,
    row: CallRow,
    decision: Decision,
    *,
    identity: ProviderIdentity | None,
    records: tuple[RecordRef, ...],
    call: Call,
    at_us: int,
) -> Claimed:
    caps.fix(world, row, caps.holds_of(world, call, decision.reserves), at_us)
    edges.move(world, row, "executing", at_us)
    row.policy_sha256 = decision.policy_sha256 or row.policy_sha256
    row.message = ""
    edges.close_request(world, row, "consumed", at_us)
    return _attempt(
        world, command, row, identity or ProviderIdentity("", Mode(row.mode)), records, at_us=at_us
    )


def _attempt(
    world: World,
    command: Claim,
    row: CallRow,
    identity: ProviderIdentity,
    records: tuple[RecordRef, ...],
    *,
    at_us: int,
) -> Claimed:
    """Open an attempt under a new fencing token; committed before any byte leaves."""
    row.attempts += 1
    row.lease_token += 1
    row.lease_holder = command.holder
    row.lease_until_us = at_us + round(command.lease_s * SECOND_US)
    row.instance = identity.instance or None
    sends = command.purpose != "lookup"
    row.maybe_sent = int(sends or row.maybe_sent)
    if sends and row.provider_key is not None and row.provider_key_until_us is None and row.replay_lifetime_s:
        row.provider_key_until_us = at_us + row.replay_lifetime_s * SECOND_US
    world.change(row)
    world.add_attempt(
        AttemptRow(
            row.account_id,
            row.call_id,
            row.attempts,
            command.purpose,
            identity.account,
            identity.mode,
            identity.instance,
            command.holder,
            row.lease_token,
            at_us,
            row.lease_until_us,
            maybe_sent=int(sends),
        )
    )
    fact = CallClaimed(
        attempts=row.attempts,
        lease_token=row.lease_token,
        lease_until_us=row.lease_until_us,
        purpose=command.purpose,
        policy_sha256=row.policy_sha256,
        instance=row.instance,
        state=row.state,
    )
    world.log(fact, row.call_id, f"system:{command.holder}", at_us)
    return Claimed(
        call=call_record(row),
        attempt=row.attempts,
        lease_token=row.lease_token,
        lease_until=from_us(row.lease_until_us),
        records=records,
    )


# --- an unknown call -------------------------------------------------------------------------------------


def _claim_unknown(world: World, command: Claim, row: CallRow, at_us: int) -> Claimed | NotClaimed:
    """Lease an unknown call for a lookup, which only looks, or a replay, which may start the effect (M8)."""
    if row.state != "unknown":
        return _not(row, "not_unknown", f"the call is {row.state}, not unknown")
    if row.lease_until_us is not None and row.lease_until_us > at_us:
        return _not(row, "leased", "another attempt at settling it is under way")
    identity = _identity(world, command, row)
    if identity is None:
        return _not(row, ProviderAccountChanged.code, f"the key of {row.provider} opens another account")
    if command.purpose == "replay":
        refused = _why_no_replay(world, command, row, at_us)
        if refused is not None:
            return refused
    try:
        records = _records(world, command, row)
    except RecordMissing:
        records = ()
    # As they are now: what a replay sends otherwise than before, the provider refuses by the key.
    return _attempt(world, command, row, identity, records, at_us=at_us)


def _why_no_replay(world: World, command: Claim, row: CallRow, at_us: int) -> NotClaimed | None:  # noqa: PLR0911 -- one line for each way it can end
    if row.kind == Kind.HUMAN_ONLY:
        return _not(row, "human_only", "only a person may have it tried again")
    if row.provider_key is None or row.provider_key_until_us is None or at_us >= row.provider_key_until_us:
        return _not(row, "key_expired", "the provider no longer knows its key, so a replay could do it twice")
    replays = sum(each.purpose == "replay" for each in world.attempts[row.call_id].values())
    if replays >= MOST_REPLAYS:
        return _not(row, "attempts_exhausted", "it was tried as often as it may be; a person has to look")
    call = world.policy_call(row)
    decision = _decide(world, command, row, call, at_us)
    # Caps need no second look: the call's own hold never left its window.
    if decision.answer is Answer.DENY and decision.code not in {CapExceeded.code, EarnedBelowZero.code}:
        return _not(row, decision.code, decision.message)
    if decision.answer is Answer.REQUIRE_APPROVAL and not _givers_stand(world, row):
        return _not(row, "approval_needed", "whoever approved it may no longer answer")
    if not _is_ready(command, row):
        return _not(row, NotReady.code, f"{row.provider} is not ready")
    return None


def _givers_stand(world: World, row: CallRow) -> bool:
    """Say whether the verdicts the call was claimed on still stand; a replay needs no new one (M8)."""
    request = world.approvals.get(row.approval_id or "")
    return request is None or not _unmet(world, row, approvals.read_asks(request.asks))


# --- answers ---------------------------------------------------------------------------------------------


def _end(world: World, row: CallRow, state: str, code: str, message: str, *, at_us: int) -> NotClaimed:
    edges.end_unrun(world, row, state, code=code, message=message, actor=edges.SYSTEM, at_us=at_us)
    return _not(row, code, message)


def _not(row: CallRow, code: str, message: str) -> NotClaimed:
    return NotClaimed(state=CallState(row.state), code=code, message=message)
