"""What the judge promises, one sentence a test; M numbers are the money rules a test holds."""

from __future__ import annotations

import itertools

import pytest

from policy.decide import needs
from policy.model import (
    ArgTest,
    Call,
    CountAbove,
    Hours,
    Kind,
    Match,
    Mode,
    PayeeBasis,
    Recurrence,
    Scope,
    SumAbove,
    Window,
    WindowKind,
)
from policy.money import Money
from tests.policy.build import (
    ALLOW,
    ASK,
    DAY,
    DENY,
    MONTH,
    RUN,
    SPENDING,
    allow,
    ask,
    cap,
    deny,
    ids,
    judge,
    of_kind,
    policy,
    purchase,
    usd,
)

ROLLING_DAY = Window(WindowKind.ROLLING, 86_400)


# --- how answers combine -------------------------------------------------------------------------------


def test_a_deny_overrides_an_approval_and_an_approval_an_allow_whatever_their_order() -> None:
    """Sorting policies.yaml must never change a decision."""
    for rules in itertools.permutations((allow(), ask(), deny())):
        decision = judge(policy(*rules), purchase())
        assert (decision.answer, decision.code, ids(decision.rules)) == (DENY, "denied_by_rule", ["denied"])
    for rules in itertools.permutations((allow(), ask())):
        assert judge(policy(*rules), purchase()).answer is ASK


def test_silence_is_a_denial() -> None:
    """A tool nobody wrote a rule for must not run."""
    decision = judge(policy(allow(match=Match(kind=(Kind.READ,)))), purchase())
    assert (decision.answer, decision.code, decision.rules) == (DENY, "no_rule", ())
    assert decision.retry == "never"
    assert "rule with effect allow" in decision.would_change[0]


def test_obligations_of_all_matching_rules_add_up() -> None:
    """A rule that stops at the first match would let a short rule hide a strict one."""
    decision = judge(policy(ask("one"), ask("two", desk="other-desk"), ask("three")), purchase())
    assert {each.desk.id: each.rules for each in decision.asks} == {
        "desk": ("one", "three"),
        "other-desk": ("two",),
    }


def test_a_rule_whose_desk_does_not_exist_asks_owners() -> None:
    """The loader refuses it; if it ever came this far, somebody must still be asked."""
    decision = judge(policy(ask(desk="gone")), purchase())
    assert [each.desk.who for each in decision.asks] == [("role:owner",)]


def test_a_rule_is_silent_where_its_unless_holds() -> None:
    """The exception of a rule is part of it."""
    rules = (allow(), deny(unless=Match(payee=("example.com",))))
    assert judge(policy(*rules), purchase()).answer is ALLOW
    assert judge(policy(*rules), purchase(payee="other.com")).answer is DENY


def test_an_unless_of_another_kind_silences_nothing() -> None:
    """What the index leaves out must be a no, and not a field that is not there."""
    rules = (allow(), deny(unless=Match(kind=(Kind.EARN,), tool=("sell_*",))))
    assert judge(policy(*rules), purchase()).answer is DENY


def test_a_shadow_rule_is_recorded_and_changes_nothing() -> None:
    """An owner tries a rule on real calls before it stops one."""
    decision = judge(policy(allow(), deny("freeze", shadow=True), ask("later", shadow=True)), purchase())
    assert decision.answer is ALLOW
    assert ids(decision.shadows) == ["freeze", "later"]
    assert ids(decision.rules) == ["allowed"]


