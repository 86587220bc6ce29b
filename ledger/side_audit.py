"""The audit side of the facade: signing the log, refusing a fork, changing the key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from ledger.audit import keys
from ledger.audit.checkpoint import Checkpoint, ForkFound, SigningKey, origin_of, rotation_statement
from ledger.audit.erasing import erase_call, erase_lead
from ledger.audit.house_kinds import KeyRotated
from ledger.audit.note import NoteRefused
from ledger.audit.signing import check_not_forked, sign_checkpoint
from ledger.audit.stored import StoredSource
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.side_house import is_owner
from ledger.times import to_us
from ledger.world import World
from policy.errors import ConfigurationError, PolicyDenied

INCOMING: Final = "checkpoint.next.pem"  # A key made for a rotation, until the log says so.


class AuditSide:
    """What the log's signature needs of a running house."""

    _core: Core  # Given by the side that Ledger begins with.

    async def sign_log(self, key: SigningKey, folder: Path) -> Checkpoint | None:
        """Sign the log where it grew since the last time; None where it did not.

        To be called once a second and at the end. Raises ForkFound, KeyRefused, NoteRefused: then nothing may
        be served any more.
        """
        core = self._core
        account = core.account_id
        signed = await core.read(lambda tx: StoredSource(tx.connection).signed_size(account))
        if signed == await core.log_size():
            return None

        def work(tx: Tx, _world: World) -> Checkpoint:
            return sign_checkpoint(tx.connection, account, key, folder)

        return await core.rare("sign_log", work)

    async def check_not_forked(self, folder: Path) -> None:
        """Check at a start that the log extends the checkpoint beside the key (M33).

        Raises ConfigurationError with what to run where it does not.
        """
        account = self._core.account_id
        try:
            await self._core.read(lambda tx: check_not_forked(tx.connection, account, folder))
        except (ForkFound, NoteRefused, keys.KeyRefused) as error:
            raise ConfigurationError(
                f"{error}; this database is a restored backup or was changed: run `bursar ledger recover`"
            ) from None

    async def erase_call(self, call_id: str, *, because: str, by: str, at: datetime) -> int:
        """Erase what a settled call said, while the log still proves it (M35); return how many payloads.

        Raises PolicyDenied for anybody but an owner with a reason, RecordMissing, RecordChanged.
        """
        return await self._erase(erase_call, call_id, because=because, by=by, at=at)

    async def erase_lead(self, lead_id: str, *, because: str, by: str, at: datetime) -> int:
        """Erase who a lead is and what was written to and of it (M35); return how many payloads.

        Raises PolicyDenied for anybody but an owner with a reason, RecordMissing, RecordChanged.
        """
        return await self._erase(erase_lead, lead_id, because=because, by=by, at=at)

    async def _erase(
        self, erase: Callable[..., int], record_id: str, *, because: str, by: str, at: datetime
    ) -> int:
        def work(tx: Tx, world: World) -> int:
            if not because.strip() or not is_owner(world, by):
                raise PolicyDenied("only an owner erases, and says why")
            return erase(tx, world, record_id, because=because, by=f"operator:{by}", at=at)

        return await self._core.rare(erase.__name__, work)

    async def close_clone(self, folder: Path, at: datetime) -> bool:
        """Set `read_only` where another instance's id lies beside the key; return whether it does (M33)."""
        from ledger.recovering import mark_clone  # It opens ledgers itself, so it cannot be imported before.

        return await self._core.rare("close_clone", lambda tx, world: mark_clone(tx, world, folder, at))

    async def rotate_key(self, folder: Path, *, by: str, at: datetime) -> SigningKey:
        """Sign checkpoints with a new key from now on; both keys sign the entry that says so (M35).

        A rotation that a crash interrupted is finished by calling it again. Raises KeyRefused.
        """
        account = self._core.account_id
        old = keys.load(folder)
        if not (folder / INCOMING).exists():
            keys.generate(folder, INCOMING)
        new = keys.load(folder, INCOMING)

        def work(tx: Tx, world: World) -> None:
            source = StoredSource(tx.connection)
            head = source.head(account)
            origin = origin_of(source.instance(account), account, 0 if head is None else head.epoch)
            before, after = str(old.verifier(origin)), str(new.verifier(origin))
            last = source.last_rotation(account)
            if last == after:
                return  # The entry was committed before the crash; only the file is still to be moved.
            statement = rotation_statement(origin, old, new)
            world.log(KeyRotated(old_key=before, new_key=after, statement=statement), origin, by, to_us(at))

        await self._core.rare("rotate_key", work)
        keys.replace(folder, incoming=INCOMING)
        return new
