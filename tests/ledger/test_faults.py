"""The n-th statement of SQLite raises, times out.

Meets a full disk or a broken file: never more than was claimed.

Faults come through the seam `options={"connect": ...}`, which gives the writer its connection. What is told
as refused may have happened or not; what is told as done has. The broken twin claims without being told it
was done.
"""

import itertools
import random
import secrets
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.commands import Claimed
from ledger.ledger import open_ledger
from policy.errors import BursarError
from tests.ledger.till import ALLOW_ALL, JUDGE, NOON, Till, make, open_till, with_caps

FAULTS: Final = ("disk I/O error", "database or disk is full", "database is locked", "interrupted")
SCHEDULES: Final = 20
DEEP: Final = 1_000
CALLS: Final = 4
POLICY: Final = with_caps(ALLOW_ALL, '{id: all, per: account, window: day, limit: "900.00 USD"}')


class Failing:
    """When the next fault comes, and which; counted over all statements of the writer."""

    def __init__(self) -> None:
        self.left = -1
        self.said = ""
        self.met = 0

    def step(self) -> None:
        """Count one statement and fail where it is the one."""
        self.left -= 1
        if self.left == 0:
            self.met += 1
            raise sqlite3.OperationalError(self.said)


def connecting(database: Path, failing: Failing) -> Any:  # noqa: ANN401 -- a connect function for SQLAlchemy
    """Return what makes the writer's connection."""

    class Cursor(sqlite3.Cursor):
        def execute(self, *given: Any) -> "Cursor":  # noqa: ANN401 -- the driver's own arguments
            failing.step()
            super().execute(*given)
            return self

        def executemany(self, *given: Any) -> "Cursor":  # noqa: ANN401 -- the driver's own arguments
            failing.step()
            super().executemany(*given)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = Cursor) -> Any:  # noqa: ANN401 -- the driver's own arguments
            return super().cursor(factory)

        def commit(self) -> None:
            failing.step()
            super().commit()

    return lambda: sqlite3.connect(database, check_same_thread=False, factory=Connection)


async def buy(till: Till, key: str, *, careless: bool) -> int:
    """Buy once, again under the same key where it was refused; return how often money left."""
    admission, effects = till.admission(key=key), 0
    for _ in range(3):
        try:
            admitted = await till.ledger.admit(admission)
            claimed = await till.ledger.claim(till.claiming(admitted.call.call_id))
        except BursarError:
            effects += int(careless)
            continue
        if not isinstance(claimed, Claimed):
            break
        effects += 1
        for _ in range(3):
            try:
                await till.settle(claimed)
            except BursarError:
                continue
            break
        break
    return effects


async def schedule(database: Path, seed: int, *, careless: bool = False) -> int:
    """Run one schedule, heal, and compare; return how many faults were met."""
    dice, failing, url = random.Random(seed), Failing(), f"sqlite:///{database}"

    def ids(prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(8)}"

    options = {"connect": connecting(database, failing)}
    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids, options=options)
    till = Till(ledger, ids)
    till.run, till.keys = (await ledger.standing_run("shop", NOON)).run_id, itertools.count(1 + seed * 1_000)
    before = sum(await till.used("all"))
    effects = 0
    for number in range(CALLS):
        failing.left, failing.said = dice.randrange(1, 60), dice.choice(FAULTS)
        effects += await buy(till, f"{seed}-{number}", careless=careless)
    failing.left = -1
    till.later(minutes=5)
    await ledger.sweep(till.now)
    assert effects * 100 <= sum(await till.used("all")) - before, "money left without a committed claim"
    till.later(seconds=1)
    assert (await till.bought()).applied, "it did not heal"
    verified = await ledger.checked()
    await ledger.close()
    assert verified.bad is None, str(verified.bad)
    return failing.met


async def _made(folder: Path) -> Path:
    url = f"sqlite:///{folder / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    await till.law(POLICY)
    await till.ledger.close()
    return folder / "ledger.db"


async def test_faults_of_the_database_never_let_more_out_than_was_claimed(tmp_path: Path, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M1, M24: a commit that failed admits nothing, and the same key goes on where it was."""
    database = await _made(tmp_path)
    met = [await schedule(database, seed) for seed in range(DEEP if deep else SCHEDULES)]
    assert sum(met) > len(met), "hardly any fault was met"


async def test_the_harness_sees_who_acts_on_a_refused_claim(tmp_path: Path) -> None:
    """A broken twin: it sends although it was told that nothing was committed."""
    database = await _made(tmp_path)

    async def play() -> None:
        for seed in range(SCHEDULES):
            await schedule(database, seed, careless=True)

    with pytest.raises(AssertionError, match="without a committed claim"):
        await play()