# --- doubt -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "call"),
    [
        (Match(up_to=(Money(500, "EUR"),)), purchase()),
        (Match(above=(Money(500, "EUR"),)), purchase()),
        (Match(payee=("example.com",)), purchase(payee=None)),
        (Match(payee_in="no-such-list"), purchase()),
        (Match(payee_basis=(PayeeBasis.ENFORCED,)), purchase()),
        (Match(currency=("USD",)), of_kind(Kind.EARN)),
        (Match(up_to=(usd("5.00"),)), of_kind(Kind.HUMAN_ONLY)),
        (Match(args=(("years", ArgTest(up_to=1)),)), purchase()),
        (Match(args=(("years", ArgTest(up_to=1)),)), purchase(args={"years": "1"})),
        (Match(args=(("years", ArgTest(above=1)),)), purchase(args={"years": True})),
        (Match(args=(("offer", ArgTest(equals="1")),)), purchase(args={"offer": 1})),
        (Match(args=(("price", ArgTest(up_to=usd("1.00"))),)), purchase(args={"price": "a lot"})),
        (Match(args=(("price", ArgTest(up_to=usd("1.00"))),)), purchase(args={"price": "1.00 EUR"})),
        (Match(args=(("price", ArgTest(up_to=usd("1.00"))),)), purchase(args={"price": 1.0})),
    ],
)
def test_in_doubt_a_deny_and_an_approval_apply_and_an_allow_does_not(match: Match, call: Call) -> None:
    """M16: what cannot be evaluated denies or asks, never allows."""
    free = allow("free", Match(kind=(Kind.SPEND, Kind.EARN)))
    denied = judge(policy(free, deny(match=match)), call)
    assert denied.answer is DENY
    assert denied.code == "denied_by_rule"
    assert "in doubt" in denied.rules[0].matched[-1]
    assert judge(policy(free, ask(match=match)), call).answer is ASK
    assert judge(policy(allow(match=match)), call).answer is not ALLOW


def test_in_doubt_an_unless_does_not_silence_a_deny_but_silences_an_allow() -> None:
    """The same doubt, on the other side of the rule."""
    euros = Match(up_to=(Money(500, "EUR"),))
    decision = judge(policy(allow(), deny(unless=euros)), purchase())
    assert decision.answer is DENY
    assert decision.rules[0].matched[-1] == "applies because in doubt: unless amount.up_to"
    assert judge(policy(allow(unless=euros)), purchase()).code == "no_rule"


def test_a_definite_no_outweighs_a_doubt() -> None:
    """A deny about evil.example must not stop a purchase elsewhere because it was made in euros."""
    match = Match(payee=("evil.example",), up_to=(Money(500, "EUR"),))
    assert judge(policy(allow(), deny(match=match)), purchase()).answer is ALLOW


def test_a_read_has_neither_payee_nor_amount_and_that_is_no_doubt() -> None:
    """A deny about amounts would otherwise stop every look at the ledger."""
    rules = (
        deny("a", Match(above=(usd("1.00"),))),
        deny("b", Match(payee=("evil.example",))),
        deny("c", Match(payee_known=False)),
        deny("d", Match(payee_in="no-such-list")),
        deny("e", Match(sum_above=SumAbove((usd("0.00"),), Scope.RUN, DAY))),
        deny("f", Match(count_above=CountAbove(0, Scope.RUN, DAY))),
    )
    assert judge(policy(allow(), *rules), of_kind(Kind.READ)).answer is ALLOW


@pytest.mark.parametrize("amount", [Money(-1, "USD"), None])
def test_a_purchase_in_no_amount_is_denied(amount: Money | None) -> None:
    """M18: nothing could hold it to a limit; a negative one would even make room."""
    decision = judge(policy(allow(), cap("day", "5.00")), purchase(amount))
    assert (decision.answer, decision.code) == (DENY, "fact_missing")


def test_a_commitment_reserves_its_first_year_or_nothing() -> None:
    """M18: an effect whose amount is not its first year's total does not say what it costs."""
    good = Recurrence("year", usd("1.50"), usd("1.50"))
    assert judge(policy(allow()), purchase(recurring=good)).answer is ALLOW
    bad = Recurrence("month", usd("1.50"), usd("18.00"))
    assert judge(policy(allow()), purchase(recurring=bad)).code == "fact_missing"


