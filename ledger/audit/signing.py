"""Signing an account's log as it stands in the database, and refusing one that was cut or forked (M33).

The functions run inside a transaction of the caller's that holds the account's lock and adds no entry itself,
so what is signed was committed before. The note reaches the key's folder first and the database second: after
a crash between the two the folder knows more than the database, never less.
"""

from pathlib import Path

from sqlalchemy import Connection, func, insert, select

from ledger import schema_state
from ledger.audit import keys
from ledger.audit.checkpoint import Checkpoint, ForkFound, SigningKey, check_extends, origin_of, sign
from ledger.audit.note import VerifierKey
from ledger.audit.source import StoredHead
from ledger.audit.stored import StoredSource
from ledger.schema_log import checkpoint as table


def sign_checkpoint(connection: Connection, account: str, key: SigningKey, folder: Path) -> Checkpoint:
    """Sign the account's log, remember it beside the key and in the database, and return it.

    A log that did not grow is not stored twice. Raises ForkFound where the tree does not extend what was
    signed last, KeyRefused or NoteRefused where what lies in `folder` cannot be trusted.
    """
    source = StoredSource(connection)
    head = _head(source, account)
    origin = origin_of(source.instance(account), account, head.epoch)
    lookup = source.lookup(account)
    in_force = source.last_rotation(account)
    if in_force is not None and VerifierKey.parse(in_force).public != key.public:
        raise keys.KeyRefused(f"the log of {account} is signed by another key since its last rotation")
    last = keys.last_checkpoint(folder, account, head.epoch)
    made = sign(key, origin, head.size, head.root, last=last, lookup=lookup)
    if last is None or last.note != made.note:
        keys.keep_checkpoint(folder, account, made, head.epoch)
    previous = connection.scalar(select(func.max(table.c.size)).where(table.c.account_id == account))
    if previous is None or previous < head.size:
        connection.execute(
            insert(table).values(
                account_id=account,
                size=made.size,
                previous=previous or 0,
                root=made.root,
                note=made.note,
                key_id=key.verifier(origin).key_id.hex(),
            )
        )
    return made


async def sign_ledger(url: str, account: str, folder: Path) -> Checkpoint:
    """Sign an account's log in the ledger at `url`, with the key in `folder`, while nobody else serves it.

    Raises what `sign_checkpoint` raises, and LockHeld where a server runs: it signs by itself.
    """
    from ledger.making import alone  # The rest of the ledger imports this package.

    key = keys.load(folder)

    def work(connection: Connection) -> Checkpoint:
        schema_state.check_head(connection)
        return sign_checkpoint(connection, account, key, folder)

    return await alone(url, work)


def check_not_forked(connection: Connection, account: str, folder: Path) -> None:
    """Check that the account's log extends the checkpoint that lies beside the key.

    Raises ForkFound where it does not: then `serve` refuses, and `bursar ledger recover` opens a new epoch.
    """
    source = StoredSource(connection)
    head = _head(source, account)
    last = keys.last_checkpoint(folder, account, head.epoch)
    if last is not None:
        origin = origin_of(source.instance(account), account, head.epoch)
        check_extends(last, origin, head.size, head.root, lookup=source.lookup(account))


def _head(source: StoredSource, account: str) -> StoredHead:
    head = source.head(account)
    if head is None:
        raise ForkFound(f"account {account} has no log")
    return head
