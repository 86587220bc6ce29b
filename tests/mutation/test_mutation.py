"""Guards of the gate, the dispatcher and the planners, damaged one by one: some test must notice each.

By default five are drawn from those that were noticed before (noticed.json) and must be again; `--deep` tries
all. What no test can notice is in equivalents.json with its reason, what none notices yet in open.json.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.mutation.mutants import Mutant, damage, mutants_of
from tests.mutation.workshop import EQUIVALENTS, FILES, NOTICED, OPEN, Fate, Noticed, drawn, remember

DRAWN: Final = 5
SEED: Final = int(os.environ.get("BURSAR_SEED", "20261122"))
ROOT: Final = Path(__file__).resolve().parent.parent.parent
EVERYTHING: Final = ("tests/ledger", "tests/tool_server", "tests/webhooks/test_requests.py")
NEVER: Final = (
    *("tests/tool_server/conformance", "tests/tool_server/cli", "tests/ledger/audit"),
    *("tests/ledger/test_races.py", "tests/ledger/test_faults.py", "tests/ledger/test_schema.py"),
)
RUN_S: Final = (
    500  # Of a default run, whose five mutants take ten seconds; more where one is not noticed soon.
)
DEEP_S: Final = 4 * 3600


def known() -> list[Mutant]:
    """Return every mutant that can be told from the code."""
    equivalent = msgspec.json.decode(EQUIVALENTS.read_bytes(), type=dict[str, str])
    return [mutant for file in FILES for mutant in mutants_of(file) if mutant.key not in equivalent]


def tried(fates: Path, *options: str, tests: tuple[str, ...], limit_s: float) -> list[Fate]:
    """Try mutants in a pytest of their own; return what became of each."""
    plugins = (
        "-p",
        "tests.mutation.workshop",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
    )
    ignored = [f"--ignore={path}" for path in NEVER]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, *ignored, "--mutant-fates", str(fates)]
    done = subprocess.run(
        [*command, *options, *tests], cwd=ROOT, capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert fates.exists(), done.stdout[-2_000:] + done.stderr[-2_000:]
    return [msgspec.json.decode(line, type=Fate) for line in fates.read_bytes().splitlines()]


@pytest.mark.timeout(RUN_S + 20)
def test_a_damaged_guard_is_noticed(tmp_path: Path, *, deep: bool) -> None:
    """A guard that can be taken out unnoticed is one that somebody will take out."""
    if deep:
        pytest.skip("the next test tries all of them")
    noticed = msgspec.json.decode(NOTICED.read_bytes(), type=Noticed)
    some = drawn(known(), noticed, DRAWN, SEED)
    tests = sorted({node for mutant in some for node in noticed.killer(mutant)})
    options = ("--mutants", str(DRAWN), "--mutant-seed", str(SEED), "--mutant-again")
    fates = tried(tmp_path / "fates", *options, tests=tuple(tests), limit_s=RUN_S)
    assert {fate.mutant for fate in fates} == {mutant.key for mutant in some}
    assert [fate.mutant for fate in fates if not fate.killer] == []


@pytest.mark.deep
@pytest.mark.timeout(DEEP_S + 60)
def test_every_damaged_guard_is_noticed(tmp_path: Path) -> None:
    """All of them, each against every test that reaches it, but for those that open.json names."""
    options = ("--mutant-map", str(tmp_path / "map"))
    fates = tried(tmp_path / "fates", *options, tests=EVERYTHING, limit_s=DEEP_S)
    still_open = msgspec.json.decode(OPEN.read_bytes(), type=dict[str, str])
    remember(fates)  # For who runs this before a commit: the next draws are from all that was noticed.
    assert {fate.mutant for fate in fates if not fate.killer} <= set(still_open)


def test_the_lists_name_mutants_that_there_are_and_say_why() -> None:
    """A list of excuses must not outlive what it excuses."""
    every = {mutant.key for file in FILES for mutant in mutants_of(file)}
    equivalent, still_open = (
        msgspec.json.decode(file.read_bytes(), type=dict[str, str]) for file in (EQUIVALENTS, OPEN)
    )
    assert set(equivalent) <= every, f"no longer there: {sorted(set(equivalent) - every)}"
    assert all(len(why) > 20 for why in (*equivalent.values(), *still_open.values()))


def test_every_way_of_damage_changes_what_runs() -> None:
    """A mutant that is no damage would be noticed by nothing; one that cannot be made, by everything."""
    seen: set[str] = set()
    for mutant in (mutant for file in FILES for mutant in mutants_of(file)):
        if mutant.way in seen:
            continue
        seen.add(mutant.way)
        child = os.fork()
        if child == 0:
            _damaged_or_not(mutant)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, mutant.key
    assert {"turned", "boundary", "dropped", "open", "silent", "opposite", "nothing"} <= seen


def _damaged_or_not(mutant: Mutant) -> None:
    """Damage the function in this process and end it: with 0 where its code is another now."""
    from tests.mutation.mutants import _live

    before = _live(mutant).__code__.co_code
    constants = _live(mutant).__code__.co_consts
    damage(mutant)
    after = _live(mutant).__code__
    os._exit(0 if (after.co_code, after.co_consts) != (before, constants) else 1)
