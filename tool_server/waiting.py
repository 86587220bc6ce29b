"""Wait for a call to move, without asking the ledger again and again.

Whoever settles a call in this process says so; what other processes and people do is noticed by looking
again after a change of the ledger, and only at calls somebody waits for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from ledger.records import TERMINAL, CallRecord, CallState

REMEMBERED: Final = 1_024  # Calls that moved a moment ago: their waiter may register only now.
# A call rests where time alone brings nothing: it ended, it is in doubt, or a person has to answer.
RESTING: Final = TERMINAL | {CallState.UNKNOWN, CallState.AWAITING_APPROVAL}

Find = Callable[[str], Awaitable[CallRecord | None]]


class Waiting:
    """Who waits for which call."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._waiters: dict[str, set[asyncio.Future[CallRecord | None]]] = {}
        self._recent: OrderedDict[str, CallRecord] = OrderedDict()
        self._closed = False

    def notify(self, call: CallRecord) -> None:
        """Tell everybody who waits for this call where it stands now."""
        self._recent[call.call_id] = call
        self._recent.move_to_end(call.call_id)
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)
        for future in tuple(self._waiters.get(call.call_id, ())):
            if not future.done():
                future.set_result(call)

    async def recheck(self) -> None:
        """Look again at every call somebody waits for, after the ledger changed."""
        for call_id in tuple(self._waiters):
            call = await self._find(call_id)
            if call is not None:
                self.notify(call)

    async def moved(
        self, call: CallRecord, wait_s: float, *, done: Callable[[CallRecord], bool]
    ) -> CallRecord:
        """Return the call once it is `done`, or as it stands when `wait_s` is over or the house closes."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait_s
        call = self.newest(call)
        while not done(call) and not self._closed and (left := end - loop.time()) > 0:
            call = self.newest(await self._next(call, left))
        return call

    def close(self) -> None:
        """Let everybody go with what they have; nobody waits any more."""
        self._closed = True
        for waiters in tuple(self._waiters.values()):
            for future in tuple(waiters):
                _let_go(future)

    def newest(self, call: CallRecord) -> CallRecord:
        """Return what was last said of a call: two edges may pass before a waiter gets its turn."""
        recent = self._recent.get(call.call_id)
        return recent if recent is not None and recent.version > call.version else call

    async def _next(self, call: CallRecord, left_s: float) -> CallRecord:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[CallRecord | None] = loop.create_future()
        waiters = self._waiters.setdefault(call.call_id, set())
        waiters.add(future)
        # One timer and one future: half of what `asyncio.wait` takes, for every purchase.
        timer = loop.call_later(left_s, _let_go, future)
        try:
            return await future or call
        finally:
            timer.cancel()
            waiters.discard(future)
            if not waiters:
                self._waiters.pop(call.call_id, None)


def _let_go(future: asyncio.Future[CallRecord | None]) -> None:
    """Let a waiter go on with what it has."""
    if not future.done():
        future.set_result(None)


def settled(call: CallRecord) -> bool:
    """Say whether a call rests: waiting longer would show nothing new by itself."""
    return call.state in RESTING
