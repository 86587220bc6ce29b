"""The pytest plugin: cases are tests named by their `why`, run by a pytest of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POLICY = "version: 1\nrules:\n  - {id: look, match: {kind: read}, effect: allow}\n"
GOOD = "- {why: looking is free, call: {tool: crm_find_leads}, expect: {effect: allow}}\n"
BAD = "- {why: writing is free, call: {tool: crm_create_lead}, expect: {effect: allow}}\n"
LONGEST_S = 60  # A pytest of its own takes a second; a minute is a machine in trouble.


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a pytest of its own in a folder, without this suite's settings."""
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "policy.pytest_plugin", "-p", "no:randomly", "-v", *more]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
    )


def test_each_case_is_a_test_named_by_its_why(tmp_path: Path) -> None:
    """A failing case shows what was due and what came, and no traceback."""
    (tmp_path / "shop.yaml").write_text(POLICY)
    (tmp_path / "shop.cases.yaml").write_text(GOOD + BAD)
    (tmp_path / "notes.yaml").write_text("not a policy")
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "shop.cases.yaml::looking is free PASSED" in done.stdout
    assert "shop.cases.yaml::writing is free FAILED" in done.stdout
    assert "expected effect allow, got deny" in done.stdout
    assert "Traceback" not in done.stdout
    assert "2 failed" not in done.stdout


@pytest.mark.parametrize("named", [False, True])
def test_cases_without_a_policy_of_their_name_take_the_nearest_or_the_named_one(
    tmp_path: Path, *, named: bool
) -> None:
    """A folder of cases below one policy, or an ini option for any other layout."""
    below = tmp_path / "cases"
    below.mkdir()
    (below / "looking.cases.yaml").write_text(GOOD)
    (tmp_path / ("other.yaml" if named else "policies.yaml")).write_text(POLICY)
    done = run(tmp_path, *(["-o", "bursar_policy=other.yaml"] if named else []))
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_with_mistakes_are_errors_of_the_collection(tmp_path: Path) -> None:
    """All mistakes are told, and no case counts as passed."""
    (tmp_path / "a.yaml").write_text("version: 1\nrule: []\n")
    (tmp_path / "a.cases.yaml").write_text(GOOD)
    (tmp_path / "b.cases.yaml").write_text(GOOD)
    done = run(tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "a.yaml:2:1: unknown field 'rule'" in done.stdout
    assert "no b.yaml beside it and no policies.yaml above it" in done.stdout


def test_tools_of_ones_own_are_named_in_the_ini(tmp_path: Path) -> None:
    """A stranger's plugin has a tools.json of its own; without it its tools are unknown."""
    from policy.language import Kind
    from policy.tools import ToolInfo, tools_json

    mine = ToolInfo(
        name="my_look",
        kind=Kind.READ,
        kit="mine",
        plugin="mine",
        provider="mine",
        operation="look",
        description="Looks.",
    )
    (tmp_path / "mine.json").write_bytes(tools_json([mine]))
    (tmp_path / "policies.yaml").write_text(POLICY)
    (tmp_path / "a.cases.yaml").write_text(GOOD.replace("crm_find_leads", "my_look"))
    assert run(tmp_path).returncode == 2
    assert run(tmp_path, "-o", "bursar_tools=mine.json").returncode == 0
