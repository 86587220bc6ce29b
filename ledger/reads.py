"""Queries for people and tools: pages by key, on readers that never wait for the writer.

A page's key is the place of its last row, so the thousandth page costs what the first did; nothing counts
tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select

from ledger import schema as s
from ledger import schema_house as h
from ledger import schema_log as g
from ledger import statements as sql
from ledger.audit.entry import Entry, read_entry
from ledger.engines.tx import Tx
from ledger.house_rows import run_record
from ledger.records import (
    ApprovalRecord,
    AttemptRecord,
    CallRecord,
    Page,
    ReviewKind,
    ReviewRecord,
    ReviewState,
    RunRecord,
    VerdictRecord,
)
from ledger.rows import (
    ApprovalRow,
    AttemptRow,
    CallRow,
    VerdictRow,
    approval_record,
    attempt_record,
    call_record,
    verdict_record,
)
from ledger.times import from_us, to_us
from policy.errors import InvalidArguments, RecordMissing

T = TypeVar("T")

LONGEST_PAGE: Final = 200


class CallFilter(Struct, frozen=True, kw_only=True):
    """Which calls a page shows; empty fields let everything through."""

    project: str | None = None
    run_id: str | None = None
    agent: str | None = None
    states: tuple[str, ...] = ()
    tool: str | None = None
    payee: str | None = None
    settled_after: datetime | None = None  # "Decided or settled since I last looked."


class TimelineEntry(Struct, frozen=True):
    """One audit entry of a call or its request, with its payload unless it was erased."""

    seq: int
    at: datetime
    kind: str
    actor: str
    facts: dict[str, Any]
    payload: dict[str, Any] | None


class Timeline(Struct, frozen=True, kw_only=True):
    """Everything that is known of one call, oldest first."""

    call: CallRecord
    attempts: tuple[AttemptRecord, ...]
    requests: tuple[ApprovalRecord, ...]
    verdicts: tuple[VerdictRecord, ...]
    entries: tuple[TimelineEntry, ...]


def call(tx: Tx, account: str, call_id: str) -> CallRecord:
    """Return one call. Raises RecordMissing."""
    rows = tx.listed(sql.CALLS, (call_id,), account=account)
    if not rows:
        raise RecordMissing(f"there is no call {call_id!r}")
    return call_record(CallRow(*rows[0]))


def calls(tx: Tx, account: str, wanted: CallFilter, after: str | None, limit: int) -> Page[CallRecord]:
    """Return calls, newest first."""
    c = s.tool_calls.c
    asked = select(s.tool_calls).where(c.account_id == account, *_conditions(wanted))
    if after is not None:
        asked = asked.where(c.ordinal < _number(after))
    rows = [CallRow(*row) for row in _page(tx, asked.order_by(c.ordinal.desc()), limit)]
    return page(
        [call_record(row) for row in rows[:limit]],
        str(rows[limit - 1].ordinal) if len(rows) > limit else None,
    )


def _conditions(wanted: CallFilter) -> list[ColumnElement[bool]]:
    c = s.tool_calls.c
    out: list[ColumnElement[bool]] = [
        c[name] == value
        for name in ("project", "run_id", "agent", "tool", "payee")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.states:
        out.append(c.state.in_(wanted.states))
    if wanted.settled_after is not None:
        out.append(c.settled_at_us > to_us(wanted.settled_after))
    return out


def stored_call(tx: Tx, account: str, agent: str, tool: str, key: str) -> tuple[CallRecord, str] | None:
    """Return the call that a key already made, with its fingerprint (M24)."""
    k = s.idempotency.c
    row = tx.connection.execute(
        select(k.call_id, k.fingerprint).where(
            k.account_id == account, k.agent == agent, k.tool == tool, k.key == key
        )
    ).first()
    return None if row is None else (call(tx, account, row[0]), row[1])


def timeline(tx: Tx, account: str, call_id: str) -> Timeline:
    """Return everything about one call. Raises RecordMissing."""
    found = call(tx, account, call_id)
    requests = [ApprovalRow(*row) for row in _of_call(tx, s.approvals, account, call_id, "created_at_us")]
    subjects = [("call", call_id), *(("approval", each.approval_id) for each in requests)]
    entries = [entry for kind, subject in subjects for entry in subject_entries(tx, account, kind, subject)]
    return Timeline(
        call=found,
        attempts=tuple(
            attempt_record(AttemptRow(*row)) for row in _of_call(tx, s.attempts, account, call_id, "number")
        ),
        requests=tuple(approval_record(each) for each in requests),
        verdicts=verdicts(tx, account, call_id),
        entries=tuple(sorted(entries, key=lambda entry: entry.seq)),
    )


def _of_call(tx: Tx, table: Table, account: str, call_id: str, order: str) -> Sequence[Any]:
    asked = select(table).where(table.c.account_id == account, table.c.call_id == call_id)
    return tx.connection.execute(asked.order_by(table.c[order])).all()


def verdicts(tx: Tx, account: str, call_id: str) -> tuple[VerdictRecord, ...]:
    """Return every answer and comment on a call's requests, oldest first."""
    return tuple(
        verdict_record(VerdictRow(*row)) for row in _of_call(tx, s.verdicts, account, call_id, "at_us")
    )


