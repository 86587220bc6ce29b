"""Verify a log: every entry, payload, node and checkpoint, then the tables against what the log says.

One pass over the entries rebuilds the tree; at each checkpoint's size the rebuilt root must be the signed
one, which is stronger than a consistency proof between checkpoints. The first bad row is named and ends
the account.

What this cannot see without an anchor, a checkpoint kept elsewhere: entries cut off or rewritten after
the last checkpoint that is left. The checkpoint beside the signing key is such an anchor; one held by
someone else also covers whoever holds both the database and the key. See docs/reference/audit.md.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import attrgetter
from typing import Final

from msgspec import Struct

from ledger.audit import merkle
from ledger.audit.bad_row import BadRow
from ledger.audit.citing import Cited, check_cited
from ledger.audit.entries import EntryCheck
from ledger.audit.house_kinds import EpochOpened, KeyRotated, SystemCited
from ledger.audit.replay import Replay
from ledger.audit.signatures import SignatureCheck
from ledger.audit.source import Source, StoredCheckpoint, StoredEntry, StoredNode

CHUNK: Final = 1024  # Entries between two calls of progress; the tree grows by whole chunks.


class Anchor(Struct, frozen=True):
    """A root that the log must have had, and where it was kept."""

    epoch: int
    size: int
    root: bytes
    kept: str


class Verified(Struct, frozen=True, kw_only=True):
    """What came of one account's log. `bad` is the first bad row, or None where all is well."""

    account: str
    entries: int
    checkpoints: int
    root: bytes
    signed_size: int
    erased: int
    bad: BadRow | None = None
    cited: tuple[Cited, ...] = ()


