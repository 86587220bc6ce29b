"""The ledger, as everybody above sees it: open one, and tell it what happened.

    open_ledger(url, judge=..., clock=..., ids=...)  ->  Ledger
    Ledger.admit, claim, settle       the three hot commands of a call
    CallSide, PeopleSide, HouseSide   everything rarer, each side in a module of its own

All methods are async and answer after their commit is durable. Instants are aware UTC datetimes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from ledger import changes, queries, schema_state
from ledger.admission import NO_POLICY
from ledger.batch import Machine
from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, ProcessFacts, Settled, Settlement
from ledger.core import Core, Readers, Wakes
from ledger.engines.postgres import AsyncReaders, postgres_engine
from ledger.engines.sqlite import FileLock, ThreadReaders, writing_engine
from ledger.engines.tx import Tx
from ledger.flush import Sinks
from ledger.gather import gather
from ledger.house_rows import check_serves
from ledger.judge import Judge, PolicyBook
from ledger.load import Sources, Wanted, load_facts, want_facts
from ledger.side_audit import AuditSide
from ledger.side_calls import CallSide
from ledger.side_crm import CrmSide
from ledger.side_house import HouseSide
from ledger.side_loop import LoopSide
from ledger.side_people import PeopleSide
from ledger.side_reads import ReadSide
from ledger.side_revenue import RevenueSide
from ledger.times import to_us
from ledger.world import World
from ledger.writer import TaskWriter, ThreadWriter, Writer
from policy.errors import CallRefused, ConfigurationError
from policy.model import Call, Decision

T = TypeVar("T")

PREVIEWED = "preview"  # The call id of a question that becomes no call.


class Ledger(CallSide, PeopleSide, HouseSide, ReadSide, AuditSide, RevenueSide, CrmSide, LoopSide):
    """One account's ledger."""

    def __init__(self, core: Core, *, lock: FileLock | None) -> None:
        ReadSide.__init__(self, core)
        RevenueSide.__init__(self, core)
        self._lock = lock

    @property
    def account_id(self) -> str:
        """The account whose ledger this is."""
        return self._core.account_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what is queued, then let go of the database."""
        await self.read_log.close()
        await self._core.writer.close()
        await self._core.readers.dispose()
        if self._lock is not None:
            self._lock.release()

    async def admit(self, command: Admission) -> Admitted:
        """Decide and admit one call, in one transaction (step 2).

        Raises Busy, KeyMissing, KeyConflict, ScopeMismatch, RunClosed, RecordMissing, RecordChanged,
        Unavailable: nothing was admitted then, and no key was claimed.
        """
        answer: Admitted = await self._core.hot(command)
        return answer

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Re-read everything under the policy of now and fence the right to execute (step 4)."""
        answer: Claimed | NotClaimed = await self._core.hot(command)
        return answer

    async def admit_and_claim(
        self, admission: Admission, claim: Claim
    ) -> tuple[Admitted, Claimed | NotClaimed | None]:
        """Take steps 2 and 4 of a call that may run at once: one commit, each edge with its own entry.

        Raises what `admit` raises. A claim that the ledger cannot take is None: the call waits for another.
        """
        first, then = self._core.hot_both(admission, claim)
        claimed: Claimed | NotClaimed | None = None
        try:
            claimed = await asyncio.shield(then)
        except CallRefused:
            pass  # Nothing was admitted under this id: refused, or a replay of another call.
        except Exception as lost:  # noqa: BLE001 -- whatever it was, what was admitted is to be told of
            self._core.machine.failed("claim", lost)
        admitted: Admitted = await asyncio.shield(first)
        return admitted, claimed

    async def settle(self, command: Settlement) -> Settled:
        """Record how an attempt ended (step 6), or what a webhook or an operator has seen."""
        answer: Settled = await self._core.hot(command)
        return answer

    async def preview(self, call: Call, process: ProcessFacts, at: datetime) -> Decision:
        """Return what the policy would say now; nothing is done and nothing written."""

        def judged(tx: Tx | None, world: World) -> Decision | None:
            if world.law is None:
                return NO_POLICY
            want = Wanted()
            want_facts(world, want, PREVIEWED, call, to_us(at), claims=False)
            if tx is not None:
                load_facts(tx, world, want)
            elif want.anything():
                return None
            facts = gather(world, call, world.needs(PREVIEWED, call), process, to_us(at), own=None)
            return world.judge.decide(world.law.policy, call, facts)

        # Most reads are decided by who asks and what the house allows, which takes no more than a glance.
        decision = await self._core.glance(lambda world: judged(None, world), live=process.live_spend)
        if decision is None:
            decision = await self._core.read_world(judged)
        if decision is None:
            raise AssertionError("whoever does not glance decides")
        return decision


