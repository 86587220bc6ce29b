"""A house that kills itself at one step of one purchase: `python killed_house.py FOLDER ADDRESS STEP`.

It is a process of its own, since only SIGKILL shows what was durable: nothing is closed, flushed or said.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))  # Run as a script, from anywhere.

from tests.provider.house import Shop, a_place, opened
from tool_server.books import Books

# Before or after each of the three commands; the provider's answer comes between claim and settle.
STEPS: Final = ("admit.before", "admit.after", "claim.before", "claim.after", "settle.before", "settle.after")
KEY: Final = "the-one-purchase"
BUY: Final[dict[str, Any]] = {"item": "thing", "vendor": "v.example", "amount": "5.00 USD"}


def die() -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(step: str) -> None:
    """Make one command of the ledger's side deadly, before it begins or after it is durable."""
    name, when = step.split(".")
    real: Callable[..., Awaitable[Any]] = getattr(Books, name)

    async def command(self: Books, asked: Any) -> Any:  # noqa: ANN401 -- any of the three commands
        if when == "before":
            die()
        answer = await real(self, asked)
        die()
        return answer

    setattr(Books, name, command)


async def main(folder: Path, address: str, step: str) -> None:
    """Buy one thing, and die on the way."""
    place = await a_place(folder, Shop(address))
    async with opened(place) as desk:
        deadly(step)
        await desk.call("shop_buy", key=KEY, **BUY)
        await asyncio.sleep(5)  # It dies within; the parent bounds the wait.


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
