"""One transaction, on either engine: SQLAlchemy Core statements at the speed of the driver.

A statement is compiled once per dialect and then goes straight to the driver's cursor with a plain tuple.
That is what the hot commands need (a Core `execute` costs more than the statement itself). Everybody else may
use `tx.connection`, the ordinary SQLAlchemy connection of the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement

if TYPE_CHECKING:
    from ledger.engines.sets import SetStatement

Row = tuple[Any, ...]

# Lists are padded to these lengths, so that each statement is prepared a few times and not once per length.
_LENGTHS: Final = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
LONGEST_LIST: Final = _LENGTHS[-1]


class Statement:
    """A Core statement with named parameters, compiled when it is first used."""

    def __init__(self, core: ClauseElement) -> None:
        self._core = core
        self._texts: dict[str, tuple[str, tuple[str, ...]]] = {}

    def text(self, dialect: Dialect) -> tuple[str, tuple[str, ...]]:
        """Return the driver's text and the names of its parameters in their order."""
        found = self._texts.get(dialect.name)
        if found is None:
            compiled = self._core.compile(dialect=dialect)
            found = str(compiled), tuple(getattr(compiled, "positiontup", None) or ())
            self._texts[dialect.name] = found
        return found


class Listed:
    """A statement with one IN list named `listed`, built for a few lengths."""

    def __init__(self, build: Callable[[list[Any]], ClauseElement]) -> None:
        self._build = build
        self._built: dict[int, Statement] = {}

    def parts(self, values: Collection[Any]) -> Iterator[tuple[Statement, dict[str, Any]]]:
        """Yield statements that together ask for all values, each with its list's parameters."""
        rest = list(values)
        while rest:
            part, rest = rest[:LONGEST_LIST], rest[LONGEST_LIST:]
            length = next(size for size in _LENGTHS if size >= len(part))
            part += [part[-1]] * (length - len(part))
            yield self._of(length), {f"listed_{place}": value for place, value in enumerate(part)}

    def _of(self, length: int) -> Statement:
        found = self._built.get(length)
        if found is None:
            found = Statement(self._build([bindparam(f"listed_{place}") for place in range(length)]))
            self._built[length] = found
        return found


class Tx:
    """A transaction in progress. Nothing here commits: its engine does, once the whole batch is written."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        dbapi = connection.connection.dbapi_connection
        if dbapi is None:
            raise RuntimeError("the connection was closed under its transaction")
        self.raw: Any = dbapi  # The driver's own connection.
        self._later: list[tuple[SetStatement, Sequence[Row]]] = []

    def foreign_commits(self) -> int:
        """Return SQLite's mark of the file, another once somebody else wrote it; 0 where there is none."""
        if self.dialect.name != "sqlite":
            return 0
        return int(self.raw.execute("PRAGMA data_version").fetchone()[0])

    def rows(self, statement: Statement, **params: object) -> list[Row]:
        """Return all rows of a query."""
        self.send()
        text, names = statement.text(self.dialect)
        cursor = self.raw.cursor()
        try:
            cursor.execute(text, tuple([params[name] for name in names]))
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def first(self, statement: Statement, **params: object) -> Row | None:
        """Return the first row of a query, or None."""
        found = self.rows(statement, **params)
        return found[0] if found else None

    def listed(self, statement: Listed, values: Collection[Any], **params: object) -> list[Row]:
        """Return all rows for a list of values of any length."""
        out: list[Row] = []
        for part, listed in statement.parts(values):
            out += self.rows(part, **params, **listed)
        return out

    def run(self, statement: Statement, **params: object) -> int:
        """Execute one statement that writes and return how many rows it touched."""
        self.send()
        text, names = statement.text(self.dialect)
        cursor = self.raw.cursor()
        try:
            cursor.execute(text, tuple([params[name] for name in names]))
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute one writing statement for many rows."""
        if rows:
            _, names = statement.text(self.dialect)
            self.many_rows(statement, [tuple([row[name] for name in names]) for row in rows])

    def many_rows(self, statement: Statement, rows: Sequence[Row]) -> None:
        """Execute one writing statement for many tuples that are already in the order of its parameters."""
        if not rows:
            return
        self.send()
        text, _ = statement.text(self.dialect)
        cursor = self.raw.cursor()
        try:
            cursor.executemany(text, rows)
        finally:
            cursor.close()

    def later(self, statement: SetStatement, rows: Sequence[Row]) -> None:
        """Write rows together with others that do not build on each other, at the latest when sent.

        SQLite writes at once: there is no wire to spare.
        """
        if rows and self.dialect.name == "postgresql":
            self._later.append((statement, rows))
        else:
            self.many_rows(statement, rows)

    def send(self) -> None:
        """Write what waits, as one statement. Nobody's later statement runs before it."""
        if not self._later:
            return
        parts: list[str] = []
        arrays: list[tuple[Any, ...]] = []
        for place, (statement, rows) in enumerate(self._later):
            text = statement.over_arrays(self.dialect, len(arrays) + 1)
            parts.append(f"part_{place} AS ({text})")
            arrays += zip(*rows, strict=True)
        self._later = []
        cursor = self.raw.cursor()
        try:
            cursor.execute(f"WITH {', '.join(parts)} SELECT 1", tuple(arrays))
        finally:
            cursor.close()
