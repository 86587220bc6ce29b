"""Whose turn it is where a person decides: the visitor may answer in the browser, or press Enter here.

Enter lets the demo operator do it, on the console's own form, and says so. Without a person at a terminal
every turn is the demo operator's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import webbrowser
from collections.abc import Awaitable, Callable
from typing import Final

_LOOK_S: Final = 0.5  # How late an answer in the browser may be noticed.
_SCREENS: Final = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # Without one of these no browser can open.


# Waits for one decision, given its words, its page and how to see that it was made; False where the demo
# operator is to make it.
Turn = Callable[[str, str, Callable[[], Awaitable[bool]]], Awaitable[bool]]


async def nobody(_words: str, _url: str, _done: Callable[[], Awaitable[bool]]) -> bool:
    """Leave every decision to the demo operator: nobody is there."""
    return False


async def visitor(words: str, url: str, done: Callable[[], Awaitable[bool]]) -> bool:
    """Wait until the visitor answered in the browser, or pressed Enter here."""
    _say(f"\n    YOUR TURN  {words}: {url}\n    (Enter lets the demo operator do it.) ")
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), entered.set)
    try:
        while not entered.is_set():
            if await done():
                _say("\n")
                return True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entered.wait(), _LOOK_S)
    finally:
        loop.remove_reader(sys.stdin.fileno())
    sys.stdin.readline()
    _say("    Enter: the demo operator does it.\n")
    return False


def is_there() -> bool:
    """Say whether a person sits at this terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def show(url: str) -> bool:
    """Open a page in the visitor's browser where there is one; say whether it was tried."""
    if sys.platform != "darwin" and not any(os.environ.get(name) for name in _SCREENS):
        return False
    with contextlib.suppress(webbrowser.Error):
        return webbrowser.open(url)
    return False


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
