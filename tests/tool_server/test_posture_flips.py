"""The stop button under load: postures flip while calls are in flight, and nothing is claimed after a flip.

The log is the judge: it is the one order of all that was committed, so a claim between the entry of a stop
and that of the next loosening is one that the stop should have prevented.

Twin that must be caught: a house that looks at the posture when a call is admitted, and not at its claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import structs

from ledger.judge import Judge
from policy.decide import decide
from policy.language import Posture
from policy.model import Call, Decision, Facts
from tests.provider.house import POLICY, Desk, Shop, a_place, ledger_of, opened
from tool_server.bootstrap import judge_of
from tool_server.envelope import CallResult
from tool_server.policy_file import known_tools

FLIPS: Final = 20  # 200 with --deep.
IN_FLIGHT: Final = 20  # At each flip; 200 with --deep.
TWIN_FLIPS: Final = 2  # Enough for the twin: half of its claims come after a stop.
SEED: Final = 20261122
# Room for thousands of purchases: what stops a call here is the posture and nothing else.
WIDE: Final = (
    POLICY.replace('"500.00 USD"', '"900000.00 USD"')
    .replace('"100.00 USD"', '"900000.00 USD"')
    .replace("rules:", 'limits: {{open_requests: 500, held_share: "100%"}}\nrules:')
)


async def flipped(desk: Desk, flips: int, in_flight: int) -> None:
    """Flip the account's posture again and again under calls of two kinds: allowed, and just approved."""
    dice, ledger, now = random.Random(SEED), desk.house.ledger, desk.house.now
    for _ in range(flips):
        asked = await asyncio.gather(*(desk.buy("30.00 USD") for _ in range(in_flight // 2)))
        calls: list[asyncio.Task[Any]] = [asyncio.create_task(approved(desk, each)) for each in asked]
        calls += [asyncio.create_task(desk.buy("1.00 USD")) for _ in range(in_flight // 2)]
        await grown(desk, dice.randrange(2, 2 * in_flight))
        await ledger.set_posture("account", "", Posture.NO_SPEND, because="the button", by="olga", at=now())
        await asyncio.wait(calls)
        await desk.house.dispatcher.idle()
        await ledger.set_posture("account", "", Posture.NORMAL, because="again", by="olga", at=now())
    await desk.house.dispatcher.idle()


async def grown(desk: Desk, entries: int) -> None:
    """Return once the log has so many entries more: somewhere between an admission and the last claim."""
    ledger = desk.house.ledger
    wanted = await ledger.log_size() + entries
    async with asyncio.timeout(10):
        while (size := await ledger.log_size()) < wanted:
            await ledger.wait_changes(size, 0.05)


async def approved(desk: Desk, asked: CallResult) -> None:
    """Approve what was asked, as a person does."""
    await desk.approve(asked)


def claimed_while_stopped(database: Path) -> tuple[set[str], int]:
    """Return the calls whose claims stand in the log, and how many claims there are from under a stop.

    A claim to look an unknown outcome up moves no money, and a stop rightly lets it pass.
    """
    stopped, claimed, wrong = False, set(), 0
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for kind, subject, body in connection.execute(
            "SELECT kind, subject_id, body FROM audit_entry ORDER BY seq"
        ):
            facts = json.loads(body)["facts"]
            if kind == "posture.moved":
                stopped = facts["posture"] != Posture.NORMAL
            elif kind == "call.claimed" and facts["purpose"] != "lookup":
                claimed.add(subject)
                wrong += stopped
    return claimed, wrong


async def test_no_call_is_claimed_after_a_stop_has_committed(
    tmp_path: Path, shop: Shop, *, deep: bool
) -> None:
    """M5: tightening holds for every claim after its commit, whatever was admitted or approved before."""
    share = 10 if deep else 1
    async with opened(await a_place(tmp_path, shop, policy=WIDE)) as desk:
        await flipped(desk, FLIPS * share, IN_FLIGHT * share)
    claimed, wrong = claimed_while_stopped(tmp_path / "bursar.db")
    assert wrong == 0
    assert len(claimed) > FLIPS, "hardly any call came through before its stop"
    ordered = [each["ref"] for each in shop.orders()]
    assert len(ordered) == len(set(ordered))
    assert set(ordered) <= claimed  # Some answers, and some orders, are lost to the provider's time limit.


async def test_the_harness_sees_a_house_that_looks_only_at_admission(tmp_path: Path, shop: Shop) -> None:
    """A broken twin: its decision at the claim takes the account for open."""

    def forgetful(policy: Any, call: Call, facts: Facts) -> Decision:  # noqa: ANN401 -- the policy's own type
        return decide(
            policy, call, structs.replace(facts, posture=Posture.NORMAL) if facts.claiming else facts
        )

    place = await a_place(tmp_path, shop, policy=WIDE)
    honest = judge_of(known_tools(place.settings.policies, place.wiring.release))
    twin = Judge(honest.needs, forgetful, honest.load)
    async with opened(place, ledger=await ledger_of(place, judge=twin)) as desk:
        await flipped(desk, TWIN_FLIPS, IN_FLIGHT)
    claimed, wrong = claimed_while_stopped(tmp_path / "bursar.db")
    with pytest.raises(AssertionError):
        assert wrong == 0
    assert len(claimed) >= wrong
