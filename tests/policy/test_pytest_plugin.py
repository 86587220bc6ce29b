"""The pytest plugin: cases are tests named by their `why`, run by a pytest of its own."""

from __future__ import annotations

import importlib
import sys

import pytest

from policy import pytest_plugin
from policy.language import Kind
from policy.tools import ToolInfo, tools_json

pytest_plugins = ("pytester",)

POLICY = "version: 1\nrules:\n  - {id: look, match: {kind: read}, effect: allow}\n"
GOOD = "- {why: looking is free, call: {tool: crm_find_leads}, expect: {effect: allow}}\n"
BAD = "- {why: writing is free, call: {tool: crm_create_lead}, expect: {effect: allow}}\n"


def run(pytester: pytest.Pytester, *more: str) -> tuple[int, str]:
    """Run a pytest of its own in this process; return its exit code and what it printed."""
    words = ("-p", "policy.pytest_plugin", "-p", "no:randomly", "-p", "no:asyncio", "-v")
    done = pytester.runpytest_inprocess(*words, *more)
    return int(done.ret), done.stdout.str()


def test_each_case_is_a_test_named_by_its_why(pytester: pytest.Pytester) -> None:
    """A failing case shows what was due and what came, and no traceback."""
    (pytester.path / "shop.yaml").write_text(POLICY)
    (pytester.path / "shop.cases.yaml").write_text(GOOD + BAD)
    (pytester.path / "notes.yaml").write_text("not a policy")
    code, out = run(pytester)
    assert code == 1, out
    assert "shop.cases.yaml::looking is free PASSED" in out
    assert "shop.cases.yaml::writing is free FAILED" in out
    assert "expected effect allow, got deny" in out
    assert "Traceback" not in out
    assert "2 failed" not in out


@pytest.mark.parametrize("named", [False, True])
def test_cases_without_a_policy_of_their_name_take_the_nearest_or_the_named_one(
    pytester: pytest.Pytester, *, named: bool
) -> None:
    """A folder of cases below one policy, or an ini option for any other layout."""
    below = pytester.path / "cases"
    below.mkdir()
    (below / "looking.cases.yaml").write_text(GOOD)
    (pytester.path / ("other.yaml" if named else "policies.yaml")).write_text(POLICY)
    code, out = run(pytester, *(["-o", "bursar_policy=other.yaml"] if named else []))
    assert code == 0, out


def test_files_with_mistakes_are_errors_of_the_collection(pytester: pytest.Pytester) -> None:
    """All mistakes are told, and no case counts as passed."""
    (pytester.path / "a.yaml").write_text("version: 1\nrule: []\n")
    (pytester.path / "a.cases.yaml").write_text(GOOD)
    (pytester.path / "b.cases.yaml").write_text(GOOD)
    code, out = run(pytester)
    assert code == 2, out
    assert "a.yaml:2:1: unknown field 'rule'" in out
    assert "no b.yaml beside it and no policies.yaml above it" in out


def test_tools_of_ones_own_are_named_in_the_ini(pytester: pytest.Pytester) -> None:
    """A stranger's plugin has a tools.json of its own; without it its tools are unknown."""
    mine = ToolInfo(
        name="my_look",
        kind=Kind.READ,
        kit="mine",
        plugin="mine",
        provider="mine",
        operation="look",
        description="Looks.",
    )
    (pytester.path / "mine.json").write_bytes(tools_json([mine]))
    (pytester.path / "policies.yaml").write_text(POLICY)
    (pytester.path / "a.cases.yaml").write_text(GOOD.replace("crm_find_leads", "my_look"))
    assert run(pytester)[0] == 2
    assert run(pytester, "-o", "bursar_tools=mine.json")[0] == 0


def test_a_case_that_breaks_shows_where(pytester: pytest.Pytester) -> None:
    """Anything but a wrong answer is a bug of ours, and a bug needs its traceback."""
    (pytester.path / "policies.yaml").write_text(POLICY)
    (pytester.path / "a.cases.yaml").write_text(GOOD)
    pytester.makeconftest(
        """
        def pytest_collection_modifyitems(items):
            for item in items:
                item._policy = None
        """
    )
    code, out = run(pytester)
    assert code == 1
    assert "AttributeError" in out


def test_importing_the_plugin_does_nothing() -> None:
    """Every pytest run imports it before coverage is measured; so it is imported once more here."""
    before = set(sys.modules)
    importlib.reload(pytest_plugin)
    assert set(sys.modules) == before