def machine_of(
    judge: Judge,
    ids: Callable[[str], str],
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    failed: Callable[[str, Exception], None] | None = None,
    reached: Callable[[str, str], None] | None = None,
) -> Machine:
    """Return what turns commands into rows."""
    sources = Sources(PolicyBook(judge), ids, queries.loaders(), {})
    made = Machine(sources, Sinks(random_bytes, changes.appliers()), failed or (lambda _what, _error: None))
    return made if reached is None else msgspec.structs.replace(made, reached=reached)


async def open_ledger(
    url: str,
    *,
    judge: Judge,
    clock: Callable[[], datetime],
    ids: Callable[[str], str],
    account_id: str | None = None,
    failed: Callable[[str, Exception], None] | None = None,
    reached: Callable[[str, str], None] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Ledger:
    """Open the ledger at `sqlite:///FILE` or `postgresql://...`.

    `account_id` may be left out where the database holds one account. `ids` makes a fresh id for a prefix.
    Raises ConfigurationError for a wrong revision or no account, LockHeld where another process writes the
    file.
    """
    address = make_url(url)
    machine = machine_of(judge, ids, failed=failed, reached=reached)
    wakes = Wakes()
    if address.get_backend_name() == "sqlite":
        path = sqlite_path(url)
        if not path.exists():
            raise ConfigurationError(f"there is no ledger at {path}; make one with `bursar init`")
        lock = FileLock(path)
        lock.take()
        try:
            account = _on_sqlite(path, lambda connection: _ready(connection, account_id))
            writer: Writer = ThreadWriter(path, machine, committed=wakes.wake, **(options or {}))
        except BaseException:
            lock.release()
            raise
        readers: Readers = ThreadReaders(path)
    else:
        lock = None
        engine = postgres_engine(url)
        try:
            async with engine.connect() as connection:
                account = await connection.run_sync(_ready, account_id)
        except BaseException:
            await engine.dispose()
            raise
        readers = AsyncReaders(engine)
        writer = TaskWriter(engine, machine, committed=wakes.wake, **(options or {}))
    core = Core(
        account_id=account, url=url, writer=writer, machine=machine, readers=readers, clock=clock, wakes=wakes
    )
    return Ledger(core, lock=lock)


def sqlite_path(url: str) -> Path:
    """Return the file of a SQLite address."""
    database = make_url(url).database
    if not database or database == ":memory:":
        raise ConfigurationError("BURSAR_DB: a ledger needs a file, as in sqlite:///bursar.db")
    return Path(database).absolute()


def _ready(connection: Connection, account_id: str | None) -> str:
    """Check the tables' revision and return the account to serve."""
    schema_state.check_head(connection)
    found = connection.execute(text("SELECT account_id, moved_to FROM accounts ORDER BY account_id"))
    moved: dict[str, str | None] = {row[0]: row[1] for row in found}
    account = next(iter(moved)) if account_id is None and len(moved) == 1 else account_id
    if account is None or account not in moved:
        raise ConfigurationError(
            f"there is no account {account!r} in this ledger; make one with `bursar init`"
        )
    check_serves(moved[account])
    return account


def _on_sqlite(path: Path, work: Callable[[Connection], T]) -> T:
    engine = writing_engine(path)
    try:
        with engine.begin() as connection:
            return work(connection)
    finally:
        engine.dispose()
