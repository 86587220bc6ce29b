"""The n-th statement raises, times out, meets a full disk or a lost connection: never more than was claimed.

What is told as refused may have happened or not; what is told as done has. The broken twin acts without being
told that it was done. BURSAR_SEED names the first schedule.
"""

import asyncio
import itertools
import os
import random
import secrets
from pathlib import Path
from typing import Final

import pytest

from ledger.commands import Claimed
from ledger.engines.sqlite import CHECKPOINT_BYTES
from ledger.ledger import open_ledger
from ledger.writer import TIDY_EVERY
from policy.errors import BursarError
from tests.ledger.faulty import Faulty, FaultyPostgres, FaultySqlite
from tests.ledger.till import ALLOW_ALL, JUDGE, NOON, Till, make, open_till, with_caps

SCHEDULES: Final = {"sqlite": 12, "postgres": 8}
DEEP: Final = {"sqlite": 1_000, "postgres": 1_000}
CALLS: Final = 4
POLICY: Final = with_caps(ALLOW_ALL, '{id: all, per: account, window: day, limit: "90000.00 USD"}')


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


async def schedule(url: str, faulty: Faulty, seed: int, *, careless: bool = False) -> None:
    """Run one schedule, heal, and compare."""
    dice = random.Random(seed)

    def ids(prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(8)}"

    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids, options=faulty.options())
    try:
        till = Till(ledger, ids)
        till.run, till.keys = (
            (await ledger.standing_run("shop", NOON)).run_id,
            itertools.count(1 + seed * 1_000),
        )
        before = sum(await till.used("all"))
        effects = 0
        for number in range(CALLS):
            await faulty.plan(dice)
            effects += await buy(till, f"{seed}-{number}", careless=careless)
        await faulty.clear()
        till.later(minutes=5)
        await ledger.sweep(till.now)
        assert effects * 100 <= sum(await till.used("all")) - before, "money left without a committed claim"
        till.later(seconds=1)
        assert (await till.bought()).applied, "it did not heal"
        verified = await ledger.checked()
        assert verified.bad is None, str(verified.bad)
    finally:
        await ledger.close()


@pytest.fixture
async def lawful(ledger_url: str) -> str:
    """Give a ledger with a shop and a policy."""
    till = await open_till(ledger_url)
    await till.law(POLICY)
    await till.ledger.close()
    return ledger_url


async def faults_of(url: str) -> Faulty:
    """Return the faults of a database."""
    if url.startswith("sqlite"):
        return FaultySqlite(Path(url.removeprefix("sqlite:///")))
    return await FaultyPostgres.at(url)


async def test_faults_of_the_database_never_let_more_out_than_was_claimed(lawful: str, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M1, M24: a commit that failed admits nothing, and the same key goes on where it was."""
    engine = "sqlite" if lawful.startswith("sqlite") else "postgres"
    first, faulty = int(os.environ.get("BURSAR_SEED", "0")), await faults_of(lawful)
    share = int(os.environ.get("BURSAR_SHARE", (DEEP if deep else SCHEDULES)[engine]))
    for seed in range(first, first + share):
        try:
            await schedule(lawful, faulty, seed)
        except AssertionError as wrong:
            wrong.add_note(f"seed {seed}")
            raise
    await faulty.close()
    assert faulty.met.total() > share, "hardly any fault was met"
    assert len(+faulty.met) > 3, f"hardly any way of failing was met: {faulty.met}"


async def test_the_harness_sees_who_acts_on_a_refused_claim(lawful: str) -> None:
    """A broken twin: it sends although it was told that nothing was committed."""
    faulty = await faults_of(lawful)

    async def play() -> None:
        for seed in range(max(SCHEDULES.values())):
            await schedule(lawful, faulty, seed, careless=True)

    with pytest.raises(AssertionError, match="without a committed claim"):
        await play()
    await faulty.close()


async def test_a_disk_that_is_full_between_two_batches_does_not_end_the_writer(tmp_path: Path) -> None:
    """The WAL is moved into the file beside the commands: what fails there is told, and nobody waits on."""
    url, faulty, faults = f"sqlite:///{tmp_path / 'ledger.db'}", FaultySqlite(tmp_path / "ledger.db"), []
    await make(url)
    faulty.always = "wal_checkpoint"
    till = await open_till(url, options=faulty.options(), failed=lambda what, _fault: faults.append(what))
    await till.law(POLICY)
    words = "x" * (CHECKPOINT_BYTES // TIDY_EVERY)
    async with asyncio.timeout(60):
        for number in itertools.count():  # It tidies up only where the next command has not come by then.
            if faults:
                break
            await till.admit(args={"number": number, "words": words if number < TIDY_EVERY else ""})
        await till.ledger.close()
    assert faults == ["tidy"] * faulty.met["wal_checkpoint"]
    assert faults
