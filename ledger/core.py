"""What every side of the facade stands on: the writer, the readers, the clock, and word of changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from sqlalchemy import Connection

from ledger import statements as sql
from ledger.batch import HotJob, Machine, RareJob
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.load import Hot, glimpse, open_world
from ledger.world import House, World
from ledger.writer import Writer

T = TypeVar("T")

POLL_S = 0.2  # Between two looks for other processes' commits: with the look itself, noticed within 250 ms.


class Wakes:
    """Tells everybody who waits that something was committed; safe to call from the writer's thread."""

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, asyncio.Event] = {}

    def event(self) -> asyncio.Event:
        """Return the event of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = asyncio.Event()
        return found

    def wake(self) -> None:
        """Wake everybody."""
        for loop, event in list(self._loops.items()):
            if loop.is_closed():
                self._loops.pop(loop, None)
            elif not event.is_set():
                loop.call_soon_threadsafe(event.set)


class Readers(Protocol):
    """Connections that only read: threads on SQLite, coroutines on PostgreSQL."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run one function on one of them, at one instant of the ledger."""
        ...

    async def glance(self, work: Callable[[Tx], T], *, one: bool = False) -> T:
        """Run one function of two or three indexed reads, however that is cheapest.

        `one` where it makes a single statement, which is of one instant by itself.
        """
        ...

    async def dispose(self) -> None:
        """Close them."""
        ...


class Core(Struct, frozen=True, kw_only=True):
    """One account's ledger, opened."""

    account_id: str
    url: str
    writer: Writer
    machine: Machine
    readers: Readers
    clock: Callable[[], datetime]
    wakes: Wakes

    async def hot(self, command: Hot) -> Any:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        """Run one hot command."""
        return await self.writer.submit(HotJob(self.account_id, command))

    def hot_both(self, first: Hot, then: Hot) -> tuple[asyncio.Future[Any], asyncio.Future[Any]]:
        """Run two hot commands one behind the other, as a rule in one transaction. Raises Busy for both."""
        return self.writer.submit_both(HotJob(self.account_id, first), HotJob(self.account_id, then))

    async def rare(self, name: str, work: Callable[[Tx, World], T]) -> T:
        """Run one function on the writer, under the account's lock, and write what it planned."""

        def run(tx: Tx, machine: Machine) -> T:
            world = open_world(tx, self.account_id, machine.sources)
            answer = work(tx, world)
            flush(tx, world, machine.sinks)
            return answer

        answer: T = await self.writer.submit(RareJob(name, run))
        return answer

    async def plain(self, name: str, work: Callable[[Tx], T]) -> T:
        """Run one function on the writer without the account's lock.

        Nothing a decision reads, nothing to log.
        """

        def run(tx: Tx, _machine: Machine) -> T:
            return work(tx)

        answer: T = await self.writer.submit(RareJob(name, run, aside=True))
        return answer

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Run one function on a reader: what is committed, at one instant, without the writer."""

        def run(connection: Connection) -> T:
            return work(Tx(connection))

        return await self.readers.run(run)

    async def read_world(self, work: Callable[[Tx, World], T]) -> T:
        """Run one function on a reader with a World that is never written."""

        def run(tx: Tx) -> T:
            return work(tx, open_world(tx, self.account_id, self.machine.sources, lock=False))

        return await self.read(run)

    async def glance(self, work: Callable[[World], T | None], *, live: bool) -> T | None:
        """Run one function on a World of which nothing is loaded but who and what may; it is never written.

        `live` where what other processes say of LIVE_SPEND matters (M6). None where the function says that
        this takes more than a glance, as it does while the house is to be read anew.
        """
        sources = self.machine.sources

        def run(tx: Tx) -> T | None:
            world = glimpse(tx, self.account_id, sources, live=live)
            return None if world is None else work(world)

        return await self.readers.glance(run, one=not live)

    async def house(self) -> House:
        """Return who and what may now: as remembered, where the account says that nothing changed since."""
        found = await self.readers.glance(
            lambda tx: tx.first(sql.HOUSE_VERSION, account=self.account_id), one=True
        )
        known = self.machine.sources.houses.get(self.account_id)
        if found is not None and known is not None and known.version == found[0]:
            return known
        return await self.read_world(lambda _tx, world: world.house)

    async def log_size(self) -> int:
        """Return how long the account's log is: it grows with everything that happens."""
        found = await self.readers.glance(lambda tx: tx.first(sql.HEAD, account=self.account_id), one=True)
        return 0 if found is None else int(found[0])

    async def wait_changes(self, since: int, timeout_s: float | None = None) -> int:
        """Wait until the log is longer than `since` and return its length.

        Once the time is over the length is `since` still. Own commits wake at once, other processes' are
        polled for.
        """
        event = self.wakes.event()
        loop = asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        while True:
            event.clear()
            size = await self.log_size()
            if size > since or (until is not None and loop.time() >= until):
                return size
            left = POLL_S if until is None else max(0.0, min(POLL_S, until - loop.time()))
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                continue
