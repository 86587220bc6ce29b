"""Kill -9 at every named point, on both engines: no second effect, no lost approval, a log that verifies.

Default share 60 kills, with `--deep` 5,000; BURSAR_SEED names the histories. Broken twins: `episodes.BROKEN`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.crash.episodes import BROKEN

ROOT: Final = Path(__file__).parents[2]
DEFAULT: Final = 30  # Kills on each engine.
DEEP: Final = 2_500
ON_ONE: Final = 100  # Kills on one database; then a new one is begun.
TWIN_KILLS: Final = 40  # Kills within which each broken twin must be caught.
SECONDS_A_KILL: Final = 5  # A bound for a crowded machine; alone, a life takes a fifth of a second.


def episodes(url: str, kills: int, *, seed: int = 0, twin: str = "") -> dict[str, Any]:
    """Run one series in a process of its own."""
    command = [sys.executable, "-m", "tests.crash.episodes", url, "--kills", str(kills), "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--twin", twin],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=60 + kills * SECONDS_A_KILL,
    )  # fmt: skip
    assert done.stdout, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_no_kill_makes_a_second_effect_or_loses_an_approval(
    engine: str,
    deep: bool,  # noqa: FBT001 -- a fixture
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """M1 to M3, M8, M24: whatever instant a process dies at, the provider did each intention once at most."""
    left = int(os.environ.get("BURSAR_SHARE", DEEP if deep else DEFAULT))
    seed = int(os.environ.get("BURSAR_SEED", "0"))
    while left > 0:
        kills = min(left, ON_ONE)
        name = ""
        if engine == "sqlite":
            url = f"sqlite:///{tmp_path}/crash-{seed}.db"
        else:
            server = request.getfixturevalue("postgres")
            name = server.create()
            url = server.url(name)
        found = episodes(url, kills, seed=seed)
        if name:
            request.getfixturevalue("postgres").drop(name)
        assert found["wrong"] == [], (seed, found)
        assert found["killed"] == kills, found
        left, seed = left - kills, seed + 1


@pytest.mark.parametrize("twin", BROKEN)
def test_each_broken_dispatcher_is_caught(twin: str, tmp_path: Path) -> None:
    """A harness that cannot fail proves nothing."""
    assert episodes(f"sqlite:///{tmp_path}/twin.db", TWIN_KILLS, twin=twin)["wrong"]
