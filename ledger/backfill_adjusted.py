"""Counting anew what moved after its call: adjustments, on a cap or a sum that was not there then (M9, M14).

An adjustment is never changed. What it moves on a new meter is booked by another one of no amount, whose
evidence names it, so that usage stays the sum of reservations and adjustments.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import select

from ledger.audit.call_kinds import AdjustmentBooked
from ledger.discrepancies import LOST, read_lost
from ledger.edges import SYSTEM
from ledger.engines.tx import Tx
from ledger.judge import Law
from ledger.meters import CALLS, Meter, Reading, booked_on, booking_start, cap_reading, reading_start
from ledger.rows import CallRow
from ledger.schema import adjustments, tool_calls
from ledger.world import World
from policy.language import WindowKind
from policy.model import Call

AGAIN: Final = "counted_anew"
Moves = list[tuple[str, int, int, int, int]]
_MOVES: Final = msgspec.json.Decoder(Moves)


class NewMeters(NamedTuple):
    """What is counted from now on: caps by id, and sums of rules."""

    law: Law
    caps: frozenset[str]
    meters: tuple[Meter, ...]


def adjust_anew(tx: Tx, world: World, new: NewMeters, earliest: int, at_us: int) -> None:
    """Book on new meters what adjustments since `earliest` moved."""
    rows = [dict(row._mapping) for row in _since(tx, world, earliest)]  # noqa: SLF001 -- SQLAlchemy's public name for a Row's columns
    known: dict[str, set[str]] = {}
    for row in rows:
        original = row["evidence"] if row["reason_code"] == AGAIN else row["adjustment_id"]
        known.setdefault(original, set()).update(move[0] for move in _MOVES.decode(row["moves"]))
    originals = [row for row in rows if row["reason_code"] != AGAIN and row["call_id"] is not None]
    calls = _calls(tx, world, {row["call_id"] for row in originals})
    for row in originals:
        call = (
            read_lost(row["evidence"])
            if row["reason_code"] == LOST
            else world.policy_call(calls[row["call_id"]])
        )
        moves = _moves(world, new, row, call, known=known[row["adjustment_id"]], at_us=at_us)
        if moves:
            _book(world, row, moves, at_us)


def _since(tx: Tx, world: World, earliest: int) -> Any:  # noqa: ANN401 -- rows of a query
    c = adjustments.c
    asked = select(adjustments).where(c.account_id == world.account_id, c.at_us >= earliest)
    return tx.connection.execute(asked.order_by(c.at_us, c.adjustment_id)).all()


def _calls(tx: Tx, world: World, call_ids: set[str]) -> dict[str, CallRow]:
    c = tool_calls.c
    asked = select(tool_calls).where(c.account_id == world.account_id, c.call_id.in_(call_ids))
    rows = [CallRow(*row) for row in tx.connection.execute(asked)] if call_ids else []
    return {row.call_id: row for row in rows}


def _moves(
    world: World, new: NewMeters, row: dict[str, Any], call: Call, *, known: set[str], at_us: int
) -> Moves:
    """Book one adjustment on every new meter that its own instant counts on, and say what was booked."""
    timezone, moved = new.law.policy.timezone, Moves()
    for reading in _readings(world, new, row["call_id"], call, row["amount_minor"]):
        if reading.meter in known or reading.unit != row["currency"]:
            continue
        start = booking_start(reading.window, row["at_us"], timezone)
        if start >= reading_start(reading.window, at_us, timezone):
            world.book(world.usage_row(reading, start), posted=row["amount_minor"])
            moved.append((reading.meter, start, 0, 0, row["amount_minor"]))
    return moved


def _readings(world: World, new: NewMeters, call_id: str, call: Call, amount: int) -> list[Reading]:
    """Return the new meters of a call; what was given back makes room only where a cap restores (M14)."""
    restores = {cap.id for cap in new.law.policy.caps if cap.restores}
    found = [
        cap_reading(need, new.law.cap_digests[need.cap_id])
        for need in world.needs(call_id, call).usage
        if need.cap_id in new.caps and need.unit != CALLS and (amount > 0 or need.cap_id in restores)
    ]
    if amount > 0:
        found += [reading for reading, _ in booked_on(new.meters, call, ("sum",))]
    return [reading for reading in found if reading.window.kind is not WindowKind.CALL]


def _book(world: World, row: dict[str, Any], moves: Moves, at_us: int) -> None:
    again = {
        "adjustment_id": world.new_id("adj"),
        "call_id": row["call_id"],
        "purchase_id": row["purchase_id"],
        "reason_code": AGAIN,
        "amount_minor": 0,
        "currency": row["currency"],
        "mode": row["mode"],
        "moves": msgspec.json.encode(moves).decode(),
        "evidence": row["adjustment_id"],
        "at_us": at_us,
    }
    world.insert("adjustments", **again)
    fact = AdjustmentBooked(
        reason_code=AGAIN,
        amount_minor=0,
        currency=row["currency"],
        mode=row["mode"],
        call_id=row["call_id"],
        purchase_id=row["purchase_id"],
    )
    world.log(fact, str(again["adjustment_id"]), SYSTEM, at_us, {"evidence": row["adjustment_id"]})
