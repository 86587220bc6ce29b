"""What the judge promises about time, and the words it explains itself with."""

from __future__ import annotations

from policy.language import Hours
from policy.model import (
    CountAbove,
    Match,
    Scope,
    SumAbove,
)
from tests.policy.build import (
    DAY,
    HOUR,
    NOW,
    RUN,
    SPENDING,
    allow,
    ask,
    at,
    deny,
    judge,
    policy,
    purchase,
    usd,
)

# --- when time is the reason -----------------------------------------------------------------------------


WEEKEND = Match(kind=SPENDING, hours=Hours(days=(5, 6)))
SATURDAY = at("2026-11-21T10:00")


def test_a_denial_by_hours_says_when_they_end() -> None:
    """An agent that knows when to come back does not ask every minute."""
    frozen = policy(allow(), deny("weekend", WEEKEND), timezone="Europe/Berlin")
    decision = judge(frozen, purchase(), now=SATURDAY)
    assert (decision.code, decision.retry, decision.retry_at) == (
        "denied_by_rule",
        "later",
        at("2026-11-22T23:00"),
    )


def test_the_end_of_one_rules_hours_does_not_hide_another_rule() -> None:
    """The weekend ends at midnight, but nights are closed too."""
    night = deny("night", Match(hours=Hours(from_minute=22 * 60, to_minute=6 * 60)))
    frozen = policy(allow(), deny("weekend", WEEKEND), night)
    assert judge(frozen, purchase(), now=SATURDAY).retry_at == at("2026-11-23T06:00")


def test_a_denial_that_also_has_another_reason_has_no_date() -> None:
    """Coming back on Monday to hear no again helps nobody."""
    frozen = policy(allow(), deny("weekend", WEEKEND), deny("payee", Match(payee=("example.com",))))
    decision = judge(frozen, purchase(), now=SATURDAY)
    assert (decision.retry, decision.retry_at) == ("never", None)
    always = policy(deny("always", Match(hours=Hours())))
    assert judge(always, purchase()).retry_at is None
    nowhere = policy(deny("weekend", WEEKEND), timezone="No/Where")
    assert judge(nowhere, purchase(), now=SATURDAY).retry_at is None


def test_an_unless_with_hours_says_when_it_opens() -> None:
    """Deny except in office hours: the date is when the office opens."""
    office = deny(unless=Match(hours=Hours(days=(0, 1, 2, 3, 4), from_minute=540, to_minute=1_020)))
    assert judge(policy(allow(), office), purchase(), now=SATURDAY).retry_at == at("2026-11-23T09:00")


def test_a_denial_by_a_sum_or_a_count_says_when_its_window_ends() -> None:
    """At the latest: then what was counted counts no more."""
    sums = deny(match=Match(sum_above=SumAbove((usd("2.00"),), Scope.RUN, DAY)))
    assert judge(policy(sums), purchase(), sums={"denied": 100}).retry_at == at("2026-11-21T00:00")
    assert judge(policy(sums), purchase("2.01"), sums={"denied": 0}).retry_at is None
    counts = deny(match=Match(count_above=CountAbove(1, Scope.RUN, HOUR)))
    assert judge(policy(counts), purchase(), counts={"denied": 5}).retry_at == at("2026-11-20T11:01")
    for_ever = deny(match=Match(count_above=CountAbove(1, Scope.RUN, RUN)))
    assert judge(policy(for_ever), purchase(), counts={"denied": 5}).retry_at is None


def test_a_sum_in_a_zone_nobody_knows_has_no_date() -> None:
    """A window that cannot be cut has no end."""
    sums = deny(match=Match(sum_above=SumAbove((usd("2.00"),), Scope.RUN, DAY)))
    assert judge(policy(sums, timezone="No/Where"), purchase(), sums={"denied": 100}).retry_at is None


def test_silence_outside_an_allows_hours_says_when_they_begin() -> None:
    """Big sales only in office hours: outside them nothing allows, and that is a matter of time."""
    office = Hours(days=(0, 1, 2, 3, 4), from_minute=540, to_minute=1_020)
    decision = judge(policy(allow(match=Match(hours=office))), purchase(), now=SATURDAY)
    assert (decision.code, decision.retry, decision.retry_at) == ("no_rule", "later", at("2026-11-23T09:00"))
    other = policy(allow(match=Match(hours=office, agent=("maker",))))
    assert judge(other, purchase(), now=SATURDAY).retry_at is None
    assert judge(policy(allow(match=Match(agent=("maker",)))), purchase()).retry_at is None


def test_days_that_never_line_up_have_no_date() -> None:
    """An allow on Mondays that is silent on Mondays: the search for a date must end."""
    monday = Hours(days=(0,))
    never = policy(allow(match=Match(hours=monday), unless=Match(hours=monday)))
    assert judge(never, purchase(), now=NOW).retry_at is None
    both = policy(deny("a", Match(hours=monday)), deny("b", unless=Match(hours=monday)))
    assert judge(both, purchase(), now=SATURDAY).retry_at is None


# --- explanations ----------------------------------------------------------------------------------------


def test_a_denial_by_rules_names_the_rule_its_place_and_its_reason() -> None:
    """The reader must find the line to change."""
    rules = (deny("a", because="money rests"), deny("b", unless=Match(agent=("maker",), recurring=True)))
    decision = judge(policy(*rules), purchase())
    assert decision.message == "rule 'a' in policies.yaml:40 and 1 more denies it: money rests"
    assert decision.would_change == ("rule 'b' is silent where agent: maker; recurring: true",)
    assert judge(policy(deny()), purchase()).message == "rule 'denied' in policies.yaml:40 denies it"


def test_a_question_says_where_it_would_not_be_asked() -> None:
    """What would change the answer is in the rule's own words."""
    decision = judge(policy(ask(unless=Match(up_to=(usd("1.00"),)))), purchase())
    assert decision.would_change == ("rule 'asks' is silent where amount up_to: 1.00 USD",)
    assert decision.message == "a person decides: desk 'desk'"
