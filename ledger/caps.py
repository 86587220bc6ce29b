"""Caps, purely: reserve at admission, fix at the claim, post, commit or void at the end, adjust afterwards.

M10 to M14 live here. A hold floats until its claim: it counts in whatever window is current (M11). The claim
fixes it to the window of its instant; from then on the same row is posted, committed or voided, also months
later.
"""

from __future__ import annotations

from collections.abc import Iterable

from ledger.meters import (
    CALLS,
    FLOATING,
    Reading,
    booked_on,
    booking_start,
    read_window,
    reading_start,
)
from ledger.rows import CallRow, ReservationRow, UsageRow
from ledger.world import World
from policy.language import WindowKind
from policy.model import Call, Reserve, Usage, UsageNeed

ROLLING = WindowKind.ROLLING


def holds_of(world: World, call: Call, bindings: Iterable[Reserve | UsageNeed]) -> list[tuple[Reading, int]]:
    """Return what a call holds.

    A reservation per cap that binds it, and what its rules' sums and counts see.
    """
    held = [
        (world.cap_reading(binding), binding.amount)
        for binding in bindings
        if binding.window.kind is not WindowKind.CALL
    ]
    rules = () if world.law is None else world.law.rule_meters
    return held + booked_on(rules, call, ("sum", "count"))


def held_readings(world: World, row: CallRow) -> list[tuple[Reading, int]]:
    """Return what a call holds as it was reserved a moment ago, to be fixed as it is."""
    return [
        (reading_of(world.usage[held.meter][held.window_start_us]), held.amount)
        for held in world.reservations[row.call_id].values()
    ]


def reading_of(usage: UsageRow) -> Reading:
    """Return the meter that a row of usage is of."""
    scope, mode = usage.scope, usage.mode
    return Reading(
        usage.meter, usage.cap_id, scope, usage.scope_key, usage.unit, mode, read_window(usage.window)
    )


def float_again(world: World, row: CallRow) -> None:
    """Take a call's holds out of the window of a claim that sent nothing.

    They count in the current one again.
    """
    for held in world.reservations[row.call_id].values():
        if held.state == "held" and held.window_start_us != FLOATING:
            usage = world.usage[held.meter][held.window_start_us]
            world.book(usage, held=-held.amount)
            world.book(world.usage_row(reading_of(usage), FLOATING), held=held.amount)
            held.window_start_us = FLOATING
            world.change_reservation(held)
            world.floating[held.meter][row.call_id] = (held.ordinal, held.amount)


def reserve(world: World, row: CallRow, holds: Iterable[tuple[Reading, int]]) -> None:
    """Hold room for an admitted call; it floats until its claim."""
    for reading, amount in holds:
        world.book(world.usage_row(reading, FLOATING), held=amount)
        world.hold(ReservationRow(row.account_id, row.call_id, reading.meter, row.ordinal, amount, FLOATING))


def fix(world: World, row: CallRow, holds: Iterable[tuple[Reading, int]], at_us: int) -> None:
    """Move a call's holds into the windows of its claim (M11), as the policy of now would have them.

    A cap that is new since the admission gets its reservation now; one that binds no more lets go.
    """
    timezone = "UTC" if world.law is None else world.law.policy.timezone
    kept = world.reservations[row.call_id]
    wanted = {reading.meter: (reading, amount) for reading, amount in holds}
    for meter, old in list(kept.items()):
        if old.state == "held" and meter not in wanted:
            _let_go(world, old)
    for meter, (reading, amount) in wanted.items():
        start = booking_start(reading.window, at_us, timezone)
        held = kept.get(meter)
        if held is None or held.state != "held":
            world.book(world.usage_row(reading, start), held=amount)
            if held is None:
                world.hold(ReservationRow(row.account_id, row.call_id, meter, row.ordinal, amount, start))
            else:
                held.amount, held.window_start_us, held.state = amount, start, "held"
                world.change_reservation(held)
            continue
        world.book(world.usage[meter][held.window_start_us], held=-held.amount)
        world.book(world.usage_row(reading, start), held=amount)
        held.amount, held.window_start_us = amount, start
        world.change_reservation(held)


def release(world: World, row: CallRow) -> None:
    """Void what a call still holds: it will never run, or nothing happened there."""
    for held in world.reservations[row.call_id].values():
        if held.state == "held":
            _let_go(world, held)


def _let_go(world: World, held: ReservationRow) -> None:
    world.book(world.usage[held.meter][held.window_start_us], held=-held.amount)
    held.state = "void"
    world.change_reservation(held)


def post(world: World, row: CallRow, actual_minor: int | None, *, committed: bool) -> None:
    """Turn a call's holds into spending, at the actual amount, or into a commitment (M19).

    The whole actual amount is posted, also where it is above what was held (M13).
    """
    for held in world.reservations[row.call_id].values():
        if held.state != "held":
            continue
        usage = world.usage[held.meter][held.window_start_us]
        counted = usage.unit == CALLS or actual_minor is None
        amount = held.amount if counted or actual_minor is None else actual_minor
        if committed and usage.unit != CALLS:
            world.book(usage, held=-held.amount, committed=held.amount)
            held.state = "committed"
        else:
            world.book(usage, held=-held.amount, posted=amount)
            held.state, held.posted = "posted", amount
        world.change_reservation(held)


def count_outcome(world: World, row: CallRow, at_us: int) -> None:
    """Count how a call ended, for rules that ask for outcomes."""
    if world.law is None or not any(meter.what == row.state for meter in world.law.rule_meters):
        return
    timezone = world.law.policy.timezone
    for reading, amount in booked_on(world.law.rule_meters, world.policy_call(row), (row.state,)):
        start = booking_start(reading.window, at_us, timezone)
        world.book(world.usage_row(reading, start), posted=amount)


def usage_of(world: World, reading: Reading, at_us: int, own: CallRow | None) -> Usage:
    """Return what stands against a meter in its window of now, without the call's own hold.

    For a claim, of the floating holds only those admitted before it count (M12): first admitted, first
    served.
    """
    timezone = "UTC" if world.law is None else world.law.policy.timezone
    posted = held = 0
    rows = world.usage.get(reading.meter)
    if rows is None:
        return Usage()
    first = reading_start(reading.window, at_us, timezone)
    rolling = reading.window.kind is ROLLING
    for start, row in rows.items():
        if start == FLOATING:
            if own is None:
                held += row.held
        elif start == first or (rolling and start > first):
            posted += row.posted
            held += row.held + row.committed
    if own is not None:
        before = own.ordinal
        for ordinal, amount in world.floating[reading.meter].values():
            if ordinal < before:
                held += amount
        held -= _own_in_window(world, reading, own, first)
    return Usage(posted=posted, held=held)


def _own_in_window(world: World, reading: Reading, own: CallRow, first: int) -> int:
    """Return what of the window's holds is the call's own.

    A call that was claimed before and is asked again.
    """
    mine = world.reservations[own.call_id].get(reading.meter)
    if mine is None or mine.state not in {"held", "committed"} or mine.window_start_us == FLOATING:
        return 0
    counts = mine.window_start_us == first or (
        reading.window.kind is ROLLING and mine.window_start_us > first
    )
    return mine.amount if counts else 0
