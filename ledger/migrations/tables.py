"""The words migrations are written in; they never change their meaning, since migrations never do.

`table("runs", "run_id:text order_id:text?", key="run_id")`: columns with their type (text, int, bytes), a question
mark where NULL is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.sqlite import INTEGER

_INT: Final = sa.BigInteger().with_variant(INTEGER(), "sqlite")
_TYPES: Final[dict[str, Any]] = {"text": sa.Text(), "int": _INT, "bytes": sa.LargeBinary()}


def column(spec: str) -> sa.Column[Any]:
    """Return the column that `name:type` or `name:type?` says."""
    name, _, kind = spec.partition(":")
    null = kind.endswith("?")
    return sa.Column(name, _TYPES[kind.rstrip("?")], nullable=null, autoincrement=False)


def table(name: str, columns: str, *, key: str, parts: Sequence[Any] = (), rowid: bool = True) -> None:
    """Make a STRICT table."""
    primary = sa.PrimaryKeyConstraint(*key.split(), name=f"pk_{name}")
    made = [column(spec) for spec in columns.split()]
    op.create_table(name, *made, primary, *parts, sqlite_strict=True, sqlite_with_rowid=rowid)


def check(name: str, condition: str) -> sa.CheckConstraint:
    """Return a condition that every row meets."""
    return sa.CheckConstraint(condition, name=op.f(name))


def refers(name: str, columns: str, to: str, others: str) -> sa.ForeignKeyConstraint:
    """Return a reference to another table's rows."""
    return sa.ForeignKeyConstraint(
        columns.split(), [f"{to}.{each}" for each in others.split()], name=op.f(name)
    )


def unique(name: str, columns: str) -> sa.UniqueConstraint:
    """Return a promise that no two rows share these columns."""
    return sa.UniqueConstraint(*columns.split(), name=op.f(name))


def index(name: str, on: str, columns: str, *, unique: bool = False, where: str | None = None) -> None:
    """Make an index, of some rows only where a condition is given."""
    some = None if where is None else sa.text(where)
    op.create_index(name, on, columns.split(), unique=unique, sqlite_where=some, postgresql_where=some)