# --- approvals -------------------------------------------------------------------------------------------


def approval(tx: Tx, account: str, approval_id: str) -> ApprovalRecord:
    """Return one request. Raises RecordMissing."""
    a = s.approvals.c
    row = tx.connection.execute(
        select(s.approvals).where(a.account_id == account, a.approval_id == approval_id)
    ).first()
    if row is None:
        raise RecordMissing(f"there is no approval request {approval_id!r}")
    return approval_record(ApprovalRow(*row))


def queue(tx: Tx, account: str, after: str | None, limit: int) -> Page[tuple[ApprovalRecord, CallRecord]]:
    """Return pending requests with their calls, oldest deadline first."""
    a, c = s.approvals.c, s.tool_calls.c
    joined = s.approvals.join(s.tool_calls, and_(c.account_id == a.account_id, c.call_id == a.call_id))
    asked = select(s.approvals, s.tool_calls).select_from(joined)
    asked = asked.where(a.account_id == account, a.state == "pending")
    if after is not None:
        at, _, last = after.partition("~")
        due = _number(at)
        asked = asked.where(or_(a.expires_at_us > due, and_(a.expires_at_us == due, a.approval_id > last)))
    rows = _page(tx, asked.order_by(a.expires_at_us, a.approval_id), limit)
    width = len(s.approvals.columns)
    pairs = [(ApprovalRow(*row[:width]), CallRow(*row[width:])) for row in rows]
    key = None
    if len(pairs) > limit:
        last_row = pairs[limit - 1][0]
        key = f"{last_row.expires_at_us}~{last_row.approval_id}"
    return page([(approval_record(one), call_record(two)) for one, two in pairs[:limit]], key)


def approvals(
    tx: Tx, account: str, states: tuple[str, ...], after: str | None, limit: int
) -> Page[ApprovalRecord]:
    """Return requests, newest first."""
    a = s.approvals.c
    asked = select(s.approvals).where(a.account_id == account)
    if states:
        asked = asked.where(a.state.in_(states))
    if after is not None:
        asked = asked.where(a.approval_id < after)
    rows = [ApprovalRow(*row) for row in _page(tx, asked.order_by(a.approval_id.desc()), limit)]
    return page(
        [approval_record(row) for row in rows[:limit]],
        rows[limit - 1].approval_id if len(rows) > limit else None,
    )


# --- runs and reviews ------------------------------------------------------------------------------------


def runs(
    tx: Tx, account: str, *, project: str | None, state: str | None, after: str | None, limit: int
) -> Page[RunRecord]:
    """Return runs, newest first."""
    r = h.runs.c
    asked = select(h.runs).where(r.account_id == account)
    if project is not None:
        asked = asked.where(r.project == project)
    if state is not None:
        asked = asked.where(r.state == state)
    if after is not None:
        asked = asked.where(r.run_id < after)
    rows = [run_record(tuple(row)) for row in _page(tx, asked.order_by(r.run_id.desc()), limit)]
    return page(rows[:limit], rows[limit - 1].run_id if len(rows) > limit else None)


def review_record(row: Sequence[Any]) -> ReviewRecord:
    """Return an owner's judgement from its whole row."""
    (
        account,
        review_id,
        kind,
        subject_type,
        subject_id,
        run_id,
        agent,
        _,
        state,
        body,
        words,
        by,
        answered,
        at,
    ) = row
    return ReviewRecord(
        review_id=review_id,
        account_id=account,
        kind=ReviewKind(kind),
        subject_type=subject_type,
        subject_id=subject_id,
        run_id=run_id,
        agent=agent,
        state=ReviewState(state),
        submitted_at=from_us(at),
        body=body,
        words=words,
        answered_by=by,
        answered_at=from_us(answered),
    )