# --- fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "call", "holds"),
    [
        (Match(tool=("request_*",)), purchase(), True),
        (Match(tool=("pay_?endor",)), purchase(tool="pay_vendor"), True),
        (Match(tool=("request",)), purchase(), False),
        (Match(operation=("card_purchase",)), purchase(), True),
        (Match(provider=("str*pe", "x")), purchase(), True),
        (Match(payee=("*.hetzner.com",)), purchase(payee="Cloud.HETZNER.com"), True),
        (Match(payee=("*.hetzner.com",)), purchase(payee="hetzner.com"), False),
        (Match(payee=("*.hetzner.com",)), purchase(payee="x.hetzner.com.evil.example"), False),
        (Match(payee=("a[bc].com",)), purchase(payee="ab.com"), False),
        (Match(payee=("a[bc].com",)), purchase(payee="a[bc].com"), True),
        (Match(payee_in="vendors"), purchase(payee="cloud.hetzner.com"), True),
        (Match(up_to=(usd("1.50"),)), purchase(), True),
        (Match(up_to=(usd("1.49"),)), purchase(), False),
        (Match(above=(usd("1.50"),)), purchase(), False),
        (Match(above=(usd("1.49"),)), purchase(), True),
        (Match(up_to=(usd("1.50"), Money(1, "JPY"))), purchase(Money(2, "JPY")), False),
        (Match(currency=("EUR",)), purchase(), False),
        (Match(mode=(Mode.TEST,)), purchase(), True),
        (Match(project=("lab",)), purchase(), False),
        (Match(agent=("scout",)), purchase(), True),
        (Match(recurring=False), purchase(), True),
        (Match(reversible=True), purchase(), False),
        (Match(payee_basis=(PayeeBasis.CLAIMED,)), purchase(payee_basis=PayeeBasis.CLAIMED), True),
        (Match(args=(("offer", ArgTest(one_of=("a", "b"))),)), purchase(args={"offer": "b"}), True),
        (Match(args=(("n", ArgTest(equals=1)),)), purchase(args={"n": 2}), False),
        (Match(args=(("n", ArgTest(up_to=2, above=1)),)), purchase(args={"n": 2}), True),
        (Match(args=(("n", ArgTest(up_to=2, above=1)),)), purchase(args={"n": 1}), False),
        (Match(args=(("p", ArgTest(up_to=usd("2.00"))),)), purchase(args={"p": "2.00 USD"}), True),
        (Match(args=(("p", ArgTest(equals="2.00 USD")),)), purchase(args={"p": usd("2.00")}), True),
        (Match(args=(("k", ArgTest(equals="spend")),)), purchase(args={"k": Kind.SPEND}), True),
    ],
)
def test_each_field_holds_where_the_page_says(match: Match, call: Call, holds: bool) -> None:  # noqa: FBT001 - expected
    """The bound of up_to is included, that of above is not; globs are * and ? and nothing else."""
    assert judge(policy(allow(match=match)), call).answer is (ALLOW if holds else DENY)


def test_a_glob_of_many_stars_is_answered_at_once() -> None:
    """A pattern is an admin's, but a payee is an agent's: it must not be able to stop the house."""
    match = Match(payee=("*a" * 30 + "b",))
    assert judge(policy(allow(match=match)), purchase(payee="a" * 250)).answer is DENY


def test_a_known_payee_is_a_vendor_or_one_paid_before() -> None:
    """M21: in the same mode, which is the ledger's to look up."""
    known = policy(allow(match=Match(payee_known=True)))
    assert judge(known, purchase(), payee_known=True).answer is ALLOW
    assert judge(known, purchase(), payee_known=False).answer is DENY
    assert judge(known, purchase(), payee_known=None).answer is DENY
    assert judge(known, purchase(payee="Porkbun.com"), payee_known=False).answer is ALLOW
    assert needs(known, purchase()).payee_known
    assert not needs(known, purchase(payee="porkbun.com")).payee_known
    assert not needs(policy(allow()), purchase()).payee_known
    capped = policy(allow(), cap("strangers", 1, match=Match(payee_known=False)))
    assert needs(capped, purchase()).payee_known


def test_hours_are_those_of_the_policys_zone() -> None:
    """Ten in the morning in London is six in the evening in Tokyo."""
    office = Match(hours=_hours((4,), 9, 17))
    assert judge(policy(allow(match=office)), purchase()).answer is ALLOW
    assert judge(policy(allow(match=office), timezone="Asia/Tokyo"), purchase()).answer is DENY


