"""What an account's log says of the `system` log: at that size it must have had that root (M35).

Events without an account would go there. An installation that serves one account has none, so it has no
such log; where one is cited it must be there, save in an export, which holds one account alone.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.audit import merkle
from ledger.audit.bad_row import BadRow
from ledger.audit.merkle import leaf_hash
from ledger.audit.source import Source

SYSTEM: Final = "system"


class Cited(NamedTuple):
    """What an account's log says of the system log."""

    seq: int
    size: int
    root: str  # Base 64.


def check_cited(source: Source, account: str, cited: Iterable[Cited]) -> None:
    """Compare every citation with the system log of the same source.

    Raises BadRow for the first that is not what the system log was.
    """
    waiting = sorted(cited, key=lambda each: each.size)
    if not waiting or source.levels(account) < 0:
        return
    frontier: merkle.Frontier = ()
    entries, size = source.entries(SYSTEM) if SYSTEM in source.accounts() else iter(()), 0
    for each in waiting:
        while size < each.size:
            entry = next(entries, None)
            if entry is None:
                raise BadRow("audit_entry", f"seq {each.seq}", f"the system log has no {each.size} entries")
            frontier = merkle.extend(frontier, size, [leaf_hash(entry.body)]).frontier
            size += 1
        if each.root != b64encode(merkle.root(frontier)).decode():
            raise BadRow("audit_entry", f"seq {each.seq}", "the system log's root was another one")
