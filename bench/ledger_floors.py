"""The floors that bench/ledger.py measures beside: the same writes without the ledger.

SQLite: what a recorded run wrote, written again. PostgreSQL: the same steps under row locks, call by call.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

STEPS = 3  # Admit, claim, settle: a durable commit each.
BODY, ENTRY = b"x" * 2_300, b"x" * 1_600  # What the ledger keeps of a call, and of one entry of its log.
CAPS = [1, 2, 3, 4]
HELD = "UPDATE bench_cap SET held = held + $1, posted = posted + $2 WHERE id = ANY($3::int[])"
LOCK = "SELECT held + posted FROM bench_cap WHERE id = ANY($1::int[]) ORDER BY id FOR UPDATE"


class Timed(NamedTuple):
    """What a run took: calls per second, CPU per call in microseconds, and each call's milliseconds."""

    rate: float
    cpu_us: float
    each_ms: list[float]


async def timed(work: Callable[[], Awaitable[None]], calls: int, callers: int) -> Timed:
    """Let so many callers run so many calls together."""
    left, each_ms = itertools.repeat(None, calls), list[float]()

    async def caller() -> None:
        for _ in left:
            begun = time.perf_counter()
            await work()
            each_ms.append((time.perf_counter() - begun) * 1_000)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Timed(calls / wall, cpu / calls * 1e6, each_ms)


# --- SQLite ----------------------------------------------------------------------------------------------

Written = list[tuple[str, list[tuple[Any, ...]]]]


class Recorder:
    """Connections that note what they write, commit by commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits: list[Written] = []
        self.recording = False
        self._now: Written = []

    def connect(self) -> sqlite3.Connection:
        """Open a connection that records."""
        recorder = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, values: Any = ()) -> Cursor:  # noqa: ANN401 -- as sqlite3 has it
                recorder.note(sql, [tuple(values)])
                return super().execute(sql, values)

            def executemany(self, sql: str, rows: Any) -> Cursor:  # noqa: ANN401 -- as sqlite3 has it
                recorder.note(sql, rows)
                return super().executemany(sql, rows)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> sqlite3.Cursor:
                return super().cursor(factory)

            def commit(self) -> None:
                recorder.commit()
                super().commit()

        return sqlite3.connect(self.path, factory=Connection, check_same_thread=False)

    def note(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Note one statement that writes."""
        if self.recording and sql.startswith(("INSERT", "UPDATE")):
            self._now.append((sql, list(rows)))

    def commit(self) -> None:
        """Close one step."""
        if self._now:
            self.commits.append(self._now)
            self._now = []


def floor(copy: Path, commits: Sequence[Written]) -> Timed:
    """Write the same bytes again with plain sqlite3, one durable commit per step."""
    connection = sqlite3.connect(copy, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    steps_ms: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    for written in commits:
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for sql, rows in written:
            connection.executemany(sql, rows)
        connection.execute("COMMIT")
        steps_ms.append((time.perf_counter() - start) * 1_000)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    connection.close()
    calls = len(commits) // STEPS
    each_ms = [sum(steps_ms[at : at + STEPS]) for at in range(0, calls * STEPS, STEPS)]
    return Timed(calls / wall, cpu / calls * 1e6, each_ms)


def state_before(copy: Path, path: Path, commits: Sequence[Written]) -> Path:
    """Return a file in the state that the recorded writes began from."""
    # Everything the recorded commits inserted is taken out of a copy of the end; what they updated is as good
    # as new.
    del copy
    start = path.with_name("floor.db")
    start.write_bytes(path.read_bytes())
    connection = sqlite3.connect(start)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    calls = {
        row[1] for written in commits for sql, rows in written if "INTO tool_calls" in sql for row in rows
    }
    entries = [
        row[1] for written in commits for sql, rows in written if "INTO audit_entry" in sql for row in rows
    ]
    first = min(entries)
    nodes = [row for written in commits for sql, rows in written if "INTO log_node" in sql for row in rows]
    marks = ",".join("?" * 1)
    for call in calls:
        for table in ("attempts", "reservations", "idempotency", "tool_calls"):
            column = "call_id" if table != "outbox" else "outbox_id"
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", (call,))  # noqa: S608 -- names above
        connection.execute("DELETE FROM known_payees WHERE first_call_id = ?", (call,))
    connection.execute("DELETE FROM audit_entry WHERE seq >= ?", (first,))
    connection.execute("DELETE FROM audit_payload WHERE seq >= ?", (first,))
    connection.executemany(
        "DELETE FROM log_node WHERE account_id = ? AND level = ? AND position = ?", [row[:3] for row in nodes]
    )
    connection.execute("UPDATE cap_usage SET held = held + 1000000000, posted = 0")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return start


# --- PostgreSQL ------------------------------------------------------------------------------------------


async def row_locks(url: str, calls: int, callers: int) -> Timed:
    """Commit the same three steps call by call, under the row lock of one hot cap, with plain asyncpg."""
    pool = await asyncpg.create_pool(url, min_size=callers, max_size=callers)
    async with pool.acquire() as connection:
        await connection.execute(
            "DROP TABLE IF EXISTS bench_cap, bench_call, bench_log;"
            "CREATE TABLE bench_cap (id int PRIMARY KEY, held bigint, posted bigint);"
            "CREATE TABLE bench_call (id text PRIMARY KEY, state text, body bytea);"
            "CREATE TABLE bench_log (id bigserial PRIMARY KEY, body bytea);"
            "INSERT INTO bench_cap SELECT n, 0, 0 FROM generate_series(1, 4) n"
        )
    number = itertools.count(1)

    async def call() -> None:
        name = f"call_{next(number):026d}"
        async with pool.acquire() as connection:
            for step in ("queued", "executing", "succeeded"):
                async with connection.transaction():
                    await _step(connection, name, step)

    await timed(call, 50, callers)
    found = await timed(call, calls, callers)
    await pool.close()
    return found


async def _step(connection: Any, name: str, step: str) -> None:  # noqa: ANN401 -- a connection of the pool
    """Take one of the three steps: lock the caps, write the call, append an entry."""
    await connection.fetch(LOCK, CAPS)
    if step == "queued":
        await connection.execute("INSERT INTO bench_call VALUES ($1, $2, $3)", name, step, BODY)
        await connection.execute(HELD, 100, 0, CAPS)
    else:
        await connection.fetchrow("SELECT state, body FROM bench_call WHERE id = $1", name)
        await connection.execute("UPDATE bench_call SET state = $2 WHERE id = $1", name, step)
        if step == "succeeded":
            await connection.execute(HELD, -100, 100, CAPS)
    await connection.execute("INSERT INTO bench_log (body) VALUES ($1)", ENTRY)


async def administer_tables(url: str) -> None:
    """Clear the peer's tables away, so that the ledger finds the empty database it makes its own in."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TABLE bench_cap, bench_call, bench_log")
    await connection.close()
