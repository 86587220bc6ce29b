"""The audit of reads: queued, never waited for, and never lost in silence (M36).

Entries gather in memory for at most half a second and go to the log together. A full queue makes its caller
wait. A crash loses what had gathered; the next start says so with a `gap` entry (`reads.lost`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.audit.entry import Draft

LONGEST: Final = 1_000  # Entries in memory; more means that the ledger is slower than its readers.
PATIENCE_S: Final = 0.5  # How long an entry may gather: half of the second that M36 allows a crash to lose.


class ReadLog:
    """Gathers entries and writes them in the background."""

    def __init__(self, write: Callable[[list[Draft]], Awaitable[None]]) -> None:
        self._write = write
        self._gathered: list[Draft] = []
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def note(self, draft: Draft) -> None:
        """Queue one entry; waits only where the queue is full."""
        self._gathered.append(draft)
        if len(self._gathered) >= LONGEST:
            await self.flush()
        elif self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._later(), name="read-log")

    async def flush(self) -> None:
        """Write what has gathered."""
        async with self._writing:
            batch, self._gathered = self._gathered, []
            if not batch:
                return
            try:
                await self._write(batch)
            except BaseException:
                self._gathered = batch + self._gathered  # Tried again with the next ones.
                raise

    async def close(self) -> None:
        """Write what has gathered and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    async def _later(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        await self.flush()
