"""Processes at once on caps of every level: none above its limit at any instant, nothing leaked at rest.

On SQLite callers and an operator ask the one writer through `bursar.db.sock`; on PostgreSQL each has a
ledger of its own. Every level is full all the time, since the operator raises the limits step by step. A
schedule is a burst of four whole calls of each of three callers. After it the log is replayed: what stands
against each cap is added up after every entry. Default 12 and 8 schedules, with `--deep` 2,000 and 500;
BURSAR_SEED starts elsewhere. Broken twins: a writer that does not count what waits, which no sum at rest
shows; processes that go on with what they remember of usage although another one wrote.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.ledger.instants import Instants, instants
from tests.ledger.racers import (
    LEVELS,
    call_on_postgres,
    call_through_socket,
    hold,
    operate_on_postgres,
    operate_through_socket,
    policy,
    till_of,
)
from tests.ledger.till import ACCOUNT, NOON, Till, make, open_till

CALLERS: Final = 3
TWIN_TRIES: Final = 5
PER_STEP: Final = 6  # Schedules for which a limit stands, more or less.
LONGEST_S: Final = 3_600.0  # A full figure on a busy machine; it must still end.
SEED: Final = int(os.environ.get("BURSAR_SEED", "0"))


def nursery() -> Any:  # noqa: ANN401 -- multiprocessing's contexts share no public type with what is used here
    """Return where processes are forked from: one that has everything imported, and no thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.ledger.racers"])
    return context


def started(context: Any, work: Callable[..., None], *arguments: object) -> Any:  # noqa: ANN401 -- as above
    """Start one process."""
    process = context.Process(target=work, args=arguments, daemon=True)
    process.start()
    return process


def ended(processes: list[Any]) -> list[int | None]:
    """Wait for processes and return how those ended that did not end well."""
    for process in processes:
        process.join(LONGEST_S)
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes if process.exitcode != 0]


async def furnished(url: str) -> None:
    """Make a ledger with a shop, two agents and the first policy."""
    await make(url)
    till = await open_till(url)
    await till.ledger.add_agent(
        name="maker", project="shop", kits=("buy",), token_sha256="token-maker", by="opr", at=NOON
    )
    await till.law(policy(0))
    await till.ledger.close()


async def at_rest(url: str) -> Till:
    """Hold the log to the tables once nobody writes any more, and usage to the calls."""
    till = await till_of(url)
    verified = await till.ledger.checked()
    assert verified.bad is None, str(verified.bad)
    states: dict[str, int] = {}
    spent, after = 0, None
    while True:
        page = await till.ledger.calls(after=after, limit=200)
        for call in page.items:
            states[call.state.value] = states.get(call.state.value, 0) + 1
            if call.state in {"succeeded", "unknown", "queued"} and call.amount is not None:
                spent += call.amount.minor_units
        after = page.after
        if after is None:
            break
    assert "executing" not in states, states
    assert {"succeeded", "denied"} <= states.keys(), states
    assert {"failed", "unknown", "cancelled"} & states.keys(), states  # All three in all but a few races.
    posted, held = await till.used("account")
    assert posted + held == spent, "usage leaked"
    return till


async def race_on_sqlite(url: str, schedules: int, twin: str = "") -> Instants:
    """Race through the socket of one writer."""
    calls = 4 * schedules
    await furnished(url)
    context = nursery()
    start = context.Barrier(CALLERS)
    stopped = context.Event()
    holder = started(context, hold, url, twin, stopped)
    racers = [started(context, call_through_socket, url, start, each, calls, SEED) for each in range(CALLERS)]
    racers.append(started(context, operate_through_socket, url, schedules // PER_STEP))
    assert ended(racers) == []
    stopped.set()
    assert ended([holder]) == []
    return await asyncio.to_thread(instants, url, ACCOUNT)


async def race_on_postgres(url: str, schedules: int, twin: str = "", seed: int = SEED) -> Instants:
    """Race with a ledger in each process."""
    await furnished(url)
    context = nursery()
    start = context.Barrier(CALLERS)
    racers = [
        started(context, call_on_postgres, url, start, twin, (each, 4 * schedules, seed))
        for each in range(CALLERS)
    ]
    racers.append(started(context, operate_on_postgres, url, schedules // PER_STEP))
    assert ended(racers) == []
    return await asyncio.to_thread(instants, url, ACCOUNT)


def was_full(found: Instants) -> None:
    """Say whether the race was one: every level was reached, or all but so."""
    for level in LEVELS:
        unit = 1 if level == "pace" else 100
        assert found.highest[level] > 2 * unit, f"{level} was never near its limit: {found.highest}"
    assert found.highest["account"] >= found.limits["account"] - 200, found.highest


async def test_processes_through_the_socket_exceed_no_cap_at_any_instant(tmp_path: Path, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M10 to M12, M24: every level, after every entry of the log."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    found = await race_on_sqlite(url, 2_000 if deep else 12)
    assert found.exceeded == []
    was_full(found)
    await (await at_rest(url)).ledger.close()


async def test_processes_on_postgres_exceed_no_cap_at_any_instant(postgres_url: str, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M10 to M12, M24: writers that know nothing of each other, each remembering what it wrote last."""
    found = await race_on_postgres(postgres_url, 500 if deep else 8)
    assert found.exceeded == []
    was_full(found)
    await (await at_rest(postgres_url)).ledger.close()


async def test_an_instant_above_a_cap_is_seen_although_nothing_shows_at_rest(tmp_path: Path) -> None:
    """A broken twin: what waits is not counted, so holds exceed the cap until they are let go again."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    found = await race_on_sqlite(url, 4, "waiting holds are not counted")
    assert found.exceeded != []
    till = await till_of(url)
    assert (await till.ledger.checked()).bad is None  # The log says truly what was done.
    await till.ledger.close()


def test_a_process_that_goes_on_with_old_usage_is_seen(postgres: Any) -> None:  # noqa: ANN401 -- the session's server
    """A broken twin: usage that another process moved is taken for what it was."""
    for seed in range(TWIN_TRIES):  # A race that was none, because one process came first, shows nothing.
        name = postgres.create()
        broken = race_on_postgres(
            postgres.url(name), 6, "what another process wrote is not noticed", SEED + seed
        )
        found = asyncio.run(broken)
        postgres.drop(name)
        if found.exceeded:
            return
    pytest.fail("no race noticed it")
