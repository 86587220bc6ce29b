"""Where a call's and a lead's words lie beside the call itself: reviews, work, purchases, names (M35).

What goes is what somebody wrote or who somebody is. What stays is that it happened: states, money, times,
ids, the names of files, and what a provider's own events say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Table, delete, select, update

from ledger import schema as s
from ledger import schema_crm as c
from ledger import schema_revenue as r
from ledger.engines.tx import Tx
from policy.errors import RecordChanged

Subjects = list[tuple[str, str]]
"""Kinds of subjects of audit entries, with their ids."""

_MOVING: Final = ("armed", "authorized", "processing")
_NAMES: Final = {"name": "", "email": "", "company": "", "website": "", "wish": "", "fields": "{}"}
_MESSAGE: Final = {"subject": "", "body": "", "words": "", "recipient": ""}


def of_call(tx: Tx, account: str, call_id: str) -> Subjects:
    """Return whose entries speak of a call beside its own: requests, reviews, purchases, card questions.

    Raises RecordChanged while an owner still judges what it submitted, or money may still move.
    """
    requests = _column(tx, s.approvals.c.approval_id, account, s.approvals.c.call_id == call_id)
    reviews = _reviews(tx, account, s.reviews.c.call_id == call_id)
    purchases = _rows(tx, r.purchases, account, r.purchases.c.call_id == call_id)
    if any(each["state"] in _MOVING for each in purchases):
        raise RecordChanged("its purchase is still open; only what has ended can be erased")
    bought = [each["purchase_id"] for each in purchases]
    asked = r.authorization_requests
    questions = _column(tx, asked.c.event_id, account, asked.c.purchase_id.in_(bought))
    return [
        *(("approval", each) for each in requests),
        *(("review", each) for each in reviews),
        *(("purchase", each) for each in bought),
        *(("question", each) for each in questions),
    ]


def empty_call(tx: Tx, account: str, call_id: str) -> None:
    """Empty what the tables repeat of a call's reviews, submitted work and purchases."""
    reviews = _reviews(tx, account, s.reviews.c.call_id == call_id)
    _empty_judged(tx, account, reviews)
    bought = _column(tx, r.purchases.c.purchase_id, account, r.purchases.c.call_id == call_id)
    _set(tx, r.purchases, account, r.purchases.c.call_id == call_id, payee="", last4="")
    _set(tx, r.authorizations, account, r.authorizations.c.purchase_id.in_(bought), merchant="")


def of_lead(tx: Tx, account: str, lead_id: str) -> Subjects:
    """Return whose entries speak of a lead: its reviews, those of drafts to it, and its orders.

    Raises RecordChanged while an owner still judges one of them.
    """
    reviews = _reviews(tx, account, s.reviews.c.subject_id.in_([lead_id, *_drafts(tx, account, lead_id)]))
    orders = _column(tx, r.orders.c.order_id, account, r.orders.c.lead_id == lead_id)
    return [*(("review", each) for each in reviews), *(("order", each) for each in orders)]


def records_of(tx: Tx, account: str, lead_id: str) -> list[str]:
    """Return the ids of a lead and of the drafts to it, which calls made or changed."""
    return [lead_id, *_drafts(tx, account, lead_id)]


def empty_lead(tx: Tx, account: str, lead_id: str) -> None:
    """Empty who a lead is and what was written to and of it; deals and orders stay, without names."""
    reviews = _reviews(tx, account, s.reviews.c.subject_id.in_(records_of(tx, account, lead_id)))
    _empty_judged(tx, account, reviews)
    _set(tx, c.leads, account, c.leads.c.lead_id == lead_id, **_NAMES)
    _set(tx, c.activities, account, c.activities.c.lead_id == lead_id, what="")
    _set(tx, c.outreach, account, c.outreach.c.lead_id == lead_id, **_MESSAGE)
    _set(tx, r.deals, account, r.deals.c.lead_id == lead_id, title="")
    _set(tx, r.orders, account, r.orders.c.lead_id == lead_id, buyer="")
    booked = _column(tx, r.orders.c.order_id, account, r.orders.c.lead_id == lead_id)
    _set(tx, c.order_intakes, account, c.order_intakes.c.order_id.in_(booked), brief="")


def _empty_judged(tx: Tx, account: str, reviews: Collection[str]) -> None:
    work = _rows(tx, c.submissions, account, c.submissions.c.review_id.in_(reviews))
    _set(tx, s.reviews, account, s.reviews.c.review_id.in_(reviews), body=b"", words="")
    _set(tx, c.outreach, account, c.outreach.c.review_id.in_(reviews), **_MESSAGE)
    _set(tx, c.submissions, account, c.submissions.c.review_id.in_(reviews), title="", text="", words="")
    for each in work:
        files = msgspec.json.decode(each["artifacts"], type=list[dict[str, Any]])
        _drop_files(tx, account, each["submission_id"], [str(file["sha256"]) for file in files])


def _drop_files(tx: Tx, account: str, submission_id: str, hashes: Iterable[str]) -> None:
    """Drop the bytes of files that no other submission names; their hashes and sizes stay."""
    others = _rows(tx, c.submissions, account, c.submissions.c.submission_id != submission_id)
    kept = {
        str(file["sha256"])
        for each in others
        if each["title"] or each["text"]  # Erased work keeps no file alive.
        for file in msgspec.json.decode(each["artifacts"], type=list[dict[str, Any]])
    }
    gone = [each for each in hashes if each not in kept]
    mine = (c.artifacts.c.account_id == account, c.artifacts.c.sha256.in_(gone))
    tx.connection.execute(delete(c.artifacts).where(*mine))


def _drafts(tx: Tx, account: str, lead_id: str) -> list[str]:
    return _column(tx, c.outreach.c.draft_id, account, c.outreach.c.lead_id == lead_id)


def _reviews(tx: Tx, account: str, where: ColumnElement[bool]) -> list[str]:
    found = _rows(tx, s.reviews, account, where)
    if any(each["state"] == "waiting" for each in found):
        raise RecordChanged("an owner still has to judge it; only what has ended can be erased")
    return [each["review_id"] for each in found]


def _rows(tx: Tx, table: Table, account: str, where: ColumnElement[bool]) -> list[dict[str, Any]]:
    found = tx.connection.execute(select(table).where(table.c.account_id == account, where))
    return [dict(row) for row in found.mappings()]


def _column(tx: Tx, column: Any, account: str, where: ColumnElement[bool]) -> list[str]:  # noqa: ANN401 -- a column of texts
    return list(tx.connection.scalars(select(column).where(column.table.c.account_id == account, where)))


def _set(tx: Tx, table: Table, account: str, where: ColumnElement[bool], **values: object) -> None:
    tx.connection.execute(update(table).where(table.c.account_id == account, where).values(**values))