def review(tx: Tx, account: str, review_id: str) -> ReviewRecord:
    """Return one review. Raises RecordMissing."""
    r = s.reviews.c
    row = tx.connection.execute(
        select(s.reviews).where(r.account_id == account, r.review_id == review_id)
    ).first()
    if row is None:
        raise RecordMissing(f"there is no review {review_id!r}")
    return review_record(row)


def reviews(
    tx: Tx,
    account: str,
    *,
    state: str | None,
    kind: str | None,
    run_id: str | None,
    subject_id: str | None,
    after: str | None,
    limit: int,
) -> Page[ReviewRecord]:
    """Return reviews, newest first."""
    r = s.reviews.c
    asked = select(s.reviews).where(r.account_id == account)
    given = {"state": state, "kind": kind, "run_id": run_id, "subject_id": subject_id}
    for name, value in given.items():
        if value is not None:
            asked = asked.where(r[name] == value)
    if after is not None:
        asked = asked.where(r.review_id < after)
    rows = [review_record(row) for row in _page(tx, asked.order_by(r.review_id.desc()), limit)]
    return page(rows[:limit], rows[limit - 1].review_id if len(rows) > limit else None)


# --- the log ---------------------------------------------------------------------------------------------


def entries(tx: Tx, account: str, after: str | None, limit: int) -> Page[TimelineEntry]:
    """Return audit entries, newest first."""
    e = g.audit_entry.c
    asked = _entries(account)
    if after is not None:
        asked = asked.where(e.seq < _number(after))
    found = [_entry(row) for row in _page(tx, asked.order_by(e.seq.desc()), limit)]
    return page(found[:limit], str(found[limit - 1].seq) if len(found) > limit else None)


def subject_entries(tx: Tx, account: str, subject_type: str, subject_id: str) -> list[TimelineEntry]:
    """Return the audit entries about one subject, oldest first."""
    e = g.audit_entry.c
    asked = _entries(account).where(e.subject_type == subject_type, e.subject_id == subject_id)
    return [_entry(row) for row in tx.connection.execute(asked.order_by(e.seq))]


def _entries(account: str) -> Select[Any]:
    e, p = g.audit_entry.c, g.audit_payload.c
    joined = g.audit_entry.outerjoin(g.audit_payload, and_(p.account_id == e.account_id, p.seq == e.seq))
    return select(e.body, p.body).select_from(joined).where(e.account_id == account)


def _entry(row: Sequence[Any]) -> TimelineEntry:
    entry: Entry = read_entry(row[0])
    payload = None if row[1] is None else msgspec.json.decode(row[1], type=dict[str, Any])
    return TimelineEntry(entry.seq, from_us(entry.at_us), entry.kind, entry.actor, entry.facts, payload)


# --- smaller tables --------------------------------------------------------------------------------------


def listing(tx: Tx, table: Table, account: str, order: str, **equal: object) -> tuple[dict[str, Any], ...]:
    """Return the newest rows of a small table as mappings, without the account."""
    asked = select(table).where(table.c.account_id == account)
    for name, value in equal.items():
        if value is not None:
            asked = asked.where(table.c[name] == value)
    rows = tx.connection.execute(asked.order_by(table.c[order].desc()).limit(LONGEST_PAGE)).mappings()
    return tuple({name: value for name, value in row.items() if name != "account_id"} for row in rows)


def open_counts(tx: Tx, account: str) -> dict[str, int]:
    """Return how many calls are open in each state; the partial index makes this cost what is open."""
    c = s.tool_calls.c
    asked = (
        select(c.state, func.count())
        .where(c.account_id == account, c.settled_at_us.is_(None), c.state.in_(s.OPEN_STATES))
        .group_by(c.state)
    )
    return {row[0]: row[1] for row in tx.connection.execute(asked)}


def _page(tx: Tx, asked: Select[Any], limit: int) -> Sequence[Any]:
    if not 1 <= limit <= LONGEST_PAGE:
        raise InvalidArguments(f"a page has 1 to {LONGEST_PAGE} rows, {limit} were asked for", field="limit")
    return tx.connection.execute(asked.limit(limit + 1)).all()


def page(items: Sequence[T], after: str | None) -> Page[T]:
    """Return a page."""
    return Page(tuple(items), after)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArguments(
            f"{text!r} is no key of a page; take `after` as it was given", field="after"
        ) from None
