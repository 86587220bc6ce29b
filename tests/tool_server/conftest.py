"""A house with the real ledger, on either engine, and the shop beside it as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from tests.provider.house import Desk, Place, Shop, a_place, opened


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Say errors on one line: drawing their frames in colours takes seconds."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])


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
