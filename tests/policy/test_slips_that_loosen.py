"""Slips and tricks that once loaded and let through what their author meant to deny."""

from __future__ import annotations

import pytest

from policy.errors import PolicyError
from policy.load import load
from policy.reload import Kept, Sources, reload
from policy.tools import load_tools

TOOLS = load_tools()
DENY = """version: 1
rules:
  - id: ok
    match: {{kind: spend}}
    effect: allow
  - id: no
    match:
      kind: spend
      {}
    effect: deny
"""


@pytest.mark.parametrize(
    "field",
    [
        "payee: evil.example, bad.example",
        "payee: evil.example bad.example",
        "payee: evil.example\u00a0# a thief",
        "payee: evil.example#thief",
        "payee: https://evil.example/",
        "payee: evil.example.",
        'payee: "evil.example\\u200b"',
        'payee: "evil.example\u3164"',
        "payee: evil.example\ufe0f",
        "agent: intern, maker",
        "agent: intern maker",
        "agent: Intern",
        'agent: "int\\u200bern"',
        "agent: int\u0435rn",
        "project: a,b",
        'tool: "request_card_purchase?"',
        '"\\0agent": boss',
    ],
)
def test_a_deny_that_stops_nobody_does_not_load(field: str) -> None:
    """A name that can match nobody makes a deny fall silent without a word."""
    with pytest.raises(PolicyError) as caught:
        load(DENY.format(field), "p.yaml", TOOLS)
    assert caught.value.mistakes


def test_a_cap_on_an_operation_with_a_stray_question_mark_does_not_load() -> None:
    """It would bind nothing, and look like the name that was meant."""
    text = (
        'version: 1\ncaps:\n  - {id: d, per: project, window: month, limit: "2 calls", '
        'match: {operation: "domain_register?"}}\nrules: []\n'
    )
    with pytest.raises(PolicyError):
        load(text, "p.yaml", TOOLS)


@pytest.mark.parametrize("text", [b'"\\0"', b'version: 1\nrules: "\\0x"\n'])
def test_a_value_that_looks_like_a_told_mistake_is_told(text: bytes) -> None:
    """A forged mark once silenced the alarm of a bad file."""
    kept = reload(None, Sources("p.yaml", text), TOOLS)
    assert isinstance(kept, Kept)
    assert kept.mistakes


@pytest.mark.parametrize(
    "text",
    [
        (
            'version: 1\napprovals:\n  - {id: "\\e[31mX", who: role:owner}\nrules:\n'
            "  - {id: a, match: {kind: spend}, effect: require_approval}\n"
        ),
        'version: 1\nrules:\n  - {id: a, match: {kind: read}, effect: allow, because: "\\e[2J\\u202e"}\n',
        "version: 1\nrules:\n  - {id: a, match: {kind: &" + "a" * 5000 + " spend}, effect: deny}\n",
    ],
)
def test_no_message_carries_an_escape_or_a_page_of_text(text: str) -> None:
    """A refused file must not drive the terminal that shows why."""
    with pytest.raises(PolicyError) as caught:
        load(text, "p.yaml", TOOLS)
    for mistake in caught.value.mistakes:
        assert not set(mistake.message + mistake.suggestion) & {"\x1b", "\u202e"}
        assert len(mistake.message) < 400


BRACES = """version: 1
rules:
  - {id: x, match: {kind: spend,
     mode: [test],
     payee_known: true}, effect: allow}
"""
ODD = """version: 1
rules:
   - {id: ok, match: {kind: spend}, effect: allow}
   - {id: no, match: {kind: spend}, effect: deny}
"""


def test_a_lone_hash_before_a_line_in_braces_is_refused() -> None:
    """One character would take a condition away and leave a file that loads."""
    assert load(BRACES, "p.yaml", TOOLS).rules[0].match.mode
    with pytest.raises(PolicyError):
        load(BRACES.replace("     mode", "#     mode"), "p.yaml", TOOLS)


def test_a_lone_hash_before_a_rule_at_an_odd_column_is_refused() -> None:
    """One character would take a deny away and leave a file that loads."""
    with pytest.raises(PolicyError):
        load(ODD.replace("   - {id: no", "#   - {id: no"), "p.yaml", TOOLS)


def test_nothing_is_suggested_among_very_many_names() -> None:
    """Each comparison costs time, and a policy is taken up while agents wait."""
    own = "".join(f"  vendors-{number:04d}: []\n" for number in range(1_000))
    rule = "  - {id: r, match: {kind: spend, payee: {in_list: vendors-x}}, effect: deny}\n"
    with pytest.raises(PolicyError) as caught:
        load(f"version: 1\nlists:\n{own}rules:\n{rule}", "p.yaml", TOOLS)
    assert "did you mean" not in caught.value.mistakes[0].suggestion
