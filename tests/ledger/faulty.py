"""Databases that fail on purpose: SQLite through its connection, PostgreSQL from inside the server.

Either counts what is done to it and fails at the n-th step in one of its ways; `plan` says when and how, from
a seed, and `clear` lets it be well again.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg

FARTHEST: Final = 60  # Statements; a call takes some forty.
LOCKED_FOR_S: Final = 0.1  # The server's `lock_timeout` is 30 ms here.


class Faulty(Protocol):
    """A database that fails when it is told to."""

    met: Counter[str]  # How often which way.

    def options(self) -> dict[str, Any]:
        """Return what the ledger is opened with."""

    async def plan(self, dice: random.Random) -> None:
        """Fail once more, soon."""

    async def clear(self) -> None:
        """Fail no more."""

    async def close(self) -> None:
        """Let go."""


class FaultySqlite:
    """The n-th statement or commit of the writer's connection raises; or the connection is gone."""

    WAYS: Final = (
        "disk I/O error",
        "database or disk is full",
        "database is locked",
        "interrupted",
        "closed",
    )

    def __init__(self, database: Path) -> None:
        self.database = database
        self.left, self.way = -1, ""
        self.always = ""  # Statements that hold this text fail each time.
        self.met: Counter[str] = Counter()

    def options(self) -> dict[str, Any]:
        """Return the writer's way to its connection."""
        factory = _failing(self)
        return {"connect": lambda: sqlite3.connect(self.database, check_same_thread=False, factory=factory)}

    async def plan(self, dice: random.Random) -> None:
        """Choose the statement and the way."""
        self.left, self.way = dice.randrange(1, FARTHEST), dice.choice(self.WAYS)

    async def clear(self) -> None:
        """Count no more."""
        self.left = -1

    async def close(self) -> None:
        """Nothing is held."""

    def step(self, connection: sqlite3.Connection, statement: str = "") -> None:
        """Count one statement, and fail where it is the one."""
        if self.always and self.always in statement:
            self.met[self.always] += 1
            raise sqlite3.OperationalError("database or disk is full")
        self.left -= 1
        if self.left == 0:
            self.met[self.way] += 1
            if self.way == "closed":
                connection.close()
                return  # What comes next finds it closed.
            raise sqlite3.OperationalError(self.way)


def _failing(faulty: FaultySqlite) -> type[sqlite3.Connection]:
    class Cursor(sqlite3.Cursor):
        def execute(self, *given: Any) -> Cursor:  # noqa: ANN401 -- the driver's own arguments
            faulty.step(self.connection, given[0])
            super().execute(*given)
            return self

        def executemany(self, *given: Any) -> Cursor:  # noqa: ANN401 -- the driver's own arguments
            faulty.step(self.connection)
            super().executemany(*given)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:  # noqa: ANN401 -- the driver's own arguments
            return super().cursor(factory)

        def commit(self) -> None:
            faulty.step(self)
            super().commit()

    return Connection


class FaultyPostgres:
    """The n-th writing statement, or the commit after it, fails inside the server.

    Or the account is locked by somebody for longer than `lock_timeout`.
    """

    WAYS: Final = ("raises", "full", "timeout", "disconnect", "commit", "locked")

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection
        self._locking: asyncio.Task[None] | None = None
        self._way = ""
        self.met: Counter[str] = Counter()

    @classmethod
    async def at(cls, url: str) -> FaultyPostgres:
        """Put the faults into a database that has its tables."""
        connection = await asyncpg.connect(url.replace("postgresql+asyncpg:", "postgresql:"))
        await connection.execute(_IN_THE_SERVER)
        return cls(connection)

    def options(self) -> dict[str, Any]:
        """Return nothing: the ledger's own way to the server is what is tried."""
        return {}

    async def plan(self, dice: random.Random) -> None:
        """Choose the statement and the way."""
        way = dice.choice(self.WAYS)
        await self._count()
        if way == "locked":
            self._locking = asyncio.create_task(self._lock())
            await asyncio.sleep(0)  # It is on its way before the next command is.
            self.met[way] += 1
            return
        self._way, planned = way, dice.randrange(1, FARTHEST // 2)  # Half of the statements only read.
        await self._connection.execute(
            "UPDATE faults.plan SET at = (SELECT last_value FROM faults.steps) + $1, way = $2",
            planned,
            way,
        )

    async def clear(self) -> None:
        """Fail no more."""
        await self._count()
        await self._connection.execute("UPDATE faults.plan SET at = 0")

    async def close(self) -> None:
        """Leave the server."""
        await self._connection.close()

    async def _count(self) -> None:
        """Note whether what was planned was met; a lock is let go first."""
        if self._locking is not None:
            await self._locking
            self._locking = None
        if self._way:
            met = "SELECT (at <= (SELECT last_value FROM faults.steps))::int FROM faults.plan"
            self.met[self._way] += await self._connection.fetchval(met)
            self._way = ""

    async def _lock(self) -> None:
        async with self._connection.transaction():
            await self._connection.execute("LOCK TABLE accounts, log_head IN EXCLUSIVE MODE")
            await asyncio.sleep(LOCKED_FOR_S)  # The fault itself: somebody holds the account for so long.


# Each writing statement of each table takes a step; one that is refused in a transaction keeps its number.
_IN_THE_SERVER: Final = """
CREATE SCHEMA faults;
CREATE SEQUENCE faults.steps;
CREATE TABLE faults.plan (at bigint, way text);
INSERT INTO faults.plan VALUES (0, '');
CREATE TABLE faults.doomed (at bigint);
CREATE FUNCTION faults.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not write to file' USING ERRCODE = '58030';
END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON faults.doomed DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION faults.at_commit();
CREATE FUNCTION faults.step() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    met text;
BEGIN
    SELECT way INTO met FROM faults.plan WHERE at = nextval('faults.steps');
    CASE coalesce(met, 'well')
        WHEN 'raises' THEN RAISE EXCEPTION 'could not read block' USING ERRCODE = '58030';
        WHEN 'full' THEN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
        WHEN 'timeout' THEN PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(5);
        WHEN 'disconnect' THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5);
        WHEN 'commit' THEN INSERT INTO faults.doomed VALUES (1);
        ELSE NULL;
    END CASE;
    RETURN NULL;
END $$;
DO $$
DECLARE
    each text;
BEGIN
    FOR each IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format(
            'CREATE TRIGGER faults BEFORE INSERT OR UPDATE ON %I EXECUTE FUNCTION faults.step()', each
        );
    END LOOP;
    EXECUTE format('ALTER DATABASE %I SET lock_timeout = 30', current_database());
END $$;
"""
