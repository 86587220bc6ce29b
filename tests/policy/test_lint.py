"""What loads and is probably not meant: each finding, and a neighbour that is fine."""

from __future__ import annotations

import msgspec
import pytest

from policy.language import Answer, Kind, Mark, Match, Rule
from policy.lint import lint
from policy.lint_pairs import COMPARED, STRICTNESS, Index, covers, overridden, speaks_wherever
from policy.load import load
from policy.money import Money
from policy.tools import load_tools
from tests.policy.worlds import Draw, match, rule

TOOLS = load_tools()
HEAD = "version: 1\n"
DESK = "approvals:\n  - {id: desk, who: [role:owner]}\n"
LIVE = "live_spend: {enabled: true, providers: [stripe]}\n"
MONTH = 'caps:\n  - {id: m, per: account, window: month, limit: "9.00 USD"}\n'
ALL = "rules:\n  - {id: all, match: {kind: [spend, provision]}, effect: require_approval, approval: desk}\n"


def findings(text: str) -> list[str]:
    """Return what is found, without addresses."""
    return [finding.message for finding in lint(load(HEAD + text, "p.yaml", TOOLS), TOOLS, HEAD + text)]


def rules(*lines: str) -> str:
    """Return a list of rules, each given as its id, its effect and its match."""
    parts = [line.split(" ", 2) for line in lines]
    return "rules:\n" + "".join(
        f"  - {{id: {id_}, effect: {effect}, match: {m}}}\n" for id_, effect, m in parts
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (rules("x deny {tool: 'nothing_*'}"), "speaks of no tool there is"),
        (rules("x deny {kind: earn, provider: porkbun}"), "speaks of no tool there is"),
        (rules("x deny {tool: my_status}"), "core tools only"),
        (
            "plugins: [{name: crm}]\n" + rules("x allow {kind: earn}"),
            "not listed: payments",
        ),
        (
            rules("x deny {kind: spend, mode: test}, unless: {kind: [spend, earn]}"),
            "its 'unless' holds wherever",
        ),
        (rules("x deny {kind: withdraw}"), "names a withdraw tool"),
        (
            rules("x allow {kind: read, amount: {up_to: 1.00 USD}}"),
            "an amount that read calls",
        ),
        (
            rules("x allow {kind: draft, currency: USD}"),
            "an amount that draft calls",
        ),
        (
            rules("x deny {tool: crm_*, sum_above: {amount: 1.00 USD, per: run, window: day}}"),
            "adds up amounts that",
        ),
        (
            rules("x deny {tool: domain_price, count_above: {count: 1, per: run, window: day}}"),
            "only where 'kind' says so",
        ),
        (
            "caps:\n  - {id: c, per: run, window: day, limit: 1.00 USD, match: {kind: earn}}\nrules: []\n",
            "binds nothing: amounts count for provision and spend",
        ),
        (
            "caps:\n  - {id: c, per: run, window: day, limit: 1 call, match: {kind: read}}\nrules: []\n",
            "binds nothing: calls count for",
        ),
        (
            "caps:\n  - {id: c, per: run, window: day, limit: 1 call, match: {tool: 'no_*'}}\nrules: []\n",
            "cap 'c' speaks of no tool there is",
        ),
        (
            rules(
                "a allow {kind: spend, mode: test}",
                "d deny {kind: spend}",
            ),
            "rule 'a' can never matter: 'd' in line 4 overrides it",
        ),
        (
            rules(
                "d deny {kind: spend}",
                "a allow {tool: pay_vendor, kind: spend}",
            ),
            "rule 'a' can never matter: 'd' in line 3 overrides it",
        ),
        (
            rules(
                "a allow {kind: [read, draft]}",
                "b allow {kind: read}",
            ),
            "rule 'b' adds nothing to 'a'",
        ),
        (DESK + rules("a allow {kind: read}"), "desk 'desk' is asked by no rule"),
        ("lists: {friends: [a.example]}\nrules: []\n", "list 'friends' is used by no rule"),
        ("plugins: [{name: payments}]\nrules: []\n", "no rule covers pay_vendor (spend)"),
        (DESK + LIVE + ALL, "live pay_vendor is denied: no cap per account"),
        (
            DESK + LIVE + 'caps:\n  - {id: r, per: account, window: run, limit: "9.00 USD"}\n' + ALL,
            "live pay_vendor is denied",
        ),
        (
            DESK
            + LIVE
            + 'caps:\n  - {id: r, per: account, window: day, limit: "9.00 USD", match: {kind: provision}}\n'
            + ALL,
            "live pay_vendor is denied",
        ),
        (
            LIVE + MONTH + rules("a allow {kind: spend, amount: {up_to: 5.00 EUR}}"),
            "speaks of EUR, in which no cap covers",
        ),
        (
            DESK + LIVE + 'caps:\n  - {id: r, per: account, window: 1s, limit: "9.00 USD"}\n' + ALL,
            "no cap per account and day, month or at least 24h",
        ),
        # Names and stars that do not reach what they seem to.
        (rules("x deny {tool: [pay_vendor, payvendor*]}"), "tool 'payvendor*' reaches no tool"),
        (rules("x deny {kind: spend, tool: [pay_*, crm_*]}"), "tool 'crm_*' reaches no tool"),
        (
            rules("x deny {kind: spend}, unless: {operation: [vendor_payment, 'crm_*']}"),
            "rule 'x', unless: operation 'crm_*' reaches no tool",
        ),
        (
            (
                "caps:\n  - {id: c, per: run, window: day, limit: 1 call,"
                " match: {tool: [domain_*, card_*]}}\nrules: []\n"
            ),
            "cap 'c': tool 'card_*' reaches no tool",
        ),
        (rules("x allow {kind: earn, args: {offer: {equals: snap*}}}"), "the '*' in 'snap*' is no wildcard"),
        (rules("x allow {kind: earn, args: {offer: {in: [a, '*']}}}"), "the '*' in '*' is no wildcard"),
        (rules("x allow {kind: spend, payee: porkbun*}"), "'porkbun*' also fits names that a stranger"),
        (rules("x allow {kind: spend, payee: hetzner.*}"), "'hetzner.*' also fits names that a stranger"),
        (rules("x allow {kind: spend, payee: '*.com'}"), "'*.com' is everybody who registers a name there"),
        (rules("x allow {kind: spend, payee: '*.CO.uk'}"), "'*.CO.uk' is everybody who registers"),
        (rules("x allow {kind: spend, payee: co.uk}"), "'co.uk' is where names are registered"),
        (rules("x deny {kind: spend}, unless: {payee: '*'}"), "payee '*' is everybody"),
        ("lists: {vendors: ['*.com.au']}\nrules: []\n", "list 'vendors': payee '*.com.au' is everybody"),
        (rules("x deny {kind: spend, payee: '*.Evil.example'}"), "leaves out 'evil.example' itself"),
        (
            rules("x allow {kind: spend}, unless: {payee: '*.evil.example'}"),
            "leaves out 'evil.example' itself",
        ),
        (
            (
                'caps:\n  - {id: c, per: run, window: day, limit: "1.00 USD",'
                ' match: {payee: "*.ads.example"}}\nrules: []\n'
            ),
            "cap 'c': payee '*.ads.example' leaves out 'ads.example' itself",
        ),
        (rules("x deny {kind: read, payee: evil.example}"), "a payee that read calls do not have"),
        (rules("x deny {kind: draft, payee_known: false}"), "a payee that draft calls do not have"),
        (
            rules("x allow {kind: spend, currency: EUR, amount: {up_to: 5.00 USD}}"),
            "compares amounts in EUR with a bound in USD, which is always in doubt",
        ),
        # An `unless` that always holds, or never.
        *(
            (rules(f"x deny {{kind: spend}}, unless: {unless}"), "rule 'x' never speaks: its 'unless' holds")
            for unless in (
                "{kind: [spend, provision]}",
                "{tool: '*'}",
                "{tool: [pay_vendor, request_card_purchase]}",
                "{payee: '*'}",
                "{payee_basis: [claimed, enforced]}",
                "{mode: [test, live, simulated]}",
                "{hours: {from: '00:00', to: '24:00'}}",
                "{amount: {above: 0.00 USD}}",
                "{count_above: {count: 0, per: run, window: day}}",
                "{sum_above: {amount: 0.00 USD, per: run, window: day}}",
            )
        ),
        *(
            (rules(f"x allow {{{match}}}, unless: {unless}"), "rule 'x' has no exception: its 'unless' never")
            for match, unless in (
                ("kind: spend", "{kind: earn}"),
                ("tool: pay_vendor", "{operation: domain_register}"),
                ("kind: spend, mode: test", "{mode: [live, simulated]}"),
                ("kind: spend, agent: scout", "{agent: maker}"),
                ("kind: spend, payee_known: true", "{payee_known: false}"),
                ("kind: spend, amount: {up_to: 5.00 USD}", "{amount: {above: 5.00 USD}}"),
                ("kind: spend, amount: {above: 9.00 USD}", "{amount: {up_to: [9.00 USD, 1.00 EUR]}}"),
            )
        ),
    ],
)
def test_what_is_probably_not_meant_is_found(text: str, found: str) -> None:
    """Each is a policy that loads, does something else than it seems to, and costs an admin an evening."""
    assert any(found in message for message in findings(text)), findings(text)


