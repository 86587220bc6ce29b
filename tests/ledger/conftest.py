"""Every test of the ledger that touches SQL runs on both engines."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.till import Till, make, open_till


def _made(url: str) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(make(url))


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an empty ledger's file, made once."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    _made(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the address of a new ledger with the test's account and nothing else."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "ledger.db")
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    postgres: Any = request.getfixturevalue("postgres")
    name = postgres.create_from("ledger", _made)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
async def till(ledger_url: str) -> AsyncIterator[Till]:
    """Give an opened ledger with one project and one agent."""
    faults: list[tuple[str, Exception]] = []
    opened = await open_till(ledger_url, failed=lambda what, fault: faults.append((what, fault)))
    yield opened
    # Whatever a test did, the log must tell the same as the tables: states, usage, reservations, adjustments.
    verified = await opened.ledger.checked()
    await opened.ledger.close()
    assert verified.bad is None, str(verified.bad)
    for what, fault in faults:
        print(what, repr(fault), file=sys.stderr)  # noqa: T201 -- shown only where the test failed
