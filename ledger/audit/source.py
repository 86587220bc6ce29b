"""What `verify` and `export` read a log from: a database, or the file of an export.

Every iterator is in key order and reads as it goes, so a log of any length fits in memory. All of one
source must be one snapshot: a database source reads inside one transaction.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from ledger.audit import merkle

Row = Mapping[str, object]
"""A row of a table by column: integers, text, bytes or None."""


class EntryColumns(NamedTuple):
    """What the columns beside an entry's bytes repeat of it."""

    at_us: int
    kind: str
    subject_type: str
    subject_id: str
    leaf: bytes


class StoredEntry(NamedTuple):
    """An entry as stored; an export stores the bytes alone."""

    seq: int
    body: bytes
    columns: EntryColumns | None


class StoredPayload(NamedTuple):
    """A payload as stored; erased ones have neither salt nor body."""

    seq: int
    salt: bytes | None
    body: bytes | None
    erased_by: int | None


class StoredNode(NamedTuple):
    """A complete subtree as stored, of a level that its reader asked for."""

    position: int
    hash: bytes


class StoredCheckpoint(NamedTuple):
    """A checkpoint as stored."""

    size: int
    previous: int
    root: bytes
    note: str
    key_id: str


class StoredHead(NamedTuple):
    """An account's `log_head`; `frontier` is its hashes one after the other."""

    size: int
    epoch: int
    frontier: bytes

    @property
    def root(self) -> bytes:
        """Return the root of the tree that it stands for."""
        return merkle.root(merkle.read_frontier(self.frontier))


class Source(Protocol):
    """One snapshot of the logs of one installation, and of the tables they speak of."""

    def accounts(self) -> list[str]:
        """Return the accounts that have a log, sorted."""
        ...

    def instance(self, account: str) -> str:
        """Return the instance id of the installation that writes this account's log."""
        ...

    def head(self, account: str) -> StoredHead | None:
        """Return the log's head, or None where it has none."""
        ...

    def entries(self, account: str) -> Iterator[StoredEntry]:
        """Yield the entries by seq."""
        ...

    def payloads(self, account: str) -> Iterator[StoredPayload]:
        """Yield the payloads by seq."""
        ...

    def levels(self, account: str) -> int:
        """Return the highest level of stored nodes, 0 for none, or -1 where this source keeps no nodes."""
        ...

    def nodes(self, account: str, level: int) -> Iterator[StoredNode]:
        """Yield the stored nodes of one level by position."""
        ...

    def checkpoints(self, account: str) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints by size."""
        ...

    def rows(self, account: str, table: str) -> Iterator[Row]:
        """Yield the rows of a table of the ledger, by primary key; none where there is no such table."""
        ...