def test_hours_in_a_zone_nobody_knows_are_in_doubt() -> None:
    """A machine without its zone files must not open an hour that is closed."""
    office = Match(hours=_hours((4,), 9, 17))
    assert judge(policy(allow(match=office), timezone="No/Where"), purchase()).answer is DENY
    assert judge(policy(allow(), deny(match=office), timezone="No/Where"), purchase()).answer is DENY


# --- sums and counts -------------------------------------------------------------------------------------


def test_a_sum_includes_this_call_and_asks_once_it_is_above() -> None:
    """M12's counterpart for rules: twelve small purchases are one large one."""
    many = ask(match=Match(sum_above=SumAbove((usd("10.00"),), Scope.PROJECT, ROLLING_DAY)))
    assert judge(policy(allow(), many), purchase("1.50"), sums={"asks": 850}).answer is ALLOW
    decision = judge(policy(allow(), many), purchase("1.50"), sums={"asks": 851})
    assert decision.answer is ASK
    assert decision.rules[0].matched[-1] == "with this call the sum is 10.01 USD"


def test_a_count_includes_this_call_except_with_an_outcome() -> None:
    """Whether this call will fail is not known yet."""
    pace = deny(match=Match(kind=SPENDING, count_above=CountAbove(2, Scope.AGENT, ROLLING_DAY)))
    assert judge(policy(allow(), pace), purchase(), counts={"denied": 1}).answer is ALLOW
    decision = judge(policy(allow(), pace), purchase(), counts={"denied": 2})
    assert decision.answer is DENY
    assert decision.rules[0].matched[-1] == "before this call: 2 calls"
    failing = deny(match=Match(count_above=CountAbove(2, Scope.AGENT, ROLLING_DAY, "failed")))
    assert judge(policy(allow(), failing), purchase(), counts={"denied": 2}).answer is ALLOW
    assert judge(policy(allow(), failing), purchase(), counts={"denied": 3}).answer is DENY


def test_needs_say_what_to_add_up() -> None:
    """The ledger answers exactly these questions, so they must name scope, window, mode and kinds."""
    rule = deny(
        match=Match(
            kind=(Kind.SPEND,),
            sum_above=SumAbove((usd("1.00"),), Scope.PAYEE, DAY),
            count_above=CountAbove(1, Scope.TOOL, MONTH, "failed"),
        ),
        unless=Match(
            sum_above=SumAbove((usd("2.00"),), Scope.PROVIDER, RUN), count_above=CountAbove(5, Scope.RUN, DAY)
        ),
    )
    asked = needs(policy(rule, timezone="Europe/Berlin"), purchase(payee="EXAMPLE.com"))
    assert asked.timezone == "Europe/Berlin"
    assert [(s.rule_id, s.scope_key, s.currency, s.mode, s.window, s.kinds) for s in asked.sums] == [
        ("denied", "example.com", "USD", Mode.TEST, DAY, (Kind.SPEND,)),
        ("denied:unless", "stripe", "USD", Mode.TEST, RUN, SPENDING),
    ]
    assert [(c.rule_id, c.scope_key, c.window, c.outcome) for c in asked.counts] == [
        ("denied", "request_card_purchase", MONTH, "failed"),
        ("denied:unless", "run_1", DAY, None),
    ]
    assert asked.counts[1].kinds == (Kind.DRAFT, Kind.EARN, Kind.SPEND, Kind.PROVISION)


def test_a_sum_is_not_asked_for_where_it_cannot_matter() -> None:
    """Every question is a query under the account's lock."""
    sums = SumAbove((usd("1.00"),), Scope.RUN, DAY)
    counts = CountAbove(1, Scope.RUN, DAY)
    both = Match(agent=("maker",), sum_above=sums, count_above=counts)
    assert needs(policy(deny(match=both)), purchase()).sums == ()
    everything = policy(deny(match=Match(sum_above=sums, count_above=counts)))
    assert needs(everything, of_kind(Kind.READ)).counts == ()
    assert needs(everything, of_kind(Kind.READ)).sums == ()
    assert needs(everything, of_kind(Kind.EARN, amount=usd("1.00"))).sums == ()


def _hours(days: tuple[int, ...], start: int, end: int) -> Hours:
    return Hours(days=days, from_minute=start * 60, to_minute=end * 60)
