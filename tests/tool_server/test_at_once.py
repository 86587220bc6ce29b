"""A call that may run at once: admitted and claimed by one commit, and otherwise like any other.

The houses here know their provider's readiness for a while, as real ones do; those of other tests ask it
before each claim, and so claim by a commit of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from ledger.reads import CallFilter
from ledger.records import CallState
from policy.model import Posture
from tests.provider.house import Desk, Place, Shop, a_place, opened, settled


def knowing(place: Place) -> Place:
    """Return a place whose house believes a check of its provider for a minute."""
    return structs.replace(place, wiring=structs.replace(place.wiring, fresh_s=60.0))


@pytest.fixture
async def quick(place: Place) -> AsyncIterator[Desk]:
    """Give such a house on each engine in turn."""
    async with opened(knowing(place)) as found:
        yield found


@pytest.fixture
async def small_quick(copied: Path, shop: Shop) -> AsyncIterator[Desk]:
    """Give such a house on SQLite, for what no engine changes."""
    async with opened(knowing(await a_place(copied, shop))) as found:
        yield found


async def kinds(desk: Desk, call_id: str | None) -> list[str]:
    """Return what the log says of a call, in its order."""
    entries = (await desk.house.ledger.timeline(call_id or "")).entries
    return sorted([entry.kind for entry in entries])


async def test_each_edge_keeps_its_own_entry_and_the_log_verifies(quick: Desk, shop: Shop) -> None:
    """Fewer commits must not mean fewer words: admitted, claimed and settled are said one by one."""
    result = await quick.buy()
    assert result.envelope.status == "succeeded"
    assert await kinds(quick, result.envelope.call_id) == ["call.admitted", "call.claimed", "call.settled"]
    call = await quick.stored(result)
    assert (call.state, call.attempts) == (CallState.SUCCEEDED, 1)
    assert len(shop.orders()) == 1
    assert (await quick.house.ledger.checked()).bad is None


async def test_it_is_claimed_before_anybody_could_look_for_it(small_quick: Desk, shop: Shop) -> None:
    """Between the commit and the claim there is nothing: another process never sees it queued."""
    shop.fault("hang", seconds=0.5)
    asked = asyncio.create_task(small_quick.buy())
    found: list[CallState] = []
    while not asked.done():
        calls = (await small_quick.house.ledger.calls(CallFilter(), limit=5)).items
        found += [call.state for call in calls]
        await asyncio.sleep(0.01)  # Another thread commits; looking often enough would meet a queued one.
    await asked
    assert CallState.EXECUTING in found
    assert CallState.QUEUED not in found


async def test_who_hangs_up_stops_nothing(small_quick: Desk, shop: Shop) -> None:
    """The claim is committed, so the effect must be carried out and settled, whoever waits for it."""
    asked = asyncio.create_task(small_quick.buy())
    await settled(lambda: small_quick.house.dispatcher.running > 0)  # Until it is on its way to the ledger.
    asked.cancel()
    await asyncio.wait_for(small_quick.house.dispatcher.idle(), 8)
    (call,) = (await small_quick.house.ledger.calls(CallFilter(), limit=5)).items
    assert call.state is CallState.SUCCEEDED
    assert len(shop.orders()) == 1


async def test_a_call_that_may_not_run_is_not_claimed(quick: Desk, shop: Shop) -> None:
    """Denied, asked about or replayed: the claim beside the admission comes to nothing."""
    denied = await quick.buy(vendor="shop.evil.example")
    asks = await quick.buy("50.00 USD")
    assert (denied.envelope.status, asks.envelope.status) == ("denied", "pending_approval")
    first = await quick.buy(key="mine", item="a", vendor="a.example")
    again = await quick.buy(key="mine", item="a", vendor="a.example")
    other = await quick.buy(key="mine", item="b", vendor="b.example")
    assert (first.envelope.call_id, again.envelope.replayed) == (again.envelope.call_id, True)
    assert other.envelope.problem is not None
    assert other.envelope.problem.code == "key_conflict"
    assert len(shop.orders()) == 1
    await quick.approve(asks)
    await quick.until(asks, CallState.SUCCEEDED)
    assert (await quick.house.ledger.checked()).bad is None


async def test_m1_a_lost_answer_is_unknown_here_too(quick: Desk, shop: Shop) -> None:
    """M1, M8: what was sent once is replayed under its key, and never queued again."""
    shop.fault("lose")
    result = await quick.buy()
    assert result.envelope.status == "outcome_unknown"
    await quick.until(result, CallState.SUCCEEDED)
    assert len(shop.orders()) == 1
    assert "call.requeued" not in await kinds(quick, result.envelope.call_id)


async def test_m5_a_posture_that_closed_denies(small_quick: Desk, shop: Shop) -> None:
    """M5: both steps judge under the same lock, so what closed before the commit stops both."""
    house = small_quick.house
    await house.ledger.set_posture(
        "account", house.ledger.account_id, Posture.NO_SPEND, because="stop", by="olga", at=house.now()
    )
    assert (await small_quick.buy()).envelope.status == "denied"
    assert shop.requests() == 0


async def test_a_provider_that_is_not_ready_holds_the_call(copied: Path, shop: Shop) -> None:
    """A held call is admitted, keeps what it holds, and runs once its provider is back."""
    async with opened(knowing(await a_place(copied, shop)), wait_s=0.1) as desk:
        shop.control(ready=False)
        await desk.house.providers.check_all()
        result = await desk.buy()
        assert result.envelope.status == "in_progress"
        assert (await desk.stored(result)).state is CallState.QUEUED
        shop.control(ready=True)
        await desk.house.providers.check_all()
        await desk.until(result, CallState.SUCCEEDED)
        assert len(shop.orders()) == 1


async def test_a_house_that_stops_settles_what_it_claimed(copied: Path, shop: Shop) -> None:
    """SIGTERM finds a call between its claim and its answer: it is waited for."""
    shop.fault("late", seconds=0.3)
    place = knowing(await a_place(copied, shop))
    async with opened(place) as desk:
        asked = asyncio.create_task(desk.buy())
        await settled(lambda: shop.requests() > 0)
    result = await asked
    async with opened(place) as desk:
        call = await desk.until(result, CallState.SUCCEEDED)
        assert call.attempts >= 1
    assert len(shop.orders()) == 1
