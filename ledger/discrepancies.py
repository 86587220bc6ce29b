"""Discrepancies and adjustments: evidence against what is settled, money that moves afterwards (M9, M13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from ledger.audit.call_kinds import AdjustmentBooked, DiscrepancyFound
from ledger.audit.house_kinds import PostureMoved
from ledger.commands import Settlement
from ledger.edges import SYSTEM
from ledger.gather import STRICTNESS
from ledger.meters import CALLS, booked_on, booking_start
from ledger.records import Seen
from ledger.rows import ENCODER, CallRow
from ledger.world import World
from policy.language import Kind, Posture
from policy.model import Call, Effect
from policy.money import dec_hook, enc_hook

Move = tuple[str, int, int, int, int]
LOST: Final = "lost_call"  # Why an adjustment or a discrepancy speaks of a call that is not here (M33).


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
    found = _find(world, row.call_id, row.provider, code, command.evidence, at_us=at_us)
    amount = row.amount_minor if command.actual is None else command.actual.minor_units
    currency = row.currency if command.actual is None else command.actual.currency
    if amount and currency:
        adjust(world, row, amount_minor=amount, currency=currency, reason="late_success", at_us=at_us)
    close_provider(world, row.provider, f"evidence against call {row.call_id}", at_us)
    return found


def _find(world: World, call_id: str, provider: str, code: str, evidence: str, *, at_us: int) -> str:
    found = world.new_id("dis")
    world.insert(
        "discrepancies",
        discrepancy_id=found,
        call_id=call_id,
        provider=provider,
        code=code,
        state="open",
        evidence=evidence,
        found_at_us=at_us,
        operator=None,
        resolved_at_us=None,
        words="",
    )
    fact = DiscrepancyFound(code=code, provider=provider, call_id=call_id)
    world.log(fact, found, SYSTEM, at_us, {"evidence": evidence} if evidence else None)
    world.tell("discrepancy.found", ENCODER.encode({"discrepancy_id": found, "call_id": call_id}), at_us)
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
    booked = _Booked(row.call_id, row.mode, amount_minor, currency, reason, purchase_id, evidence)
    moved = () if world.law is None else _adjust_usage(world, booked, world.policy_call(row), at_us)
    return _book(world, booked, moved, at_us)


def lose(world: World, seen: Seen, at_us: int) -> str:
    """Record an effect of a call that this ledger has lost (M33): a discrepancy, and what it may have spent.

    The adjustment's evidence is the whole sight as JSON: it is all that is left to count the call by.
    """
    said = f"{seen.provider_ref} was found at {seen.provider}; the ledger was restored from before its call"
    found = _find(world, seen.call_id, seen.provider, LOST, said, at_us=at_us)
    if seen.amount is not None and seen.kind in {Kind.SPEND, Kind.PROVISION}:
        words = msgspec.json.encode(seen, enc_hook=enc_hook).decode()
        booked = _Booked(
            seen.call_id, seen.mode.value, seen.amount.minor_units, seen.amount.currency, LOST, None, words
        )
        moved = () if world.law is None else _adjust_usage(world, booked, lost_call(seen), at_us)
        _book(world, booked, moved, at_us)
    close_provider(world, seen.provider, f"effect of the lost call {seen.call_id}", at_us)
    return found


def lost_call(seen: Seen) -> Call:
    """Return a lost call as the policy sees it; its agent, tool and payee are not known any more."""
    effect = Effect(
        kind=seen.kind, operation=seen.operation, provider=seen.provider, mode=seen.mode, amount=seen.amount
    )
    return Call(
        tool="", effect=effect, account=seen.account_id, project=seen.project, run=seen.run_id, agent=""
    )


def read_lost(evidence: str) -> Call:
    """Return the lost call that an adjustment was booked for."""
    return lost_call(msgspec.json.decode(evidence, type=Seen, dec_hook=dec_hook))


class _Booked(NamedTuple):
    """One adjustment on its way in."""

    call_id: str
    mode: str
    amount_minor: int
    currency: str
    reason_code: str
    purchase_id: str | None
    evidence: str


def _book(world: World, booked: _Booked, moved: Sequence[Move], at_us: int) -> str:
    adjustment = world.new_id("adj")
    world.insert(
        "adjustments",
        adjustment_id=adjustment,
        moves=msgspec.json.encode(moved).decode(),
        at_us=at_us,
        **booked._asdict(),
    )
    fact = AdjustmentBooked(
        reason_code=booked.reason_code,
        amount_minor=booked.amount_minor,
        currency=booked.currency,
        mode=booked.mode,
        call_id=booked.call_id,
        purchase_id=booked.purchase_id,
    )
    world.log(fact, adjustment, SYSTEM, at_us, {"evidence": booked.evidence} if booked.evidence else None)
    return adjustment


def _adjust_usage(world: World, booked: _Booked, call: Call, at_us: int) -> list[Move]:
    if world.law is None:
        return []
    amount_minor, currency = booked.amount_minor, booked.currency
    policy = world.law.policy
    restores = {cap.id for cap in policy.caps if cap.restores}
    moved = []
    readings = [
        world.cap_reading(need)
        for need in world.needs(booked.call_id, call).usage
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
