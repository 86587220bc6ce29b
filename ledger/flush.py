"""Writing a World: everything planners changed, each table with one `executemany`, the log last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import astuple

from ledger import statements as sql
from ledger.audit.append import Head, append
from ledger.audit.fact import Fact
from ledger.audit.merkle import read_frontier
from ledger.changes import Applier, ChangeContext, apply_change
from ledger.engines.sets import SetStatement
from ledger.engines.tx import Row, Statement, Tx
from ledger.records import Change
from ledger.rows import CallRow, call_record, indexed_of
from ledger.times import to_us
from ledger.world import Effects, World

NOTHING_USED: Final = 9  # The columns of cap_usage before held, committed and posted.


class Sinks(Struct, frozen=True):
    """What writing needs beside the database."""

    random_bytes: Callable[[int], bytes]
    appliers: Mapping[type[Change], Applier]


def flush(tx: Tx, world: World, sinks: Sinks) -> int:
    """Write what was planned and return the log's size after it."""
    _calls(tx, world)
    _people(tx, world)
    _usage(tx, world)
    _rest(tx, world)
    if world.effects:
        tx.send()  # What plugins change refers to what the planners did.
    for effects in world.effects:
        _apply(tx, world, effects, sinks)
    # Appliers may have told people something, too.
    _others(tx, world)
    if world.touched and not world.drafts:
        # Whoever remembers this account hears of a write by the log's length, or by this (`ledger.kept`).
        tx.run(sql.SET_HOUSE, account=world.account_id)
    world.touched = 0
    return write_log(tx, world, sinks)


def _calls(tx: Tx, world: World) -> None:
    if world.new_calls:
        tx.later(sql.INSERT_CALLS, [astuple(row) for row in world.new_calls.values()])
        tx.later(sql.SET_ORDINAL, [(world.next_ordinal, world.account_id)])
    moved, ended = list[CallRow](), list[CallRow]()
    for row in world.dirty_calls.values():
        same = world.indexed.get(row.call_id) == indexed_of(row)
        (moved if same else ended).append(row)
    _update(tx, sql.MOVE_CALLS, moved)
    _update(tx, sql.UPDATE_CALLS, ended)
    tx.later(sql.INSERT_KEYS, world.new_keys)
    tx.later(sql.INSERT_ATTEMPTS, [astuple(row) for row in world.new_attempts])
    fresh = {(row.call_id, row.number) for row in world.new_attempts}
    changed = [row for key, row in world.dirty_attempts.items() if key not in fresh]
    _update(tx, sql.UPDATE_ATTEMPTS, changed)


def _people(tx: Tx, world: World) -> None:
    tx.later(sql.INSERT_APPROVALS, [astuple(row) for row in world.new_approvals.values()])
    _update(tx, sql.UPDATE_APPROVALS, world.dirty_approvals.values())
    tx.later(sql.INSERT_VERDICTS, [astuple(row) for row in world.new_verdicts])
    _update(tx, sql.UPDATE_VERDICTS, world.dirty_verdicts.values())


def _usage(tx: Tx, world: World) -> None:
    tx.later(sql.INSERT_RESERVATIONS, [astuple(row) for row in world.new_reservations.values()])
    _update(tx, sql.UPDATE_RESERVATIONS, world.dirty_reservations.values())
    # A row that was not met while loading may exist all the same: it is made empty, then everything is added.
    fresh = [(*astuple(row)[:NOTHING_USED], 0, 0, 0) for row in world.new_usage]
    tx.many_rows(sql.INSERT_USAGE, fresh)
    moved = [
        (held, committed, posted, world.account_id, meter, start)
        # In one order everywhere, so that two processes never wait for each other's rows.
        for (meter, start), (held, committed, posted) in sorted(world.moved_usage.items())
        if held or committed or posted
    ]
    tx.later(sql.MOVE_USAGE, moved)


def _rest(tx: Tx, world: World) -> None:
    tx.later(sql.INSERT_PAYEES, world.new_payees)
    for (scope, scope_key), (posture, because, at_us) in world.closed_postures.items():
        tx.run(
            sql.UPSERT_POSTURE,
            account_id=world.account_id,
            scope=scope,
            scope_key=scope_key,
            posture=posture,
            because=because,
            set_by="ledger",
            at_us=at_us,
        )
    if world.closed_postures:
        tx.run(sql.SET_HOUSE, account=world.account_id)


def _others(tx: Tx, world: World) -> None:
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for table, row in world.other_rows:
        by_table[table].append(row)
    for table, rows in by_table.items():
        tx.many(sql.OTHER[table], rows)


def _apply(tx: Tx, world: World, effects: Effects, sinks: Sinks) -> None:
    call, at_us = effects.call, to_us(effects.at)

    def log(fact: Fact, subject_id: str, payload: Mapping[str, object] | None) -> None:
        world.log(fact, subject_id, f"agent:{call.agent}", at_us, payload)

    def tell(topic: str, payload: bytes) -> None:
        world.tell(topic, payload, at_us)

    context = ChangeContext(
        world.account_id, call_record(call), effects.at, at_us, log, tell, world.new_id, world
    )
    for change in effects.changes:
        apply_change(tx, change, context, sinks.appliers)


def write_log(tx: Tx, world: World, sinks: Sinks) -> int:
    """Append the drafts to the account's log."""
    found = world.head or tx.first(sql.HEAD, account=world.account_id)
    if found is None:
        raise AssertionError("an account is made with its log's head")
    size, epoch, frontier = found
    if not world.drafts:
        tx.send()
        return int(size)
    if world.moves:
        raise AssertionError("usage moved without an audit entry that says so")
    grown = append(
        Head(world.account_id, size, epoch, read_frontier(frontier)), world.drafts, sinks.random_bytes
    )
    tx.later(sql.INSERT_ENTRIES, grown.entries)
    tx.later(sql.INSERT_PAYLOADS, _ordered(sql.INSERT_PAYLOADS, tx, grown.payloads))
    tx.later(sql.INSERT_NODES, grown.nodes)
    tx.later(sql.SET_HEAD, [(grown.head.size, b"".join(grown.head.frontier), world.account_id)])
    tx.send()
    if world.head is not None:
        world.head = (grown.head.size, epoch, b"".join(grown.head.frontier))
    return grown.head.size


def _ordered(statement: Statement, tx: Tx, rows: Iterable[Any]) -> list[Row]:
    """Bring named tuples into the order of a statement's parameters."""
    pick = attrgetter(*statement.text(tx.dialect)[1])
    return [pick(row) for row in rows]


_PICKS: Final[dict[tuple[int, str], Callable[[Any], Row]]] = {}


def _update(tx: Tx, statement: SetStatement, rows: Iterable[object]) -> None:
    """Update rows by their keys; parameters are named `set_COLUMN` and `key_COLUMN`."""
    wanted = list(rows)
    if not wanted:
        return
    key = (id(statement), tx.dialect.name)
    pick = _PICKS.get(key)
    if pick is None:
        names = [name.split("_", 1)[1] for name in statement.text(tx.dialect)[1]]
        pick = _PICKS[key] = attrgetter(*names)
    tx.later(statement, [pick(row) for row in wanted])
