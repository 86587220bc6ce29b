"""A house with the real ledger, on either engine, and the shop beside it as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.provider.house import Desk, Place, Shop, a_place, a_shop, opened


@pytest.fixture(scope="session")
def shop_process() -> Iterator[Shop]:
    """Start the shop once; each test empties it."""
    with a_shop() as shop:
        yield shop


@pytest.fixture
def shop(shop_process: Shop) -> Shop:
    """Give a shop that did nothing yet."""
    shop_process.reset()
    return shop_process


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> str:
    """Give the address of an empty database on each engine in turn; empty for a file of the test's own."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
async def place(db: str, tmp_path: Path, shop: Shop) -> Place:
    """Give a new account on each engine in turn."""
    return await a_place(tmp_path, shop, db=db)


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    """Give an open house on each engine in turn."""
    async with opened(place) as found:
        yield found


@pytest.fixture
async def small(tmp_path: Path, shop: Shop) -> AsyncIterator[Desk]:
    """Give an open house on SQLite, for what no engine changes."""
    async with opened(await a_place(tmp_path, shop)) as found:
        yield found
