"""The one writer of a process: it drains queued commands into batches and answers after the commit.

There is no artificial delay: while one batch is being made durable the next one gathers in the queue. The
queue is bounded; whoever finds it full is told `busy` at once, and nothing of his command was admitted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from msgspec import Struct
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ledger.batch import MOST_AT_ONCE, Done, HotJob, Job, Machine, run_jobs
from ledger.engines.postgres import writing_connection
from ledger.engines.sqlite import tidy, writing_engine
from policy.errors import Busy, Unavailable

LONGEST_QUEUE: Final = (
    2_048  # Eight full batches: a second or so of work, then honesty is kinder than waiting.
)

TIDY_EVERY: Final = 32  # Batches between two looks at the WAL: a look costs more than many a statement.


class Waiting(Struct):
    """A job and who waits for it."""

    job: Job
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Writer(Protocol):
    """What a ledger needs of its writer, on either engine."""

    async def submit(self, job: Job) -> Any:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        """Run one job and return its answer, after it is durable. Raises Busy, or what the job raised."""

    def submit_both(self, first: Job, then: Job) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Queue two jobs side by side: as a rule they share one transaction. Raises Busy for both."""

    async def close(self) -> None:
        """Finish what is queued and stop."""


class _Queue:
    """The bounded queue that both writers share; guarded by its condition."""

    def __init__(self, longest: int) -> None:
        self.waiting: deque[Waiting] = deque()
        self.longest = longest
        self.closed = False

    def put(self, job: Job, *, with_room_for: int = 1) -> asyncio.Future[Any]:
        if self.closed:
            raise Unavailable("the ledger is shutting down; try again with the same key")
        if len(self.waiting) + with_room_for > self.longest:
            raise Busy(
                f"{self.longest} commands are waiting already; try again in a moment with the same key"
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.waiting.append(Waiting(job, loop, future))
        return future

    def take(self) -> list[Waiting]:
        """Return the next batch: hot jobs together, a rare one alone."""
        out: list[Waiting] = []
        while self.waiting and len(out) < MOST_AT_ONCE:
            if not isinstance(self.waiting[0].job, HotJob):
                return out or [self.waiting.popleft()]
            out.append(self.waiting.popleft())
        return out


class ThreadWriter:
    """SQLite's writer: one thread with the one writing connection."""

    def __init__(
        self,
        database: Path,
        machine: Machine,
        *,
        committed: Callable[[], None],
        longest: int = LONGEST_QUEUE,
        connect: Callable[..., Any] | None = None,
    ) -> None:
        self._database = database
        self._machine = machine
        self._committed = committed
        self._engine = writing_engine(database, connect)
        self._queue = _Queue(longest)
        self._woken = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="ledger-writer", daemon=True)
        self._thread.start()

    async def submit(self, job: Job) -> Any:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        """Run one job in the writer's thread."""
        with self._woken:
            future = self._queue.put(job)
            self._woken.notify()
        return await asyncio.shield(future)

    def submit_both(self, first: Job, then: Job) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Queue two jobs, one behind the other."""
        with self._woken:
            futures = self._queue.put(first, with_room_for=2), self._queue.put(then)
            self._woken.notify()
        return futures

    async def close(self) -> None:
        """Finish what is queued, tidy up, stop."""
        with self._woken:
            self._queue.closed = True
            self._woken.notify()
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _work(self) -> None:
        connection: Connection | None = None
        batches = 0
        while True:
            with self._woken:
                while not self._queue.waiting and not self._queue.closed:
                    self._woken.wait()
                batch = self._queue.take()
            if not batch:
                break
            try:
                if connection is None or connection.invalidated:
                    connection = self._engine.connect()
                dones = run_jobs(connection, [each.job for each in batch], self._machine)
            except Exception as broken:  # noqa: BLE001 -- whatever broke, its caller must hear of it and the writer must go on
                self._machine.failed("writer", broken)
                error = Unavailable(
                    f"the ledger cannot be opened now ({broken}); try again with the same key"
                )
                dones = [Done(error=error) for _ in batch]
                connection = None
            if connection is not None and any(isinstance(done.error, Unavailable) for done in dones):
                _discard(connection)
                connection = None
            answer(batch, dones)
            self._committed()
            batches += 1
            if connection is not None and batches % TIDY_EVERY == 0:
                self._tidy(connection)
        if connection is not None:
            connection.exec_driver_sql("ROLLBACK") if connection.in_transaction() else None
            connection.close()
        self._engine.dispose()

    def _tidy(self, connection: Connection) -> None:
        """Tidy up between two batches; a disk that is full then must not end the writer."""
        try:
            tidy(connection, self._database, busy=bool(self._queue.waiting))
        except Exception as broken:  # noqa: BLE001 -- whatever broke, the writer must go on
            self._machine.failed("tidy", broken)


def _discard(connection: Connection) -> None:
    """Throw away a connection whose state nobody knows; the next batch opens another."""
    with suppress(Exception):  # It may be closed or broken already, which is why it goes.
        connection.invalidate()
        connection.close()


class TaskWriter:
    """PostgreSQL's writer: one task with one connection, running the same functions in a greenlet."""

    def __init__(
        self,
        engine: AsyncEngine,
        machine: Machine,
        *,
        committed: Callable[[], None],
        longest: int = LONGEST_QUEUE,
    ) -> None:
        self._engine = engine
        self._machine = machine
        self._committed = committed
        self._queue = _Queue(longest)
        self._woken = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._work(), name="ledger-writer")

    async def submit(self, job: Job) -> Any:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        """Run one job on the writer's connection."""
        future = self._queue.put(job)
        self._woken.set()
        return await asyncio.shield(future)

    def submit_both(self, first: Job, then: Job) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Queue two jobs, one behind the other."""
        futures = self._queue.put(first, with_room_for=2), self._queue.put(then)
        self._woken.set()
        return futures

    async def close(self) -> None:
        """Finish what is queued and stop."""
        self._queue.closed = True
        self._woken.set()
        await self._task

    async def _work(self) -> None:
        connection: AsyncConnection | None = None
        while True:
            batch = self._queue.take()
            if not batch:
                if self._queue.closed:
                    break
                self._woken.clear()
                await self._woken.wait()
                continue
            try:
                if connection is None:
                    connection = await writing_connection(self._engine)
                jobs = [each.job for each in batch]
                dones = await connection.run_sync(run_jobs, jobs, self._machine)
            except Exception as broken:  # noqa: BLE001 -- whatever broke, its caller must hear of it and the writer must go on
                self._machine.failed("writer", broken)
                error = Unavailable(
                    f"the ledger cannot be reached now ({broken}); try again with the same key"
                )
                dones = [Done(error=error) for _ in batch]
            if connection is not None and any(isinstance(done.error, Unavailable) for done in dones):
                await _drop(connection)
                connection = None
            answer(batch, dones)
            self._committed()
        if connection is not None:
            await connection.close()


async def _drop(connection: AsyncConnection) -> None:
    """Throw away a connection whose state nobody knows."""
    try:
        await connection.invalidate()
        await connection.close()
    except Exception:  # noqa: BLE001, S110 -- whatever broke, its caller must hear of it and the writer must go on
        pass


def answer(batch: Sequence[Waiting], dones: Sequence[Done]) -> None:
    """Give every caller his answer, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Waiting, Done]]] = {}
    for waiting, done in zip(batch, dones, strict=True):
        by_loop.setdefault(waiting.loop, []).append((waiting, done))
    for loop, pairs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(pairs: Sequence[tuple[Waiting, Done]]) -> None:
    for waiting, done in pairs:
        if waiting.future.done():
            continue
        if done.error is not None:
            waiting.future.set_exception(done.error)
        else:
            waiting.future.set_result(done.answer)
