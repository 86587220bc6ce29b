"""Commands that share a commit: what arrives while a batch is being written goes into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct

from ledger.batch import Machine, RareJob
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.load import open_world
from ledger.world import World
from policy.errors import Busy, Unavailable

T = TypeVar("T")
A = TypeVar("A")

# What either driver calls a fault of what was written, and not of the database (PEP 249).
_OF_ONE_ROW: Final = frozenset({"IntegrityError", "DataError"})


async def together(core: Core, name: str, works: Sequence[Callable[[Tx, World], A]]) -> list[A]:
    """Run rare functions on the writer in one transaction, under the account's lock: all count, or none."""

    def run(tx: Tx, machine: Machine) -> list[A]:
        answers = []
        world = open_world(tx, core.account_id, machine.sources)
        for work in works:
            answers.append(work(tx, world))
            if world.calls:
                # The next one would load the same rows over what this one planned.
                flush(tx, world, machine.sinks)
                world = open_world(tx, core.account_id, machine.sources)
        flush(tx, world, machine.sinks)
        return answers

    answers: list[A] = await core.writer.submit(RareJob(name, run))
    return answers


class _Waiting(Struct, Generic[T, A]):
    """One item and who waits for its answer."""

    item: T
    answer: asyncio.Future[A]


class Shared(Generic[T, A]):
    """Write items together, in the order of their arrival, without ever waiting for more of them."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[A]]], *, most: int) -> None:
        self._write = write
        self._most = most
        self._waiting: list[_Waiting[T, A]] = []
        self._task: asyncio.Task[None] | None = None

    async def put(self, item: T) -> A:
        """Return the item's answer once its batch is durable. Raises what writing it raised."""
        waiting: _Waiting[T, A] = _Waiting(item, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            await self._together(batch)

    async def _together(self, batch: Sequence[_Waiting[T, A]]) -> None:
        try:
            answers = await self._write([each.item for each in batch])
        except Exception as error:  # noqa: BLE001 -- each of them hears of it and answers for itself
            await self._apart(batch, error)
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)

    async def _apart(self, batch: Sequence[_Waiting[T, A]], error: Exception) -> None:
        """Write one by one, so that what cannot be written takes nobody with it; alone, hear of the error."""
        is_told = len(batch) == 1 or _is_everybodys(error)
        for each in batch:
            if not is_told:
                await self._together([each])
            elif not each.answer.done():
                each.answer.set_exception(error)


def _is_everybodys(error: Exception) -> bool:
    """Say whether each would meet the same alone: a ledger that takes nothing now, and not one bad row."""
    bad_row = any(each.__name__ in _OF_ONE_ROW for each in type(error.__cause__).__mro__)
    return isinstance(error, Busy) or (isinstance(error, Unavailable) and not bad_row)
