"""What the judge promises about people, withdrawals and what waits; M numbers are money rules it holds."""

from __future__ import annotations

import pytest

from policy.decide import decide, needs
from policy.model import (
    Kind,
    Limits,
    Match,
    Needs,
    Scope,
    Twin,
    Usage,
)
from policy.trace import trace
from tests.policy.build import (
    ALLOW,
    ASK,
    DENY,
    allow,
    ask,
    cap,
    deny,
    facts,
    ids,
    judge,
    of_kind,
    policy,
    purchase,
)

# --- human-only, withdrawals, core tools -----------------------------------------------------------------


@pytest.mark.parametrize("call", [of_kind(Kind.HUMAN_ONLY), of_kind(Kind.DRAFT, operation="refund")])
def test_no_allow_ever_runs_a_human_only_effect(call: object) -> None:
    """M29: without a rule, owners are asked: quorum one, seven days, fifteen minutes to run."""
    decision = judge(policy(allow(), allow("b", shadow=True)), call)  # type: ignore[arg-type]  # A Call each time.
    assert (decision.answer, decision.rules, decision.shadows) == (ASK, (), ())
    desk = decision.asks[0].desk
    assert (desk.who, desk.quorum, desk.expires_in_s, desk.run_within_s) == (("role:owner",), 1, 604_800, 900)
    assert str(desk.at) == "built in"


def test_a_rule_may_name_another_desk_for_human_only_or_deny_it() -> None:
    """M29 is the default, not the law."""
    assert ids(each.desk for each in judge(policy(ask()), of_kind(Kind.HUMAN_ONLY)).asks) == ["desk"]
    assert judge(policy(ask(), deny()), of_kind(Kind.HUMAN_ONLY)).answer is DENY


def test_only_a_deny_that_names_the_tool_stops_a_withdrawal() -> None:
    """Taking back must stay possible when everything else is frozen."""
    call = of_kind(Kind.WITHDRAW, tool="cancel_purchase", own=True)
    for wide in (deny(), deny(match=Match(kind=(Kind.WITHDRAW,))), deny(match=Match(tool=("cancel_*",)))):
        assert judge(policy(wide), call).answer is ALLOW
    assert judge(policy(deny(match=Match(tool=("cancel_purchase",)))), call).answer is DENY
    assert judge(policy(ask()), call).answer is ALLOW
    assert not needs(policy(ask()), call).waiting


def test_a_deny_stops_a_refund_that_calls_itself_a_withdrawal() -> None:
    """What only a person may do is no taking back, so a deny need not name its tool."""
    call = of_kind(Kind.WITHDRAW, tool="give_back", operation="refund", own=True)
    for wide in (deny(), deny(match=Match(operation=("refund",)))):
        assert judge(policy(wide), call).answer is DENY
        assert trace(policy(wide), call, facts())[0].says == "speaks"
    assert ids(each.desk for each in judge(policy(allow()), call).asks) == ["built-in:human-only"]


def test_withdrawing_what_is_not_ones_own_needs_a_rule() -> None:
    """Closing another agent's offer is not taking back."""
    call = of_kind(Kind.WITHDRAW, tool="stripe_close_offer")
    assert judge(policy(), call).code == "no_rule"
    assert judge(policy(allow()), call).answer is ALLOW
    assert judge(policy(ask()), call).answer is ASK
    assert needs(policy(ask()), call).waiting
    assert not needs(policy(allow()), call).waiting


def test_nothing_stops_a_core_tool() -> None:
    """An agent must always be able to ask where it stands."""
    call = of_kind(Kind.READ, tool="my_status", core=True)
    closed = policy(deny(), deny("named", Match(tool=("my_status",))))
    decision = decide(closed, call, facts(posture=None))
    assert (decision.answer, decision.rules, decision.policy_sha256) == (ALLOW, (), "a" * 64)
    assert needs(closed, call) == Needs(timezone="UTC")


# --- twins, waiting requests, readiness ------------------------------------------------------------------


