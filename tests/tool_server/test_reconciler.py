"""When an unknown call is looked at again, and by which of its tool's ways, without a house around it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from ledger.commands import Claim, Claimed, NotClaimed, Settled, Settlement
from ledger.records import CallRecord, CallState, Outcome
from plugins.conformance.samples import a_call
from plugins.tool import ExecuteContext, Lookup, Manual, OutcomeReport, Replay
from policy.model import Kind
from tests.tool_server.benches import NOW, parts_over, shop_tools
from tool_server.providers import Providers
from tool_server.reconcile import MOST_SEEN, SEEN_FOR_S, Reconciler

FIRST_LOOK_S = 1.0
TIMEOUT_S = 1.0
ABSENT = NotClaimed(state=CallState.UNKNOWN, code="not_ready", message="")


class Bench:
    """A reconciler of one tool with a clock to turn, over a ledger that answers as told."""

    def __init__(self, *, claims: Callable[[Claim], Claimed | NotClaimed] = lambda _claim: ABSENT) -> None:
        self.registry = shop_tools()
        self.clock_s = 100.0
        self.purposes: list[str] = []
        self._claims = claims
        self.reconciler = self.of()
        buy = self.registry.tools["shop_buy"]
        self.call = structs.replace(
            a_call(buy, None, NOW),
            state=CallState.UNKNOWN,
            args=b'{"amount":"1.00 USD","item":"a","vendor":"b.example"}',
            provider_key_until=NOW + timedelta(hours=1),
        )

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Note what the right is asked for."""
        self.purposes.append(command.purpose)
        return self._claims(command)

    async def settle(self, _command: Settlement) -> Settled:
        """Take any settlement."""
        return Settled(call=self.call, applied=True)

    def of(self, reconcile: object = None) -> Reconciler:
        """Return a reconciler whose tool is reconciled in another way."""
        tools = dict(self.registry.tools)
        if reconcile is not None:
            tool = structs.replace(tools["shop_buy"].tool, reconcile=reconcile, timeout_s=TIMEOUT_S)
            tools["shop_buy"] = structs.replace(tools["shop_buy"], tool=tool)
        providers = Providers({}, monotonic=self.now_s, now=lambda: NOW)
        parts = parts_over(self, providers, self.now_s)
        registry = structs.replace(self.registry, tools=tools)
        return Reconciler(parts, registry, rand=random.Random(7), first_look_s=FIRST_LOOK_S)

    def now_s(self) -> float:
        """Tell this bench's time."""
        return self.clock_s

    def due(self) -> bool:
        """Say whether it is the call's turn."""
        return self.reconciler.due((self.call,)) == (self.call,)


async def _find(_args: object, _context: ExecuteContext) -> OutcomeReport:
    return OutcomeReport(outcome=Outcome.UNKNOWN)


def test_a_doubt_is_looked_at_a_moment_after_it_is_first_seen() -> None:
    """Most lost answers are there a second later; at that very second it is its turn."""
    bench = Bench()
    assert not bench.due()
    bench.clock_s += FIRST_LOOK_S - 0.1
    assert not bench.due()
    bench.clock_s += 0.1
    assert bench.due()


async def test_each_look_that_tells_nothing_doubles_the_pause_to_the_next() -> None:
    """A provider that is down is not asked all the time, and a call is never forgotten."""
    bench = Bench()
    bench.due()
    for tries in (1, 2, 3):
        assert await bench.reconciler.step(bench.call) is None
        bench.clock_s += FIRST_LOOK_S * 2**tries - 0.1
        assert not bench.due()
        bench.clock_s += FIRST_LOOK_S * 2**tries
        assert bench.due()


def test_an_effect_that_was_seen_gives_its_call_the_turn_at_once() -> None:
    """An event of the provider's is as good as the answer that was lost, and needs no waiting."""
    bench = Bench()
    bench.due()
    assert bench.reconciler.hurry(bench.call.call_id)
    assert bench.due()


@pytest.mark.parametrize(
    ("later_s", "at_once"),
    [(0.0, True), (SEEN_FOR_S - 1, True), (SEEN_FOR_S, False), (SEEN_FOR_S + 1, False)],
)
def test_an_effect_seen_before_the_doubt_is_remembered_for_a_minute(later_s: float, *, at_once: bool) -> None:
    """The event may overtake the answer, which is given up after half of that."""
    bench = Bench()
    assert not bench.reconciler.hurry(bench.call.call_id)
    bench.clock_s += later_s
    bench.reconciler.due(())  # As the dispatcher asks all the time.
    assert bench.due() is at_once


def test_only_so_many_effects_are_remembered() -> None:
    """Events about calls of nobody must not fill the memory; what is beyond waits for its turn."""
    bench = Bench()
    for number in range(MOST_SEEN - 1):
        bench.reconciler.hurry(f"call_{number}")
    bench.reconciler.hurry("the last")
    bench.reconciler.hurry("one more")
    last, more = (structs.replace(bench.call, call_id=each) for each in ("the last", "one more"))
    assert bench.reconciler.due((last, more)) == (last,)


@pytest.mark.parametrize(
    ("reconcile", "changes", "tried"),
    [
        (Replay(3600), {}, ["replay"]),
        (Replay(3600, lookup=_find), {}, ["replay", "lookup"]),
        (Replay(3600, lookup=_find), {"kind": Kind.HUMAN_ONLY}, ["lookup"]),
        (Replay(3600, lookup=_find), {"provider_key_until": None}, ["lookup"]),
        (Replay(3600), {"provider_key_until": NOW + timedelta(seconds=TIMEOUT_S)}, []),
        (Replay(3600), {"provider_key_until": NOW + timedelta(seconds=TIMEOUT_S + 0.1)}, ["replay"]),
        (Replay(3600), {"provider_key_until": NOW - timedelta(seconds=1)}, []),
        (Lookup(_find), {}, ["lookup"]),
        (Manual(), {}, []),
        (Manual(), {"tool": "of another version"}, []),
    ],
)
async def test_m3_m29_a_doubt_is_tried_by_what_its_tool_declares_and_in_that_order(
    reconcile: object, changes: dict[str, Any], tried: list[str]
) -> None:
    """A replay only while the answer comes before the provider forgets its key, and never a person's own."""
    bench = Bench()
    call: CallRecord = structs.replace(bench.call, **changes)
    assert await bench.of(reconcile).step(call) is None
    assert bench.purposes == tried


async def test_what_was_settled_or_is_in_doubt_no_more_ends_the_looking() -> None:
    """The second way is for what the first could not even begin."""
    both = Replay(3600, lookup=_find)
    gone = NotClaimed(state=CallState.SUCCEEDED, code="not_yours", message="")
    bench = Bench(claims=lambda _claim: gone)
    assert await bench.of(both).step(bench.call) == gone

    def given(command: Claim) -> Claimed:
        until = NOW + timedelta(seconds=command.lease_s)
        return Claimed(call=bench.call, attempt=2, lease_token=2, lease_until=until)

    bench = Bench(claims=given)
    assert isinstance(await bench.of(Lookup(_find)).step(bench.call), Settled)
    assert bench.purposes == ["lookup"]
