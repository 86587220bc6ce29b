"""Forgetting what a call said, or who a lead is, while the log still proves what happened (M35).

Salts and payloads of all entries about it are deleted, and so is what the tables repeat of them: arguments,
payee, reason, result, comments, and the hashes over them, which could be guessed at. Money, states, times and
ids stay. One entry names what is gone, with its leaf, by whom and why.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Row, select, update

from ledger import schema as s
from ledger import schema_log as g
from ledger.audit import erasing_words
from ledger.audit.entry import read_entry
from ledger.audit.house_kinds import PayloadErased
from ledger.engines.tx import Tx
from ledger.rows import ENCODER
from ledger.schema_crm import leads
from ledger.times import to_us
from ledger.world import World
from policy.errors import RecordChanged, RecordMissing
from policy.model import Effect
from policy.money import dec_hook

Gone = list[Row[tuple[int, bytes]]]
"""Seq and leaf of entries whose payloads go."""

_OPEN: Final = frozenset({"awaiting_approval", "queued", "executing", "unknown"})
_EFFECT: Final = msgspec.json.Decoder(Effect, dec_hook=dec_hook)


def erase_call(tx: Tx, world: World, call_id: str, *, because: str, by: str, at: datetime) -> int:
    """Erase what a settled call said and return how many payloads are gone; 0 where there were none left.

    With it goes what was said about it: reviews of what it submitted, their files, its purchase's payee. The
    caller has checked that `by` is an owner. Raises RecordMissing for an unknown call, RecordChanged for one
    that may still run, is being judged, or whose purchase is open.
    """
    subjects = _of_call(tx, world.account_id, call_id)
    return _erase(tx, world, call_id, subjects, [call_id], because=because, by=by, at=at)


def erase_lead(tx: Tx, world: World, lead_id: str, *, because: str, by: str, at: datetime) -> int:
    """Erase who a lead is and all that was written to and of it, and return how many payloads are gone.

    The calls that wrote it are erased with it; its deals and orders stay, without a name. Raises
    RecordMissing, RecordChanged as `erase_call` does.
    """
    account = world.account_id
    mine = (leads.c.account_id == account, leads.c.lead_id == lead_id)
    if tx.connection.scalar(select(leads.c.lead_id).where(*mine)) is None:
        raise RecordMissing(f"there is no lead {lead_id}")
    subjects = erasing_words.of_lead(tx, account, lead_id)
    calls = _writers(tx, account, erasing_words.records_of(tx, account, lead_id))
    for call_id in calls:
        subjects += _of_call(tx, account, call_id)
    erased = _erase(tx, world, lead_id, subjects, calls, because=because, by=by, at=at)
    erasing_words.empty_lead(tx, account, lead_id)
    return erased


def _erase(
    tx: Tx,
    world: World,
    erasure: str,
    subjects: erasing_words.Subjects,
    calls: list[str],
    *,
    because: str,
    by: str,
    at: datetime,
) -> int:
    account = world.account_id
    found = [
        row for kind, subject in dict.fromkeys(subjects) for row in _payloads(tx, account, kind, subject)
    ]
    if found:
        _empty_payloads(tx, world, found, erasure, because=because, by=by, at_us=to_us(at))
        for call_id in calls:
            _empty_tables(tx, account, call_id)
            erasing_words.empty_call(tx, account, call_id)
    return len(found)


def _of_call(tx: Tx, account: str, call_id: str) -> erasing_words.Subjects:
    calls = s.tool_calls
    mine = (calls.c.account_id == account, calls.c.call_id == call_id)
    state = tx.connection.scalar(select(calls.c.state).where(*mine))
    if state is None:
        raise RecordMissing(f"there is no call {call_id}")
    if state in _OPEN:
        raise RecordChanged(f"the call is {state}; only what has ended can be erased")
    return [("call", call_id), *erasing_words.of_call(tx, account, call_id)]


def _writers(tx: Tx, account: str, records: list[str]) -> list[str]:
    """Return the calls that made or changed records, as the log has it."""
    entry = g.audit_entry
    query = select(entry.c.body).where(
        entry.c.account_id == account, entry.c.subject_type == "record", entry.c.subject_id.in_(records)
    )
    said = (
        read_entry(body).facts.get("call_id") for body in tx.connection.scalars(query.order_by(entry.c.seq))
    )
    return list(dict.fromkeys(call_id for call_id in said if call_id is not None))


def _payloads(tx: Tx, account: str, kind: str, subject: str) -> Gone:
    """Return seq and leaf of every entry about a subject that still has its payload."""
    entry, payload = g.audit_entry, g.audit_payload
    query = (
        select(entry.c.seq, entry.c.leaf)
        .join(payload, (payload.c.account_id == entry.c.account_id) & (payload.c.seq == entry.c.seq))
        .where(entry.c.account_id == account, entry.c.subject_type == kind, entry.c.subject_id == subject)
        .where(payload.c.body.is_not(None))
    )
    return list(tx.connection.execute(query))


def _empty_payloads(
    tx: Tx,
    world: World,
    gone: list[Row[tuple[int, bytes]]],
    erasure: str,
    *,
    because: str,
    by: str,
    at_us: int,
) -> None:
    gone = sorted(gone, key=lambda row: row.seq)
    head = select(g.log_head.c.size).where(g.log_head.c.account_id == world.account_id)
    # Where the entry will stand: the account is locked, and nothing but this World's drafts comes before it.
    seq = (tx.connection.scalar(head) or 0) + len(world.drafts)
    fact = PayloadErased(seqs=tuple(row.seq for row in gone), leaves=tuple(row.leaf.hex() for row in gone))
    world.log(fact, erasure, by, at_us, {"reason": because})
    payload = g.audit_payload
    tx.connection.execute(
        update(payload)
        .where(payload.c.account_id == world.account_id, payload.c.seq.in_(fact.seqs))
        .values(salt=None, body=None, erased_by=seq)
    )


def _empty_tables(tx: Tx, account: str, call_id: str) -> None:
    """Empty every column that repeats a payload, and the hashes over it; what else an effect says stays."""
    calls, keys = s.tool_calls, s.idempotency
    mine = (calls.c.account_id == account, calls.c.call_id == call_id)
    effect = tx.connection.scalar(select(calls.c.effect).where(*mine)) or b""
    bare = replace(_EFFECT.decode(effect), payee=None, summary="", undo="")
    emptied = {"args": b"", "op_hash": "", "fingerprint": "", "payee": None, "reason": "", "result": b""}
    tx.connection.execute(
        update(calls)
        .where(calls.c.account_id == account, calls.c.call_id == call_id)
        .values(**emptied, records="[]", message="", effect=ENCODER.encode(bare))
    )
    tx.connection.execute(
        update(keys).where(keys.c.account_id == account, keys.c.call_id == call_id).values(fingerprint="")
    )
    for table in (s.approvals, s.verdicts):
        mine = (table.c.account_id == account, table.c.call_id == call_id)
        words = {"op_hash": ""} if table is s.approvals else {"op_hash": "", "comment": ""}
        tx.connection.execute(update(table).where(*mine).values(**words))
