"""Every instant of a ledger, out of its log: whether any cap ever stood above its limit, at any level.

An entry is written in the transaction that moves usage, and says the moves; entries of one transaction
follow each other. After each one, what is held, committed and posted on each cap's meter is added up again.
It is for ledgers whose clock stood still: every window that was booked on is the current one.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from sqlalchemy import select

from ledger.audit.entry import Entry, read_entry
from ledger.audit.stored import StoredSource, read_ledger
from ledger.meters import FLOATING
from ledger.schema_house import policy_versions
from policy.load import load
from tests.ledger.till import TOOLS


@dataclass
class Instants:
    """What stands against each cap after each entry, and every entry after which one stood too high."""

    texts: dict[str, str]  # Policies by hash.
    limits: dict[str, int] = field(default_factory=dict)
    floating: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    fixed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    exceeded: list[str] = field(default_factory=list)
    highest: dict[str, int] = field(
        default_factory=lambda: defaultdict(int)
    )  # By cap, to see it was reached.
    seen: int = 0

    def take(self, entry: Entry) -> None:
        """Add one entry."""
        self.seen += 1
        if entry.kind == "policy.activated":
            self.limits = limits_of(self.texts[entry.subject_id])
        before: dict[str, tuple[int, int]] = {}
        for move in entry.moves:
            meter, start = move.usage.rsplit("@", 1)
            before.setdefault(meter, (self.floating[meter], self.fixed[meter]))
            row = self.floating if int(start) == FLOATING else self.fixed
            row[meter] += move.held + move.committed + move.posted
        for meter, (floated, stood) in before.items():
            self._look(entry, meter, floated, stood)

    def _look(self, entry: Entry, meter: str, floated: int, stood: int) -> None:
        """Hold what an entry added to the limit of that instant: all of it, and what claims have fixed."""
        cap = meter.partition(":")[0]
        if cap not in self.limits:
            return
        total, fixed = self.floating[meter] + self.fixed[meter], self.fixed[meter]
        self.highest[cap] = max(self.highest[cap], total)
        above = total if total > floated + stood else fixed if fixed > stood else 0
        if above > self.limits[cap]:
            said = f"entry {entry.seq} ({entry.kind}): {meter} at {above}, limit {self.limits[cap]}"
            self.exceeded.append(said)


def limits_of(text: str) -> dict[str, int]:
    """Return each cap's limit in its unit."""
    caps = load(text, "policies.yaml", TOOLS).caps
    return {cap.id: cap.limit.money.minor_units if cap.limit.money else cap.limit.calls or 0 for cap in caps}


def instants(url: str, account: str) -> Instants:
    """Replay one account's log."""

    def work(source: StoredSource) -> Instants:
        rows = source.connection.execute(select(policy_versions.c.sha256, policy_versions.c.text))
        found = Instants({row[0]: row[1] for row in rows})
        for stored in source.entries(account):
            found.take(read_entry(stored.body))
        return found

    return read_ledger(url, work)
