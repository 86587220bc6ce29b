"""Statements that write many rows: one `executemany` on SQLite, one statement over arrays on PostgreSQL.

PostgreSQL would run an `executemany` as so many statements, each bound, planned and answered by itself. Given
one array per column it writes a batch at once; and several such statements travel as one (`Tx.later`), each a
common table expression. All of those see the rows as they were before: none may build on another.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, LargeBinary, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

from ledger.engines.tx import Statement

_TYPES: Final = ((BigInteger, "bigint[]"), (LargeBinary, "bytea[]"), (Text, "text[]"))


class SetStatement(Statement):
    """A statement with a form for many rows at once, where `{rows}` stands for the arrays.

    Parameters are named like their columns, after `set_`, `key_` or `add_` where a column has several.
    """

    def __init__(
        self,
        core: ClauseElement,
        table: Table,
        form: str,
        *,
        renamed: dict[str, str] | None = None,
        on_postgres: ClauseElement | None = None,
    ) -> None:
        super().__init__(core)
        # For one row at a time, where `core` speaks SQLite's dialect; it takes the same parameters.
        self._on_postgres = None if on_postgres is None else Statement(on_postgres)
        self._table = table
        self._form = form
        self._renamed = renamed or {}
        self._arrays: tuple[tuple[str, str], ...] | None = None

    def text(self, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
        """Return the driver's text for one row and the names of its parameters in their order."""
        if self._on_postgres is not None and dialect.name == "postgresql":
            return self._on_postgres.text(dialect)
        return super().text(dialect)

    def over_arrays(self, dialect: Dialect, first: int) -> str:
        """Return the text for many rows, its arrays numbered from `first`."""
        if self._arrays is None:
            self._arrays = tuple((name, self._type(name)) for name in self.text(dialect)[1])
        arrays = ", ".join(f"${first + at}::{kind}" for at, (_, kind) in enumerate(self._arrays))
        names = ", ".join(f'"{name}"' for name, _ in self._arrays)
        return self._form.replace("{rows}", f"unnest({arrays}) AS given ({names})")

    def _type(self, name: str) -> str:
        column = self._renamed.get(name, name)
        if column not in self._table.c:
            column = name.split("_", 1)[1]
        kind = self._table.c[column].type
        return next(array for known, array in _TYPES if isinstance(kind, known))


def insert_form(table: Table, names: tuple[str, ...], *, ending: str = "") -> str:
    """Return the form of an insert of these columns."""
    listed = ", ".join(f'"{name}"' for name in names)
    given = ", ".join(f'given."{name}"' for name in names)
    return f'INSERT INTO "{table.name}" ({listed}) SELECT {given} FROM {{rows}} {ending}'.rstrip()  # noqa: S608 -- names of our own


def update_form(table: Table, sets: dict[str, str], keys: dict[str, str]) -> str:
    """Return the form of an update; `sets` and `keys` give each column's expression or parameter."""
    said = ", ".join(f'"{column}" = {value}' for column, value in sets.items())
    where = " AND ".join(f'"{table.name}"."{column}" = given."{name}"' for column, name in keys.items())
    return f'UPDATE "{table.name}" SET {said} FROM {{rows}} WHERE {where}'  # noqa: S608 -- the same
