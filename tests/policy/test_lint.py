"""What loads and is probably not meant: each finding, and a neighbour that is fine."""

from __future__ import annotations

import pytest

from policy.language import Match
from policy.lint import COMPARED, covers, lint
from policy.load import load
from policy.money import Money
from policy.tools import load_tools

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
