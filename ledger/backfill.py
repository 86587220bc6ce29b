"""Counting anew: a cap or a sum that the policy did not have before sees what its window already saw.

Without it, renaming a cap would fill it up again. It runs in the transaction that activates the policy and
gives each call that counts a reservation on the new meter, as its admission, its claim and its settlement
would have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from sqlalchemy import or_, select

from ledger.backfill_adjusted import NewMeters, adjust_anew
from ledger.engines.tx import Tx
from ledger.judge import Law
from ledger.load import Wanted, load_deep, load_usage
from ledger.meters import (
    CALLS,
    FLOATING,
    Meter,
    Reading,
    booked_on,
    booking_start,
    cap_reading,
    reading_start,
)
from ledger.rows import CallRow, ReservationRow
from ledger.schema import OPEN_STATES, tool_calls
from ledger.schema_house import runs
from ledger.world import World
from policy.language import WindowKind
from policy.model import Call

CHUNK: Final = 500
UNCLAIMED: Final = frozenset({"awaiting_approval", "queued"})
COUNTING: Final = frozenset({*OPEN_STATES, "succeeded"})


class New(Struct, frozen=True):
    """What a policy counts that the one before it did not."""

    caps: frozenset[str]
    meters: tuple[Meter, ...]

    def __bool__(self) -> bool:
        return bool(self.caps or self.meters)


def new_in(law: Law, before: Law | None) -> New:
    """Return what is counted by `law` and was not counted by the law before it."""
    known = {} if before is None else before.cap_digests
    caps = frozenset(cap for cap, digest in law.cap_digests.items() if known.get(cap) != digest)
    had = () if before is None else before.rule_meters
    return New(caps, tuple(meter for meter in law.rule_meters if meter not in had))


def count_anew(tx: Tx, world: World, law: Law, before: Law | None, at_us: int) -> None:
    """Book what the windows of new meters already saw; the next audit entry carries the moves."""
    new = new_in(law, before)
    if not new:
        return
    world.law = law
    world.asked = {}
    world.readings.clear()
    outcomes: dict[tuple[str, int], tuple[Reading, int]] = {}
    after = 0
    while rows := _candidates(tx, world, _earliest(tx, world, law, new, at_us), after):
        after = rows[-1].ordinal
        load_deep(tx, world, [row.call_id for row in rows], asked=False)
        for row in rows:
            _count(world, law, new, row, at_us, outcomes=outcomes)
    _book_outcomes(tx, world, outcomes)
    adjust_anew(tx, world, NewMeters(law, new.caps, new.meters), _earliest(tx, world, law, new, at_us), at_us)


def _earliest(tx: Tx, world: World, law: Law, new: New, at_us: int) -> int:
    """Return the first instant that any of the new windows still counts."""
    windows = [cap.window for cap in law.policy.caps if cap.id in new.caps]
    windows += [meter.window for meter in new.meters]
    starts = [at_us]
    for window in windows:
        if window.kind is WindowKind.RUN:
            asked = select(runs.c.opened_at_us).where(
                runs.c.account_id == world.account_id, runs.c.state == "open"
            )
            starts += [row[0] for row in tx.connection.execute(asked)]
        elif window.kind is not WindowKind.CALL:
            starts.append(reading_start(window, at_us, law.policy.timezone))
    return min(starts)


def _candidates(tx: Tx, world: World, earliest: int, after: int) -> list[CallRow]:
    c = tool_calls.c
    asked = (
        select(tool_calls)
        .where(
            c.account_id == world.account_id,
            or_(c.settled_at_us.is_(None), c.settled_at_us >= earliest),
            c.ordinal > after,
        )
        .order_by(c.ordinal)
        .limit(CHUNK)
    )
    return [CallRow(*row) for row in tx.connection.execute(asked)]


def _count(
    world: World,
    law: Law,
    new: New,
    row: CallRow,
    at_us: int,
    *,
    outcomes: dict[tuple[str, int], tuple[Reading, int]],
) -> None:
    call = world.policy_call(row)
    if row.settled_at_us is not None and row.state != "denied":
        for reading, amount in booked_on(new.meters, call, (row.state,)):
            start = booking_start(reading.window, row.settled_at_us, law.policy.timezone)
            so_far = outcomes.get((reading.meter, start), (reading, 0))[1]
            outcomes[reading.meter, start] = (reading, so_far + amount)
    if row.state not in COUNTING:
        return
    claimed_us = _claimed_us(world, row)
    for reading, amount in _readings(world, law, new, row, call):
        known = world.reservations[row.call_id].get(reading.meter)
        if (
            known is not None and known.state != "void"
        ):  # A void one let go at a claim while the cap was gone.
            continue
        start = FLOATING
        if row.state not in UNCLAIMED:
            start = booking_start(reading.window, claimed_us, law.policy.timezone)
            if start < reading_start(reading.window, at_us, law.policy.timezone):
                continue
        _reserve(world, row, reading, start, amount)


def _readings(world: World, law: Law, new: New, row: CallRow, call: Call) -> Iterable[tuple[Reading, int]]:
    for need in world.needs(row.call_id, call).usage:
        if need.cap_id in new.caps:
            yield cap_reading(need, law.cap_digests[need.cap_id]), need.amount
    yield from booked_on(new.meters, call, ("sum", "count"))


def _reserve(world: World, row: CallRow, reading: Reading, start: int, amount: int) -> None:
    held = ReservationRow(row.account_id, row.call_id, reading.meter, row.ordinal, amount, start)
    usage = world.usage_row(reading, start)
    if row.state == "succeeded":
        # What was committed and what was posted of it is as on any other meter of the call.
        others = world.reservations[row.call_id].values()
        twin = next((each for each in others if each.amount == amount and each.state == "committed"), None)
        if twin is not None and reading.unit != CALLS:
            held.state, held.posted = twin.state, twin.posted
            world.book(usage, committed=amount - twin.posted, posted=twin.posted)
        else:
            counted = reading.unit == CALLS or row.actual_minor is None
            held.state, held.posted = "posted", amount if counted else row.actual_minor or 0
            world.book(usage, posted=held.posted)
    else:
        world.book(usage, held=amount)
    if held.meter in world.reservations[row.call_id]:
        world.reservations[row.call_id][held.meter] = held
        world.change_reservation(held)
    else:
        world.hold(held)


def _claimed_us(world: World, row: CallRow) -> int:
    """Return the instant of the claim that fixed a call's windows."""
    claims = [
        each.started_at_us for each in world.attempts[row.call_id].values() if each.purpose == "execute"
    ]
    return max(claims, default=row.admitted_at_us)


def _book_outcomes(tx: Tx, world: World, outcomes: dict[tuple[str, int], tuple[Reading, int]]) -> None:
    """Bring counts of outcomes to what they should be; an older policy may have counted some already."""
    want = Wanted()
    for meter, start in outcomes:
        want.at.setdefault(meter, set()).add(start)
    load_usage(tx, world, want)
    for (_, start), (reading, count) in outcomes.items():
        usage = world.usage_row(reading, start)
        world.book(usage, posted=count - usage.posted)
