"""A whole house that meets one fault at one step of one purchase, as a fork of the warm process.

The faults: `kill` ends the process at once; `hang` stops it (whoever started it lets it go on, long after its
lease); `lose` lets the step happen and its answer get lost. The steps are the commands of the ledger, before
and after each (a house that knows its provider's readiness admits and claims by one, the others by two), and
the send, while the shop has done it and not yet answered.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ledger.records import CallState
from policy.errors import RecordChanged, Unavailable
from tests.provider import shop as plugin
from tests.provider.house import Desk, Shop, a_place, opened
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
    "admit_and_claim.before",
    "admit_and_claim.after",
)
TOGETHER: Final = "admit_and_claim"  # A call that may run at once takes both in one commit.
FAULTS: Final = ("kill", "hang", "lose")
BROKEN: Final = ("another key for each attempt", "sends however late it is")
KEY: Final = "the-one-purchase"
SMALL: Final = "5.00 USD"
LARGE: Final = "50.00 USD"  # A person is asked.
ENDED: Final = (CallState.SUCCEEDED, CallState.FAILED)
WITHIN_S: Final = 20.0  # Everything comes to its end in three; twenty is a crowded machine.
NEVER_S: Final = 600.0  # What a twin without patience's end waits: nothing here takes that long.
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
    key: str = KEY  # The one purchase, and what it buys.
    step: str = ""
    fault: str = ""
    twin: str = ""


@asynccontextmanager
async def entered(life: Life) -> AsyncIterator[Desk]:
    """Open the house of a life, whose ledger is prepared, once its shop has answered it."""
    place = await a_place(Path(life.folder), Shop(life.address), db=life.db, prepared=True)
    quick = QUICK | ({"fresh_s": 3.0} if life.step.startswith("admit_and_claim") else {})
    async with opened(place, **quick) as desk:
        end = time.monotonic() + WITHIN_S
        while not desk.house.providers.readiness("shop").ready and time.monotonic() < end:
            await (
                desk.house.providers.check_all()
            )  # The shop has 0.6 s: a crowded machine may need two tries.
        yield desk


async def live(life: Life) -> int:
    """Buy one thing, meet the fault, and go on to the end where that is possible."""
    _break(life.twin)
    async with entered(life) as desk:
        if life.fault:
            _meet(life)
        result = await buy(desk, life)
        if result.envelope.call_id is None:
            result = await buy(desk, life)  # Nothing was admitted, it was told: the same key again.
        await desk.until(result, *ENDED, within_s=WITHIN_S)
    return 0


async def buy(desk: Desk, life: Life) -> CallResult:
    """Ask for the one purchase under its key, and let a person answer where one is asked."""
    vendor = f"{life.key}.example"  # A second key must not be a twin.
    result = await desk.call(life.tool, key=life.key, item="thing", vendor=vendor, amount=life.amount)
    if result.envelope.status == "pending_approval":
        with suppress(RecordChanged):  # Another server's person was quicker, while this one was stopped.
            await desk.approve(result)
    return result


def _meet(life: Life) -> None:
    """Put the fault into the step, in this process."""
    if life.step == "send.during":
        _in_the_send(life)
        return
    name, when = life.step.split(".")
    met: list[str] = []
    for each in (name, TOGETHER) if name != "settle" else (name,):
        if hasattr(Books, each):
            setattr(Books, each, _deadly(getattr(Books, each), life.fault, when, met))


def _deadly(real: Callable[..., Awaitable[Any]], fault: str, when: str, met: list[str]) -> Any:  # noqa: ANN401 -- a method
    """Return a command that meets the fault once, before or after it."""

    async def command(*asked: Any) -> Any:  # noqa: ANN401 -- any of the commands
        if met:
            return await real(*asked)
        met.append(fault)
        if when == "before":
            _happen(fault)
            return await real(*asked)
        answer = await real(*asked)
        _happen(fault)
        return answer

    return command


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
            return await carry_out(*given, end_s=end_s + NEVER_S)

        setattr(Guard, "__call__", lambda _self: None)  # noqa: B010 -- as above
        setattr(attempt, "_carry_out", patient)  # noqa: B010 -- as above


class _With:
    """A context with another key."""

    def __init__(self, context: Any, key: str) -> None:  # noqa: ANN401 -- as the plugin is given it
        self._context, self.provider_key = context, key

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- any part of a context
        return getattr(self._context, name)
