"""Processes that race: callers and an operator, through the socket of SQLite's one writer or on PostgreSQL.

Everything here runs in processes of its own. `twin` names the mistake that a broken copy makes: of the one
writer, or of each caller on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ledger import gather
from ledger.caps import usage_of
from ledger.commands import Claimed, Settlement
from ledger.kept import Kept, Seal
from ledger.ledger import open_ledger
from ledger.records import Outcome
from ledger.world import World
from policy.errors import CallRefused
from policy.model import Usage
from tests.ledger.till import ACCOUNT, ALLOW_ALL, JUDGE, NOON, SIMULATOR, Till, with_caps
from tool_server.office import Ask, Means, Office, Told, Verb
from tool_server.office_calls import VERBS
from tool_server.office_socket import ask_holder, listening

AGENTS: Final = ("scout", "maker")
PAYEES: Final = 3
ENDS: Final = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_SENT)
PATIENCE_S: Final = 0.05
STARTING_S: Final = 120.0  # Until the writer listens and all are there; a second on an idle machine.


def policy(step: int) -> str:
    """Return the policy after so many steps: every level is full all the time, and room comes bit by bit."""
    room = 600 + 300 * step
    return with_caps(
        ALLOW_ALL,
        f'{{id: account, per: account, window: day, limit: "{room // 100}.00 USD"}}',
        f'{{id: project, per: project, window: month, limit: "{(room + 100) // 100}.00 USD"}}',
        f'{{id: run, per: run, window: run, limit: "{(room + 200) // 100}.00 USD"}}',
        f'{{id: agent, per: agent, window: 24h, limit: "{(room // 2 + 150) // 100}.00 USD"}}',
        f'{{id: payee, per: payee, window: day, limit: "{(room // 2) // 100}.00 USD"}}',
        f'{{id: pace, per: agent, window: 1h, limit: "{room // 100} calls"}}',
    )


LEVELS: Final = ("account", "project", "run", "agent", "payee", "pace")


class Wish(Struct, frozen=True, kw_only=True):
    """One purchase that somebody wants."""

    agent: str
    payee: str
    amount: str
    key: str
    n: int


class Step(Struct, frozen=True, kw_only=True):
    """One step of a call, or a policy to be the active one."""

    call_id: str = ""
    attempt: int = 0
    lease_token: int = 0
    outcome: str = ""
    text: str = ""


Door = Callable[[str, Struct], Awaitable[dict[str, Any]]]
"""Does one thing with the ledger: `admit`, `claim`, `settle`, `cancel` or `law`."""


# --- the ledger's side -----------------------------------------------------------------------------------


class Desk:
    """What a process that has the ledger does for callers."""

    def __init__(self, till: Till) -> None:
        self.till = till

    async def do(self, what: str, asked: Struct) -> dict[str, Any]:
        """Do one thing; a refusal is an answer."""
        try:
            return await self._do(what, asked)
        except CallRefused as refused:
            return {"refused": refused.message}

    async def _do(self, what: str, asked: Any) -> dict[str, Any]:  # noqa: ANN401 -- a Wish or a Step, as its verb says
        till, ledger = self.till, self.till.ledger
        if what == "admit":
            told = await till.admit(
                asked.amount, payee=asked.payee, key=asked.key, agent=asked.agent, tool=f"buy{asked.n}",
                args={"n": asked.n},
            )  # fmt: skip
            return {"call_id": told.call.call_id, "state": told.call.state.value}
        if what == "law":
            await till.law(asked.text)
            return {}
        if what == "cancel":
            call = await ledger.cancel(asked.call_id, by="agent:scout", at=NOON)
            return {"state": call.state.value}
        if what == "claim":
            claimed = await ledger.claim(till.claiming(asked.call_id))
            if not isinstance(claimed, Claimed):
                return {"refused": claimed.code}
            return {"attempt": claimed.attempt, "lease_token": claimed.lease_token}
        outcome = Outcome(asked.outcome)
        settlement = Settlement(
            call_id=asked.call_id, at=NOON, attempt=asked.attempt, lease_token=asked.lease_token,
            outcome=outcome, identity=None if outcome is Outcome.UNKNOWN else SIMULATOR,
        )  # fmt: skip
        return {"state": (await ledger.settle(settlement)).call.state.value}


def hold(url: str, twin: str, stopped: Any) -> None:  # noqa: ANN401 -- an event of multiprocessing
    """Be SQLite's one writer, listening on its socket until told to stop."""
    break_it(twin)
    asyncio.run(_hold(url, stopped))


async def _hold(url: str, stopped: Any) -> None:  # noqa: ANN401 -- as above
    till = await till_of(url)
    desk = Desk(till)

    def verb(what: str, params: type[Struct]) -> Verb:
        return Verb(params, lambda _means, asked, _who: desk.do(what, asked))

    own = {
        "admit": verb("admit", Wish),
        **{what: verb(what, Step) for what in ("claim", "settle", "cancel", "law")},
    }
    means = Means(ledger=till.ledger, now=lambda: NOON, random_bytes=secrets.token_bytes)
    office = Office(means, {**VERBS, **own})
    async with till.ledger, listening(Path(url.removeprefix("sqlite:///")), office.handle):
        while not stopped.is_set():  # noqa: ASYNC110 -- another process sets it
            await asyncio.sleep(PATIENCE_S)  # Told from outside; no event of this loop says so.


