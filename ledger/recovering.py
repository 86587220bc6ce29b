"""After a restore or a fork (M33): a new epoch, nothing spends, and what nobody can know is called unknown.

A backup does not know what was done after it was taken. So what waited or was queued is cancelled, what was
executing becomes unknown and keeps its hold, the account is `read_only` until an owner has looked, and
objects that a provider shows for calls this ledger does not know as done become discrepancies.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from msgspec import Struct
from sqlalchemy import Connection, func, select, update

from ledger import edges, schema_state
from ledger.audit import keys
from ledger.audit.house_kinds import EpochOpened
from ledger.commands import Settlement
from ledger.discrepancies import LOST, contradict, lose
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.house_policy import set_posture
from ledger.judge import Judge
from ledger.ledger import machine_of
from ledger.load import open_world
from ledger.making import alone
from ledger.records import Outcome, Seen
from ledger.rows import CallRow
from ledger.schema import discrepancies, tool_calls
from ledger.schema_log import audit_entry, log_head
from ledger.schema_revenue import purchases
from ledger.settlement import make_unknown
from ledger.side_calls import load_whole
from ledger.times import from_us, to_us
from ledger.world import World
from policy.errors import CallCancelled, ConfigurationError
from policy.language import Posture

RECOVERER: Final = "system:recover"
FOUND: Final = "found_by_recovery"  # Why a discrepancy speaks of a call that is here.
SILENT: Final = "recovered"  # Why an executing call of a backup is unknown.


class Recovered(Struct, frozen=True, kw_only=True):
    """What a recovery did."""

    account: str
    epoch: int
    kept: int  # Entries of the log that are left.
    signed: int  # Entries that were signed before.
    cancelled: tuple[str, ...]
    unknown: tuple[str, ...]
    discrepancies: tuple[str, ...]
    lost: tuple[str, ...]  # Objects of calls that this ledger has lost; each is a discrepancy too.
    armed: tuple[Seen, ...]  # Instruments that no purchase here answers for; they are to be switched off.


async def recover_ledger(
    url: str,
    folder: Path,
    *,
    judge: Judge,
    ids: Callable[[str], str],
    at: datetime,
    because: str,
    account: str | None = None,
    seen: Iterable[Seen] = (),
) -> Recovered:
    """Open a new epoch of one account's log while nobody serves it.

    `folder` holds the key and the last checkpoint; `seen` is what a sweep of the providers found since
    the backup. Raises ConfigurationError, LockHeld, NoteRefused, KeyRefused.
    """
    machine = machine_of(judge, ids)

    def work(connection: Connection) -> Recovered:
        schema_state.check_head(connection)
        tx = Tx(connection)
        world = open_world(tx, _account(connection, account), machine.sources)
        found = _recover(tx, world, folder, at, because=because, seen=tuple(seen))
        flush(tx, world, machine.sinks)
        return found

    return await alone(url, work)


async def last_instant(url: str, account: str | None = None) -> datetime:
    """Return when the last thing happened that a ledger knows of: what came later is not in it.

    Raises ConfigurationError, LockHeld.
    """

    def work(connection: Connection) -> datetime:
        schema_state.check_head(connection)
        mine = audit_entry.c.account_id == _account(connection, account)
        return from_us(
            int(connection.execute(select(func.max(audit_entry.c.at_us)).where(mine)).scalar_one())
        )

    return await alone(url, work)


def mark_clone(tx: Tx, world: World, folder: Path, at: datetime) -> bool:
    """Set `read_only` where the id beside the key is another than the database's: this is a clone.

    Returns whether it is one. A folder without an id says nothing.
    """
    path = folder / "instance"
    if not path.exists():
        return False
    stored = tx.connection.exec_driver_sql("SELECT account_id, instance_id FROM accounts").all()
    if (world.account_id, path.read_text().strip()) in [tuple(row) for row in stored]:
        return False
    if world.house.postures.get(("account", world.account_id)) is not Posture.READ_ONLY:
        _close(tx, world, "this database is a clone: another instance's id lies beside its key", at)
    return True


def _account(connection: Connection, asked: str | None) -> str:
    known = [row[0] for row in connection.exec_driver_sql("SELECT account_id FROM accounts ORDER BY 1").all()]
    if asked is None and len(known) == 1:
        return str(known[0])
    if asked not in known:
        raise ConfigurationError(f"name one account; this ledger holds {', '.join(known) or 'none'}")
    return str(asked)


def _recover(
    tx: Tx, world: World, folder: Path, at: datetime, *, because: str, seen: tuple[Seen, ...]
) -> Recovered:
    epoch, kept, signed = _open_epoch(tx, world, folder, at, because)
    _close(tx, world, because, at)
    waiting = _in(tx, world, ("awaiting_approval", "queued"))
    for row in waiting:
        said = "the ledger was recovered: ask again, if it is still wanted"
        edges.end_unrun(
            world, row, "cancelled", code=CallCancelled.code, message=said, actor=RECOVERER, at_us=to_us(at)
        )
    running = _in(tx, world, ("executing",))
    for row in running:
        _doubt(world, row, to_us(at))
    found, lost = _compare(tx, world, seen, at)
    return Recovered(
        account=world.account_id,
        epoch=epoch,
        kept=kept,
        signed=signed,
        cancelled=tuple(row.call_id for row in waiting),
        unknown=tuple(row.call_id for row in running),
        discrepancies=found,
        lost=lost,
        armed=_unanswered(tx, world, seen),
    )


def _open_epoch(tx: Tx, world: World, folder: Path, at: datetime, because: str) -> tuple[int, int, int]:
    """Begin a history of its own, which says what was signed and is no longer there."""
    mine = log_head.c.account_id == world.account_id
    size, epoch = tx.connection.execute(select(log_head.c.size, log_head.c.epoch).where(mine)).one()
    last = keys.last_checkpoint(folder, world.account_id, epoch)
    tx.connection.execute(update(log_head).where(mine).values(epoch=epoch + 1))
    signed = 0 if last is None else last.size
    root = "" if last is None else base64.b64encode(last.root).decode()
    fact = EpochOpened(
        opened=epoch + 1, kept_size=size, signed_size=signed, signed_root=root, cause="recover"
    )
    world.log(fact, world.account_id, RECOVERER, to_us(at), {"reason": because})
    return epoch + 1, size, signed


def _close(tx: Tx, world: World, because: str, at: datetime) -> None:
    set_posture(
        tx, world, "account", world.account_id, Posture.READ_ONLY,
        because=because, by=RECOVERER, at=at, owner=True,
    )  # fmt: skip


def _in(tx: Tx, world: World, states: tuple[str, ...]) -> list[CallRow]:
    c = tool_calls.c
    asked = select(c.call_id).where(c.account_id == world.account_id, c.state.in_(states)).order_by(c.ordinal)
    return load_whole(tx, world, [row[0] for row in tx.connection.execute(asked)])


def _doubt(world: World, row: CallRow, at_us: int) -> None:
    for attempt in world.attempts[row.call_id].values():
        if attempt.ended_at_us is None:
            attempt.ended_at_us, attempt.outcome, attempt.detail = at_us, "unknown", SILENT
            world.change_attempt(attempt)
    make_unknown(world, row, SILENT, "it was executing when this backup was taken", at_us, actor=RECOVERER)


def _compare(
    tx: Tx, world: World, seen: tuple[Seen, ...], at: datetime
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Hold what the providers show against what is known.

    An effect of a call that is lost, that nobody claimed, or that had failed. What succeeded is known, and
    what is unknown is looked for by reconciling.
    """
    ours = [each for each in seen if each.account_id == world.account_id]
    load_whole(tx, world, [each.call_id for each in ours])
    known = _known_discrepancies(tx, world)
    found, lost = [], []
    for each in ours:
        row = world.calls.get(each.call_id)
        if (each.call_id, LOST if row is None else FOUND) in known:
            continue  # A recovery before this one has said so already.
        if row is None:
            lost.append(each.provider_ref)
            found.append(lose(world, each, to_us(at)))
        elif row.state not in {"succeeded", "unknown"}:
            said = f"{each.provider_ref} was found at {row.provider} after the ledger was recovered"
            evidence = Settlement(
                call_id=row.call_id, at=at, attempt=0, lease_token=0, outcome=Outcome.SUCCEEDED, evidence=said
            )
            found.append(contradict(world, row, evidence, FOUND, to_us(at)))
    return tuple(found), tuple(lost)


def _known_discrepancies(tx: Tx, world: World) -> set[tuple[str, str]]:
    c = discrepancies.c
    asked = select(c.call_id, c.code).where(c.account_id == world.account_id, c.code.in_((LOST, FOUND)))
    return {(row[0], row[1]) for row in tx.connection.execute(asked)}


def _unanswered(tx: Tx, world: World, seen: tuple[Seen, ...]) -> tuple[Seen, ...]:
    """Return the armed instruments that no purchase is recorded for: nothing here would notice their use."""
    c = purchases.c
    asked = select(c.instrument_ref).where(c.account_id == world.account_id)
    known = {row[0] for row in tx.connection.execute(asked)}
    ours = (each for each in seen if each.account_id == world.account_id)
    return tuple(each for each in ours if each.armed and each.provider_ref not in known)