def verify_account(
    source: Source,
    account: str,
    *,
    keys: Iterable[bytes] | None,
    anchors: Iterable[Anchor] = (),
    tables: bool = True,
    progress: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Verify one account's log in `source`.

    `keys` are the public keys trusted to sign (None: signatures are not looked at); `anchors` are roots
    that the log must have had; `tables=False` leaves out the tables; `progress` is given the number of
    entries done.
    """
    check = _LogCheck(source, account, keys=keys, anchors=anchors, tables=tables)
    bad = None
    try:
        check.run(progress)
    except BadRow as found:
        bad = found
    return check.report(bad)


class _LogCheck:
    """One pass over one account's log."""

    def __init__(
        self,
        source: Source,
        account: str,
        *,
        keys: Iterable[bytes] | None,
        anchors: Iterable[Anchor],
        tables: bool,
    ) -> None:
        self._source = source
        self._account = account
        self._entries = EntryCheck(account, source.payloads(account))
        self._signatures = SignatureCheck(source.instance(account), account, keys)
        self._replay = Replay(account) if tables else None
        self._nodes = _NodeCheck(source, account)
        self._roots = _by_size(source.checkpoints(account), anchors)
        self._due = next(self._roots, None)
        self._frontier: merkle.Frontier = ()
        self._size = 0
        self._signed_size = 0
        self._checkpoints = 0
        self._lost: dict[int, EpochOpened] = {}  # By the epoch that a recovery ended.
        self._cited: list[Cited] = []

    def run(self, progress: Callable[[int], None]) -> None:
        """Verify everything.

        Raises BadRow for the first row that does not fit.
        """
        rows = self._source.entries(self._account)
        self._compare_roots()
        while chunk := list(islice(rows, self._chunk_size())):
            leaves = [self._take(row) for row in chunk]
            grown = merkle.extend(self._frontier, self._size, leaves)
            self._nodes.compare(grown.nodes)
            self._frontier, self._size = grown.frontier, self._size + len(leaves)
            self._compare_roots()
            progress(self._size)
        self._end()

    def report(self, bad: BadRow | None) -> Verified:
        """Return what was found."""
        return Verified(
            account=self._account,
            entries=self._size,
            checkpoints=self._checkpoints,
            root=merkle.root(self._frontier),
            signed_size=self._signed_size,
            erased=self._entries.erased,
            bad=bad,
            cited=tuple(self._cited),
        )

    def _chunk_size(self) -> int:
        """Return how many entries to take: up to the next root that is known, so that it can be compared."""
        return CHUNK if self._due is None else min(CHUNK, self._due.size - self._size)

    def _take(self, row: StoredEntry) -> bytes:
        leaf, entry, fact, payload = self._entries.take(row)
        if isinstance(fact, KeyRotated):
            self._signatures.rotation(fact, entry.seq, self._entries.epoch)
        elif isinstance(fact, EpochOpened):
            self._lost[fact.opened - 1] = fact
        elif isinstance(fact, SystemCited):
            self._cited.append(Cited(entry.seq, fact.size, fact.root))
        if self._replay is not None:
            self._replay.take(entry, payload)
        return leaf

    def _compare_roots(self) -> None:
        """Compare the tree with every root that is known of it at this size."""
        while self._due is not None and self._due.size <= self._size:
            due = self._due
            if isinstance(due, Anchor):
                self._anchored(due)
            else:
                self._checkpointed(due)
            self._due = next(self._roots, None)

    def _checkpointed(self, row: StoredCheckpoint) -> None:
        key = f"size {row.size}"
        if row.previous != self._signed_size:
            wrong = f"it follows the checkpoint of size {row.previous}, which is not the one before it"
            raise BadRow("checkpoint", key, wrong)
        if row.size != self._size or row.root != merkle.root(self._frontier):
            raise BadRow("checkpoint", key, f"its root is not that of the first {row.size} entries")
        self._signatures.checkpoint(row, self._entries.epoch)
        self._signed_size, self._checkpoints = row.size, self._checkpoints + 1

    def _anchored(self, anchor: Anchor) -> None:
        if not self._declared_lost(anchor) and anchor.root != merkle.root(self._frontier):
            wrong = f"one of the first {anchor.size} entries is not what {anchor.kept} was signed over"
            raise BadRow("audit_entry", f"before seq {anchor.size}", wrong)

    def _declared_lost(self, anchor: Anchor) -> bool:
        """Say whether a recovery declared that the anchored tree went on beyond what it kept (M33)."""
        lost = self._lost.get(anchor.epoch)
        return lost is not None and lost.kept_size < anchor.size <= lost.signed_size

    def _end(self) -> None:
        """Check what can only be known after the last entry."""
        while self._due is not None:
            if not isinstance(self._due, Anchor) or not self._declared_lost(self._due):
                where = self._due.kept if isinstance(self._due, Anchor) else "table checkpoint"
                wrong = f"it is missing: {self._due.size} entries were signed, see {where}"
                raise BadRow("audit_entry", f"seq {self._size}", wrong)
            self._due = next(self._roots, None)
        self._entries.end()
        self._nodes.end()
        self._compare_head()
        self._signatures.end()
        check_cited(self._source, self._account, self._cited)
        if self._replay is not None:
            self._replay.compare(self._source)

    def _compare_head(self) -> None:
        head = self._source.head(self._account)
        found = (self._size, self._entries.epoch, b"".join(self._frontier))
        if head is None or head != found:
            wrong = f"it is not the head of a log of {self._size} entries"
            raise BadRow("log_head", f"account {self._account}", wrong)


class _NodeCheck:
    """Compares rebuilt nodes with stored ones, level by level, as they are rebuilt."""

    def __init__(self, source: Source, account: str) -> None:
        self._levels: dict[int, Iterator[StoredNode]] = {}
        for level in range(1, source.levels(account) + 1):
            self._levels[level] = source.nodes(account, level)
        self._kept = source.levels(account) >= 0

    def compare(self, nodes: Iterable[merkle.Node]) -> None:
        """Take the next rebuilt nodes.

        Raises BadRow where a stored one is missing or another.
        """
        if not self._kept:
            return
        nothing: Iterator[StoredNode] = iter(())
        for level, position, rebuilt in nodes:
            stored = next(self._levels.get(level, nothing), None)
            if stored is None or stored.position > position:
                raise BadRow("log_node", f"level {level} position {position}", "it is missing")
            if stored != (position, rebuilt):
                where = f"level {level} position {stored.position}"
                raise BadRow("log_node", where, "it is not the hash of the two nodes below it")

    def end(self) -> None:
        """Check that no more nodes are stored than the log has.

        Raises BadRow.
        """
        for level, stored in self._levels.items():
            extra = next(stored, None)
            if extra is not None:
                where = f"level {level} position {extra.position}"
                raise BadRow("log_node", where, "the log has no such node")


def _by_size(
    checkpoints: Iterator[StoredCheckpoint], anchors: Iterable[Anchor]
) -> Iterator[StoredCheckpoint | Anchor]:
    """Merge the roots that are known, by size."""
    known: list[Iterable[StoredCheckpoint | Anchor]] = [checkpoints, sorted(anchors, key=attrgetter("size"))]
    yield from heapq.merge(*known, key=attrgetter("size"))
