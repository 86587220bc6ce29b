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


def prepare(folder: Path, shop: Shop, db: str = "") -> None:
    """Make a ledger with its people and agents, and close it: tests start from copies of it."""

    async def furnish() -> None:
        async with opened(await a_place(folder, shop, db=db), work=False):
            pass

    shop.reset()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(furnish())


@pytest.fixture(scope="session")
def prepared(shop_process: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the SQLite ledger that is copied."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, shop_process)
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


@pytest.fixture
def pg(
    request: pytest.FixtureRequest, shop_process: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Give the address of a PostgreSQL ledger of the test's own, copied from a prepared one."""
    server = request.getfixturevalue("postgres")
    name = server.create_from(
        "shop's house", lambda url: prepare(tmp_path_factory.mktemp("prepared"), shop_process, url)
    )
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> str:
    """Give the address of a ledger on each engine in turn; empty for a file of the test's own."""
    return str(request.getfixturevalue("pg")) if request.param == "postgres" else ""


@pytest.fixture
async def place(db: str, copied: Path, shop: Shop) -> Place:
    """Give an account on each engine in turn."""
    return await a_place(copied, shop, db=db, prepared=True)


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
