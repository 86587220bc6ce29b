"""Records as tools read them: a kind, an id, a hash of the content, and the content as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Table

from ledger.engines.tx import Tx
from ledger.rare_rows import Found, one, some
from ledger.records import RecordRef
from ledger.rows import ENCODER
from ledger.times import from_us
from policy.errors import RecordMissing
from policy.money import written


def record_ref(kind: str, record_id: str, data: Mapping[str, object]) -> tuple[RecordRef, ...]:
    """Return one record with the hash of what it says, without what it leaves empty."""
    said = {name: value for name, value in data.items() if value is not None}
    digest = sha256(ENCODER.encode(said)).hexdigest()
    return (RecordRef(kind, record_id, digest, said),)


def missing(kind: str, record_id: str, field: str) -> RecordMissing:
    """Return the refusal for what is absent or another project's: the two look alike on purpose."""
    return RecordMissing(f"there is no {kind} {record_id!r} in this project", field=field)


def shown_at(us: int | None) -> str | None:
    """Return an instant as tools read it: ISO 8601 in UTC, to the second."""
    return None if us is None else from_us(us).strftime("%Y-%m-%dT%H:%M:%SZ")


def amount(row: Found, column: str = "amount_minor") -> str:
    """Return an amount of a row in the one notation of money."""
    return written(row[column], row["currency"])


def proof(row: Found) -> dict[str, str]:
    """Return what a row proves, by whom."""
    return {"level": row["proof_level"], "by": row["proof_by"], "provider": row["proof_provider"]}


def older(table: Table, at: str, key: str, last: Found | None) -> list[ColumnElement[bool]]:
    """Return the condition of the page after `last` in a listing by instant and key, both descending."""
    if last is None:
        return []
    c: Any = table.c
    return [(c[at] < last[at]) | ((c[at] == last[at]) & (c[key] < last[key]))]


def newest(
    tx: Tx,
    table: Table,
    account: str,
    *conditions: ColumnElement[bool],
    by: tuple[str, str],
    after: str | None,
    limit: int,
    **asked: object,
) -> tuple[list[Found], str | None]:
    """Return a page of rows, latest first by an instant and a key, and the key to ask the next one with.

    Columns in `asked` have the values given there; None asks for nothing.
    """
    c: Any = table.c
    at, key = by
    last = one(tx, table, account, **{key: after}) if after else None
    met = [*conditions, *older(table, at, key, last)]
    met += [c[name] == value for name, value in asked.items() if value is not None]
    found = some(tx, table, account, *met, order=(c[at].desc(), c[key].desc()), limit=limit + 1)
    return paged(found, key, limit)


def paged(rows: list[Found], key: str, limit: int) -> tuple[list[Found], str | None]:
    """Return the rows of a page, and the key to ask the next one with; one more than the page was read."""
    page = rows[:limit]
    return page, str(page[-1][key]) if len(rows) > limit else None
