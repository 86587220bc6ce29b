"""Every rule of money that the ledger holds, removed: the test that holds it must fail, and passes otherwise.

Runs with `--deep` alone: each rule is taken out of a copy of the house, in which its test then runs. The list
is rules_removed.py.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.ledger.rules_removed import REMOVALS, Removal

ROOT: Final = Path(__file__).resolve().parents[2]
ROOMS: Final = ("ledger", "policy", "plugins", "tool_server", "webhooks", "tests")
FILES: Final = ("pyproject.toml", "policies.yaml", "policies.cases.yaml", "policy.schema.json", "tools.json")
LONGEST_S: Final = 600  # One test with its imports takes seconds; a busy machine takes longer.
FAILED: Final = 1  # pytest's exit code for tests that failed, and no other reason.
HELD_ELSEWHERE: Final = {"M32"}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the house, in which every test named passes."""
    folder = tmp_path_factory.mktemp("house")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, folder / file)
    every = [removed.test for removed in REMOVALS.values()]
    assert ran(folder, *every) == 0, "a test fails with all rules in place"
    return folder


def ran(folder: Path, *tests: str) -> int:
    """Run tests in the copy, on SQLite where they run on both engines; return pytest's exit code."""
    options = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-k", "not postgres")
    command = [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=LONGEST_S, check=False,
    )  # fmt: skip
    return done.returncode


@pytest.mark.deep
@pytest.mark.parametrize("rule", REMOVALS)
def test_without_a_rule_its_test_fails(rule: str, copied: Path) -> None:
    """A rule that can be taken out unnoticed is a sentence, not a rule."""
    removed: Removal = REMOVALS[rule]
    path = copied / removed.file
    whole = path.read_text()
    assert whole.count(removed.old) == 1, f"{removed.file} no longer says {removed.old!r} once"
    path.write_text(whole.replace(removed.old, removed.new))
    try:
        assert ran(copied, removed.test) == FAILED, f"{removed.test} does not notice that {rule} is gone"
    finally:
        path.write_text(whole)


def test_every_rule_has_its_removal() -> None:
    """M1 to M36, as docs/money.md numbers them, each with a test that exists."""
    rules = set(re.findall(r"\*\*(M\d+)\.", (ROOT / "docs/money.md").read_text()))
    assert rules == REMOVALS.keys() | HELD_ELSEWHERE
    for removed in REMOVALS.values():
        file, _, name = removed.test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), removed.test
