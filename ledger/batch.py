"""One batch: load the facts of all its commands, plan each in memory, write everything, once.

If anything unforeseen happens the whole batch is rolled back and its commands run one by one, so that one
broken command never takes its neighbours down. A refusal is nothing unforeseen: it changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from ledger.admission import plan_admission
from ledger.claiming import plan_claim
from ledger.commands import Admission, Claim, Settlement
from ledger.engines.tx import Tx
from ledger.flush import Sinks, flush
from ledger.kept import tidy
from ledger.load import Hot, Sources, load_batch
from ledger.resuming import leave, resume
from ledger.settlement import plan_settlement
from ledger.world import World
from policy.errors import BursarError, CallRefused, Unavailable

STAGES: Final = ("begun", "planned", "written", "committed")  # Of each transaction, in this order.
MOST_AT_ONCE: Final = 256  # Larger batches gain nothing: the commit is shared by enough commands already.


def _on(_stage: str, _work: str) -> None:
    """Go on: nobody but a crash harness wants to know how far a transaction is."""


class Machine(Struct, frozen=True):
    """Everything that turns commands into rows, except the connection.

    `reached` is told each of STAGES of each transaction and what it does; a crash harness kills the process
    there.
    """

    sources: Sources
    sinks: Sinks
    failed: Callable[[str, Exception], None]  # Hears of what was unforeseen, for the process's own log.
    reached: Callable[[str, str], None] = _on


class HotJob(Struct, frozen=True):
    """One hot command of one account."""

    account: str
    command: Hot


class RareJob(Struct, frozen=True):
    """A plain function that runs in a transaction of its own on the same writer."""

    name: str
    run: Callable[[Tx, Machine], Any]  # Any: each rare command has an answer of its own type.
    aside: bool = False  # Writes nothing that a World holds, so what the writer remembers stays true.


Job = HotJob | RareJob


class Done(Struct, frozen=True):
    """What came of one job: an answer, or the exception to raise to its caller."""

    answer: Any = None  # As the job's own type.
    error: Exception | None = None


def run_jobs(connection: Connection, jobs: Sequence[Job], machine: Machine) -> list[Done]:
    """Run jobs on the one writing connection: all at once where they are hot, else one by one."""
    if len(jobs) == 1:
        return [_alone(connection, jobs[0], machine)]
    hot = [job for job in jobs if isinstance(job, HotJob)]
    try:
        with connection.begin():
            dones = process(Tx(connection), hot, machine)
        machine.sources.kept.committed()
        machine.reached("committed", _name(hot[0]))
    except Exception as broken:  # noqa: BLE001 -- whatever broke, its caller must hear of it and the writer must go on
        machine.failed("batch", broken)
        _undo(connection)
        _forget(machine)
        return [_alone(connection, job, machine) for job in jobs]
    return dones


def process(tx: Tx, jobs: Sequence[HotJob], machine: Machine) -> list[Done]:
    """Plan and write hot jobs in one transaction, account by account in one order."""
    machine.reached("begun", _name(jobs[0]))
    out: dict[int, Done] = {}
    for account in sorted({job.account for job in jobs}):
        places = [place for place, job in enumerate(jobs) if job.account == account]
        commands = [jobs[place].command for place in places]
        out.update(zip(places, _of_account(tx, account, commands, machine), strict=True))
    machine.reached("written", _name(jobs[0]))
    return [out[place] for place in range(len(jobs))]


def _of_account(tx: Tx, account: str, commands: Sequence[Hot], machine: Machine) -> list[Done]:
    out: list[Done] = []
    live = any(not isinstance(each, Settlement) and each.process.live_spend for each in commands)
    while len(out) < len(commands):
        rest = commands[len(out) :]
        world = resume(tx, account, machine.sources, live=live)
        load_batch(tx, world, rest, machine.sources)
        for command in rest:
            if world.effects and _reads(command):
                break  # What an earlier command changes must be written before this one reads it.
            out.append(_plan(world, command))
        machine.reached("planned", type(rest[0]).__name__)
        flush(tx, world, machine.sinks)
        if not world.effects:  # What plugins changed beside the World is not known here.
            tidy(world)
            leave(world, machine.sources)
    return out


def _reads(command: Hot) -> bool:
    return not isinstance(command, Settlement) and bool(command.references)


def _plan(world: World, command: Hot) -> Done:
    before = world.touched
    try:
        return Done(answer=plan(world, command))
    except CallRefused as refused:
        if world.touched != before:
            raise
        return Done(error=refused)


def plan(world: World, command: Hot) -> object:
    """Plan one hot command."""
    if isinstance(command, Admission):
        return plan_admission(world, command)
    if isinstance(command, Claim):
        return plan_claim(world, command)
    return plan_settlement(world, command)


def _alone(connection: Connection, job: Job, machine: Machine) -> Done:
    """Run one job in its own transaction; its caller gets whatever went wrong."""
    try:
        with connection.begin():
            tx = Tx(connection)
            done = _rare(tx, job, machine) if isinstance(job, RareJob) else process(tx, [job], machine)[0]
        machine.sources.kept.committed()
        machine.reached("committed", _name(job))
    except BursarError as refused:
        _forget(machine)  # A rare command may have written the house and read it again before it refused.
        error: Exception = refused
    except Exception as broken:  # noqa: BLE001 -- whatever broke, its caller must hear of it and the writer must go on
        machine.failed(_name(job), broken)
        _undo(connection)
        _forget(machine)
        error = _told(broken)
    else:
        return done
    if isinstance(job, HotJob) and isinstance(job.command, Settlement) and job.command.changes:
        return _without_changes(connection, job, error, machine)
    return Done(error=error)


def _forget(machine: Machine) -> None:
    """Forget what may have been read from what was just rolled back."""
    machine.sources.houses.clear()
    machine.sources.kept.forget()


def _undo(connection: Connection) -> None:
    """Take back what a failed commit left open: SQLAlchemy thinks it is over, SQLite does not."""
    with suppress(Exception):  # A connection that is gone has nothing open; the next command says so.
        raw = connection.connection.dbapi_connection
        if raw is not None:
            raw.rollback()


def _rare(tx: Tx, job: RareJob, machine: Machine) -> Done:
    machine.reached("begun", job.name)
    if not job.aside:
        machine.sources.kept.forget()
    answer = job.run(tx, machine)
    machine.reached("written", job.name)
    return Done(answer=answer)


def _name(job: Job) -> str:
    return job.name if isinstance(job, RareJob) else type(job.command).__name__


def _without_changes(connection: Connection, job: HotJob, error: Exception, machine: Machine) -> Done:
    """Settle without what the plugin wanted changed.

    What happened at a provider is recorded whatever else fails.
    """
    bare = msgspec.structs.replace(
        job.command,
        changes=(),
        evidence=f"{getattr(job.command, 'evidence', '')} changes refused: {error}".strip(),
    )
    done = _alone(connection, HotJob(job.account, bare), machine)
    return done if done.error is None else Done(error=error)


def _told(broken: Exception) -> Exception:
    """Return what a caller hears of a fault: a database's becomes `unavailable`, our own stays what it is."""
    if type(broken).__module__.split(".")[0] in {"sqlite3", "sqlalchemy", "asyncpg"} or isinstance(
        broken, OSError
    ):
        told = Unavailable(
            f"the ledger cannot be written now ({type(broken).__name__}); try again with the same key"
        )
        told.__cause__ = broken
        return told
    return broken
