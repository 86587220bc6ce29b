"""Verify who signed: checkpoints by the key in force at their size, changes of key by both keys (M35)."""

from collections.abc import Iterable

from ledger.audit.bad_row import BadRow
from ledger.audit.checkpoint import open_checkpoint, open_rotation, origin_of
from ledger.audit.house_kinds import KeyRotated
from ledger.audit.note import NoteRefused, VerifierKey
from ledger.audit.source import StoredCheckpoint


class SignatureCheck:
    """Takes checkpoints and rotations in log order, and verifies them once all rotations are known.

    A rotation is signed by the old key and the new, so trusting any key of the chain is trusting all of it.
    """

    def __init__(self, instance: str, account: str, keys: Iterable[bytes] | None) -> None:
        self._instance = instance
        self._account = account
        self._trusted = None if keys is None else frozenset(keys)
        self._chain: list[tuple[bytes, bytes]] = []  # Rotations so far: old key, new key.
        self._notes: list[tuple[StoredCheckpoint, str, int]] = []  # With origin and rotations before.

    def rotation(self, fact: KeyRotated, seq: int, epoch: int) -> None:
        """Take a change of key from the log.

        Raises BadRow where both keys have not signed it, or it does not follow the one before.
        """
        key = f"seq {seq}"
        try:
            old, new = open_rotation(fact.statement, origin_of(self._instance, self._account, epoch))
        except NoteRefused as error:
            raise BadRow("audit_entry", key, str(error)) from None
        if (str(old), str(new)) != (fact.old_key, fact.new_key):
            raise BadRow("audit_entry", key, "its statement is about other keys than it says")
        if self._chain and self._chain[-1][1] != old.public:
            raise BadRow("audit_entry", key, "it replaces a key that was not in force")
        self._chain.append((old.public, new.public))

    def checkpoint(self, row: StoredCheckpoint, epoch: int) -> None:
        """Take a checkpoint of a log that is in `epoch` at its size."""
        self._notes.append((row, origin_of(self._instance, self._account, epoch), len(self._chain)))

    def end(self) -> None:
        """Verify what was taken.

        Raises BadRow for the first checkpoint that the key in force has not signed.
        """
        if self._trusted is None:
            return
        chain = [old for old, _ in self._chain] + [new for _, new in self._chain[-1:]]
        if chain and self._trusted.isdisjoint(chain):
            raise BadRow("audit_entry", "kind key.rotated", "no key that you trust is among the log's keys")
        for row, origin, index in self._notes:
            self._signed(row, origin, [chain[index]] if chain else sorted(self._trusted))

    def _signed(self, row: StoredCheckpoint, origin: str, publics: list[bytes]) -> None:
        candidates = [VerifierKey(origin, public) for public in publics]
        key = next((key for key in candidates if key.key_id.hex() == row.key_id), None)
        where = f"size {row.size}"
        if key is None:
            wrong = f"signed by key {row.key_id}, which is not the key in force for {origin}"
            raise BadRow("checkpoint", where, wrong)
        try:
            signed = open_checkpoint(row.note, key)
        except NoteRefused as error:
            raise BadRow("checkpoint", where, str(error)) from None
        if (signed.size, signed.root) != (row.size, row.root):
            raise BadRow("checkpoint", where, "its note is about another tree than its columns")