def test_a_twin_asks_owners_even_where_rules_allow() -> None:
    """M26: quorum one, a day to answer, an hour to run."""
    twin = Twin("call_1", "queued")
    decision = judge(policy(allow()), purchase(), twin=twin)
    assert (decision.answer, decision.twin) == (ASK, twin)
    desk = decision.asks[0].desk
    assert (desk.who, desk.quorum, desk.expires_in_s, desk.run_within_s) == (
        ("role:owner",),
        1,
        86_400,
        3_600,
    )
    assert "it looks like call_1 (queued)" in decision.message


def test_a_twin_is_answered_by_the_desks_that_are_asked_anyway() -> None:
    """M26: unless it may have been bought; then owners always answer."""
    asked = judge(policy(ask()), purchase(), twin=Twin("call_1", "succeeded"))
    assert ids(each.desk for each in asked.asks) == ["desk"]
    unsure = judge(policy(ask(), ask("lost", desk="gone")), purchase(), twin=Twin("call_1", "unknown"))
    assert ids(each.desk for each in unsure.asks) == ["built-in:owners", "desk"]
    unsure = judge(policy(ask()), purchase(), twin=Twin("call_1", "unknown"))
    assert ids(each.desk for each in unsure.asks) == ["desk", "built-in:owners"]


def test_a_twin_that_was_not_looked_for_denies() -> None:
    """M26: not looked for is not absent; only purchases have twins."""
    assert judge(policy(allow()), purchase(), twin_checked=False).code == "fact_missing"
    earn = of_kind(Kind.EARN)
    assert judge(policy(allow()), earn, twin_checked=False, twin=Twin("call_1", "queued")).answer is ALLOW
    assert needs(policy(), purchase()).twin
    assert not needs(policy(), earn).twin


def test_a_twin_does_not_turn_silence_into_a_question() -> None:
    """A person is asked about what rules allow, not about what nobody allowed."""
    assert judge(policy(), purchase(), twin=Twin("call_1", "queued")).code == "no_rule"


def test_one_agent_keeps_no_more_requests_waiting_than_it_may() -> None:
    """M17: people's attention is a resource too."""
    asking = policy(ask(), limits=Limits(open_requests=3))
    assert judge(asking, purchase(), open_requests=2).answer is ASK
    decision = judge(asking, purchase(), open_requests=3)
    assert (decision.code, decision.retry) == ("too_many_requests", "later")
    assert judge(asking, purchase(), open_requests=None).code == "fact_missing"
    assert judge(policy(allow()), purchase(), open_requests=99).answer is ALLOW


def test_waiting_requests_hold_at_most_their_share_but_a_lone_one_may_hold_more() -> None:
    """M17: a quarter of each account or project money cap."""
    asking = policy(ask(), cap("day", "10.00"), cap("agent", "10.00", per=Scope.AGENT), cap("pace", 9))
    assert judge(asking, purchase("9.00")).answer is ASK
    waiting = {"day": Usage(held=100, agent_waiting=100), "agent": Usage(held=100, agent_waiting=900)}
    assert judge(asking, purchase("1.50"), usage=waiting).answer is ASK
    decision = judge(asking, purchase("1.51"), usage=waiting)
    assert (decision.code, decision.cap, decision.retry) == ("held_share_exceeded", "day", "later")


def test_at_claim_nothing_of_the_call_waits_any_more() -> None:
    """M17 bounds what waits; an approved call must not be denied because others wait."""
    asking = policy(ask(), cap("day", "10.00"))
    waiting = {"day": Usage(agent_waiting=900)}
    assert judge(asking, purchase(), usage=waiting, open_requests=99, claiming=True).answer is ASK


def test_a_provider_that_is_not_ready_holds_a_call_and_denies_none() -> None:
    """It stays queued until its run-by time; the ledger itself is always ready."""
    for ready in (False, None):
        decision = judge(policy(allow()), purchase(), ready=ready, missing=("a key",))
        assert (decision.answer, decision.held_reason, decision.missing) == (ALLOW, "not_ready", ("a key",))
        assert judge(policy(ask()), purchase(), ready=ready).held_reason == "not_ready"
        local = of_kind(Kind.DRAFT, provider="bursar")
        assert judge(policy(allow()), local, ready=ready).held_reason == ""
    assert judge(policy(allow()), purchase(), missing=("a warning",)).missing == ()
