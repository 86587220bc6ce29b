"""The log's signature while a house serves (M33): no fork is served, what was written is signed soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from policy.errors import ConfigurationError
from tool_server.loops import every

if TYPE_CHECKING:
    from ledger.ledger import Ledger

PERIOD_S: Final = 1.0  # What a thief of the whole disk could take back unseen is at most so old.
_PATIENCE: Final = 2  # Rounds: a key's change writes its entry first and moves the file a moment later.

_log = structlog.get_logger("bursar.signing")


@asynccontextmanager
async def signed_log(
    ledger: Ledger,
    folder: Path,
    give_up: Callable[[], None],
    *,
    period_s: float = PERIOD_S,
    sign: bool = True,
) -> AsyncIterator[None]:
    """Refuse a fork, then sign the log whenever it grew until the block ends, and once more at its end.

    `give_up` is called where the log may not be served any more. `sign=False` leaves signing to the process
    that works. Raises ConfigurationError with what to do: at the start, or at the end for what was met later.
    """
    signer = Signer(ledger, folder, give_up)
    await signer.start()
    ended = asyncio.Event()
    loop = asyncio.create_task(every("signing", period_s, signer.sign, stop=ended)) if sign else None
    try:
        yield
    finally:
        ended.set()
        if loop is not None:
            await loop
            await signer.sign()
    if signer.refused:
        raise ConfigurationError(signer.refused)


class Signer:
    """Signs one account's log with the key of one folder, and remembers why it may not."""

    def __init__(self, ledger: Ledger, folder: Path, give_up: Callable[[], None]) -> None:
        self._ledger = ledger
        self._folder = folder
        self._give_up = give_up
        self._in_a_row = 0
        self.refused = ""

    async def start(self) -> None:
        """Check the key and that the log extends what was signed. Raises ConfigurationError."""
        from ledger.audit.keys import KeyRefused, load

        try:
            load(self._folder)
        except KeyRefused as error:
            raise ConfigurationError(str(error)) from None
        await self._ledger.check_not_forked(self._folder)
        if await self._ledger.close_clone(self._folder, datetime.now(UTC)):
            _log.warning("this database is a clone of another instance's: it is read_only")

    async def sign(self) -> None:
        """Sign the log where it grew; where it cannot be trusted any more, say so and give up serving."""
        from ledger.audit.checkpoint import ForkFound
        from ledger.audit.keys import KeyRefused, load
        from ledger.audit.note import NoteRefused

        try:
            # Read each time: `bursar ledger rotate-key` changes it under a running server.
            await self._ledger.sign_log(load(self._folder), self._folder)
            self._in_a_row = 0
        except KeyRefused as error:
            self._in_a_row += 1
            if self._in_a_row >= _PATIENCE:
                self._refuse(error)
        except (ForkFound, NoteRefused) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        if not self.refused:
            self.refused = f"the log cannot be signed any more: {error}; see `bursar ledger verify`"
            _log.critical("serving stops: the log cannot be signed", error=str(error))
        self._give_up()
