"""The whole gate meets a fault at each step of a purchase: one effect at most, and the ledger knows of it.

By default four steps on SQLite, and one server of two on PostgreSQL dies; with `--deep` every step on both
engines, alone and beside a second server. Broken twins: `killed_house.BROKEN`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import structs

from ledger.records import CallRecord, CallState
from tests.crash.killed_house import (
    BROKEN,
    FAULTS,
    LARGE,
    SMALL,
    STEPS,
    WITHIN_S,
    Life,
    buy,
    entered,
)
from tests.crash.warm import Warm
from tests.provider.house import Desk, Shop

FOUR: Final = ("admit_and_claim.after", "claim.after", "send.during", "settle.before")
PAST_LEASE_S: Final = 1.3  # A lease here is 1.1 s.


@pytest.fixture
def db(engine: str, request: pytest.FixtureRequest) -> str:
    """Give the ledger of an engine; empty for the file."""
    return str(request.getfixturevalue("pg")) if engine == "postgres" else ""


async def doomed(warm: Warm, shop: Shop, life: Life) -> int | None:
    """Start a house and return its process once it has met its fault; None where another was quicker."""
    before = len(await asyncio.to_thread(shop.orders))
    told = {name: getattr(life, name) for name in life.__struct_fields__}
    process: int = warm.ask(do="house", life=told, log=f"{life.folder}/log")
    if life.step == "send.during" and life.fault != "lose":
        await until_ordered(shop, before)
        os.kill(process, signal.SIGKILL if life.fault == "kill" else signal.SIGSTOP)
    ended = await asyncio.to_thread(warm.ask, do="wait", process=process)
    if life.fault != "lose" and ended["ended"] == 0:
        return None
    wanted = {"kill": ("killed", signal.SIGKILL), "hang": ("stopped", signal.SIGSTOP), "lose": ("ended", 0)}
    how, what = wanted[life.fault]
    assert ended[how] == what, (ended, said(life))
    return process


def said(life: Life) -> str:
    """Return the last words of a house."""
    return Path(life.folder, "log").read_text()[-3000:]


async def until_ordered(shop: Shop, before: int) -> None:
    """Wait until the shop has done something more."""
    end = time.monotonic() + WITHIN_S
    while len(await asyncio.to_thread(shop.orders)) <= before:
        assert time.monotonic() < end, "nothing was ever sent"


async def woken(warm: Warm, process: int, life: Life) -> None:
    """Let a stopped house go on, and see it come to its end."""
    os.kill(process, signal.SIGCONT)
    ended = await asyncio.to_thread(warm.ask, do="wait", process=process)
    assert ended["ended"] == 0, (ended, said(life))


async def concluded(desk: Desk, life: Life) -> CallRecord:
    """Ask again under the same key, and return what became of the one purchase."""
    again = await buy(desk, life)
    assert again.envelope.status in {
        "succeeded",
        "in_progress",
        "outcome_unknown",
        "not_executed",
        "pending_approval",
    }
    return await desk.until(again, CallState.SUCCEEDED, CallState.FAILED, within_s=WITHIN_S)


async def agree(desk: Desk, shop: Shop) -> None:
    """Hold the ledger against the shop's truth: one effect where it says so, none where it says that."""
    effects = Counter(order["ref"] for order in await asyncio.to_thread(shop.orders))
    calls = (await desk.house.ledger.calls()).items
    for call in calls:
        assert effects.pop(call.call_id, 0) == (call.state is CallState.SUCCEEDED), (call.state, call.code)
    assert not effects, "the shop did what no call says"
    spent = sum(call.actual.minor_units for call in calls if call.actual)
    caps = {cap.cap_id: cap for cap in await desk.house.ledger.caps(desk.house.now())}
    assert (caps["account-month"].posted, caps["account-month"].held) == (spent, 0)
    assert len({call.idempotency_key for call in calls}) == len(calls), "one key, and two calls"
    verified = await desk.house.ledger.checked()
    assert verified.bad is None, str(verified.bad)


