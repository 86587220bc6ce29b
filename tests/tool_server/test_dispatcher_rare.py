"""What the dispatcher meets rarely: each branch by books that answer as told, on a clock of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from msgspec import structs

from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, Settled, Settlement
from ledger.records import CallRecord, CallState
from plugins.conformance.samples import a_call
from policy.errors import Busy, Unavailable
from policy.model import Call, Effect, Kind, Mode
from tests.tool_server.benches import NOW, parts_over, shop_tools
from tool_server.dispatcher import MOST_AT_ONCE, Begun, Dispatcher
from tool_server.providers import Providers
from tool_server.reconcile import Reconciler
from tool_server.waiting import Waiting, settled


class Books:
    """A ledger that says what a test wants."""

    def __init__(self, call: CallRecord) -> None:
        self.call: CallRecord | None = call
        self.ids: tuple[str, ...] = (call.call_id,)
        self.claims: list[Claim] = []
        self.refuse: Exception | None = None
        self.answer = NotClaimed(state=CallState.QUEUED, code="not_ready", message="")
        self.size = 1
        self.turn = asyncio.Event()

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Never give the right to execute."""
        self.claims.append(command)
        if self.refuse is not None:
            raise self.refuse
        return self.answer

    async def admit_and_claim(self, admission: Admission, claim: Claim) -> Begun:
        """Refuse, once the test says so."""
        del admission, claim
        await self.turn.wait()
        if self.refuse is not None or self.call is None:
            raise self.refuse or AssertionError("nothing is admitted here")
        return Admitted(call=self.call, decision=None), None

    async def settle(self, command: Settlement) -> Settled:
        """Nothing is executed, so nothing is settled."""
        raise AssertionError(command)

    async def runnable(self, limit: int) -> Sequence[str]:
        """Return what is queued."""
        return self.ids[:limit]

    async def unknowns(self, limit: int) -> Sequence[str]:
        """Return what is unknown."""
        return self.ids[:limit]

    async def find_call(self, call_id: str) -> CallRecord | None:
        """Return the one call, where it is still there."""
        return self.call if self.call is not None and self.call.call_id == call_id else None

    async def wait_changes(self, since: int, timeout_s: float) -> int:
        """Return at once."""
        await asyncio.sleep(0)  # Lets others run, as a real one would.
        del since, timeout_s
        return self.size

    async def sweep(self, at: datetime) -> Mapping[str, int]:
        """Find nothing."""
        del at
        return {"alerts": 0}

    async def heartbeat(self, process_id: str, *, live_spend: bool, at: datetime) -> None:
        """Live."""


class Bench:
    """A dispatcher over such books, with a clock of its own."""

    def __init__(self, *, knows: bool = False) -> None:
        self.registry = shop_tools()
        loaded = self.registry.tools["shop_note"]
        self.call = structs.replace(a_call(loaded, None, NOW), state=CallState.QUEUED, args=b'{"text":"x"}')
        self.books = Books(self.call)
        self.clock = 100.0
        self.told: list[CallRecord] = []
        checked = {"shop": self.registry.providers["shop"]} if knows else {}
        providers = self.providers = Providers(checked, monotonic=self.now_s, now=lambda: NOW)
        books: Any = self.books
        parts = parts_over(books, providers, self.now_s)
        self.waiting = Waiting(self.books.find_call)
        self.dispatcher = Dispatcher(
            books,
            parts,
            self.registry,
            waiting=self.waiting,
            reconciler=Reconciler(parts, self.registry, rand=random.Random(1)),
        )

    def now_s(self) -> float:
        """Tell the time of this bench."""
        return self.clock

    async def works(self, seconds: float = 0.2) -> None:
        """Let the dispatcher work for a moment."""
        task = asyncio.create_task(self.dispatcher.run())
        await asyncio.sleep(seconds)  # Its loops have to come round.
        await self.dispatcher.drain(1.0)
        await asyncio.wait_for(task, 5)


async def test_a_call_that_cannot_be_claimed_is_not_asked_for_without_end() -> None:
    """A held call is tried again after two seconds, not after every commit."""
    bench = Bench()
    await bench.works()
    assert len(bench.books.claims) == 1


async def test_a_call_that_is_held_is_tried_again_later() -> None:
    """Not ready is not a no."""
    bench = Bench()
    task = asyncio.create_task(bench.dispatcher.run())
    await asyncio.sleep(0.1)  # Its loops have to come round.
    bench.clock += 60
    bench.books.size += 1
    await asyncio.sleep(0.2)  # Its loops have to come round.
    await bench.dispatcher.drain(1.0)
    await task
    assert len(bench.books.claims) == 2


