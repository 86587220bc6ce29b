"""The shop's process and a ledger with its people, made once and copied for each test that wants them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.provider.house import Shop


@pytest.fixture(scope="session")
def shop_process() -> Iterator[Shop]:
    """Start the shop once; each test empties it."""
    from tests.provider.house import a_shop  # Here, since most sessions never need a whole house.

    with a_shop() as shop:
        yield shop


@pytest.fixture
def shop(shop_process: Shop) -> Shop:
    """Give a shop that did nothing yet."""
    shop_process.reset()
    return shop_process


@pytest.fixture(scope="session")
def prepared(shop_process: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the SQLite ledger that is copied."""
    folder = tmp_path_factory.mktemp("prepared")
    _prepare(folder, shop_process)
    return folder / "bursar.db"


@pytest.fixture
def copied(prepared: Path, tmp_path: Path) -> Path:
    """Give a folder with a ledger of the test's own."""
    shutil.copy(prepared, tmp_path / "bursar.db")
    return tmp_path


@pytest.fixture
def pg(
    request: pytest.FixtureRequest, shop_process: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Give the address of a PostgreSQL ledger of the test's own, copied from a prepared one."""
    server = request.getfixturevalue("postgres")
    name = server.create_from(
        "shop's house", lambda url: _prepare(tmp_path_factory.mktemp("prepared"), shop_process, url)
    )
    yield server.url(name)
    server.drop(name)


def _prepare(folder: Path, shop: Shop, db: str = "") -> None:
    """Make a ledger with its people and agents, and close it: tests start from copies of it."""
    from tests.provider.house import a_place, opened

    async def furnish() -> None:
        async with opened(await a_place(folder, shop, db=db), work=False):
            pass

    shop.reset()
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(furnish())
