"""A house with the real ledger, on either engine, and the shop beside it as a process of its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

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


@pytest.fixture(scope="session")
def prepared(shop_process: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one SQLite ledger with its people and agents; tests start from copies of it."""
    folder = tmp_path_factory.mktemp("prepared")

    async def prepare() -> None:
        async with opened(await a_place(folder, shop_process), work=False):
            pass

    shop_process.reset()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(prepare())
    return folder / "bursar.db"


@pytest.fixture
def copied(prepared: Path, tmp_path: Path) -> Path:
    """Give a folder with a ledger of the test's own."""
    shutil.copy(prepared, tmp_path / "bursar.db")
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Say errors on one line: drawing their frames in colours takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> str:
    """Give the address of an empty database on each engine in turn; empty for a file of the test's own."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""


@pytest.fixture
async def place(db: str, request: pytest.FixtureRequest, shop: Shop) -> Place:
    """Give a new account on each engine in turn."""
    folder: Path = request.getfixturevalue("tmp_path" if db else "copied")
    return await a_place(folder, shop, db=db)


@pytest.fixture
async def desk(place: Place) -> AsyncIterator[Desk]:
    """Give an open house on each engine in turn."""
    async with opened(place) as found:
        yield found


@pytest.fixture
async def small(copied: Path, shop: Shop) -> AsyncIterator[Desk]:
    """Give an open house on SQLite, for what no engine changes."""
    async with opened(await a_place(copied, shop)) as found:
        yield found
