"""Rows of rare commands: read one, read many, write one; of one account, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, insert, select, update

from ledger.engines.tx import Tx

Found = dict[str, Any]

_ID_CHARS: Final = 26  # 104 bits of a hash: no two records of one account ever meet.


def derived(prefix: str, *parts: str) -> str:
    """Return the id that follows from what a record is of, so that every process gives it the same one."""
    digest = sha256("\x1f".join(parts).encode()).hexdigest()
    return f"{prefix}_{digest[:_ID_CHARS]}"


def one(tx: Tx, table: Table, account: str, **columns: object) -> Found | None:
    """Return the row whose columns have these values, or None."""
    asked = select(table).where(table.c.account_id == account, *_equal(table, columns))
    row = tx.connection.execute(asked).mappings().first()
    return None if row is None else dict(row)


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
    tx.connection.execute(insert(table).values({"account_id": account, **row}))


def move(tx: Tx, table: Table, account: str, keys: Mapping[str, object], **values: object) -> int:
    """Update the row that has these keys; return how many there were."""
    asked = update(table).where(table.c.account_id == account, *_equal(table, keys)).values(values)
    return tx.connection.execute(asked).rowcount


def _equal(table: Table, columns: Mapping[str, object]) -> list[ColumnElement[bool]]:
    return [table.c[name] == value for name, value in columns.items()]
