"""Replay a log: what its entries say must be what the tables hold.

Folding the facts of a subject, later over earlier, gives the columns of its row that the log speaks of:
each of them must be equal, no row may exist that the log never spoke of, and none may be missing. The
moves on entries give each cap's usage; and usage must also be the sum of the reservations and adjustments
that it is made of.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger.audit import implied
from ledger.audit.bad_row import BadRow
from ledger.audit.catalogue import CATALOGUE
from ledger.audit.entry import Entry
from ledger.audit.source import Source
from ledger.audit.usage import Amounts, compare_usage

Facts = dict[str, Any]


class Told(Struct, frozen=True):
    """A table that the log tells, by the subject of its entries.

    `key` are the columns that the subject's id stands for, joined by colons. What is said of a `passing`
    column holds until the next entry that ends an attempt or says a state.
    """

    table: str
    key: tuple[str, ...]
    passing: tuple[str, ...] = ()


TOLD: Final[Mapping[str, Told]] = {
    "call": Told("tool_calls", ("call_id",), ("code", "held_reason", "lease_until_us", "run_by_us")),
    "approval": Told("approvals", ("approval_id",)),
    "verdict": Told("verdicts", ("verdict_id",)),
    "attempt": Told("attempts", ("call_id", "number")),
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
    "event": Told("inbox", ("event_id",)),
    "order": Told("orders", ("order_id",)),
    "revenue": Told("revenue_events", ("revenue_id",)),
    "purchase": Told("purchases", ("purchase_id",)),
    "question": Told("authorization_requests", ("event_id",)),
}
# What payloads say, as long as they are not erased, and the columns that repeat it: by kind.
PAYLOADS: Final[Mapping[str, Mapping[str, str]]] = {
    "call.admitted": {
        "arguments": "args",
        "op_hash": "op_hash",
        "fingerprint": "fingerprint",
        "effect": "effect",
        "records": "records",
        "decision": "decision",
        "payee": "payee",
        "reason": "reason",
        "result": "result",
    },
    "call.returned": {"decision": "decision"},
    "call.denied": {"decision": "decision"},
    "call.settled": {"result": "result"},
    "approval.requested": {"op_hash": "op_hash"},
    "review.opened": {"content": "body"},
    "review.answered": {"comment": "words"},
    "purchase.opened": {"payee": "payee", "reference": "instrument_ref"},
    "order.booked": {"buyer": "buyer", "reference": "session_ref", "payment": "payment_ref"},
    "posture.moved": {"reason": "because"},
    "agent.changed": {"name": "name", "kits": "kits"},
}
# What an erasure empties beside the payload: what was asked for, of whom, and the hashes over it (M35).
EMPTIED: Final[Mapping[str, tuple[str, ...]]] = {
    "call.admitted": ("args", "op_hash", "fingerprint", "payee", "reason"),
    "call.settled": ("result",),
    "approval.requested": ("op_hash",),
    "review.opened": ("body",),
    "review.answered": ("words",),
    "purchase.opened": ("payee",),
    "order.booked": ("buyer",),
}
_PAYLOAD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def told_columns(subject: str) -> frozenset[str]:
    """Return the columns of a subject's table that `verify` looks at."""
    told = TOLD[subject]
    kinds = [cls for cls in CATALOGUE.values() if subject == cls.SUBJECT]
    said = {name for cls in kinds for name in cls.__struct_fields__}
    said |= set(implied.COLUMNS.get(subject, ()))
    said |= {column for cls in kinds for column in PAYLOADS.get(cls.KIND, {}).values()}
    moves = {"moves"} if told.table == "adjustments" else set()
    return frozenset({*told.key, *said, *moves})


class Replay:
    """What one account's log has said so far, and the comparison with the tables at its end."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._rows: dict[str, dict[str, Facts]] = {subject: {} for subject in TOLD}
        self._usage: Amounts = defaultdict(lambda: [0, 0, 0])
        self._implied = implied.Implied()

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
        facts = entry.facts
        if told.passing and ("state" in facts or entry.kind == "attempt.ended"):
            row_so_far = self._rows[entry.subject_type].get(entry.subject_id, {})
            for column in told.passing:
                row_so_far.pop(column, None)
        for subject, key, columns_told in self._implied.of(entry, payload):
            self._fold(subject, key, columns_told)
        self._fold(entry.subject_type, entry.subject_id, facts)
        columns = PAYLOADS.get(entry.kind)
        if columns is not None:
            self._fold(entry.subject_type, entry.subject_id, _said(entry, payload, columns))

    def compare(self, source: Source) -> None:
        """Compare with the tables of `source`.

        Raises BadRow for the first row that is not what the log says.
        """
        for subject, told in TOLD.items():
            self._compare_table(source, told, self._rows[subject])
        states = {call: str(facts.get("state")) for call, facts in self._rows["call"].items()}
        compare_usage(source, self._account, self._usage, states)

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


def _said(entry: Entry, payload: bytes | None, columns: Mapping[str, str]) -> Facts:
    """Return what an entry's payload says of columns; of an erased one, that they are empty."""
    if payload is None:
        return dict.fromkeys(EMPTIED.get(entry.kind, ()) if entry.payload_sha256 is not None else (), "")
    try:
        said = _PAYLOAD.decode(payload)
        return {column: msgspec.json.decode(said[name]) for name, column in columns.items() if name in said}
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRow("audit_payload", f"seq {entry.seq}", "it is no object of JSON") from None


def _equal(stored: object, says: object) -> bool:
    """Compare a column with what was said of it; the log writes NULL and empty bytes as an empty text."""
    if isinstance(says, list):
        return stored == msgspec.json.encode(says).decode()
    if isinstance(stored, bytes):
        return stored == str(says).encode()
    return stored == says or (stored is None and says == "")


def _moves(entry: Entry) -> list[tuple[str, int, int, int]]:
    return [(move.usage, move.held, move.committed, move.posted) for move in entry.moves]
