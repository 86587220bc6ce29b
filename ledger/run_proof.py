"""The story of a run, put together from the tables and the log: what its page shows and its proof exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import select

from ledger import schema as s
from ledger import schema_house as h
from ledger.audit.checkpoint import Checkpoint, parse_checkpoint
from ledger.audit.entry import read_entry
from ledger.audit.receipt import Extra, write_receipt
from ledger.audit.replay import PAYLOADS, TOLD, told_columns
from ledger.audit.run_proof import FORMAT, Part, RunProof, told_by
from ledger.audit.stored import StoredSource
from ledger.crm_reads import earned, spent
from ledger.engines.tx import Tx
from ledger.rare_rows import Found, one, some
from ledger.schema import METADATA
from ledger.schema_crm import leads, model_decisions, order_intakes, run_artifacts, submissions
from ledger.schema_revenue import (
    authorization_requests,
    checkouts,
    deals,
    inbox,
    orders,
    purchases,
    revenue_events,
)
from policy.errors import RecordMissing, Unavailable

MOST_CALLS: Final = 1_000  # Of one run; a run with more is read from the log itself.
# Columns whose content the payloads in the receipts show; repeated here they would only be long.
_LONG: Final = frozenset(column for columns in PAYLOADS.values() for column in columns.values())

Wanted = tuple[str, str, dict[str, Any]]  # Kind, id, and what people are shown beside what the log tells.


class RunStory(Struct, frozen=True, kw_only=True):
    """A run's records in the order of its story, and how far the log is signed."""

    run_id: str
    title: str
    state: str
    spent: list[str]
    earned: list[str]
    parts: list[Part]
    signed_size: int


def run_story(tx: Tx, account: str, run_id: str) -> RunStory:
    """Return everything that hangs on a run. Raises RecordMissing."""
    run = one(tx, h.runs, account, run_id=run_id)
    if run is None:
        raise RecordMissing(f"there is no run {run_id!r}")
    source = StoredSource(tx.connection)
    head = source.head(account)
    below = 0 if head is None else head.size
    parts = [
        _part(tx, source, account, wanted, below)
        for wanted in (*_sale(tx, account, run_id), _run(run), *_work(tx, account, run_id))
    ]
    return RunStory(
        run_id=run_id,
        title=run["title"],
        state=run["state"],
        spent=spent(tx, account, run_id),
        earned=earned(tx, account, run_id),
        parts=[part for part in parts if part.entries],
        signed_size=source.signed_size(account),
    )


def run_proof(tx: Tx, account: str, run_id: str, *, payloads: bool = True) -> RunProof:
    """Return the proof of a run, with a receipt of every entry it rests on.

    Raises RecordMissing, and Unavailable while the log is not signed as far as the story goes.
    """
    source, story = StoredSource(tx.connection), run_story(tx, account, run_id)
    signed = last_signed(source, account)
    entries = sorted({seq for part in story.parts for seq in part.entries})
    if signed is None or (entries and entries[-1] >= signed.size):
        raise Unavailable(f"the log is not signed yet as far as {run_id} goes; try again in a second")
    return RunProof(
        bursar_run_proof=FORMAT,
        origin=signed.origin,
        run_id=run_id,
        size=signed.size,
        earned=story.earned,
        spent=story.spent,
        # What people are shown beside the log is not proved, so a file for strangers leaves it out.
        parts=[msgspec.structs.replace(part, more={}) for part in story.parts],
        receipts=[receipt(source, account, seq, signed, payloads=payloads) for seq in entries],
    )


def last_signed(source: StoredSource, account: str) -> Checkpoint | None:
    """Return the last checkpoint, None before there is one."""
    notes = [row.note for row in source.checkpoints(account)]
    return parse_checkpoint(notes[-1]) if notes else None


