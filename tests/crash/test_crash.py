"""Kill -9 at every named point, on both engines: no second effect, no lost approval, a log that verifies.

Default share 60 kills, with `--deep` 5,000; BURSAR_SEED names the histories, BURSAR_SHARE the kills of each
test. Broken twins: `episodes.BROKEN`.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from tests.crash.episodes import BROKEN, OWN_CLUSTER, POINTS
from tests.crash.warm import Warm

DEFAULT: Final = {"sqlite": 27, "postgres": 27, "the server": 6}
DEEP: Final = {"sqlite": 2_300, "postgres": 2_300, "the server": 400}
ON_ONE: Final = 100  # Kills on one database; then a new one is begun.
TWIN_KILLS: Final = 40  # Kills within which each broken twin must be caught.
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- kill -9 leaves to the disk what the system has


def share(engine: str, *, deep: bool) -> int:
    """Return how many kills are asked for."""
    return int(os.environ.get("BURSAR_SHARE", (DEEP if deep else DEFAULT)[engine]))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_no_kill_makes_a_second_effect_or_loses_an_approval(
    engine: str,
    deep: bool,  # noqa: FBT001 -- a fixture
    warm: Warm,
    request: pytest.FixtureRequest,
) -> None:
    """M1 to M3, M8, M24: whatever instant a process dies at, the provider did each intention once at most."""
    left, seed, points = share(engine, deep=deep), int(os.environ.get("BURSAR_SEED", "0")), set[str]()
    while left > 0:
        kills = min(left, ON_ONE)
        if engine == "sqlite":
            found = on_a_file(warm, kills, seed=seed)
        else:
            server = request.getfixturevalue("postgres")
            name = server.create()
            found = warm.ask(do="series", url=server.url(name), kills=kills, seed=seed, twin="")
            server.drop(name)
        assert found["wrong"] == [], (seed, found)
        assert found["killed"] >= kills, found
        points |= set(found["points"])
        left, seed = left - kills, seed + 1
    assert points >= set(POINTS), f"nobody was killed at {set(POINTS) - points}"


def test_no_end_of_the_database_does_either(deep: bool, warm: Warm) -> None:  # noqa: FBT001 -- a fixture
    """M1, M2: PostgreSQL stops at once, or a backend is killed; whoever was told nothing sends nothing."""
    left, seed = share("the server", deep=deep), int(os.environ.get("BURSAR_SEED", "0"))
    while left > 0:
        kills = min(left, ON_ONE)
        found = warm.ask(do="series", url=OWN_CLUSTER, kills=kills, seed=seed, twin="")
        assert found["wrong"] == [], (seed, found)
        assert found["killed"] >= kills, found
        left, seed = left - kills, seed + 1


@pytest.mark.parametrize("twin", BROKEN)
def test_each_broken_dispatcher_is_caught(twin: str, warm: Warm) -> None:
    """A harness that cannot fail proves nothing."""
    assert on_a_file(warm, TWIN_KILLS, twin=twin)["wrong"]


def on_a_file(warm: Warm, kills: int, *, seed: int = 0, twin: str = "") -> dict[str, Any]:
    """Run one series on a SQLite file of its own."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        found: dict[str, Any] = warm.ask(
            do="series", url=f"sqlite:///{folder}/crash.db", kills=kills, seed=seed, twin=twin
        )
    return found