async def test_a_ledger_that_cannot_claim_now_leaves_the_call_where_it_is() -> None:
    """Refused or broken: the call stays queued in the ledger, and the loop goes on."""
    for error in (Unavailable("gone"), OSError("gone")):
        bench = Bench()
        bench.books.refuse = error
        await bench.works()
        assert len(bench.books.claims) == 1


async def test_a_tool_that_is_not_loaded_here_is_left_to_others() -> None:
    """Another server's tool, or another version's, is not this process's to run, nor to reconcile."""
    bench = Bench()
    bench.books.call = structs.replace(bench.call, tool="outside_tool")
    await bench.works()
    bench.books.call = structs.replace(bench.call, tool="outside_tool", state=CallState.UNKNOWN)
    await bench.works()
    assert bench.books.claims == []


async def test_a_call_that_vanished_or_moved_is_not_offered() -> None:
    """Between the list and the look somebody else was there."""
    bench = Bench()
    bench.books.call = None
    await bench.works()
    bench = Bench()
    bench.books.call = structs.replace(bench.call, state=CallState.SUCCEEDED)
    await bench.works()
    assert bench.books.claims == []


async def test_a_call_that_vanished_while_it_was_claimed_tells_nobody() -> None:
    """An erased or foreign call is no reason to break."""
    bench = Bench()

    async def gone(call_id: str) -> CallRecord | None:
        del call_id
        found, bench.books.call = bench.books.call, None
        return found

    bench.books.find_call = gone  # type: ignore[method-assign]  # answers once, then never
    await bench.works()
    assert len(bench.books.claims) == 1


async def test_nothing_is_offered_before_it_runs_or_after_it_stopped() -> None:
    """A gate in a process without a dispatcher only queues."""
    bench = Bench()
    bench.dispatcher.offer(bench.call)
    await bench.works(0.0)
    bench.dispatcher.offer(bench.call)
    assert bench.dispatcher.running == 0
    await bench.dispatcher.idle()


async def test_an_unknown_whose_turn_has_not_come_is_left_alone() -> None:
    """The first look comes a second after the doubt, later ones ever more slowly."""
    bench = Bench()
    buying = bench.registry.tools["shop_buy_lookup"]
    bench.books.call = structs.replace(
        a_call(buying, None, NOW),
        state=CallState.UNKNOWN,
        args=b'{"item":"a","vendor":"b","amount":"1.00 USD"}',
    )
    bench.books.answer = NotClaimed(state=CallState.UNKNOWN, code="leased", message="")
    reconciler = bench.dispatcher.reconciler
    assert reconciler.due((bench.books.call,)) == ()
    bench.clock += 1.1
    assert reconciler.due((bench.books.call,)) == (bench.books.call,)
    assert await reconciler.step(bench.books.call) is None
    assert [claim.purpose for claim in bench.books.claims] == ["lookup"]
    assert reconciler.due((bench.books.call,)) == ()
    bench.books.answer = NotClaimed(state=CallState.SUCCEEDED, code="not_unknown", message="")
    assert await reconciler.step(bench.books.call) == bench.books.answer
    assert reconciler.due(()) == ()


async def test_an_unknown_that_only_a_person_can_settle_is_looked_at_and_left() -> None:
    """Manual: nothing is claimed, nothing is told, and the next look is later."""
    bench = Bench()
    buying = bench.registry.tools["shop_buy_manual"]
    bench.books.call = structs.replace(
        a_call(buying, None, NOW),
        state=CallState.UNKNOWN,
        args=b'{"item":"a","vendor":"b","amount":"1.00 USD"}',
    )
    bench.dispatcher.reconciler.due((bench.books.call,))
    bench.clock += 2
    await bench.works()
    assert bench.books.claims == []


async def test_a_process_that_serves_agents_only_still_hears_of_others_work() -> None:
    """`--only agents`: it claims nothing, and looks again at what its agents wait for."""
    bench = Bench()
    task = asyncio.create_task(bench.dispatcher.run(work=False))
    waiting = asyncio.create_task(bench.waiting.moved(bench.call, 30, done=settled))
    await asyncio.sleep(0.05)  # Its loops have to come round.
    bench.books.call = structs.replace(bench.call, state=CallState.SUCCEEDED, version=9)
    bench.books.size += 1
    assert (await asyncio.wait_for(waiting, 5)).state is CallState.SUCCEEDED
    await bench.dispatcher.drain(1.0)
    await task
    assert bench.books.claims == []


