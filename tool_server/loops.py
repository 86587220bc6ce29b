"""Work that comes round: each loop survives its own failures, says so, and ends when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

LONGEST_PAUSE_S: Final = 5.0  # After failures in a row; a ledger that comes back is used again within this.

_log = structlog.get_logger("bursar.loops")


async def every(
    name: str, period_s: float, body: Callable[[], Awaitable[object]], *, stop: asyncio.Event
) -> None:
    """Run `body`, then again `period_s` after it ended, until `stop`; failures lengthen the pause."""
    failures = 0
    while not stop.is_set():
        try:
            await body()
            failures = 0
        except Exception as error:  # noqa: BLE001 -- a loop that dies in silence is an outage nobody sees
            failures += 1
            _log.error(
                "a loop stumbled", loop=name, error=f"{type(error).__name__}: {error}", in_a_row=failures
            )
        pause_s = period_s if not failures else min(LONGEST_PAUSE_S, max(period_s, 0.1) * 2**failures)
        await wait(stop, pause_s)


async def wait(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event, at most so long; say whether it came."""
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiter,), timeout=timeout_s)
    finally:
        waiter.cancel()
    return event.is_set()