def receipt(source: StoredSource, account: str, seq: int, signed: Checkpoint, *, payloads: bool) -> str:
    """Return the receipt of one entry under a checkpoint. Raises LookupError where there is no such entry."""
    extra = Extra(source.entry(account, seq))
    payload = source.payload(account, seq) if payloads else None
    if payload is not None:
        extra = Extra(extra.entry, payload.salt, payload.body)
    return write_receipt(extra, seq, signed, source.lookup(account))


def receipt_of(tx: Tx, account: str, seq: int) -> str:
    """Return the receipt of one entry. Raises RecordMissing, and Unavailable while it is not signed."""
    source = StoredSource(tx.connection)
    signed = last_signed(source, account)
    if signed is None or seq >= signed.size:
        raise Unavailable(f"entry {seq} is not signed yet; try again in a second")
    try:
        return receipt(source, account, seq, signed, payloads=True)
    except LookupError:
        raise RecordMissing(f"there is no entry {seq}") from None


# --- what belongs to a run -------------------------------------------------------------------------------


def _sale(tx: Tx, account: str, run_id: str) -> Iterator[Wanted]:
    """Yield what led to the run: event, order, revenue, deal, lead, and the call that sold."""
    order = one(tx, orders, account, run_id=run_id)
    if order is None:
        return
    revenue = some(tx, revenue_events, account, revenue_events.c.order_id == order["order_id"])
    # What was booked is the object as it was fetched; its events are those that speak of that object.
    about = {order["session_ref"], order["payment_ref"], *(row["source_ref"] for row in revenue)}
    for event in some(tx, inbox, account, inbox.c.object_ref.in_(about), order=(inbox.c.created_at_us,)):
        same = ("source", "deliveries")
        yield "event", event["event_id"], {name: event[name] for name in same}
    sold = ("session_ref", "payment_ref", "offer", "deal_id", "lead_id", "checkout_id", "run_id")
    yield "order", order["order_id"], {**{name: order[name] for name in sold}, "proof": _proof(order)}
    for row in revenue:
        more = {"source": row["source_ref"], "event_id": row["event_id"], "proof": _proof(row)}
        yield "revenue", row["revenue_id"], more
    yield from _deal(tx, account, order)


def _deal(tx: Tx, account: str, order: Found) -> Iterator[Wanted]:
    for deal in some(tx, deals, account, deals.c.deal_id == order["deal_id"]):
        yield "deal", deal["deal_id"], {name: deal[name] for name in ("stage", "lead_id", "agent", "offer")}
    for lead in some(tx, leads, account, leads.c.lead_id == order["lead_id"]):
        yield "lead", lead["lead_id"], {"origin": lead["origin"], "released": bool(lead["released"])}
        yield from _reviews(tx, account, s.reviews.c.subject_id == lead["lead_id"])
    for checkout in some(tx, checkouts, account, checkouts.c.checkout_id == order["checkout_id"]):
        same = ("deal_id", "session_ref", "call_id", "state")
        yield "checkout", checkout["checkout_id"], {name: checkout[name] for name in same}
        yield from _call(tx, account, checkout["call_id"], "sold it")


def _run(run: Found) -> Wanted:
    return "run", run["run_id"], {"title": run["title"], "order_id": run["order_id"]}


