"""What entries say of rows that are not their subject's: attempts, verdicts, and who made whom.

A claim makes an attempt, an answer makes a verdict and ends its giver's earlier one. None of these rows has
an entry of its own, and all of them decide: an attempt that was sent forbids another (M1), a verdict that was
taken back counts no more (M27).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from ledger.audit.bad_row import BadRow
from ledger.audit.entry import Entry

Facts = dict[str, Any]
Said = Iterator[tuple[str, str, Facts]]
"""Subject, key and columns of each row that an entry speaks of beside its own."""

# What the columns of these rows may be told by, so that an export holds them.
COLUMNS: Final = {
    "attempt": (
        *("call_id", "number", "purpose", "lease_token", "lease_until_us", "started_at_us", "holder"),
        *("instance", "maybe_sent"),
    ),
    "verdict": ("call_id", "approval_id", "operator", "verdict", "confirmed_by", "at_us", "revoked_at_us",
                "op_hash", "comment"),
    "approval": ("created_at_us", "approved_at_us"),
    "posture": ("at_us",),
    "agent": ("made_by", "created_at_us"),
    "enforcer": ("name", "made_by", "created_at_us"),
    "operator": ("name", "made_by", "created_at_us"),
}  # fmt: skip
_SPEAKS: Final = msgspec.json.Decoder(dict[str, Any])


class Implied:
    """Folds entries into what they imply, one account's log in order."""

    def __init__(self) -> None:
        self._calls: dict[str, str] = {}  # By approval request.
        self._standing: dict[tuple[str, str], list[str]] = defaultdict(list)  # Of call and person: approvals.
        self._by_kind: dict[str, Callable[[Entry, bytes | None], Said]] = {
            "call.claimed": _claimed,
            "call.requeued": _unsent,
            "call.unknown": _unsent,
            "call.settled": _unsent,
            "attempt.ended": _unsent,
            "approval.requested": self._requested,
            "verdict.given": self._given,
            "verdict.revoked": self._revoked,
            "posture.moved": _moved,
            "agent.changed": _made,
            "enforcer.changed": _made,
            "operator.changed": _made,
        }

    def of(self, entry: Entry, payload: bytes | None) -> Said:
        """Yield what an entry implies; `payload` is None where it has none or was erased."""
        speak = self._by_kind.get(entry.kind)
        return iter(()) if speak is None else speak(entry, payload)

    def _requested(self, entry: Entry, _payload: bytes | None) -> Said:
        self._calls[entry.subject_id] = entry.facts["call_id"]
        yield "approval", entry.subject_id, {"created_at_us": entry.at_us, "approved_at_us": ""}

    def _given(self, entry: Entry, payload: bytes | None) -> Said:
        facts, call = entry.facts, self._calls.get(entry.subject_id, "")
        said = _said(entry, payload)
        yield "verdict", facts["verdict_id"], {
            "approval_id": entry.subject_id, "call_id": call, "operator": facts["operator"],
            "verdict": facts["verdict"], "confirmed_by": facts.get("confirmed_by", ""), "at_us": entry.at_us,
            "revoked_at_us": "", "op_hash": said.get("op_hash", ""), "comment": said.get("comment", ""),
        }  # fmt: skip
        if facts["verdict"] == "comment":
            return
        yield from self._end(call, facts["operator"], entry.at_us)
        if facts["verdict"] == "approve":
            self._standing[call, facts["operator"]].append(facts["verdict_id"])
        if facts["state"] == "approved":
            yield "approval", entry.subject_id, {"approved_at_us": entry.at_us}

    def _revoked(self, entry: Entry, _payload: bytes | None) -> Said:
        return self._end(self._calls.get(entry.subject_id, ""), entry.facts["operator"], entry.at_us)

    def _end(self, call: str, operator: str, at_us: int) -> Said:
        """End what a person said of a call before: the last word is the one that counts."""
        for verdict in self._standing.pop((call, operator), ()):
            yield "verdict", verdict, {"revoked_at_us": at_us}


def _said(entry: Entry, payload: bytes | None) -> Facts:
    if payload is None:
        return {}
    try:
        return _SPEAKS.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRow("audit_payload", f"seq {entry.seq}", "it is no object of JSON") from None


def _claimed(entry: Entry, _payload: bytes | None) -> Said:
    facts = entry.facts
    yield "attempt", f"{entry.subject_id}:{facts['attempts']}", {
        "purpose": facts["purpose"], "lease_token": facts["lease_token"],
        "lease_until_us": facts["lease_until_us"], "started_at_us": entry.at_us,
        "holder": entry.actor.removeprefix("system:"), "instance": facts.get("instance", ""),
        "maybe_sent": int(facts["purpose"] != "lookup"),
    }  # fmt: skip


def _unsent(entry: Entry, _payload: bytes | None) -> Said:
    number = entry.facts.get("unsent")
    if number is not None:
        yield "attempt", f"{entry.subject_id}:{number}", {"maybe_sent": 0}


def _moved(entry: Entry, _payload: bytes | None) -> Said:
    yield "posture", entry.subject_id, {"at_us": entry.at_us}


def _made(entry: Entry, payload: bytes | None) -> Said:
    said = _said(entry, payload)
    if entry.facts["what"] != "added" or not said:
        return
    facts: Facts = {"created_at_us": entry.at_us, "made_by": said.get("made_by", "")}
    if "name" in said:
        facts["name"] = said["name"]
    yield entry.subject_type, entry.subject_id, facts
