"""What must hold for every policy: order means nothing, and tightening never loosens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import windows
from policy.decide import decide
from policy.model import Answer, Call, Decision, Facts, Limit, Mark, Policy, Posture, Rule
from policy.money import Money
from tests.policy.worlds import Draw, call, facts, policy, rule

EXAMPLES = settings(max_examples=100)  # Each is a whole world; thousands more are in test_reference.py.
World = tuple[Policy, Call, Facts]
STRICTNESS = {Answer.ALLOW: 0, Answer.REQUIRE_APPROVAL: 1, Answer.DENY: 2}
POSTURES = list(Posture)  # From open to shut.


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a world from a seed, so that a failing one can be told by one number."""
    source = Draw(draw(st.integers(0, 2**32)))
    drawn = policy(source)
    return drawn, call(source), facts(source, drawn)


def strictness(decision: Decision) -> int:
    """Rank an answer; and of two questions the one that asks more desks is the stricter."""
    return STRICTNESS[decision.answer]


@EXAMPLES
@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_a_file_never_matters(world: World, random: Random) -> None:
    """An owner may sort the file for its readers: the decision stays the same to the letter."""
    drawn, asked, known = world
    rules, caps, desks = list(drawn.rules), list(drawn.caps), list(drawn.desks)
    random.shuffle(rules)
    random.shuffle(caps)
    random.shuffle(desks)
    shuffled = msgspec.structs.replace(drawn, rules=tuple(rules), caps=tuple(caps), desks=tuple(desks))
    assert decide(shuffled, asked, known) == decide(drawn, asked, known)


@EXAMPLES
@given(worlds(), st.data())
def test_a_rule_said_twice_counts_once(world: World, data: st.DataObject) -> None:
    """A rule copied under another name changes no answer and asks no other desk."""
    drawn, asked, known = world
    copied: Rule = data.draw(st.sampled_from(drawn.rules))
    twice = msgspec.structs.replace(
        drawn,
        rules=(*drawn.rules, msgspec.structs.replace(copied, id="zz-copy", at=Mark("policies.yaml", 99))),
    )
    both = [(name, f"zz-copy{name.removeprefix(copied.id)}") for name in (copied.id, f"{copied.id}:unless")]
    facts_too = msgspec.structs.replace(
        known,
        sums={**known.sums, **{new: known.sums[old] for old, new in both if old in known.sums}},
        counts={**known.counts, **{new: known.counts[old] for old, new in both if old in known.counts}},
    )
    once, again = decide(drawn, asked, known), decide(twice, asked, facts_too)
    assert (again.answer, again.code, again.cap, again.retry_at) == (
        once.answer,
        once.code,
        once.cap,
        once.retry_at,
    )
    assert [ask.desk for ask in again.asks] == [ask.desk for ask in once.asks]
    assert (again.caps, again.reserves) == (once.caps, once.reserves)


@EXAMPLES
@given(worlds(), st.integers(0, 2**32))
def test_adding_a_deny_or_an_approval_never_loosens(world: World, seed: int) -> None:
    """Whoever writes one more line against something cannot open a hole with it."""
    drawn, asked, known = world
    before = decide(drawn, asked, known)
    for effect, desk in ((Answer.DENY, None), (Answer.REQUIRE_APPROVAL, "spend-desk")):
        added = msgspec.structs.replace(
            rule(Draw(seed), 77), effect=effect, approval=desk, shadow=False, id="added"
        )
        after = decide(msgspec.structs.replace(drawn, rules=(*drawn.rules, added)), asked, known)
        # Silence is the one exception: a rule that asks breaks it, since asking is what it was written for.
        if before.code != "no_rule" or effect is Answer.DENY:
            assert strictness(after) >= strictness(before)


@EXAMPLES
@given(worlds(), st.data())
def test_lowering_a_cap_never_loosens(world: World, data: st.DataObject) -> None:
    """Less room can only refuse more."""
    drawn, asked, known = world
    caps = tuple(
        msgspec.structs.replace(cap, limit=lowered(cap.limit, data.draw(st.integers(0, 10))))
        for cap in drawn.caps
    )
    after = decide(msgspec.structs.replace(drawn, caps=caps), asked, known)
    assert strictness(after) >= strictness(decide(drawn, asked, known))


