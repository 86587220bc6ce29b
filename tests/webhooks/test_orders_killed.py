"""Payments, delayed methods, refunds, disputes and replays in any order, with kill -9 in between.

Whoever hears and books the events is killed again and again, at any stage of any transaction; afterwards the
orders, revenue, deals, checkouts, disputes and runs are those of a ledger that heard all once and in order,
byte for byte. Default share 60 histories, with `--deep` 10,000; BURSAR_SEED and BURSAR_SHARE choose others.
Broken twins: `killed.TWINS`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.webhooks.killed import ON_ONE_SHOP, TWINS

ROOT: Final = Path(__file__).parents[2]
DEFAULT: Final = 30  # Histories on each engine.
DEEP: Final = 5_000
TWIN_HISTORIES: Final = 8  # Within which each broken twin must be caught.
DEEP_S: Final = 4 * 3600
PATIENCE_S: Final = 300  # For one shop on a crowded machine; alone it takes ten seconds.


def killed(folder: Path, other: str, *, histories: int, seed: int, twin: str = "") -> dict[str, Any]:
    """Play histories in a process of their own."""
    once = f"sqlite:///{folder}/once-{seed}.db"
    words = ["--histories", str(histories), "--seed", str(seed), "--twin", twin]
    done = subprocess.run(
        [sys.executable, "-m", "tests.webhooks.killed", once, other, *words],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.stdout, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.timeout(DEEP_S)  # Each shop has its own bound; a mark outweighs what --deep allows.
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_whatever_dies_on_the_way_the_books_end_as_once_in_order(
    engine: str,
    deep: bool,  # noqa: FBT001 -- a fixture
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """I10: the books are a function of the set of events; on PostgreSQL two processes hear them at once."""
    left = int(os.environ.get("BURSAR_SHARE", DEEP if deep else DEFAULT))
    seed, kills = int(os.environ.get("BURSAR_SEED", "1")), 0
    while left > 0:
        histories = min(left, ON_ONE_SHOP)
        if engine == "sqlite":
            found = killed(tmp_path, f"sqlite:///{tmp_path}/{seed}.db", histories=histories, seed=seed)
        else:
            server = request.getfixturevalue("postgres")
            name = server.create()
            found = killed(tmp_path, server.url(name), histories=histories, seed=seed)
            server.drop(name)
        assert found["wrong"] == [], (seed, found)
        kills += found["killed"]
        left, seed = left - histories, seed + 1
    assert kills >= 5, "hardly anything was killed"


@pytest.mark.parametrize("twin", TWINS)
def test_each_careless_listener_is_caught(twin: str, tmp_path: Path) -> None:
    """A harness that cannot fail proves nothing."""
    found = killed(tmp_path, f"sqlite:///{tmp_path}/twin.db", histories=TWIN_HISTORIES, seed=2, twin=twin)
    assert found["wrong"], found
