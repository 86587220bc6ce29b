"""Random interleavings of calls, faults, crashes and deliveries: what was done is what the ledger says.

Default share 60 histories on SQLite and 10 on PostgreSQL, with `--deep` 10,000 and 1,000; BURSAR_SEED and
BURSAR_SHARE choose others. Broken twins: `tangle.TWINS`, each caught within the default share.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from plugins.payments.simulator.webhooks import Answer
from tests.plugins.payments.desk import ACCOUNT, Stage, StripeDesk, desk_on
from tests.plugins.payments.tangle import TWINS, WIDE, Clock, Tangle, Wrong, a_simulator, deadly
from tool_server.bootstrap import Wiring

DEFAULT: Final = {"sqlite": 60, "postgres": 10}
DEEP: Final = {"sqlite": 10_000, "postgres": 1_000}
TWIN_SEEDS: Final = (1, 3, 5)  # Who comes first at the ledger is nobody's choice, so one seed is no promise.
ON_ONE: Final = 60  # Histories in one house; lists at the simulator grow with each.


@asynccontextmanager
async def tangled(
    folder: Path, db: str = "", *, seed: int, twin: str = "", account: str = ACCOUNT
) -> AsyncIterator[Tangle]:
    """Open a house whose calls are run by hand, by processes that may die."""
    clock = Clock()
    wiring = Wiring(
        now=clock.now,
        monotonic=clock.monotonic,
        fresh_s=1e9,
        wait_s=0.0,
        accept_all=True,
        seed=seed,
    )
    sim = a_simulator(clock, seed=seed, lags=bool(seed % 2))
    stage = Stage(policy=WIDE, sim=sim, around=deadly, work=False)
    async with desk_on(folder, db, wiring=wiring, stage=stage, account=account) as desk:
        yield Tangle(desk, clock, seed=seed, twin=twin)


async def played(tangle: Tangle, many: int, seed: int = 0) -> None:
    """Play that many histories on one house."""
    for number in range(many):
        try:
            await tangle.play()
        except Wrong as found:
            raise Wrong(f"seed {seed}, history {number}: {found}") from found


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Give an engine, and the address of an empty database where it needs one."""
    name = str(request.param)
    return name, str(request.getfixturevalue("postgres_url")) if name == "postgres" else ""


async def test_what_was_done_is_what_is_posted_committed_or_unknown(
    engine: tuple[str, str],
    deep: bool,  # noqa: FBT001 -- a fixture
    tmp_path: Path,
) -> None:
    """M1 to M4, M8, M19 to M22, M24: whatever is lost or dies, one intention has one effect."""
    name, db = engine
    left = int(os.environ.get("BURSAR_SHARE", (DEEP if deep else DEFAULT)[name]))
    seed, deaths = int(os.environ.get("BURSAR_SEED", "0")), 0
    while left > 0:
        many = min(left, ON_ONE)
        account = f"acct_{seed}"
        async with tangled(tmp_path / str(seed), db, seed=seed, account=account) as tangle:
            await played(tangle, many, seed)
            deaths += tangle.deaths[True]
        left, seed = left - many, seed + 1
    assert deaths, "a harness in which nothing dies shows less than it says"


@pytest.mark.parametrize("twin", TWINS)
async def test_each_broken_twin_is_caught(twin: str, tmp_path: Path) -> None:
    """A harness that cannot fail proves nothing."""
    for seed in TWIN_SEEDS:
        async with tangled(tmp_path / str(seed), seed=seed, twin=twin) as tangle:
            if twin == TWINS[2]:
                say_yes(tangle.desk)
            try:
                await played(tangle, ON_ONE)
            except Wrong:
                return
    pytest.fail("no history noticed it")


def say_yes(desk: StripeDesk) -> None:
    """Let every card's question be answered with yes, whatever was approved."""
    honest = desk.sim.hooks._deliver  # noqa: SLF001  what delivers to the house

    async def deliver(url: str, body: bytes, headers: dict[str, str]) -> Answer:
        if not url.endswith("/issuing"):
            return await honest(url, body, headers)
        return Answer(200, b'{"approved": true}', {"stripe-version": "2026-10-28.endive"})

    desk.sim.hooks._deliver = deliver  # noqa: SLF001  see above