@pytest.mark.parametrize(
    "text",
    [
        rules("x deny {tool: saas_release}"),
        rules("x deny {tool: cancel_purchase, kind: withdraw}"),
        rules(
            "a allow {kind: spend}",
            "d deny {kind: spend}, shadow: true",
        ),
        rules(
            "a allow {kind: spend}",
            "d deny {kind: spend}, unless: {payee_known: true}",
        ),
        rules(
            "a allow {kind: spend, amount: {up_to: 5.00 USD}}",
            "d deny {kind: spend, amount: {up_to: 4.00 USD}}",
        ),
        rules(
            "a allow {tool: '*_vendor'}",
            "d deny {tool: 'pay_*'}",
        ),
        rules("x deny {kind: read, count_above: {count: 1, per: run, window: day}}"),
        rules("x allow {kind: [spend, earn], tool: [pay_*, stripe_*]}"),
        rules("x allow {kind: spend, payee: ['*.hetzner.com', '*.shop.co.uk', porkbun.com]}"),
        rules("x deny {kind: spend, payee: ['*.evil.example', Evil.example, 'casino*', '*.ru', co.uk]}"),
        rules("x allow {kind: spend, currency: [EUR, USD], amount: {up_to: 5.00 USD}}"),
        rules("x deny {kind: spend}, unless: {payee: ['*.hetzner.com']}"),
        rules("x deny {kind: spend}, unless: {hours: {days: [mon], from: '00:00', to: '24:00'}}"),
        rules(
            "x deny {kind: spend}, unless: {count_above: {count: 0, per: run, window: day, outcome: failed}}"
        ),
        rules("x deny {kind: spend}, unless: {mode: [test, live], amount: {above: 1.00 USD}}"),
        rules("x allow {kind: spend, amount: {up_to: 5.00 USD}}, unless: {amount: {above: 4.00 USD}}"),
        rules("x allow {kind: spend, amount: {up_to: 5.00 USD}}, unless: {amount: {above: 5.00 EUR}}"),
        rules("x allow {kind: earn, payee: buyer.example, args: {offer: {equals: snapshot}}}"),
        DESK + LIVE + MONTH + ALL,
        LIVE + MONTH + rules("a allow {kind: earn, amount: {up_to: 5.00 EUR}}"),
        "lists: {vendors: [a.example]}\nrules: []\n",
        "lists: {ads: [a.example]}\n"
        + MONTH.replace("}", ", match: {payee: {in_list: ads}}}")
        + "rules: []\n",
    ],
)
def test_what_may_well_be_meant_is_left_alone(text: str) -> None:
    """A warning that cries wolf is one nobody reads."""
    assert findings(text) == []


