"""Moving a ledger from SQLite to PostgreSQL (M34): every row, the same tree, and the file is left for good.

Nobody serves meanwhile and nothing is executing. Three commits, and after none of them could both serve: the
rows arrive in PostgreSQL, where the accounts are marked as arriving; the file is marked as moved; the mark of
arrival goes. Who was interrupted runs it again and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.engine import make_url

from ledger import schema_state
from ledger.audit.house_kinds import LedgerMoved
from ledger.audit.stored import StoredSource
from ledger.audit.verify import verify_account
from ledger.batch import Machine
from ledger.engines.postgres import postgres_engine
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.house_rows import ARRIVING, check_serves
from ledger.judge import Judge
from ledger.ledger import machine_of, sqlite_path
from ledger.load import open_world
from ledger.making import held
from ledger.schema import METADATA, tool_calls
from ledger.schema_house import accounts
from ledger.times import to_us
from policy.errors import ConfigurationError

MOVER: Final = "system:move"
PAGE: Final = 1_000  # Rows per insert; a few megabytes at the most.

Progress = Callable[[int], None]
Marks = Mapping[str, str | None]  # Where each account has moved to.


class Moved(Struct, frozen=True, kw_only=True):
    """What was moved: its accounts, the entries of their logs, and where it is now, without a password."""

    accounts: tuple[str, ...]
    entries: int
    to: str


async def move_ledger(
    url: str,
    to: str,
    *,
    judge: Judge,
    ids: Callable[[str], str],
    at: datetime,
    progress: Progress = lambda _done: None,
) -> Moved:
    """Move a whole ledger into an empty PostgreSQL database; `progress` is told the rows done.

    Raises ConfigurationError where it cannot be, with what to do, and LockHeld while somebody serves it.
    """
    if make_url(url).get_backend_name() != "sqlite" or make_url(to).get_backend_name() == "sqlite":
        raise ConfigurationError("a ledger moves from a SQLite file to a postgresql:// address")
    engine, machine = postgres_engine(to), machine_of(judge, ids)
    name = make_url(to).render_as_string(hide_password=True)
    try:
        with held(sqlite_path(url)) as file:
            async with engine.begin() as connection:

                def arrive(target: Connection) -> Moved:
                    with file.begin() as source:
                        return _arrive(source, target, machine, at, name=name, progress=progress)

                moved = await connection.run_sync(arrive)
            with file.begin() as source:
                source.execute(update(accounts).values(moved_to=name))
            async with engine.begin() as connection:
                await connection.execute(update(accounts).values(moved_to=None))
        return moved
    finally:
        await engine.dispose()


def _arrive(
    source: Connection,
    target: Connection,
    machine: Machine,
    at: datetime,
    *,
    name: str,
    progress: Progress,
) -> Moved:
    """Bring every row over and say so in every log; or find that this was done, up to its marks."""
    schema_state.check_head(source)
    if schema_state.is_empty(target):
        schema_state.upgrade(target)
    schema_state.check_head(target)
    here, there = _marks(source), _marks(target)
    if there and all(mark == ARRIVING for mark in there.values()):
        _check_whole(source, target, here)
        return _moved(target, here, name)
    for mark in here.values():
        check_serves(mark)
    if there:
        raise ConfigurationError(f"{name} holds a ledger already; a ledger moves into an empty database")
    executing = select(func.count()).where(tool_calls.c.state == "executing")
    if count := source.execute(executing).scalar_one():
        raise ConfigurationError(
            f"calls that are executing: {count}; serve this ledger until their outcome is known, then move it"
        )
    _copy(source, target, progress)
    _log_and_check(target, machine, here, at)
    target.execute(update(accounts).values(moved_to=ARRIVING))
    return _moved(target, here, name)


def _marks(connection: Connection) -> Marks:
    found = connection.execute(select(accounts.c.account_id, accounts.c.moved_to))
    return {row.account_id: row.moved_to for row in found}


def _copy(source: Connection, target: Connection, progress: Progress) -> None:
    done = 0
    for table in METADATA.sorted_tables:  # What a row refers to comes before it.
        found = source.execute(select(table))
        while rows := found.mappings().fetchmany(PAGE):
            target.execute(insert(table), [dict(row) for row in rows])
            done += len(rows)
            progress(done)


def _log_and_check(target: Connection, machine: Machine, marks: Iterable[str], at: datetime) -> None:
    """Write into each log that it moved, and hold all of it to what was copied."""
    for account in marks:
        head = StoredSource(target).head(account)
        if head is None:
            raise ConfigurationError(f"account {account!r} has no log; see `bursar ledger verify`")
        tx = Tx(target)
        world = open_world(tx, account, machine.sources)
        fact = LedgerMoved(
            engine_from="sqlite",
            engine_to="postgresql",
            size=head.size,
            root=head.root.hex(),
        )
        world.log(fact, account, MOVER, to_us(at))
        flush(tx, world, machine.sinks)
        if bad := verify_account(StoredSource(target), account, keys=None).bad:
            raise ConfigurationError(f"what arrived does not verify, so nothing was moved: {bad}")


def _check_whole(source: Connection, target: Connection, marks: Iterable[str]) -> None:
    """Check that an earlier move brought over what is here now, and one entry about itself."""
    for account in marks:
        before, after = StoredSource(source).head(account), StoredSource(target).head(account)
        if before is None or after is None or after.size != before.size + 1:
            raise ConfigurationError(
                "an earlier move of this ledger was interrupted, and it was served since then; "
                "move it into another, empty database"
            )


def _moved(target: Connection, marks: Iterable[str], name: str) -> Moved:
    heads = [StoredSource(target).head(account) for account in marks]
    return Moved(accounts=tuple(marks), entries=sum(head.size for head in heads if head), to=name)
