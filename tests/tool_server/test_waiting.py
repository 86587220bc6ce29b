"""Whoever waits for a call hears of it once, at once, and never for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from msgspec import structs

from ledger.records import CallRecord, CallState
from policy.model import Kind, Mode
from tool_server.waiting import REMEMBERED, Waiting, settled

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def a_call(state: CallState = CallState.QUEUED, *, version: int = 1, call_id: str = "call_1") -> CallRecord:
    """Return a call."""
    return CallRecord(
        call_id=call_id,
        account_id="acc",
        project="p",
        run_id="run_1",
        agent="scout",
        tool="t",
        tool_hash="",
        kind=Kind.SPEND,
        operation="pay",
        provider="shop",
        provider_account="a",
        mode=Mode.TEST,
        payee=None,
        payee_basis=None,
        amount=None,
        effect=b"{}",
        args=b"{}",
        op_hash="",
        state=state,
        version=version,
        admitted_at=NOW,
        run_by=None,
        policy_sha256="",
        decision=b"",
    )


async def _absent(_call_id: str) -> CallRecord | None:
    return None


DONE = a_call(CallState.SUCCEEDED, version=3)


async def test_a_call_that_rests_is_not_waited_for() -> None:
    """Ended, in doubt or asking a person: waiting would show nothing."""
    for state in (CallState.SUCCEEDED, CallState.UNKNOWN, CallState.AWAITING_APPROVAL):
        assert (await Waiting(_absent).moved(a_call(state), 60, done=settled)).state is state


async def test_a_waiter_is_told_at_once() -> None:
    """The settlement's own process says so; nobody polls."""
    waiting = Waiting(_absent)
    task = asyncio.create_task(waiting.moved(a_call(), 60, done=settled))
    await asyncio.sleep(0)  # The other task takes its turn.
    waiting.notify(a_call(CallState.EXECUTING, version=2))
    await asyncio.sleep(0)  # The other task takes its turn.
    waiting.notify(DONE)
    waiting.notify(DONE)
    assert await asyncio.wait_for(task, 1) == DONE


async def test_what_moved_before_the_waiter_came_is_remembered() -> None:
    """Between an admission and its waiter a fast provider may already be done."""
    waiting = Waiting(_absent)
    waiting.notify(DONE)
    assert await waiting.moved(a_call(), 60, done=settled) == DONE
    for number in range(REMEMBERED):
        waiting.notify(structs.replace(DONE, call_id=f"call_{number + 2}"))
    assert await waiting.moved(a_call(), 0.01, done=settled) == a_call()


async def test_time_ends_a_wait() -> None:
    """An answer in time beats a better one too late."""
    assert await Waiting(_absent).moved(a_call(), 0.01, done=settled) == a_call()


async def test_others_work_is_found_by_looking_again() -> None:
    """Another process settled it: the ledger's change brings it here."""

    async def find(call_id: str) -> CallRecord | None:
        return DONE if call_id == "call_1" else None

    waiting = Waiting(find)
    task = asyncio.create_task(waiting.moved(a_call(), 60, done=settled))
    other = asyncio.create_task(waiting.moved(a_call(call_id="call_2"), 0.05, done=settled))
    await asyncio.sleep(0)  # The other task takes its turn.
    await waiting.recheck()
    assert await asyncio.wait_for(task, 1) == DONE
    assert (await other).state is CallState.QUEUED


async def test_a_house_that_closes_lets_everybody_go() -> None:
    """A stopping server answers what is open."""
    waiting = Waiting(_absent)
    task = asyncio.create_task(waiting.moved(a_call(), 60, done=settled))
    await asyncio.sleep(0)  # The other task takes its turn.
    waiting.close()
    assert await asyncio.wait_for(task, 1) == a_call()
    assert await waiting.moved(a_call(), 60, done=settled) == a_call()