async def till_of(url: str) -> Till:
    """Open a ledger that somebody made and furnished."""
    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=_ids, account_id=ACCOUNT)
    till = Till(ledger, _ids)
    till.run = (await ledger.standing_run("shop", NOON)).run_id
    return till


def _ids(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(8)}"


# --- the callers' side -----------------------------------------------------------------------------------


def call_through_socket(url: str, start: Any, number: int, calls: int, seed: int) -> None:  # noqa: ANN401 -- a barrier of multiprocessing
    """Be one caller before SQLite's one writer, from when all are there."""
    start.wait(STARTING_S)
    database = Path(url.removeprefix("sqlite:///"))

    async def door(what: str, asked: Struct) -> dict[str, Any]:
        told = await _ask(database, what, asked)
        if told.refused:
            raise AssertionError(told.refused)
        answer: dict[str, Any] = told.data
        return answer

    _run(_call(door, number, calls, seed))


async def _ask(database: Path, what: str, asked: Struct) -> Told:
    params = {name: getattr(asked, name) for name in asked.__struct_fields__}
    waited = 0.0
    while True:
        told = await ask_holder(database, Ask(verb=what, params=params))
        if told is not None:
            return told
        waited += PATIENCE_S
        if waited > STARTING_S:
            raise AssertionError("nobody listens on the ledger's socket")
        await asyncio.sleep(PATIENCE_S)  # Its writer is another process, which may not listen yet.


def operate_through_socket(url: str, steps: int) -> None:
    """Be the operator: raise every limit step by step, and look at caps through the office's own verbs."""
    database = Path(url.removeprefix("sqlite:///"))

    async def work() -> None:
        for step in range(1, steps + 1):
            await _ask(database, "law", Step(text=policy(step)))
            for verb in ("caps.list", "calls.list", "posture.show"):
                told = await ask_holder(database, Ask(verb=verb))
                if told is None or told.refused:
                    raise AssertionError(f"{verb}: {told}")

    _run(work())


def call_on_postgres(url: str, start: Any, twin: str, part: tuple[int, int, int]) -> None:  # noqa: ANN401 -- as above
    """Be one caller with a ledger and a writer of its own; `part` is its number, calls and seed."""
    break_it(twin)

    async def work() -> None:
        till = await till_of(url)
        start.wait(STARTING_S)
        async with till.ledger:
            await _call(Desk(till).do, *part)

    _run(work())


def operate_on_postgres(url: str, steps: int) -> None:
    """Be the operator, in a process of their own."""

    async def work() -> None:
        till = await till_of(url)
        async with till.ledger:
            for step in range(1, steps + 1):
                await till.law(policy(step))
                await till.ledger.caps(NOON)

    _run(work())


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except BaseException:  # noqa: BLE001 -- whatever broke, its test must read it
        traceback.print_exc()
        sys.exit(1)


async def _call(door: Door, number: int, calls: int, seed: int) -> None:
    """Make calls in bursts of four, each taken to some end."""
    dice = random.Random(f"{seed}/{number}")
    for burst in range(0, calls, 4):
        wishes = [_wish(dice, number, burst + place) for place in range(4)]
        await asyncio.gather(
            *(_whole(door, wish, dice.choice(ENDS), cancels=dice.random() < 0.1) for wish in wishes)
        )


def _wish(dice: random.Random, number: int, place: int) -> Wish:
    """Return a purchase; every third caller's key is another one's too."""
    key = f"key-{place}" if place % 3 == 0 else f"key-{number}-{place}"
    tool = place if place % 3 == 0 else 1_000 * (number + 1) + place
    agent = AGENTS[place % 2] if place % 3 == 0 else dice.choice(AGENTS)
    mine = random.Random(place) if place % 3 == 0 else dice
    return Wish(
        agent=agent, payee=f"shop-{mine.randrange(PAYEES)}.example", key=key, n=tool,
        amount=mine.choice(("0.50 USD", "1.00 USD", "2.00 USD")),
    )  # fmt: skip


async def _whole(door: Door, wish: Wish, end: Outcome, *, cancels: bool) -> None:
    admitted = await door("admit", wish)
    if admitted.get("state") != "queued":
        return
    call = admitted["call_id"]
    if cancels:
        await door("cancel", Step(call_id=call))
        return
    claimed = await door("claim", Step(call_id=call))
    if "refused" in claimed:
        return
    leased = {"attempt": claimed["attempt"], "lease_token": claimed["lease_token"]}
    await door("settle", Step(call_id=call, outcome=end.value, **leased))
    if end is Outcome.NOT_SENT:
        await door("cancel", Step(call_id=call))


# --- broken copies ---------------------------------------------------------------------------------------


def break_it(twin: str) -> None:
    """Make this process's copy of the ledger wrong in one way."""
    if twin == "waiting holds are not counted":

        def posted_only(world: World, reading: Any, at_us: int, own: Any) -> Usage:  # noqa: ANN401 -- as usage_of takes them
            return Usage(posted=usage_of(world, reading, at_us, own).posted)

        gather.usage_of = posted_only  # type: ignore[attr-defined]  # a twin breaks what nobody else may touch
    elif twin == "what another process wrote is not noticed":

        def take(kept: Kept, account: str, seal: Seal) -> World | None:
            del seal
            found = kept.worlds.pop(account, None)
            return None if found is None else found[1]

        Kept.take = take  # type: ignore[method-assign, assignment]  # as above
    elif twin:
        raise AssertionError(f"there is no twin {twin!r}")