async def alone(warm: Warm, shop: Shop, life: Life) -> None:
    """Let one house meet its fault; then, or once it goes on, everything must come to one end."""
    process = await doomed(warm, shop, life)
    assert process, said(life)
    if life.fault == "hang":
        await asyncio.sleep(PAST_LEASE_S)  # The fault itself: it is stopped for longer than its lease.
        await woken(warm, process, life)
    async with entered(life) as desk:
        call = await concluded(desk, life)
        await agree(desk, shop)
        assert call.state is CallState.SUCCEEDED


def cases(shown: tuple[str, ...], engines: tuple[str, ...]) -> list[Any]:
    """Return each fault at each step on each engine; what is not shown by default is marked deep."""
    return [
        pytest.param(
            engine, step, fault, marks=[] if step in shown and engine == "sqlite" else [pytest.mark.deep]
        )
        for engine in engines
        for step in STEPS
        for fault in FAULTS
    ]


@pytest.mark.parametrize(("engine", "step", "fault"), cases(FOUR, ("sqlite", "postgres")))
async def test_a_house_in_trouble_buys_once(
    step: str, fault: str, copied: Path, db: str, shop: Shop, warm: Warm
) -> None:
    """M1, M3, M8, M24: whatever was lost, the same key ends with one purchase, posted once."""
    amount = LARGE if step.startswith("claim") else SMALL
    await alone(
        warm,
        shop,
        Life(folder=str(copied), address=shop.address, db=db, step=step, fault=fault, amount=amount),
    )


TWO: Final = [
    pytest.param(
        step,
        fault,
        marks=[]
        if (step, fault) in {("claim.after", "kill"), ("claim.after", "hang")}
        else [pytest.mark.deep],
    )
    for step in STEPS
    for fault in FAULTS
]


@pytest.mark.parametrize(("step", "fault"), TWO)
async def test_of_two_servers_the_other_takes_over(
    step: str, fault: str, copied: Path, pg: str, shop: Shop, warm: Warm
) -> None:
    """M1, M3: nothing approved is lost with its server, and one that wakes up late sends nothing."""
    life = Life(folder=str(copied), address=shop.address, db=pg, step=step, fault=fault, amount=LARGE)
    async with entered(life) as other:
        process = await doomed(warm, shop, life)
        if process is None:  # The other took the call first, as it may; not so often.
            life = structs.replace(life, key="the-second-try")
            process = await doomed(warm, shop, life)
        assert process, said(life)
        call = await concluded(other, life)
        assert call.state is CallState.SUCCEEDED
        if fault == "hang":
            await woken(warm, process, life)
        await agree(other, shop)


async def test_a_house_that_changes_its_keys_is_caught(copied: Path, shop: Shop, warm: Warm) -> None:
    """A harness that cannot fail proves nothing: here each attempt has a key of its own at the shop."""
    life = Life(folder=str(copied), address=shop.address, step="send.during", fault="hang", twin=BROKEN[0])
    with pytest.raises(AssertionError, match="SUCCEEDED"):
        await alone(warm, shop, life)


async def test_a_house_that_sends_however_late_is_caught(
    copied: Path, pg: str, shop: Shop, warm: Warm
) -> None:
    """M3's twin: it wakes past its lease, after another found nothing at the shop and called it failed."""
    life = Life(
        folder=str(copied), address=shop.address, db=pg, tool="shop_buy_lookup",
        step="claim.after", fault="hang", twin=BROKEN[1],
    )  # fmt: skip
    async with entered(life) as other:
        process = await doomed(warm, shop, life)
        assert process, said(life)
        call = await concluded(other, life)
        assert (call.state, call.code) == (CallState.FAILED, "absent")
        await woken(warm, process, life)
        with pytest.raises(AssertionError, match="FAILED"):
            await agree(other, shop)
