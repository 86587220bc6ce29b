"""SQLite: one writing connection in one thread of one process; readers that can only read.

WAL with `synchronous=FULL`: a commit is durable before it is answered. Builds before 3.51.3 can corrupt a
file when two connections write or checkpoint at once (sqlite.org/wal.html, "the WAL-reset bug"), so only the
writer ever checkpoints: `wal_autocheckpoint=0` everywhere, and a checkpoint of our own between batches.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from ledger.engines.tx import Tx
from policy.errors import ConfigurationError

T = TypeVar("T")

FIXED_VERSION: Final = (3, 51, 3)  # The first build without the WAL-reset fault.
CHECKPOINT_BYTES: Final = 4 * 1024 * 1024  # The size of the WAL at which an idle writer tidies up.
STATEMENTS: Final = (
    1_024  # Kept prepared: each list's length is one of its own, and sqlite3 keeps 128 by itself.
)
READERS: Final = 4  # Threads that read at a time; the writer has its own.
FORCED_BYTES: Final = 64 * 1024 * 1024  # And at which it does so even while commands wait.

_EVERY: Final = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA recursive_triggers=ON",  # Else REPLACE deletes rows without asking the guards.
    "PRAGMA trusted_schema=OFF",
    "PRAGMA busy_timeout=5000",  # Milliseconds; only a reader meeting a checkpoint ever waits.
    "PRAGMA wal_autocheckpoint=0",
)


def sqlite_warning() -> str | None:
    """Return what to know about this build of SQLite, or None."""
    if sqlite3.sqlite_version_info >= FIXED_VERSION:
        return None
    return (
        f"SQLite {sqlite3.sqlite_version} has a fault in resetting its WAL (fixed in 3.51.3); Bursar keeps "
        "to one writing connection, which avoids it: let no other program write this file"
    )


class LockHeld(ConfigurationError):  # noqa: N818 -- it says what was met
    """Another process is this file's writer; commands go to it through the socket."""


class FileLock:
    """The one writer's mark on a database file, held until the process ends."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._handle: int | None = None

    def take(self) -> None:
        """Become the writer. Raises LockHeld where somebody else is."""
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise LockHeld(
                f"another process serves {self.path.with_suffix('').name}; stop it, or ask it"
            ) from None
        os.truncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle

    def release(self) -> None:
        """Stop being the writer."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def writing_engine(database: Path, connect: Callable[..., Any] | None = None) -> Engine:
    """Return the engine of the one writing connection; `connect` opens it where faults are tried."""
    options: dict[str, Any] = {"connect_args": {"cached_statements": STATEMENTS}}
    if connect is not None:
        options = {"creator": connect}
    engine = create_engine(f"sqlite:///{database}", poolclass=NullPool, **options)

    def prepare(dbapi: sqlite3.Connection, _record: object) -> None:
        dbapi.isolation_level = None  # BEGIN is ours to write.
        for pragma in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *_EVERY):
            dbapi.execute(pragma)

    def begin(connection: Connection) -> None:
        # A deferred BEGIN would read first and fail when it then wants to write. Straight to the driver: what
        # SQLAlchemy does around a statement costs more than beginning.
        raw = connection.connection.dbapi_connection
        try:
            raw.cursor().execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]  # None is caught as well.
        except (AttributeError, sqlite3.ProgrammingError):
            # Closed under us: SQLAlchemy meets the same and notes that this connection is none any more.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


class ThreadReaders:
    """Readers on threads of their own: one hop a read, where a driver of coroutines hops per statement."""

    def __init__(self, database: Path) -> None:
        self._engine = reading_engine(database)
        self._glancing = reading_engine(database, patience_ms=0)
        self._here: Tx | None = None  # Of the event loop's own thread.
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-read")

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run one function on a connection that can write nothing, at one instant of the ledger."""

        def read() -> T:
            with self._engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, read)

    async def glance(self, work: Callable[[Tx], T], *, one: bool = False) -> T:
        """Run one function of two or three indexed reads right here: they cost less than a hop.

        A reader of a WAL waits for nobody; should it have to all the same, a thread waits in its place.
        """
        if self._here is None:
            self._here = Tx(self._glancing.connect())
        tx = self._here
        try:
            if one:
                return work(tx)
            tx.raw.execute("BEGIN")  # One transaction, one instant.
            try:
                return work(tx)
            finally:
                tx.raw.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return await self.run(lambda connection: work(Tx(connection)))

    async def dispose(self) -> None:
        """Finish what is being read and close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        if self._here is not None:
            self._here.connection.close()
        self._glancing.dispose()
        self._engine.dispose()


def reading_engine(database: Path, *, patience_ms: int | None = None) -> Engine:
    """Return the engine of readers, which can write nothing; they wait `patience_ms` for a lock."""
    options: dict[str, Any] = {"connect_args": {"cached_statements": STATEMENTS}}
    engine = create_engine(f"sqlite:///{database}", pool_size=READERS, max_overflow=0, **options)

    def prepare(dbapi: sqlite3.Connection, _record: object) -> None:
        dbapi.isolation_level = None  # BEGIN is ours to write.
        for pragma in (*_EVERY, "PRAGMA query_only=1"):
            dbapi.execute(pragma)
        if patience_ms is not None:
            dbapi.execute(f"PRAGMA busy_timeout={patience_ms:d}")

    def begin(connection: Connection) -> None:
        # One transaction, one instant: without it every statement would see commits made since the last.
        connection.exec_driver_sql("BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def tidy(connection: Connection, database: Path, *, busy: bool) -> None:
    """Move the WAL into the file where it has grown; the writer does so between two batches, now and then."""
    try:
        size = (database.with_name(database.name + "-wal")).stat().st_size
    except FileNotFoundError:
        return
    if size > (FORCED_BYTES if busy else CHECKPOINT_BYTES):
        raw = connection.connection.dbapi_connection
        if raw is not None:
            # RESTART lets the next commit begin at the WAL's start, so that the file stops growing.
            raw.cursor().execute("PRAGMA wal_checkpoint(RESTART)")