def test_a_finding_has_an_address_and_its_line() -> None:
    """Advice one cannot click on is not followed."""
    text = HEAD + rules("x deny {tool: my_status}")
    finding = lint(load(text, "p.yaml", TOOLS), TOOLS, text)[0]
    assert (finding.line, finding.column) == (3, 5)
    assert finding.source == "  - {id: x, effect: deny, match: {tool: my_status}}"
    assert lint(load(text, "p.yaml", TOOLS), TOOLS)[0].source == ""


def test_a_rule_that_never_matters_is_told_once_and_of_equal_ones_the_first_stays() -> None:
    """Three equal rules are one rule and two slips, not three findings about pairs."""
    same = [f"{name} allow {{kind: read}}" for name in "abc"]
    assert findings(rules(*same, "d allow {kind: [read, draft]}")) == [
        "rule 'a' adds nothing to 'd' in line 6",
        "rule 'b' adds nothing to 'a' in line 3",
        "rule 'c' adds nothing to 'a' in line 3",
    ]


def test_the_index_of_rules_overlooks_none_that_each_with_each_would_find() -> None:
    """It only leaves out comparisons that must fail."""
    draw = Draw(20_261_122)
    drawn = [
        msgspec.structs.replace(rule(draw, number), match=match(draw, dense=0.5), shadow=False)
        for number in range(300)
    ]
    pairs = [(one, over) for one in drawn for over in drawn if one is not over and speaks_wherever(over, one)]
    expected = {
        one.id
        for one, over in pairs
        if STRICTNESS[over.effect] > STRICTNESS[one.effect]
        or (
            (over.effect, over.approval) == (one.effect, one.approval)
            and (drawn.index(over) < drawn.index(one) or not speaks_wherever(one, over))
        )
    }
    found = [message.split("'")[1] for _, message in overridden(tuple(drawn))]
    assert sorted(found) == sorted(expected)
    assert 50 < len(found) < 300


