"""Discrepancies and adjustments: evidence against what is settled, money that moves afterwards (M9, M13)."""

from __future__ import annotations

import msgspec

from ledger.audit.call_kinds import AdjustmentBooked, DiscrepancyFound
from ledger.audit.house_kinds import PostureMoved
from ledger.commands import Settlement
from ledger.edges import SYSTEM
from ledger.gather import STRICTNESS
from ledger.meters import CALLS, booked_on, booking_start
from ledger.rows import ENCODER, CallRow
from ledger.world import World
from policy.language import Posture


def close_provider(world: World, provider: str, because: str, at_us: int) -> None:
    """Close a provider for spending until an owner has looked: the posture `no_spend` on it."""
    scope = ("provider", provider)
    was = world.house.postures.get(scope, Posture.NORMAL)
    if STRICTNESS[was] >= STRICTNESS[Posture.NO_SPEND]:
        return
    world.close(scope, because, at_us)
    fact = PostureMoved(posture=Posture.NO_SPEND, was=was, cause="ledger")
    world.log(fact, f"provider:{provider}", SYSTEM, at_us, {"reason": because})


def contradict(world: World, row: CallRow, command: Settlement, code: str, at_us: int) -> str:
    """Record a success that an ended call should not have had: no state changes, the money is booked (M9)."""
    found = _find(world, row, code, command.evidence, at_us)
    amount = row.amount_minor if command.actual is None else command.actual.minor_units
    currency = row.currency if command.actual is None else command.actual.currency
    if amount and currency:
        adjust(world, row, amount_minor=amount, currency=currency, reason="late_success", at_us=at_us)
    close_provider(world, row.provider, f"evidence against call {row.call_id}", at_us)
    return found


def _find(world: World, row: CallRow, code: str, evidence: str, at_us: int) -> str:
    found = world.new_id("dis")
    world.insert(
        "discrepancies",
        discrepancy_id=found,
        call_id=row.call_id,
        provider=row.provider,
        code=code,
        state="open",
        evidence=evidence,
        found_at_us=at_us,
        operator=None,
        resolved_at_us=None,
        words="",
    )
    fact = DiscrepancyFound(code=code, provider=row.provider, call_id=row.call_id)
    world.log(fact, found, SYSTEM, at_us, {"evidence": evidence} if evidence else None)
    world.tell("discrepancy.found", ENCODER.encode({"discrepancy_id": found, "call_id": row.call_id}), at_us)
    return found


def adjust(
    world: World,
    row: CallRow,
    *,
    amount_minor: int,
    currency: str,
    reason: str,
    at_us: int,
    purchase_id: str | None = None,
    evidence: str = "",
) -> str:
    """Book money that moved after its call ended, in today's windows, even beyond a limit.

    Positive is more spent; negative is given back and makes room only under caps that say `restores` (M14).
    """
    moved = _adjust_usage(world, row, amount_minor, currency, at_us)
    adjustment = world.new_id("adj")
    world.insert(
        "adjustments",
        adjustment_id=adjustment,
        call_id=row.call_id,
        purchase_id=purchase_id,
        reason_code=reason,
        amount_minor=amount_minor,
        currency=currency,
        mode=row.mode,
        moves=msgspec.json.encode(moved).decode(),
        evidence=evidence,
        at_us=at_us,
    )
    fact = AdjustmentBooked(
        reason_code=reason,
        amount_minor=amount_minor,
        currency=currency,
        mode=row.mode,
        call_id=row.call_id,
        purchase_id=purchase_id,
    )
    world.log(fact, adjustment, SYSTEM, at_us, {"evidence": evidence} if evidence else None)
    return adjustment


def _adjust_usage(
    world: World, row: CallRow, amount_minor: int, currency: str, at_us: int
) -> list[tuple[str, int, int, int, int]]:
    if world.law is None:
        return []
    policy = world.law.policy
    call = world.policy_call(row)
    restores = {cap.id for cap in policy.caps if cap.restores}
    moved = []
    readings = [
        world.cap_reading(need)
        for need in world.needs(row.call_id, call).usage
        if need.unit == currency and (amount_minor > 0 or need.cap_id in restores)
    ]
    if amount_minor > 0:
        sums = booked_on(world.law.rule_meters, call, ("sum",))
        readings += [reading for reading, _ in sums if reading.unit == currency]
    for reading in readings:
        if reading.unit == CALLS or reading.window.kind == "call":
            continue
        start = booking_start(reading.window, at_us, policy.timezone)
        world.book(world.usage_row(reading, start), posted=amount_minor)
        moved.append((reading.meter, start, 0, 0, amount_minor))
    return moved
