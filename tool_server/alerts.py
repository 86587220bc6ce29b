"""Words to people, through the ledger's outbox: written with what happened, sent once somebody can.

A word is leased before it is delivered and marked after it; whoever crashes in between leaves it to the next
process, so a word may come twice and never not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
import structlog

MOST_AT_ONCE: Final = 50  # Words in one round; the rest come a second later.

Deliver = Callable[[str, Mapping[str, Any]], Awaitable[None]]  # A topic and what it says.

_log = structlog.get_logger("bursar.alerts")


class Outbox(Protocol):
    """What delivering asks of the ledger."""

    async def outbox_take(self, at: datetime, limit: int = 50) -> list[tuple[str, str, bytes]]: ...  # noqa: D102 -- the Ledger tells
    async def outbox_done(self, outbox_id: str, at: datetime) -> None: ...  # noqa: D102 -- the Ledger tells


class Alerts:
    """Deliver what waits in the outbox."""

    def __init__(self, outbox: Outbox, deliver: Deliver, now: Callable[[], datetime]) -> None:
        self._outbox = outbox
        self._deliver = deliver
        self._now = now

    async def deliver(self) -> int:
        """Deliver what is due and return how much it was; what cannot be delivered now comes again."""
        due = await self._outbox.outbox_take(self._now(), MOST_AT_ONCE)
        for outbox_id, topic, payload in due:
            try:
                await self._deliver(topic, msgspec.json.decode(payload))
            except Exception:  # noqa: BLE001 -- one word that cannot be sent must not hold back the others
                _log.exception("a word could not be delivered", topic=topic)
                continue
            await self._outbox.outbox_done(outbox_id, self._now())
        return len(due)


async def say(topic: str, words: Mapping[str, Any]) -> None:
    """Write a word into the log, at the level operators are woken by."""
    level = _log.info if topic == "approval.requested" else _log.warning
    level(topic, **{f"of_{name}": value for name, value in words.items()})