def an_admission(bench: Bench) -> Admission:
    """Return a purchase on its way in."""
    loaded = bench.registry.tools["shop_buy"]
    effect = Effect(kind=Kind.SPEND, operation="pay", provider="shop", mode=Mode.SIMULATED, summary="Pay")
    call = Call(
        tool="shop_buy", effect=effect, account="acc", project="p", run="run_1", agent="scout", args={}
    )
    return Admission(
        call_id="call_2",
        at=NOW,
        call=call,
        agent_id="agt_1",
        tool_hash=loaded.info.definition_hash,
        provider_account="",
        op_hash="",
        fingerprint="",
        args=b"{}",
        process=bench.providers.facts(live_spend=False),
    )


@pytest.mark.parametrize("end", ["refused", "stopped", "nobody waits", "admitted to nobody"])
async def test_what_would_run_at_once_is_refused_like_anything_else(end: str) -> None:
    """A full queue reaches whoever still waits, a stop reaches him too, and who hung up leaves no noise."""
    bench = Bench(knows=True)
    await bench.providers.check("shop")
    task = asyncio.create_task(bench.dispatcher.run())
    await asyncio.sleep(0)  # `run` has to begin.
    begun = bench.dispatcher.begin(an_admission(bench))
    assert isinstance(begun, asyncio.Future)
    bench.books.refuse = None if end == "admitted to nobody" else Busy("full")
    if "nobody" in end:
        begun.cancel()
    if end == "stopped":
        await bench.dispatcher.drain(0.0)
    bench.books.turn.set()
    await asyncio.wait((begun,), timeout=5)
    told = {"refused": Busy, "stopped": Unavailable}.get(end)
    assert begun.cancelled() if told is None else isinstance(begun.exception(), told)
    await bench.dispatcher.drain(1.0)
    await asyncio.wait_for(task, 5)
    assert bench.dispatcher.begin(an_admission(bench)) is None


async def test_only_as_many_begin_at_once_as_there_is_room_for() -> None:
    """Who waited for room would hear nothing meanwhile, and claim on a readiness that was fresh once."""
    bench = Bench(knows=True)
    await bench.providers.check("shop")
    task = asyncio.create_task(bench.dispatcher.run())
    await asyncio.sleep(0)  # `run` has to begin.
    bench.books.ids = ()
    asked = [structs.replace(an_admission(bench), call_id=f"call_{at}") for at in range(MOST_AT_ONCE + 6)]
    begun = [bench.dispatcher.begin(each) for each in asked]  # All within one turn of the loop.
    assert [each is None for each in begun] == [False] * MOST_AT_ONCE + [True] * 6
    bench.books.refuse = Busy("full")
    bench.books.turn.set()
    await asyncio.wait_for(bench.dispatcher.idle(), 5)
    await bench.dispatcher.drain(1.0)
    await asyncio.wait_for(task, 5)


async def test_a_call_that_moved_on_is_not_started_again() -> None:
    """Whoever offers it may hold an old record: it was carried out in the meantime."""
    bench = Bench()
    task = asyncio.create_task(bench.dispatcher.run())
    await asyncio.sleep(0)  # `run` has to begin.
    bench.books.ids = ()
    bench.waiting.notify(
        structs.replace(bench.call, state=CallState.SUCCEEDED, version=bench.call.version + 1)
    )
    bench.dispatcher.offer(bench.call)
    assert bench.dispatcher.running == 0
    await bench.dispatcher.drain(1.0)
    await asyncio.wait_for(task, 5)


async def test_an_unknown_that_is_being_looked_at_is_not_started_twice() -> None:
    """A look may take longer than the pause to the next one."""
    bench = Bench()
    bench.books.call = structs.replace(bench.call, state=CallState.UNKNOWN)
    release, looked = asyncio.Event(), []

    async def slow(call: CallRecord) -> None:
        looked.append(call)
        await release.wait()

    reconciler: Any = bench.dispatcher.reconciler
    reconciler.due, reconciler.step = lambda calls: calls, slow
    task = asyncio.create_task(bench.dispatcher.run())
    await asyncio.sleep(1.2)  # Two looks, a second apart.
    release.set()
    await bench.dispatcher.drain(1.0)
    await asyncio.wait_for(task, 5)
    assert len(looked) == 1
