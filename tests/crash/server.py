"""A PostgreSQL of a series' own: it is what dies, and comes back as it was durable."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final

import asyncpg

from tests.conftest import Cluster

DATABASE: Final = "crash"
BACK_WITHIN_S: Final = (
    60  # Crash recovery of so little takes a tenth of a second; sixty is a machine in trouble.
)
LOOK_AGAIN_S: Final = 0.02


class Server:
    """The server and its one database."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o711)  # The server runs as another user, who has to come by.
        self._cluster = Cluster(folder / "pg")
        self._base = self._cluster.start()
        self.url = self._base.replace("/postgres?", f"/{DATABASE}?").replace(
            "postgresql:", "postgresql+asyncpg:"
        )
        asyncio.run(self._ask(f"CREATE DATABASE {DATABASE}"))

    @property
    def pid(self) -> int:
        """Return the postmaster's process."""
        return self._cluster.pid()

    def revive(self, killed: list[int], *, whole: bool) -> None:
        """Return once it answers again; `killed` are the processes that were, `whole` where it was all."""
        end = time.monotonic() + BACK_WITHIN_S
        while any(_stands(pid) for pid in killed) and time.monotonic() < end:
            time.sleep(LOOK_AGAIN_S)  # Nobody tells of another's end.
        if whole:
            self._cluster.start_again()
        while True:
            try:
                return asyncio.run(self._ask("SELECT 1"))
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > end:
                    raise
                time.sleep(LOOK_AGAIN_S)  # It recovers by itself and tells nobody when it is done.

    def remove(self) -> None:
        """Stop it and leave nothing behind."""
        self._cluster.remove()

    async def _ask(self, statement: str) -> None:
        connection = await asyncpg.connect(self._base, timeout=BACK_WITHIN_S)
        await connection.execute(statement)
        await connection.close()


def kill_postgres(victim: str, postmaster: int) -> list[int]:
    """Stop the server without any tidying up, or kill -9 the backend that is in our transaction; say whom."""
    if victim == "server":
        os.kill(postmaster, signal.SIGQUIT)
        return [postmaster]
    backends = {pid: words for pid, words in _children(postmaster).items() if f" {DATABASE} " in words}
    chosen = [pid for pid, words in backends.items() if "in transaction" in words] or list(backends)[:1]
    for pid in chosen:
        os.kill(pid, signal.SIGKILL)
    return chosen


def _children(parent: int) -> dict[int, str]:
    """Return what the children of a process say they do."""
    found: dict[int, str] = {}
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            found[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # It has ended meanwhile.
    return found


def _stands(pid: int) -> bool:
    """Say whether a process is there, though it be dead: its parent has not noticed yet then."""
    return Path(f"/proc/{pid}").exists()
