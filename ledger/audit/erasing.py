"""Forgetting what a call said, while the log still proves that it happened (M35).

Salts and payloads of all entries about the call and its requests are deleted, and so is what the tables
repeat of them: arguments, payee, reason, result, comments, and the hashes over them, which could be guessed
at. Money, states, times and ids stay. One entry names what is gone, with its leaf, by whom and why.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace
from sqlalchemy import Row, select, update

from ledger import schema as s
from ledger import schema_log as g
from ledger.audit.house_kinds import PayloadErased
from ledger.engines.tx import Tx
from ledger.rows import ENCODER
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

    The caller has checked that `by` is an owner. Raises RecordMissing for an unknown call, RecordChanged for
    one that may still run: its arguments are what its approver answers for.
    """
    calls = s.tool_calls
    mine = (calls.c.account_id == world.account_id, calls.c.call_id == call_id)
    call = tx.connection.execute(select(calls.c.state, calls.c.effect).where(*mine)).first()
    if call is None:
        raise RecordMissing(f"there is no call {call_id}")
    if call.state in _OPEN:
        raise RecordChanged(f"the call is {call.state}; only what has ended can be erased")
    requests = select(s.approvals.c.approval_id).where(
        s.approvals.c.account_id == world.account_id, s.approvals.c.call_id == call_id
    )
    subjects = [("call", call_id), *(("approval", each) for each in tx.connection.scalars(requests))]
    gone = [row for kind, subject in subjects for row in _payloads(tx, world.account_id, kind, subject)]
    if gone:
        _empty_payloads(tx, world, gone, call_id, because=because, by=by, at_us=to_us(at))
        _empty_tables(tx, world.account_id, call_id, call.effect)
    return len(gone)


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
    call_id: str,
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
    world.log(fact, call_id, by, at_us, {"reason": because})
    payload = g.audit_payload
    tx.connection.execute(
        update(payload)
        .where(payload.c.account_id == world.account_id, payload.c.seq.in_(fact.seqs))
        .values(salt=None, body=None, erased_by=seq)
    )


def _empty_tables(tx: Tx, account: str, call_id: str, effect: bytes) -> None:
    """Empty every column that repeats a payload, and the hashes over it; what else an effect says stays."""
    calls, keys = s.tool_calls, s.idempotency
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
