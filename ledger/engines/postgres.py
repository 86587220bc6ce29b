"""PostgreSQL through asyncpg: any number of processes, the same functions by `AsyncConnection.run_sync`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ledger.engines.tx import Tx
from policy.errors import ConfigurationError

T = TypeVar("T")


class AsyncReaders:
    """Readers on an engine of coroutines."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run one function on a connection of the engine's."""
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def glance(self, work: Callable[[Tx], T], *, one: bool = False) -> T:
        """Run one function of two or three indexed reads; over a wire that costs the same as any."""
        del one  # Each has a transaction of its own here.
        return await self.run(lambda connection: work(Tx(connection)))

    async def dispose(self) -> None:
        """Close the connections."""
        await self._engine.dispose()


async def writing_connection(engine: AsyncEngine) -> AsyncConnection:
    """Return a connection for the writer, whose every statement finds its rows by their keys.

    Plans outlive the size that a table had when they were made: one that walks a small table (a foreign
    key's check is such a plan) would walk all of it for each row once it has grown.
    """
    connection = await engine.connect()
    for setting in ("enable_seqscan = off", "jit = off"):
        await connection.exec_driver_sql(f"SET {setting}")
    await connection.commit()
    return connection


def postgres_engine(url: str) -> AsyncEngine:
    """Return the engine for a `postgresql://` address. Raises ConfigurationError for any other driver."""
    address = make_url(url)
    if address.drivername in {"postgresql", "postgres"}:
        address = address.set(drivername="postgresql+asyncpg")
    if address.drivername != "postgresql+asyncpg":
        raise ConfigurationError(
            f"BURSAR_DB: expected sqlite:///... or postgresql://..., got {address.drivername}"
        )
    # One connection writes, a few read; pre_ping finds one that a restart of the server has cut.
    return create_async_engine(address, pool_size=5, max_overflow=5, pool_pre_ping=True)
