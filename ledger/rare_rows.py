"""Rows of rare commands: read one, read many, write one; of one account, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, bindparam, insert, select, update

from ledger.engines.tx import Statement, Tx

Found = dict[str, Any]

_ID_CHARS: Final = 26  # 104 bits of a hash: no two records of one account ever meet.


def derived(prefix: str, *parts: str) -> str:
    """Return the id that follows from what a record is of, so that every process gives it the same one."""
    digest = sha256("\x1f".join(parts).encode()).hexdigest()
    return f"{prefix}_{digest[:_ID_CHARS]}"


def one(tx: Tx, table: Table, account: str, **columns: object) -> Found | None:
    """Return the row whose columns have these values, or None."""
    row = tx.first(_select(table, tuple(columns)), account=account, **_named("key", columns))
    return None if row is None else dict(zip(table.columns.keys(), row, strict=True))


def some(
    tx: Tx,
    table: Table,
    account: str,
    *conditions: ColumnElement[bool],
    order: Sequence[Any] = (),
    limit: int = 1_000,
) -> list[Found]:
    """Return rows that meet conditions, in an order, at most `limit`."""
    asked = select(table).where(table.c.account_id == account, *conditions).order_by(*order).limit(limit)
    return [dict(row) for row in tx.connection.execute(asked).mappings()]


def put(tx: Tx, table: Table, account: str, **row: object) -> None:
    """Insert a row."""
    given = {"account_id": account, **row}
    tx.run(_insert(table, tuple(given)), **_named("new", given))


def move(tx: Tx, table: Table, account: str, keys: Mapping[str, object], **values: object) -> int:
    """Update the row that has these keys; return how many there were."""
    statement = _update(table, tuple(keys), tuple(values))
    return tx.run(statement, account=account, **_named("key", keys), **_named("set", values))


# Built once for each shape: building a Core statement costs more than running it.


@cache
def _select(table: Table, names: tuple[str, ...]) -> Statement:
    return Statement(select(table).where(*_equal(table, names)))


@cache
def _insert(table: Table, names: tuple[str, ...]) -> Statement:
    return Statement(insert(table).values({name: bindparam(f"new_{name}") for name in names}))


@cache
def _update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> Statement:
    values: dict[str, Any] = {name: bindparam(f"set_{name}") for name in names}
    return Statement(update(table).where(*_equal(table, keys)).values(values))


def _equal(table: Table, names: tuple[str, ...]) -> list[ColumnElement[bool]]:
    mine = table.c.account_id == bindparam("account")
    return [mine, *(table.c[name] == bindparam(f"key_{name}") for name in names)]


def _named(prefix: str, values: Mapping[str, object]) -> dict[str, object]:
    return {f"{prefix}_{name}": value for name, value in values.items()}
