"""The judge agrees with an independent one that was written naively from the documentation."""
# ruff: noqa: FBT001 -- `deep` is a fixture, not a flag somebody passes

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from policy.decide import decide, needs
from policy.model import Call, Decision, Facts, Needs, Policy
from tests.policy.reference import Verdict, judge
from tests.policy.twins import TWINS, BrokenTwin, Decide, plant
from tests.policy.worlds import alike, worlds

SEED = 20_261_122
PARTS = 4  # So that a crowded machine has the time of four tests.
World = tuple[Policy, Call, Facts]


def as_verdict(decision: Decision) -> Verdict:
    """Put a decision into the reference's plain containers."""
    return Verdict(
        answer=decision.answer.value,
        code=decision.code,
        rules={line.id for line in decision.rules},
        shadows={line.id for line in decision.shadows},
        asks={ask.desk.id: set(ask.rules) for ask in decision.asks},
        caps={line.id: (line.limit, line.used, line.asked, line.fits) for line in decision.caps},
        reserves={
            held.cap_id: (held.scope_key, held.unit, held.amount, held.limit) for held in decision.reserves
        },
        cap=decision.cap,
        twin=decision.twin.call_id if decision.twin else None,
        held=decision.held_reason,
    )


def first_difference(judging: Decide, drawn: Iterable[World]) -> str:
    """Describe the first world on which the two judges differ; empty where they never do."""
    for number, (policy, call, facts) in enumerate(drawn):
        mine, theirs = as_verdict(judging(policy, call, facts)), judge(policy, call, facts)
        if mine != theirs:
            return f"world {number}\n  decide: {mine}\n  reference: {theirs}\n  {call}\n  {facts}\n  {policy}"
    return ""


@pytest.mark.parametrize("seed", range(SEED, SEED + PARTS))
def test_an_independent_judge_agrees_on_every_world(deep: bool, seed: int) -> None:
    """Two readings of one page that share no code rarely share a mistake."""
    count = 1_000_000 if deep else 20_000
    difference = first_difference(decide, worlds(seed, count // PARTS))
    if difference:
        pytest.fail(difference, pytrace=False)


def test_an_independent_judge_agrees_on_calls_that_are_alike(deep: bool) -> None:
    """The real judge remembers words it put together for calls of one sort, the naive one nothing."""
    count = 200_000 if deep else 3_000
    difference = first_difference(decide, alike(worlds(SEED + 2, count)))
    if difference:
        pytest.fail(difference, pytrace=False)


def test_the_worlds_reach_every_answer_and_every_code() -> None:
    """Agreement on worlds that are all denied by silence would prove nothing."""
    seen = Counter(
        (decision.answer.value, decision.code)
        for policy, call, facts in worlds(SEED, 8_000)
        for decision in [decide(policy, call, facts)]
    )
    assert {code for _, code in seen} == {
        "",
        "denied_by_rule",
        "posture_closed",
        "live_spend_off",
        "live_spend_uncovered",
        "no_rule",
        "fact_missing",
        "cap_exceeded",
        "earned_below_zero",
        "too_many_requests",
        "held_share_exceeded",
    }
    assert min(seen.values()) >= 3, seen
    assert seen["allow", ""] >= 500
    assert seen["require_approval", ""] >= 500


def test_an_unbroken_copy_agrees_too(tmp_path: Path) -> None:
    """The twins differ from the judge in their planted line only, not by being copies."""
    assert not first_difference(plant(None, tmp_path, "whole_twin"), worlds(SEED, 2_000))


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_a_broken_twin_is_caught(twin: BrokenTwin, tmp_path: Path) -> None:
    """A harness that lets a planted bug through would let a real one through."""
    drawn = chain(worlds(SEED, 2_000), alike(worlds(SEED + 2, 3_000)), worlds(SEED, 20_000))
    assert first_difference(plant(twin, tmp_path, "broken_twin"), drawn)


def test_needs_names_every_fact_a_decision_uses(deep: bool) -> None:
    """What needs does not name is never gathered, so deciding without it must change nothing."""
    for policy, call, facts in worlds(SEED + 1, 200_000 if deep else 4_000):
        asked = needs(policy, call)
        assert decide(policy, call, only_what_was_asked(asked, facts)) == decide(policy, call, facts)


def only_what_was_asked(asked: Needs, facts: Facts) -> Facts:
    """Drop every fact that was not asked for."""
    usage = {need.cap_id for need in asked.usage}
    earned = {need.cap_id for need in asked.earned}
    sums = {need.rule_id for need in asked.sums}
    counts = {need.rule_id for need in asked.counts}
    return msgspec.structs.replace(
        facts,
        usage={name: found for name, found in facts.usage.items() if name in usage},
        earned={name: found for name, found in facts.earned.items() if name in earned},
        sums={name: found for name, found in facts.sums.items() if name in sums},
        counts={name: found for name, found in facts.counts.items() if name in counts},
        payee_known=facts.payee_known if asked.payee_known else None,
        twin=facts.twin if asked.twin else None,
        twin_checked=facts.twin_checked and asked.twin,
        open_requests=facts.open_requests if asked.waiting else None,
    )