def lowered(limit: Limit, tenths: int) -> Limit:
    """Take so many tenths of a limit."""
    if limit.money is not None:
        money = Money(limit.money.minor_units * tenths // 10, limit.money.currency)
        return msgspec.structs.replace(limit, money=money)
    if limit.calls is not None:
        return msgspec.structs.replace(limit, calls=limit.calls * tenths // 10)
    return msgspec.structs.replace(limit, percent_of_earned=(limit.percent_of_earned or 0) * tenths // 10)


@EXAMPLES
@given(worlds(), st.sampled_from(POSTURES), st.sampled_from(POSTURES))
def test_tightening_the_posture_never_loosens(world: World, one: Posture, other: Posture) -> None:
    """The stop button only ever stops."""
    drawn, asked, known = world
    looser, tighter = sorted((one, other), key=POSTURES.index)
    before = decide(drawn, asked, msgspec.structs.replace(known, posture=looser))
    after = decide(drawn, asked, msgspec.structs.replace(known, posture=tighter))
    assert strictness(after) >= strictness(before)


@EXAMPLES
@given(
    worlds(), st.sampled_from(["posture", "live_spend", "payee_known", "open_requests", "usage", "earned"])
)
def test_knowing_less_never_allows_more(world: World, missing: str) -> None:
    """What could not be looked up denies or asks, never allows; only silence may turn into a question."""
    drawn, asked, known = world
    nothing: object = {} if missing in ("usage", "earned") else None
    before = decide(drawn, asked, known)
    after = decide(drawn, asked, msgspec.structs.replace(known, **{missing: nothing}))
    if before.code != "no_rule":
        assert strictness(after) >= strictness(before)
    assert after.answer is not Answer.ALLOW or before.answer is Answer.ALLOW


@EXAMPLES
@given(worlds())
def test_a_purchase_that_may_run_is_held_under_every_cap_it_meets(world: World) -> None:
    """M10: an answer other than no owes its reservations, and no denial owes any."""
    decision = decide(*world)
    if decision.answer is Answer.DENY:
        assert not decision.reserves
        assert not decision.asks
        return
    per_call = {cap.id for cap in world[0].caps if cap.window.kind.value == "call"}
    assert {held.cap_id for held in decision.reserves} == {line.id for line in decision.caps} - per_call
    assert all(line.used + line.asked <= line.limit for line in decision.caps)


@EXAMPLES
@given(worlds())
def test_every_answer_can_be_written_down_and_read_back(world: World) -> None:
    """The ledger stores decisions; one that cannot be encoded would be lost when it matters."""
    from policy.money import dec_hook, enc_hook

    decision = decide(*world)
    text = msgspec.json.encode(decision, enc_hook=enc_hook)
    assert msgspec.json.decode(text, type=Decision, dec_hook=dec_hook) == decision
    assert "\n" not in decision.message


@EXAMPLES
@given(worlds())
def test_a_date_to_come_back_at_is_true(world: World) -> None:
    """At the date, with every window over that has ended by then, the same reason no longer denies."""
    drawn, asked, known = world
    decision = decide(drawn, asked, known)
    if decision.retry_at is None:
        return
    assert decision.retry_at > known.now
    if decision.code == "cap_exceeded":
        return  # Caps are tested by example: their room comes back as the ledger's windows turn.
    tz = windows.zone(drawn.timezone)
    later = msgspec.structs.replace(
        known,
        now=decision.retry_at,
        sums=emptied(drawn, known, known.sums, decision, tz, "sum_above"),
        counts=emptied(drawn, known, known.counts, decision, tz, "count_above"),
    )
    assert decide(drawn, asked, later).code != decision.code


def emptied(
    drawn: Policy, known: Facts, found: Mapping[str, int], decision: Decision, tz: tzinfo, name: str
) -> dict[str, int]:
    """Set to zero what was added up in windows that have ended by then."""
    left = dict(found)
    for one in drawn.rules:
        for match, key in ((one.match, one.id), (one.unless, f"{one.id}:unless")):
            wanted = getattr(match, name) if match is not None else None
            if wanted is None:
                continue
            if match is one.unless and getattr(one.match, name) is None:
                key = one.id  # noqa: PLW2901 - the only one of its sort keeps the rule's own name
            ends = windows.end(wanted.window, known.now, tz)
            if ends is not None and decision.retry_at is not None and ends <= decision.retry_at:
                left[key] = 0
    return left