def _work(tx: Tx, account: str, run_id: str) -> Iterator[Wanted]:
    """Yield what was done in the run: its intake, calls, work under review, files and declared decisions."""
    intake = one(tx, order_intakes, account, run_id=run_id)
    if intake is not None:
        yield "intake", intake["intake_id"], {"order_id": intake["order_id"]}
    calls = s.tool_calls.c
    asked = select(calls.call_id).where(calls.account_id == account, calls.run_id == run_id)
    for call_id in tx.connection.scalars(asked.order_by(calls.ordinal).limit(MOST_CALLS)).all():
        yield from _call(tx, account, call_id, "in this run")
    for row in some(tx, submissions, account, submissions.c.run_id == run_id, order=(submissions.c.at_us,)):
        same = ("kind", "agent", "title", "review", "review_id")
        files = msgspec.json.decode(row["artifacts"])
        yield "submission", row["submission_id"], {**{name: row[name] for name in same}, "artifacts": files}
    yield from _reviews(tx, account, s.reviews.c.run_id == run_id)
    for row in some(tx, run_artifacts, account, run_artifacts.c.run_id == run_id):
        yield "artifact", row["sha256"], {name: row[name] for name in ("name", "media_type", "size")}
    decisions = model_decisions.c
    for row in some(tx, model_decisions, account, decisions.run_id == run_id, order=(decisions.at_us,)):
        same = ("agent", "model", "purpose", "summary", "refs")
        yield "model_decision", row["decision_id"], {name: row[name] for name in same}


def _call(tx: Tx, account: str, call_id: str, why: str) -> Iterator[Wanted]:
    """Yield a call, the requests it made of people, and what it bought."""
    for row in some(tx, s.tool_calls, account, s.tool_calls.c.call_id == call_id):
        proof = _proof(row) if row["proof_level"] else None
        more = {"payee": row["payee"], "proof": proof, "similar_to": row["similar_to"]}
        yield "call", call_id, {"belongs": why, **more}
    for request in some(tx, s.approvals, account, s.approvals.c.call_id == call_id):
        verdicts = some(tx, s.verdicts, account, s.verdicts.c.approval_id == request["approval_id"])
        said = [{name: each[name] for name in ("operator", "verdict", "op_hash")} for each in verdicts]
        yield "approval", request["approval_id"], {"call_id": call_id, "verdicts": said}
    for purchase in some(tx, purchases, account, purchases.c.call_id == call_id):
        same = ("call_id", "instrument", "instrument_ref", "payee", "last4", "refunded_minor")
        yield "purchase", purchase["purchase_id"], {name: purchase[name] for name in same}
        asked = authorization_requests.c.purchase_id == purchase["purchase_id"]
        more = {"purchase_id": purchase["purchase_id"]}
        yield from (
            ("question", each["event_id"], more) for each in some(tx, authorization_requests, account, asked)
        )


def _reviews(tx: Tx, account: str, condition: Any) -> Iterator[Wanted]:  # noqa: ANN401 -- SQLAlchemy's expression
    for row in some(tx, s.reviews, account, condition, order=(s.reviews.c.submitted_at_us,)):
        same = ("kind", "subject_type", "subject_id", "agent", "state", "operator")
        yield "review", row["review_id"], {name: row[name] for name in same}


def _proof(row: Found) -> dict[str, str]:
    provider = row.get("proof_provider") or row.get("provider") or ""
    return {"level": row["proof_level"], "by": row["proof_by"], "provider": provider}


# --- each with its entries -------------------------------------------------------------------------------


def _part(tx: Tx, source: StoredSource, account: str, wanted: Wanted, below: int) -> Part:
    kind, record_id, more = wanted
    entries = source.entries_about(account, record_id, below)
    said = told_by(kind, record_id, [read_entry(source.entry(account, seq)) for seq in entries])
    return Part(
        kind=kind,
        id=record_id,
        row={name: value for name, value in _row(tx, account, kind, record_id).items() if name in said},
        more=more,
        entries=entries,
    )


def _row(tx: Tx, account: str, kind: str, record_id: str) -> dict[str, int | str | None]:
    """Return the columns of a record that the log may tell; none where its table is a plugin's own."""
    told = TOLD.get(kind)
    if told is None:
        return {}
    table = METADATA.tables[told.table]
    columns = [name for name in sorted(told_columns(kind) - _LONG) if name in table.c]
    rows = some(tx, table, account, table.c[told.key[0]] == record_id)
    return {name: _plain(row[name]) for row in rows for name in columns}


def _plain(value: object) -> int | str | None:
    return value if isinstance(value, int | None) else str(value)
