"""Verify entries one by one: their bytes, the columns beside them, their payloads, erasures and epochs."""

from collections.abc import Iterator

from ledger.audit.bad_row import BadRow
from ledger.audit.entry import Entry, EntryRefused, payload_hash, read_entry, read_fact
from ledger.audit.fact import Fact
from ledger.audit.house_kinds import EpochOpened, PayloadErased
from ledger.audit.merkle import leaf_hash
from ledger.audit.source import EntryColumns, StoredEntry, StoredPayload


class EntryCheck:
    """Takes an account's entries in order, and with them the payloads that belong to them."""

    def __init__(self, account: str, payloads: Iterator[StoredPayload]) -> None:
        self._account = account
        self._payloads = payloads
        self._waiting = next(payloads, None)
        self._unnamed: dict[int, tuple[int, str]] = {}  # Erased, by seq, until the entry is met: by, leaf.
        self.seq = 0
        self.epoch = 0
        self.erased = 0

    def take(self, row: StoredEntry) -> tuple[bytes, Entry, Fact, bytes | None]:
        """Check one entry; return its leaf, what it says, and its payload where there is one.

        Raises BadRow.
        """
        seq = self.seq
        if row.seq != seq:
            raise self._bad(min(seq, row.seq), f"the entry after {seq - 1} is {row.seq}")
        leaf = leaf_hash(row.body)
        entry, fact = self._read(row)
        if row.columns is not None and row.columns != (
            entry.at_us, entry.kind, entry.subject_type, entry.subject_id, leaf,
        ):  # fmt: skip
            raise self._bad(seq, _columns_differ(row.columns, entry, leaf))
        if entry.seq != seq or entry.account != self._account:
            raise self._bad(seq, f"its bytes say that it is {entry.account} #{entry.seq}")
        payload = self._payload(entry, leaf)
        if isinstance(fact, EpochOpened):
            self.epoch += 1
            if fact.opened != self.epoch:
                raise self._bad(seq, f"it opens epoch {fact.opened} where {self.epoch} is next")
        elif isinstance(fact, PayloadErased):
            self._name_erased(fact, seq)
        if entry.epoch != self.epoch:
            raise self._bad(seq, f"it says epoch {entry.epoch} in epoch {self.epoch}")
        self.seq = seq + 1
        return leaf, entry, fact, payload

    def end(self) -> None:
        """Check that nothing is left over after the last entry.

        Raises BadRow.
        """
        if self._waiting is not None:
            raise BadRow("audit_payload", f"seq {self._waiting.seq}", "there is no entry that it belongs to")
        if self._unnamed:
            seq = min(self._unnamed)
            raise BadRow("audit_payload", f"seq {seq}", "it is gone, and no payload.erased entry names it")

    def _bad(self, seq: int, wrong: str) -> BadRow:
        return BadRow("audit_entry", f"seq {seq}", wrong)

    def _read(self, row: StoredEntry) -> tuple[Entry, Fact]:
        try:
            entry = read_entry(row.body)
            return entry, read_fact(entry)
        except EntryRefused as error:
            raise self._bad(row.seq, str(error)) from None

    def _payload(self, entry: Entry, leaf: bytes) -> bytes | None:
        row, seq = self._waiting, entry.seq
        key = f"seq {seq}"
        if row is None or row.seq != seq:
            if row is not None and row.seq < seq:
                raise BadRow("audit_payload", f"seq {row.seq}", "it is stored twice or out of place")
            if entry.payload_sha256 is not None:
                raise BadRow("audit_payload", key, "it is missing, and was not erased")
            return None
        self._waiting = next(self._payloads, None)
        if entry.payload_sha256 is None:
            raise BadRow("audit_payload", key, "its entry has no payload")
        if row.salt is None or row.body is None:
            if row.erased_by is None or not (row.salt is None and row.body is None):
                raise BadRow("audit_payload", key, "it is neither whole nor erased by an entry")
            self._unnamed[seq] = (row.erased_by, leaf.hex())
            return None
        if row.erased_by is not None or payload_hash(row.salt, row.body) != entry.payload_sha256:
            raise BadRow("audit_payload", key, "it is not the payload that its entry speaks of")
        return row.body

    def _name_erased(self, fact: PayloadErased, by: int) -> None:
        for seq, leaf in zip(fact.seqs, fact.leaves, strict=False):
            if self._unnamed.pop(seq, None) != (by, leaf):
                raise BadRow("audit_payload", f"seq {seq}", f"entry {by} says that it erased this payload")
        if len(fact.seqs) != len(fact.leaves):
            raise self._bad(by, "it names another number of payloads than of leaves")
        self.erased += len(fact.seqs)


def _columns_differ(columns: EntryColumns, entry: Entry, leaf: bytes) -> str:
    """Say which column does not repeat what the entry's bytes say."""
    if columns.leaf != leaf:
        return "its bytes do not hash to its leaf"
    said = (entry.at_us, entry.kind, entry.subject_type, entry.subject_id)
    both = zip(EntryColumns._fields, columns, said, strict=False)
    name = next(name for name, stored, says in both if stored != says)
    return f"its column {name} differs from its bytes"
