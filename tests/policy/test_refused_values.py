"""What a policy may not say: values that cannot be meant, one by one, with what is told about each."""

from __future__ import annotations

from typing import ClassVar

import pytest

from policy import notation
from policy.document import Form
from policy.errors import PolicyError
from policy.forms import Names
from policy.language import Kind
from policy.load import load
from policy.shape import read_form
from policy.tools import ToolInfo
from policy.yaml_marks import Problems, read_yaml
from tests.policy.build import HEAD, TOOLS, loaded, mistakes


def one(match: str, effect: str) -> str:
    """Return the part of a policy that holds one rule."""
    return f"rules:\n  - {{id: x, match: {match}, effect: {effect}}}\n"


def cap(per: str) -> str:
    """Return the part of a policy that holds one cap."""
    return f"rules: []\ncaps: [{{id: c, per: {per}}}]\n"


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (one("{tool: '*'}", "allow"), None),
        (one("{operation: '*'}", "allow"), None),
        (one("{tool: refund_payment}", "allow"), "is never allowed"),
        (one("{tool: 'refund_*'}", "allow"), "is never allowed"),
        (one("{tool: 'nothing_*'}", "allow"), None),
        (one("{kind: earn, args: {offer: {in: [1]}}}", "allow"), "is never 1"),
        (one("{kind: read, args: {unseen: {equals: true}}}", "allow"), None),
        (
            one("{tool: my_status, args: {a: {equals: 1}}}", "deny"),
            "there are none",
        ),
        (
            one("{kind: earn, args: {quantity: {above: 5, up_to: 5}}}", "deny"),
            "no value is above",
        ),
        (
            one("{kind: spend, args: {amount: {above: 1.00 USD, up_to: 2.00 EUR}}}", "deny"),
            "no value is above",
        ),
        (
            one("{kind: spend}, unless: {args: {quantity: {above: 5}}}", "deny"),
            "no tool",
        ),
        (
            one(
                "{kind: spend, count_above: {count: 1, per: run, window: run}},"
                " unless: {count_above: {count: 5, per: run, window: run}}",
                "deny",
            ),
            "a rule has one count_above",
        ),
        ("rules: {id: x}\n", "expected a list, found a mapping"),
        ("rules: [look]\n", "expected a rule (a mapping), found 'look'"),
        (one("{kind: {a: b}}", "deny"), "expected one of"),
        (one("{kind: spend, recurring: 1}", "deny"), "expected true or false"),
        (one("{kind: spend, hours: {from: '24:00'}}", "deny"), "hold no time"),
        ("rules: []\nlists: [a]\n", "expected a mapping, found a list"),
        (one("{kind: earn, args: [offer]}", "deny"), "expected a mapping, found a list"),
        (one("{kind: spend, payee: {in_lst: a}}", "deny"), "did you mean 'in_list'?"),
        (one("{kind: spend, payee: {in_list: a, xyz: b}}", "deny"), "a payee has in_list"),
        ("rules: []\nlists: {UPPER: [a]}\n", "is no id"),
        ("rules: []\nlists: {a: [' a ']}\n", "is no name"),
        ("rules: []\napprovals: [{id: d, who: [' x']}]\n", "is no name"),
        ("rules: []\napprovals: [{id: d, who: [owner]}]\n", "the role is written role:owner"),
        ("rules: []\napprovals: [{id: d, who: [rle:owner]}]\n", "is nobody, did you mean 'role:owner'?"),
        ("rules: []\napprovals: [{id: d, who: [a], notify: ' '}]\n", "an empty text says nothing"),
        ("rules: []\napprovals: [{id: d, who: [a], expires_in: 1w}]\n", "is no duration"),
        ("rules: []\nlimits: {held_share: 101%}\n", "is no share"),
        ("rules: []\nplugins: [{name: Acme, module: a.b}]\n", "use small letters"),
        ("rules: []\nplugins: [{name: acme, module: a-b}]\n", "is no module"),
        ("rules: []\nplugins: [{name: crm, settings: {a: 1.5}}]\n", "expected"),
        ("rules: []\nplugins: [{name: crm}, {name: crm}]\n", "duplicate plugin"),
        (cap("project, window: day, limit: 5.00 EURO"), "is no amount"),
        (
            cap("project, window: day, limit: 5% of earned USB"),
            "unknown currency",
        ),
        (
            cap("run, window: day, limit: 1 call, match: {currency: usd}"),
            "mean 'USD'?",
        ),
        ("rules: []\ntimezone: Europe\n", "unknown time zone"),
        ("rules: []\ntimezone: America/Argentina\n", "unknown time zone"),
        ("rules: []\n? [a, b]\n: c\n", "a key is a word"),
        (f"rules: []\nlists: {{a: [{'x' * 300}]}}\n", "a name of 300 characters"),
        (f"rules: []\napprovals: [{{id: d, who: [{'x' * 300}]}}]\n", "a name of 300 characters"),
    ],
)
def test_what_cannot_be_meant_is_refused(part: str, told: str | None) -> None:
    """Each of these could have loaded and meant something else than its writer thought; None loads."""
    if told is None:
        assert loaded(HEAD + part).rules
    else:
        assert told in " ".join(mistakes(HEAD + part))


def test_a_value_that_no_argument_takes_is_refused() -> None:
    """Where a tool's schema lists the words, a rule about another word would never hold."""
    speeds = {"speed": {"type": "string", "enum": ["slow", "fast"]}}
    mail = ToolInfo(
        name="send_mail",
        kind=Kind.SPEND,
        kit="buy",
        plugin="payments",
        provider="stripe",
        operation="mail",
        description="Sends.",
        arguments={"type": "object", "properties": speeds},
    )
    tools = {**TOOLS, mail.name: mail}
    text = HEAD + one("{tool: send_mail, args: {speed: {equals: fats}}}", "deny")
    with pytest.raises(PolicyError, match="argument 'speed' is never 'fats', it is one of slow, fast"):
        load(text, "p.yaml", tools)
    assert load(text.replace("fats", "fast"), "p.yaml", tools).rules[0].match.args


def test_an_instant_needs_its_zone_and_a_day_that_exists() -> None:
    """Cases say when it is; a local time without a zone would be another instant on each machine."""
    assert notation.instant("2026-11-20T10:00+01:00").isoformat() == "2026-11-20T09:00:00+00:00"
    for wrong in ("2026-11-20", "2026-11-20T10:00:00", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+10:00"):
        with pytest.raises(ValueError, match="is no"):
            notation.instant(wrong)


class Labelled(Form, frozen=True):
    """A form of a test: a mapping with free keys that may not be left out."""

    called: ClassVar[str] = "a label"
    labels: dict[str, int]


def test_a_mapping_with_free_keys_is_read_like_any_other_value() -> None:
    """Forms to come may require one; a list in its place is told like everything else."""
    for text, told in (("labels: {a: 1}\n", []), ("labels: [a]\n", ["expected a mapping, found a list"])):
        problems = Problems("p.yaml")
        root = read_yaml(text, problems)
        assert root is not None
        whole = read_form(Labelled, root, problems, Names()).whole
        assert [mistake.message for mistake in problems.mistakes] == told
        assert (whole == Labelled(labels={"a": 1})) is not bool(told)
