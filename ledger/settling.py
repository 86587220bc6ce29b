"""How a call ends well or badly, purely: what admission of a local tool and settlement share."""

from __future__ import annotations

from typing import Final

from ledger import caps, twins
from ledger.audit.call_kinds import CallSettled
from ledger.commands import Admission, Changed
from ledger.edges import move
from ledger.records import Proof, ProofBy, ProofLevel
from ledger.rows import ENCODER, CallRow
from ledger.twins import PURCHASES
from ledger.world import World

RECORDED: Final = Proof(ProofLevel.RECORDED, ProofBy.RESPONSE, "bursar")


def settle_local(world: World, row: CallRow, command: Admission, changed: Changed, at_us: int) -> None:
    """Settle a local tool's call in the transaction of its admission: it is never unknown."""
    row.state = "succeeded"
    row.settled_at_us = at_us
    row.run_by_us = None
    row.result = ENCODER.encode(changed.data)
    row.proof_level, row.proof_by, row.proof_provider = RECORDED.level, RECORDED.by, RECORDED.provider
    row.actual_minor = row.amount_minor
    twins.mark(row, at_us)
    caps.fix(world, row, caps.held_readings(world, row), at_us)
    caps.post(world, row, row.amount_minor, committed=False)
    caps.count_outcome(world, row, at_us)
    world.apply(row, changed.changes, command.at)


def succeed(  # noqa: PLR0913 -- all of them are what it is, by name
    world: World,
    row: CallRow,
    *,
    actual_minor: int | None,
    committed: bool,
    proof: Proof,
    result: bytes,
    actor: str,
    at_us: int,
    evidence: str = "",
) -> None:
    """Post what a call holds and end it as succeeded."""
    row.actual_minor = row.amount_minor if actual_minor is None else actual_minor
    if result:
        row.result = result
    row.proof_level, row.proof_by, row.proof_provider = proof.level, proof.by, proof.provider
    row.code = row.message = ""
    caps.post(world, row, row.actual_minor, committed=committed)
    move(world, row, "succeeded", at_us)
    caps.count_outcome(world, row, at_us)
    if row.kind in PURCHASES and row.payee is not None and not committed:
        known = (row.mode, row.payee.casefold())
        if known not in world.known_payees:  # Known to this batch; one known before is left as it is.
            world.known_payees.add(known)
            world.new_payees.append((row.account_id, *known, row.call_id, at_us))
    log_settled(world, row, proof, actor=actor, at_us=at_us, evidence=evidence)


def fail(  # noqa: PLR0913 -- all of them are what it is, by name
    world: World,
    row: CallRow,
    *,
    code: str,
    message: str,
    retry: str,
    proof: Proof,
    actor: str,
    at_us: int,
    evidence: str = "",
    result: bytes = b"",
    unsent: int | None = None,
) -> None:
    """Void what a call holds and end it as failed: nothing happened there."""
    row.code, row.message, row.retry = code, message, retry
    row.result = result
    row.proof_level, row.proof_by, row.proof_provider = proof.level, proof.by, proof.provider
    caps.release(world, row)
    move(world, row, "failed", at_us)
    caps.count_outcome(world, row, at_us)
    log_settled(world, row, proof, actor=actor, at_us=at_us, evidence=evidence, unsent=unsent)


def log_settled(
    world: World,
    row: CallRow,
    proof: Proof,
    *,
    actor: str,
    at_us: int,
    evidence: str,
    unsent: int | None = None,
) -> None:
    """Write the audit entry of a settlement."""
    fact = CallSettled(
        state=row.state,
        proof_level=proof.level,
        proof_by=proof.by,
        attempts=row.attempts,
        actual_minor=row.actual_minor,
        currency=row.currency,
        code=row.code or None,
        unsent=unsent,
    )
    payload: dict[str, object] = {}
    if row.result:
        payload["result"] = row.result.decode()
    if evidence:
        payload["evidence"] = evidence
    if row.message:
        payload["reason"] = row.message
    world.log(fact, row.call_id, actor, at_us, payload or None)
