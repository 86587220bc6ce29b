"""A whole house that meets one fault at one step of one purchase, as a fork of the warm process.

The faults: `kill` ends the process at once; `hang` stops it (whoever started it lets it go on, long after its
lease); `lose` lets the step happen and its answer get lost. The steps are the three commands of the ledger,
before and after each, and the send, while the shop has done it and not yet answered.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ledger.records import CallState
from policy.errors import Unavailable
from tests.provider import shop as plugin
from tests.provider.house import Desk, Place, Shop, a_place, opened
from tool_server import attempt
from tool_server.attempt import Guard
from tool_server.books import Books
from tool_server.envelope import CallResult

STEPS: Final = (
    "admit.before",
    "admit.after",
    "claim.before",
    "claim.after",
    "send.during",
    "settle.before",
    "settle.after",
)
FAULTS: Final = ("kill", "hang", "lose")
BROKEN: Final = ("another key for each attempt", "sends however late it is")
KEY: Final = "the-one-purchase"
SMALL: Final = "5.00 USD"
LARGE: Final = "50.00 USD"  # A person is asked.
ENDED: Final = (CallState.SUCCEEDED, CallState.FAILED)
WITHIN_S: Final = 20.0  # Everything comes to its end in three; twenty is a crowded machine.
QUICK: Final[dict[str, Any]] = {
    "send_window_s": 0.5,
    "first_look_s": 0.05,
}  # A lease of 1.1 s, with the shop's own 0.6 s.


class Life(Struct, frozen=True, kw_only=True):
    """What one process does, and what happens to it."""

    folder: str
    address: str
    db: str = ""
    tool: str = "shop_buy"
    amount: str = SMALL
    step: str = ""
    fault: str = ""
    twin: str = ""


async def place_of(life: Life) -> Place:
    """Return where a life's house stands; its ledger is prepared."""
    place = await a_place(Path(life.folder), Shop(life.address), db=life.db, prepared=True)
    return Place(folder=place.folder, db=place.db, settings=place.settings, wiring=place.wiring)


async def live(life: Life) -> int:
    """Buy one thing, meet the fault, and go on to the end where that is possible."""
    _break(life.twin)
    async with opened(await place_of(life), **QUICK) as desk:
        if life.fault:
            _meet(life)
        result = await buy(desk, life)
        if result.envelope.call_id is None:
            result = await buy(desk, life)  # Nothing was admitted, it was told: the same key again.
        await desk.until(result, *ENDED, within_s=WITHIN_S)
    return 0


async def buy(desk: Desk, life: Life) -> CallResult:
    """Ask for the one purchase under its key, and let a person answer where one is asked."""
    result = await desk.call(life.tool, key=KEY, item="thing", vendor="v.example", amount=life.amount)
    if result.envelope.status == "pending_approval":
        await desk.approve(result)
    return result


def _meet(life: Life) -> None:
    """Put the fault into the step, in this process."""
    if life.step == "send.during":
        _in_the_send(life)
        return
    name, when = life.step.split(".")
    real: Callable[..., Awaitable[Any]] = getattr(Books, name)
    met: list[str] = []

    async def command(self: Books, asked: Any) -> Any:  # noqa: ANN401 -- any of the three commands
        if met:
            return await real(self, asked)
        met.append(life.fault)
        if when == "before":
            _happen(life.fault)
            return await real(self, asked)
        answer = await real(self, asked)
        _happen(life.fault)
        return answer

    setattr(Books, name, command)


def _in_the_send(life: Life) -> None:
    """Let the shop do it and say nothing: whoever started this house sees the order there, and acts."""
    Shop(life.address).fault("lose" if life.fault == "lose" else "slow", seconds=2.0)


def _happen(fault: str) -> None:
    if fault == "lose":
        raise Unavailable("the answer was lost; try again with the same key")
    os.kill(os.getpid(), signal.SIGKILL if fault == "kill" else signal.SIGSTOP)


def _break(twin: str) -> None:
    """Make this process's copy of the code a broken one."""
    if twin == BROKEN[0]:
        real: Callable[..., Awaitable[Any]] = plugin.Shop.send

        async def send(self: plugin.Shop, what: str, amount: object, context: Any) -> Any:  # noqa: ANN401 -- as the shop has it
            key = f"{context.provider_key}:{context.attempt}:{os.getpid()}"
            return await real(self, what, amount, _With(context, key))

        setattr(plugin.Shop, "send", send)  # noqa: B010 -- in this process only, and broken on purpose
    elif twin == BROKEN[1]:
        carry_out: Callable[..., Awaitable[Any]] = attempt._carry_out  # noqa: SLF001 -- the second fence

        async def patient(*given: object, end_s: float) -> object:
            return await carry_out(*given, end_s=end_s + WITHIN_S)

        setattr(Guard, "__call__", lambda _self: None)  # noqa: B010 -- as above
        setattr(attempt, "_carry_out", patient)  # noqa: B010 -- as above


class _With:
    """A context with another key."""

    def __init__(self, context: Any, key: str) -> None:  # noqa: ANN401 -- as the plugin is given it
        self._context, self.provider_key = context, key

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any part of a context
        return getattr(self._context, name)