def test_a_thousand_rules_are_not_compared_each_with_each() -> None:
    """A policy of a thousand rules is checked within a second, and reloads wait for the same code."""
    many = [
        Rule(
            id=f"r{number}",
            match=Match(kind=(Kind.SPEND,), payee=(f"shop-{number}.example", "other.example")),
            effect=Answer.DENY,
            at=Mark("p.yaml", number),
        )
        for number in range(1_000)
    ]
    index = Index(many)
    assert [list(index.maybe_wider(rule)) for rule in many] == [[number] for number in range(1_000)]


def test_a_finding_about_a_list_stands_at_the_list() -> None:
    """And one about what the whole file lacks shows no line that has nothing to do with it."""
    text = HEAD + "lists:\n  vendors: ['*.com']\n" + rules("x allow {kind: [spend, read]}")
    found = lint(load(text, "p.yaml", TOOLS), TOOLS, text)[0]
    assert (found.line, found.source) == (3, "  vendors: ['*.com']")
    text = "version: 1\nplugins: [{name: payments}]\nrules: []\n"
    assert {each.source for each in lint(load(text, "p.yaml", TOOLS), TOOLS, text)} == {""}


def test_no_field_of_a_match_is_forgotten_in_the_comparison() -> None:
    """A field that `covers` does not know would let it call a rule useless that is not."""
    assert set(Match.__struct_fields__) == COMPARED


def test_covering_is_about_every_call_the_narrow_match_holds_for() -> None:
    """In doubt it says no: a missing warning is better than a wrong one."""
    five, six = Money(500, "USD"), Money(600, "USD")
    assert covers(Match(), Match(agent=("a",)))
    assert not covers(Match(agent=("a",)), Match())
    assert covers(Match(up_to=(six,)), Match(up_to=(five,)))
    assert not covers(Match(up_to=(five,)), Match(up_to=(six,)))
    assert not covers(Match(up_to=(six,)), Match())
    assert covers(Match(above=(five,)), Match(above=(six,)))
    assert not covers(Match(above=(six,)), Match(above=(five,)))
    assert not covers(Match(above=(six,)), Match(up_to=(six,)))
    assert covers(Match(tool=("pay_*",)), Match(tool=("pay_vendor",)))
    assert covers(Match(tool=("pay_*",)), Match(tool=("pay_*",)))
    assert not covers(Match(payee_known=True), Match())
