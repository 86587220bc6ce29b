"""docs/how-to/write-a-policy.md: each wish as YAML loads, has nothing to warn of, and its cases hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policy.case_file import load_cases
from policy.cases import run_case
from policy.language import Policy
from policy.load import load
from policy.tools import load_tools

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/how-to/write-a-policy.md").read_text(encoding="utf-8")
TOOLS = load_tools()
WISHES = (
    "Renew domains alone up to 20 USD a year, never buy new ones",
    "My partner decides above 200 USD",
    "No spending on weekends",
    "Only these vendors",
    "Stop an agent after three failed purchases",
    "Small sums are free, but their sum asks",
    "Big sales only in office hours",
    "The intern only looks",
    "Two people for a new payee",
    "Two domains a month",
    "50 USD of ads a week",
    "Subscriptions show the year",
)


def sections() -> dict[str, tuple[str, str]]:
    """Return each heading's policy fragment and its cases."""
    found = {}
    for part in PAGE.split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        blocks = re.findall(r"```yaml\n(.*?)```", body, re.DOTALL)
        if blocks:
            fragment, cases = blocks
            found[heading] = (fragment, cases)
    return found


def merged(base: str, fragment: str) -> str:
    """Return the base with a fragment's entries put under the headings of the same name."""
    parts = headed(base)
    for heading, body in headed(fragment).items():
        parts[heading] = parts.get(heading, f"{heading}\n") + body.partition("\n")[2]
    return "".join(parts.values())


def headed(text: str) -> dict[str, str]:
    """Split YAML at its top-level keys."""
    pieces = re.split(r"(?m)^(?=[a-z_]+:)", text.strip() + "\n")
    return {piece.partition("\n")[0]: piece.rstrip() + "\n" for piece in pieces if piece}


SECTIONS = sections()
BASE = SECTIONS["The file the examples go into"][0]


def policy_of(heading: str) -> Policy:
    """Load the base with one example in it."""
    fragment = SECTIONS[heading][0]
    text = BASE if fragment == BASE else merged(BASE, fragment)
    return load(text, "policies.yaml", TOOLS)


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_example_of_the_guide_loads_and_its_cases_hold(heading: str) -> None:
    """A recipe that was never cooked is a trap: an owner would paste it and trust it with money."""
    policy = policy_of(heading)
    cases = load_cases(SECTIONS[heading][1], "guide.cases.yaml", policy=policy, tools=TOOLS)
    told = [
        (result.case.why, result.differences)
        for case in cases
        if (result := run_case(policy, case)).differences
    ]
    assert cases
    assert told == []


@pytest.mark.parametrize("heading", WISHES)
def test_every_wish_of_an_owner_has_its_example(heading: str) -> None:
    """The dozen wishes are what owners come with; each has an answer that adds a rule or a cap."""
    base = policy_of("The file the examples go into")
    answered = policy_of(heading)
    assert len(answered.rules) + len(answered.caps) > len(base.rules) + len(base.caps)


@pytest.mark.parametrize("heading", WISHES)
def test_every_rule_of_an_example_speaks_in_one_of_its_cases(heading: str) -> None:
    """An example whose rule no case reaches shows nothing."""
    policy = policy_of(heading)
    cases = load_cases(SECTIONS[heading][1], "guide.cases.yaml", policy=policy, tools=TOOLS)
    decisions = [run_case(policy, case).decision for case in cases]
    spoke = {rule.id for decision in decisions for rule in decision.rules}
    added = {rule.id for rule in policy.rules} - {"look-and-write"}
    assert added <= spoke
