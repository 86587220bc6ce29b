"""Making a ledger: tables in an empty database, an account in it; and bringing an old one forward."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url

from ledger import schema_state
from ledger.audit.house_kinds import SchemaMigrated
from ledger.engines.postgres import postgres_engine
from ledger.engines.sqlite import FileLock, writing_engine
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.house import log_account, open_account
from ledger.judge import Judge
from ledger.ledger import machine_of, sqlite_path
from ledger.load import open_world
from ledger.times import to_us

T = TypeVar("T")


async def make_ledger(
    url: str,
    *,
    account_id: str,
    name: str,
    instance_id: str,
    judge: Judge,
    ids: Callable[[str], str],
    at: datetime,
) -> None:
    """Make the tables where there are none, and an account with its log.

    An account that is there stays as it is. `instance_id` is also kept beside the signing key: another one
    there shows a clone (M33).
    """
    machine = machine_of(judge, ids)

    def work(connection: Connection) -> None:
        if schema_state.is_empty(connection):
            schema_state.upgrade(connection)
        schema_state.check_head(connection)
        tx = Tx(connection)
        known = connection.exec_driver_sql("SELECT account_id FROM accounts").all()
        if (account_id,) in [tuple(row) for row in known]:
            return
        open_account(tx, account_id, name, instance_id, at)
        world = open_world(tx, account_id, machine.sources)
        log_account(world, name, instance_id, at)
        flush(tx, world, machine.sinks)

    await alone(url, work)


async def upgrade_ledger(
    url: str, *, judge: Judge, ids: Callable[[str], str], at: datetime
) -> tuple[str | None, str]:
    """Bring the tables forward and say so in every account's log; return from which revision to which."""
    machine = machine_of(judge, ids)

    def work(connection: Connection) -> tuple[str | None, str]:
        before, after = schema_state.upgrade(connection)
        if before != after:
            for (account,) in connection.exec_driver_sql("SELECT account_id FROM accounts").all():
                tx = Tx(connection)
                world = open_world(tx, account, machine.sources)
                fact = SchemaMigrated(
                    revision_from=before or "", revision_to=after, schema_sha256=schema_state.fingerprint()
                )
                world.log(fact, account, "system:upgrade", to_us(at))
                flush(tx, world, machine.sinks)
        return before, after

    return await alone(url, work)


async def alone(url: str, work: Callable[[Connection], T]) -> T:
    """Run one function in a transaction while nobody else serves. Raises LockHeld."""
    if make_url(url).get_backend_name() != "sqlite":
        engine = postgres_engine(url)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()
    with held(sqlite_path(url)) as writing, writing.begin() as connection_:
        return work(connection_)


@contextmanager
def held(path: Path) -> Iterator[Engine]:
    """Hold a SQLite file, made where there is none, so that nobody else writes. Raises LockHeld."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    lock.take()
    try:
        # Made before SQLite does, so that nobody else may ever read it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        writing = writing_engine(path)
        try:
            yield writing
        finally:
            writing.dispose()
    finally:
        lock.release()
