"""*.cases.yaml: what a case says, what it leaves out, and how a case that is itself wrong is told."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from policy.case_file import load_cases, signed_money
from policy.cases import Case, CaseResult, run_case
from policy.errors import PolicyError
from policy.language import Kind, Mode, PayeeBasis, Posture
from policy.load import load
from policy.money import Money
from policy.tools import load_tools

TOOLS = load_tools()
POLICY = load(
    """
version: 1
live_spend: {enabled: true, providers: [stripe]}
caps:
  - {id: money, per: account, window: month, limit: "50.00 USD"}
  - {id: pace, per: agent, window: 1h, limit: 3 calls}
  - {id: share, per: project, window: month, limit: 50% of earned}
approvals:
  - {id: desk, who: [role:owner]}
outside: [{tool: link_pay, kind: spend, operation: pay, provider: stripe}]
rules:
  - {id: earn, match: {kind: earn}, effect: allow}
  - {id: spend, match: {kind: spend}, effect: allow}
  - {id: sum, match: {kind: spend, sum_above: {amount: "9.00 USD", per: run, window: day}}, effect: deny}
  - {id: often, match: {kind: earn, count_above: {count: 1, per: run, window: day}}, effect: deny}
  - {id: weekend, match: {kind: provision}, unless: {hours: {days: [mon]}}, effect: deny}
