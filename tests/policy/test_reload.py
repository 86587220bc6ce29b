"""Reload as a value: one new policy is offered, or the old one stays and people hear of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.errors import ConfigurationError
from policy.load import load
from policy.reload import Kept, Offered, Sources, Unchanged, read_sources, reload
from policy.tools import load_tools

TOOLS = load_tools()
OLD_TEXT = b"version: 1\nrules:\n  - {id: look, match: {kind: read}, effect: allow}\n"
NEW_TEXT = b"version: 1\nrules:\n  - {id: look, match: {kind: [read, draft]}, effect: allow}\n"
LIVE_TEXT = NEW_TEXT + b"live_spend: {enabled: true, providers: [stripe]}\n"
CASE = b"- {why: drafts are free, call: {tool: crm_create_lead}, expect: {effect: allow}}\n"
OLD = load(OLD_TEXT, "policies.yaml", TOOLS)
LIVE = load(LIVE_TEXT, "policies.yaml", TOOLS)


def test_a_good_file_is_offered_and_nothing_is_swapped() -> None:
    """The caller decides; with live money off in both it may take effect at once."""
    offered = reload(OLD, Sources("policies.yaml", NEW_TEXT, {"a.cases.yaml": CASE}), TOOLS)
    assert isinstance(offered, Offered)
    assert offered.policy == load(NEW_TEXT, "policies.yaml", TOOLS)
    assert [result.passed for result in offered.results] == [True]
    assert not offered.needs_owner


def test_a_policy_with_live_money_before_or_after_is_a_candidate_for_an_owner() -> None:
    """An edit alone must neither turn live money on nor change the rules it runs under."""
    to_live = reload(OLD, Sources("policies.yaml", LIVE_TEXT), TOOLS)
    from_live = reload(LIVE, Sources("policies.yaml", NEW_TEXT), TOOLS)
    first = reload(None, Sources("policies.yaml", NEW_TEXT), TOOLS)
    assert isinstance(to_live, Offered)
    assert isinstance(from_live, Offered)
    assert isinstance(first, Offered)
    assert (to_live.needs_owner, from_live.needs_owner, first.needs_owner) == (True, True, False)


def test_a_file_that_says_the_same_changes_nothing() -> None:
    """Touching a file is no reload; its cases need not even run."""
    same = reload(OLD, Sources("policies.yaml", OLD_TEXT, {"a.cases.yaml": b"not cases"}), TOOLS)
    assert same == Unchanged(OLD)


def test_a_file_with_mistakes_keeps_the_old_policy_and_shouts() -> None:
    """The alarm is one line with the first address; all mistakes are there for the page that shows them."""
    bad = b"version: 1\nrule: []\nrules:\n  - {id: x, match: {kind: spnd}, effect: deny}\n"
    kept = reload(OLD, Sources("policies.yaml", bad), TOOLS)
    assert isinstance(kept, Kept)
    assert kept.policy is OLD
    assert (
        kept.alarm == "policies.yaml was not taken over: policies.yaml:2:1: unknown field 'rule' and 1 more"
    )
    assert len(kept.mistakes) == 2


def test_cases_with_mistakes_keep_the_old_policy_too() -> None:
    """Cases that cannot be read prove nothing."""
    kept = reload(OLD, Sources("policies.yaml", NEW_TEXT, {"a.cases.yaml": b"- {why: x}\n"}), TOOLS)
    assert isinstance(kept, Kept)
    assert (
        kept.alarm == "policies.yaml was not taken over: a.cases.yaml:1:3: a case needs 'call' and 'expect'"
    )


def test_a_policy_that_breaks_its_cases_is_not_offered() -> None:
    """The cases are what its owner believes; a file that breaks them is a slip until they say otherwise."""
    kept = reload(None, Sources("policies.yaml", OLD_TEXT, {"a.cases.yaml": CASE}), TOOLS)
    assert isinstance(kept, Kept)
    assert kept.policy is None
    assert kept.alarm == "policies.yaml was not taken over: 1 of its cases fail, first a.cases.yaml:1"
    assert [result.case.why for result in kept.failed] == ["drafts are free"]


def test_a_file_on_the_disk_is_read_with_the_cases_beside_it(tmp_path: Path) -> None:
    """Every *.cases.yaml of its folder belongs to it."""
    (tmp_path / "policies.yaml").write_bytes(OLD_TEXT)
    (tmp_path / "drafts.cases.yaml").write_bytes(CASE)
    assert isinstance(reload(None, read_sources(tmp_path / "policies.yaml"), TOOLS), Kept)
    (tmp_path / "policies.yaml").write_bytes(NEW_TEXT)
    assert isinstance(reload(None, read_sources(tmp_path / "policies.yaml"), TOOLS), Offered)


def test_a_file_that_has_gone_says_so(tmp_path: Path) -> None:
    """An editor that replaces a file leaves a moment without one; whoever looks keeps the old policy."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_sources(tmp_path / "policies.yaml")
