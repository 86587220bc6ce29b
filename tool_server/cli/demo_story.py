"""How the demo tells what happens: one line per step, and a stop at the first thing that is not so."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from tool_server.cli.command import EXIT_NO, CommandError

PATIENCE_S: Final = 20.0  # For anything that takes a webhook, a look at the provider or a person's click.
_LOOK_S: Final = 0.1
T = TypeVar("T")


class Story:
    """Says what is done and what was found; every claim it prints was checked."""

    def __init__(self, *, json: bool = False) -> None:
        self._json = json
        self._began = time.monotonic()
        self.beats: list[dict[str, Any]] = []

    def beat(self, name: str, about: str) -> None:
        """Begin a part of the story."""
        self.beats.append({"beat": name, "steps": []})
        self._print(f"\n{name.upper()}  {about}")

    def did(self, words: str) -> None:
        """Say what somebody did."""
        self.beats[-1]["steps"].append({"did": words})
        self._print(f"  - {words}")

    def held(self, claim: str, holds: bool, met: object = "") -> None:  # noqa: FBT001 -- reads as a sentence: held(claim, it holds)
        """Check a claim and print it. Raises CommandError where it does not hold."""
        if not holds:
            raise CommandError(f"this did not hold: {claim}; met {str(met)[:400]}", exit_code=EXIT_NO)
        self.beats[-1]["steps"].append({"held": claim})
        self._print(f"    ok: {claim}")

    async def until(
        self,
        claim: str,
        look: Callable[[], Awaitable[T]],
        good: Callable[[T], bool],
        within_s: float = PATIENCE_S,
    ) -> T:
        """Look again and again until something is so, then claim it. Raises CommandError past its time."""
        end = time.monotonic() + within_s
        while True:
            found = await look()
            if good(found):
                self.held(claim, True)  # noqa: FBT003 -- just seen
                return found
            if time.monotonic() > end:
                self.held(claim, False, found)  # noqa: FBT003 -- it raises
            await asyncio.sleep(_LOOK_S)

    def seconds(self) -> float:
        """Return how long the story took so far."""
        return time.monotonic() - self._began

    def _print(self, line: str) -> None:
        if not self._json:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