""",
    "policies.yaml",
    TOOLS,
)


def read(text: str) -> tuple[Case, ...]:
    """Read a cases file."""
    return load_cases(text, "p.cases.yaml", policy=POLICY, tools=TOOLS)


def only(call: str, given: str = "{}", expect: str = "{effect: allow}") -> Case:
    """Read a file of one case."""
    return read(f"- {{why: because, call: {call}, given: {given}, expect: {expect}}}\n")[0]


def result(call: str, given: str = "{}", expect: str = "{effect: allow}") -> CaseResult:
    """Read and run one case."""
    return run_case(POLICY, only(call, given, expect))


def whole(call: str, given: str = "{}", expect: str = "{effect: deny}") -> str:
    """Return a file of one case."""
    return f"- {{why: a, call: {call}, given: {given}, expect: {expect}}}\n"


def mistakes(text: str) -> str:
    """Return what is told of a wrong cases file."""
    with pytest.raises(PolicyError) as error:
        read(text)
    return str(error.value)


def test_what_a_case_leaves_out_comes_from_the_tool_or_is_nothing() -> None:
    """Kind, operation and provider from tools.json; mode live, since what is unproved is live (M30)."""
    case = only("{tool: pay_vendor}")
    effect = case.call.effect
    assert (effect.kind, effect.operation, effect.provider) == (Kind.SPEND, "vendor_payment", "stripe")
    assert (effect.mode, effect.amount, effect.payee, effect.payee_basis) == (Mode.LIVE, None, None, None)
    assert (case.call.agent, case.call.project) == ("main", "main")
    assert not case.call.core
    assert (case.given.posture, case.given.live_spend, case.given.ready) == (Posture.NORMAL, False, True)
    assert case.given.now.weekday() == 2


def test_what_a_case_says_is_what_is_asked() -> None:
    """Every field of a call reaches the decision."""
    case = only(
        "{tool: my_status, agent: a, project: p, kind: provision, operation: o, provider: v,"
        " payee: x.example, payee_basis: enforced, amount: 24.00 USD, recurring: month, reversible: true,"
        " mode: test, own: true, args: {}}",
        "{now: '2026-11-20T10:00:00+01:00', posture: no_spend, live_spend: on, payee_known: true,"
        " twin: unknown, ready: false, held: {money: 4.00 USD},"
        " spent: {money: 1.00 USD, pace: 2 calls, share: 3.00 EUR},"
        " counts: {often: 5}, sums: {sum: 6.00 USD}, earned: {share: '-7.00 USD'}}",
        "{effect: deny, rules: [sum], desks: [desk, 'built-in:owners'], code: no_rule, cap: money,"
        " retry_at: '2026-11-20T10:00:00Z'}",
    )
    effect, given, expect = case.call.effect, case.given, case.expect
    assert (case.call.agent, case.call.project, case.call.own, case.call.core) == ("a", "p", True, True)
    assert (effect.kind, effect.operation, effect.provider) == (Kind.PROVISION, "o", "v")
    assert (effect.payee, effect.payee_basis, effect.mode) == ("x.example", PayeeBasis.ENFORCED, Mode.TEST)
    assert effect.recurring is not None
    assert (effect.recurring.each, effect.recurring.first_year) == (Money(200, "USD"), Money(2_400, "USD"))
    assert effect.reversible
    assert given.now == datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert (given.posture, given.live_spend, given.payee_known) == (Posture.NO_SPEND, True, True)
    assert (given.twin, given.ready) == ("unknown", False)
    assert given.spent == {"money": 100, "pace": 2, "share": 300}
    assert (given.held, given.counts, given.earned) == ({"money": 400}, {"often": 5}, {"share": -700})
    assert given.sums == {"sum": Money(600, "USD")}
    assert (expect.rules, expect.desks) == (("sum",), ("desk", "built-in:owners"))
    assert (expect.code, expect.cap) == ("no_rule", "money")
    assert expect.retry_at == datetime(2026, 11, 20, 10, tzinfo=UTC)


def test_recurring_may_be_a_year_or_nothing() -> None:
    """`true` is a year, since that is what is reserved; `false` is no recurrence."""
    year = only("{tool: domain_renew, amount: 24.00 USD, recurring: true}").call.effect.recurring
    assert year is not None
    assert year.each == year.first_year
    assert only("{tool: domain_renew, recurring: false}").call.effect.recurring is None


def test_a_twin_that_is_only_said_to_exist_succeeded() -> None:
    """`twin: true` is an equal purchase that went through; `false` is none."""
    assert only("{tool: pay_vendor}", "{twin: true}").given.twin == "succeeded"
    assert only("{tool: pay_vendor}", "{twin: false}").given.twin is None


def test_given_facts_reach_the_decision_and_others_are_zero() -> None:
    """Sums, counts, usage and earnings by the id that asks for them, without this call."""
    spend = "{tool: link_pay, amount: 1.00 USD, mode: test}"
    earned = "earned: {share: 50.00 USD}"
    assert result(spend, f"{{{earned}}}").passed
    assert result(spend, f"{{{earned}, sums: {{sum: 8.00 USD}}}}").passed
    assert result(spend, f"{{{earned}, sums: {{sum: 8.01 USD}}}}").decision.code == "denied_by_rule"
    assert result(spend, f"{{{earned}, sums: {{sum: 80.00 EUR}}}}").passed
    assert result(spend, f"{{{earned}, spent: {{money: 49.01 USD}}}}").decision.cap == "money"
    assert result(spend, f"{{{earned}, held: {{money: 49.01 USD}}}}").decision.cap == "money"
    assert result(spend).decision.cap == "share"
    assert result("{tool: stripe_create_checkout}", "{counts: {often: 1}}").decision.code == "denied_by_rule"


def test_a_failed_case_says_what_was_due_and_what_came() -> None:
    """Every difference at once, in the words of the case."""
    failed = result(
        "{tool: domain_renew, amount: 1.00 USD, mode: test}",
        "{now: '2026-11-20T10:00:00Z'}",
        "{effect: allow, rules: [spend], desks: [desk], code: no_rule, cap: money,"
        " retry_at: '2026-11-20T10:00:00Z'}",
    )
    assert not failed.passed
    assert failed.differences == (
        "expected effect allow, got deny",
        "expected rules [spend], got [weekend]",
        "expected desks [desk], got []",
        "expected code no_rule, got denied_by_rule",
        "expected cap money, got none",
        "expected retry_at 2026-11-20T10:00:00Z, got 2026-11-23T00:00:00Z",
    )


def test_a_case_file_tells_all_its_mistakes_with_their_addresses() -> None:
    """A case with a misspelt id would pass for the wrong reason, so ids are checked like fields."""
    told = mistakes(
        "- why: one\n  call: {tool: pay_vendr}\n  expect: {effect: alow}\n"
        "- why: two\n  call: {tool: pay_vendor, args: {invoce: x}}\n"
        "  given: {spent: {mony: 1.00 USD}, sums: {spend: 1.00 USD}, counts: {sum: 1},"
        " earned: {money: 1.00 USD}}\n"
        "  expect: {effect: deny, rules: [sums], desks: [dsk], code: cap_exceded, cap: pac}\n"
        "- why: three\n  call: {tool: pay_vendor, args: {invoce: x}, recurring: month}\n"
        "  given: {spent: {money: 2 calls, pace: 1.00 USD}, held: {money: 1.00 EUR}}\n"
        "  expect: {effect: deny}\n"
        "- call: {tool: pay_vendor}\n  expect: {effect: deny}\n"
    )
    for part in (
        "p.cases.yaml:2:16: unknown tool 'pay_vendr', did you mean 'pay_vendor'?",
        "p.cases.yaml:3:20: expected one of allow, require_approval, deny, found 'alow'",
        "p.cases.yaml:6:19: unknown cap 'mony', did you mean 'money'?",
        "unknown rule with sum_above 'spend'",
        "unknown rule with count_above 'sum', known are often",
        "unknown cap of '% of earned' 'money', known are share",
        "p.cases.yaml:7:34: unknown rule 'sums', did you mean 'sum'?",
        "unknown desk 'dsk', did you mean 'desk'?",
        "unknown code 'cap_exceded', did you mean 'cap_exceeded'?",
        "unknown cap 'pac', did you mean 'pace'?",
        "pay_vendor has no argument 'invoce', did you mean 'invoice'?",
        "what recurs has an amount, give the first year's total",
        "cap 'money' is not kept in '2 calls', it is kept in money, such as '19.99 USD'",
        "cap 'pace' is not kept in '1.00 USD', it is kept in calls, such as '2 calls'",
        "cap 'money' is not kept in '1.00 EUR'",
        "p.cases.yaml:12:3: a case needs 'why'",
    ):
        assert part in told, part


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("why: one\n", "a cases file is a list of cases"),
        ("", "the file is empty"),
        ("- [why]\n", "expected a case (a mapping), found a list"),
        (
            whole("{tool: pay_vendor}", "{spent: {money: 5% of earned}}"),
            "no quantity",
        ),
        (
            "- {why: a, call: {tool: pay_vendor}, given: {live_spend: maybe}, expect: {effect: deny}}\n",
            "one of on, off",
        ),
        (
            "- {why: a, call: {tool: pay_vendor}, given: {now: today}, expect: {effect: deny}}\n",
            "is no instant",
        ),
        ("- {why: a, call: {tool: my_status, args: {a: 1}}, expect: {effect: deny}}\n", "it has none"),
        ("- {why: a, call: {tool: pay_vendor}, expect: {effect: no}}\n" * 60, "expected one of"),
    ],
)
def test_a_cases_file_that_is_none_says_so(text: str, told: str) -> None:
    """The same reader as for policies, with the same one clear line."""
    assert told in mistakes(text)


def test_earnings_may_be_below_zero() -> None:
    """More may be refunded than was paid in a window (M15); no other amount is ever written with a sign."""
    assert signed_money("-7.00 USD") == Money(-700, "USD")
    assert signed_money("7.00 USD") == Money(700, "USD")
