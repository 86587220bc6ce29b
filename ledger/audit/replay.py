"""Replay a log: what its entries say must be what the tables hold.

Folding the facts of a subject, later over earlier, gives the columns of its row that the log speaks of:
each of them must be equal, no row may exist that the log never spoke of, and none may be missing. The
moves on entries give each cap's usage; and usage must also be the sum of the reservations and adjustments
that it is made of.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger.audit.bad_row import BadRow
from ledger.audit.catalogue import CATALOGUE
from ledger.audit.entry import Entry
from ledger.audit.source import Source

Facts = dict[str, Any]

OUTCOMES: Final = ("succeeded.", "failed.", "unknown.", "denied.", "cancelled.", "expired.")
"""How meters begin that count outcomes: they are moved by calls that hold no reservation on them."""


class Told(Struct, frozen=True):
    """A table that the log tells, by the subject of its entries.

    `key` are the columns that the subject's id stands for, joined by colons; `payload` maps what an
    entry's payload says, as long as it is not erased, to the column that repeats it.
    """

    table: str
    key: tuple[str, ...]
    payload: Mapping[str, str] = {}


TOLD: Final[Mapping[str, Told]] = {
    "call": Told(
        "tool_calls", ("call_id",), {"op_hash": "op_hash", "fingerprint": "fingerprint", "payee": "payee"}
    ),
    "approval": Told("approvals", ("approval_id",), {"op_hash": "op_hash"}),
    "verdict": Told("verdicts", ("verdict_id",)),
    "review": Told("reviews", ("review_id",)),
    "adjustment": Told("adjustments", ("adjustment_id",)),
    "discrepancy": Told("discrepancies", ("discrepancy_id",)),
    "policy": Told("policy_versions", ("sha256",)),
    "posture": Told("postures", ("scope", "scope_key")),
    "agent": Told("agents", ("agent_id",)),
    "enforcer": Told("enforcers", ("enforcer_id",)),
    "operator": Told("operators", ("operator_id",)),
    "project": Told("projects", ("name",)),
    "run": Told("runs", ("run_id",)),
    "tool": Told("tool_acceptances", ("tool",)),
}
# Entries whose subject is another's, which also make or change a row of their own: kind, subject, and its id.
ALSO: Final[Mapping[str, tuple[str, str]]] = {
    "verdict.given": ("verdict", "verdict_id"),
}
# Tables that usage is checked with, and the columns it takes.
USAGE_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "reservations": ("call_id", "meter", "window_start_us", "amount", "posted", "state"),
    "cap_usage": ("meter", "window_start_us", "held", "committed", "posted"),
}
_PAYLOAD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def told_columns(subject: str) -> frozenset[str]:
    """Return the columns of a subject's table that `verify` looks at."""
    told = TOLD[subject]
    kinds = [cls for cls in CATALOGUE.values() if subject in {cls.SUBJECT, ALSO.get(cls.KIND, ("",))[0]}]
    said = {name for cls in kinds for name in cls.__struct_fields__}
    said |= {f"{cls.SUBJECT}_id" for cls in kinds if subject != cls.SUBJECT}
    moves = {"moves"} if told.table == "adjustments" else set()
    return frozenset({*told.key, *said, *told.payload.values(), *moves})


class Replay:
    """What one account's log has said so far, and the comparison with the tables at its end."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._rows: dict[str, dict[str, Facts]] = {subject: {} for subject in TOLD}
        self._usage: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def take(self, entry: Entry, payload: bytes | None) -> None:
        """Fold one entry; `payload` is its canonical JSON, or None where it has none or was erased."""
        for usage, held, committed, posted in _moves(entry):
            row = self._usage[usage]
            row[0] += held
            row[1] += committed
            row[2] += posted
        told = TOLD.get(entry.subject_type)
        if told is None:
            return
        also = ALSO.get(entry.kind)
        facts = entry.facts
        if also is not None:
            subject, name = also
            own = {**facts, entry.subject_type + "_id": entry.subject_id}
            del own["state"]
            self._fold(subject, facts[name], own)
        self._fold(entry.subject_type, entry.subject_id, facts)
        if payload is not None and told.payload:
            self._rows[entry.subject_type][entry.subject_id].update(_columns(told, payload))

    def compare(self, source: Source) -> None:
        """Compare with the tables of `source`.

        Raises BadRow for the first row that is not what the log says.
        """
        for subject, told in TOLD.items():
            self._compare_table(source, told, self._rows[subject])
        self._compare_usage(source)

    def _fold(self, subject: str, key: str, facts: Facts) -> None:
        rows = self._rows[subject]
        row = rows.get(key)
        if row is None:
            rows[key] = dict(facts)
        else:
            row.update(facts)

    def _compare_table(self, source: Source, told: Told, said: dict[str, Facts]) -> None:
        met = 0
        for row in source.rows(self._account, told.table):
            key = ":".join(str(row[column]) for column in told.key)
            facts = said.get(key)
            if facts is None:
                raise BadRow(told.table, key, "the log never spoke of it")
            for column, says in facts.items():
                if column in row and not _equal(row[column], says):
                    raise BadRow(told.table, key, f"{column} is {row[column]!r}, the log says {says!r}")
            met += 1
        if met != len(said):
            keys = {":".join(str(row[c]) for c in told.key) for row in source.rows(self._account, told.table)}
            raise BadRow(told.table, min(said.keys() - keys), "it is missing, the log speaks of it")

    def _compare_usage(self, source: Source) -> None:
        parts = _parts(source, self._account)
        left = {usage for usage, amounts in self._usage.items() if any(amounts)}
        left |= {usage for usage, amounts in parts.items() if any(amounts)}
        for row in source.rows(self._account, "cap_usage"):
            usage = f"{row['meter']}@{row['window_start_us']}"
            found = [row["held"], row["committed"], row["posted"]]
            left.discard(usage)
            if found != self._usage[usage]:
                wrong = f"held, committed and posted are {found}, the log moved {self._usage[usage]}"
                raise BadRow("cap_usage", usage, wrong)
            if found != parts[usage] and not usage.startswith(OUTCOMES):
                wrong = f"held, committed and posted are {found}, their parts add up to {parts[usage]}"
                raise BadRow("cap_usage", usage, wrong)
        if left:
            raise BadRow("cap_usage", min(left), "it is missing, but moves or reservations are on it")


def _parts(source: Source, account: str) -> defaultdict[str, list[int]]:
    """Add up what reservations and adjustments make of each usage."""
    parts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in source.rows(account, "reservations"):
        total = parts[f"{row['meter']}@{row['window_start_us']}"]
        amount, posted = _int(row["amount"]), _int(row["posted"])
        if row["state"] == "held":
            total[0] += amount
        elif row["state"] == "committed":
            total[1] += amount - posted
        total[2] += posted
    for row in source.rows(account, "adjustments"):
        for meter, start, *amounts in json.loads(str(row["moves"])):
            total = parts[f"{meter}@{start}"]
            for place, amount in enumerate(amounts):
                total[place] += amount
    return parts


def _columns(told: Told, payload: bytes) -> Facts:
    """Return what a payload says of columns."""
    said = _PAYLOAD.decode(payload)
    return {column: msgspec.json.decode(said[name]) for name, column in told.payload.items() if name in said}


def _equal(stored: object, says: object) -> bool:
    """Compare a column with a fact; an empty text or NULL is what the log writes as empty."""
    return stored == says or (not stored and says == "")


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"an amount is an integer, not {value!r}")
    return value


def _moves(entry: Entry) -> list[tuple[str, int, int, int]]:
    return [(move.usage, move.held, move.committed, move.posted) for move in entry.moves]
