"""M34: a ledger moves from SQLite to PostgreSQL with all it holds; never do both serve, and it is final."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from ledger.engines.postgres import postgres_engine
from ledger.engines.sqlite import LockHeld
from ledger.house_rows import ARRIVING
from ledger.ledger import open_ledger
from ledger.moving import Moved, move_ledger
from ledger.schema_house import accounts
from policy.errors import ConfigurationError
from tests.ledger.till import ACCOUNT, ALLOW_ALL, JUDGE, NOON, Till, make, open_till, with_caps

CAPPED = with_caps(ALLOW_ALL, '{id: month, per: account, window: month, limit: "10.00 USD"}')


@pytest.fixture
async def file(tmp_path: Path) -> str:
    """Give the address of a SQLite ledger in which things have happened; nobody serves it."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    await till.law(CAPPED)
    await till.bought("4.00 USD")
    await till.unknown(amount="2.00 USD")
    await till.admit("1.00 USD")
    await till.ledger.close()
    return url


async def move(url: str, to: str) -> Moved:
    """Move it."""
    return await move_ledger(url, to, judge=JUDGE, ids=lambda prefix: f"{prefix}_moved", at=NOON)


async def opened(url: str) -> Till:
    """Open a ledger as it is."""
    numbers = itertools.count(1_000)

    def ids(prefix: str) -> str:
        return f"{prefix}_{next(numbers):08d}"

    till = Till(await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids), ids)
    till.keys = itertools.count(100)  # The first ones are taken.
    till.run = (await till.ledger.standing_run("shop", NOON)).run_id
    return till


async def test_all_of_it_is_there_and_counts_and_the_file_never_serves_again(
    file: str, postgres_url: str
) -> None:
    """What was spent, held and unknown goes on; the log is the same tree with one entry more."""
    before = await opened(file)
    calls, used = (await before.ledger.calls(limit=9)).items, await before.used("month")
    size = await before.ledger.log_size()
    await before.ledger.close()
    moved = await move(file, postgres_url)
    assert (moved.accounts, moved.entries) == ((ACCOUNT,), size + 1)
    after = await opened(postgres_url)
    assert (await after.ledger.calls(limit=9)).items == calls
    assert await after.used("month") == used == (400, 300)
    assert (await after.admit("4.00 USD")).call.code == "cap_exceeded"
    await after.bought("3.00 USD")
    assert (await after.ledger.checked()).bad is None
    await after.ledger.close()
    with pytest.raises(ConfigurationError, match=r"has moved to postgresql.* and never serves again"):
        await opened(file)
    with pytest.raises(ConfigurationError, match="never serves again"):
        await move(file, postgres_url)


async def test_nothing_moves_while_something_is_executing_or_somebody_serves(
    file: str, postgres_url: str
) -> None:
    """An effect under way would be settled by nobody."""
    till = await opened(file)
    with pytest.raises(LockHeld):
        await move(file, postgres_url)
    await till.claim((await till.admit("1.00 USD")).call.call_id)
    await till.ledger.close()
    with pytest.raises(ConfigurationError, match="calls that are executing: 1"):
        await move(file, postgres_url)
    await (await opened(file)).ledger.close()


async def test_a_database_that_holds_a_ledger_takes_no_other(file: str, postgres_url: str) -> None:
    """Two logs of one account are a fork."""
    await make(postgres_url)
    with pytest.raises(ConfigurationError, match="holds a ledger already"):
        await move(file, postgres_url)
    await (await opened(file)).ledger.close()


async def interrupted(file: str, to: str) -> None:
    """Leave what a move leaves that died after its first commit."""
    await move(file, to)
    with closing(sqlite3.connect(file.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE accounts SET moved_to = NULL")
    engine = postgres_engine(to)
    async with engine.begin() as target:
        await target.execute(update(accounts).values(moved_to=ARRIVING))
    await engine.dispose()


async def test_a_move_that_died_half_way_serves_only_the_file_and_is_finished_by_another(
    file: str, postgres_url: str
) -> None:
    """Rows have arrived and nothing is marked for good."""
    await interrupted(file, postgres_url)
    with pytest.raises(ConfigurationError, match="has not wholly arrived; run `bursar ledger migrate` again"):
        await opened(postgres_url)
    await move(file, postgres_url)
    with pytest.raises(ConfigurationError, match="never serves again"):
        await opened(file)
    await (await opened(postgres_url)).ledger.close()


async def test_a_move_that_died_is_not_finished_once_the_file_was_served_again(
    file: str, postgres_url: str
) -> None:
    """What happened since would be lost: the file goes on, and the rows that arrived never serve."""
    await interrupted(file, postgres_url)
    till = await opened(file)
    await till.bought("1.00 USD")
    await till.ledger.close()
    with pytest.raises(ConfigurationError, match="it was served since then"):
        await move(file, postgres_url)
    await (await opened(file)).ledger.close()
