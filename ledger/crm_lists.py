"""Pages of CRM and fulfilment, for people: leads released or not, deals, drafts, submissions, files."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.engines.tx import Tx
from ledger.rare_rows import Found, one, some
from ledger.records import Page, ReviewState
from ledger.records_crm import Activity, Artifact, Lead, ModelDecision, OrderIntake, OutreachDraft, Submission
from ledger.records_revenue import Deal, DealStage
from ledger.refs import newest
from ledger.schema_crm import (
    activities,
    artifacts,
    leads,
    model_decisions,
    order_intakes,
    outreach,
    run_artifacts,
    submissions,
)
from ledger.schema_revenue import deals
from ledger.times import from_us
from policy.errors import RecordMissing


def lead(tx: Tx, account: str, lead_id: str) -> Lead:
    """Return one lead. Raises RecordMissing."""
    row = one(tx, leads, account, lead_id=lead_id)
    if row is None:
        raise RecordMissing(f"there is no lead {lead_id!r}", field="lead_id")
    return lead_record(row)


def leads_page(
    tx: Tx, account: str, *, project: str | None, review: str | None, after: str | None, limit: int
) -> Page[Lead]:
    """Return leads, newest first."""
    page, next_ = newest(
        tx, leads, account, by=("created_at_us", "lead_id"), after=after, limit=limit,
        project=project, review=review,
    )  # fmt: skip
    return Page(tuple(lead_record(row) for row in page), next_)


def lead_record(row: Found) -> Lead:
    """Return a lead as people see it."""
    same = (
        "lead_id",
        "project",
        "origin",
        "name",
        "email",
        "company",
        "website",
        "wish",
        "agent",
        "created_by",
    )
    return Lead(
        **{name: row[name] for name in same},
        fields=msgspec.json.decode(row["fields"], type=dict[str, str]),
        review=ReviewState(row["review"]),
        released=bool(row["released"]),
        created_at=from_us(row["created_at_us"]),
        updated_at=from_us(row["updated_at_us"]),
    )


def deal(tx: Tx, account: str, deal_id: str) -> Deal:
    """Return one deal. Raises RecordMissing."""
    row = one(tx, deals, account, deal_id=deal_id)
    if row is None:
        raise RecordMissing(f"there is no deal {deal_id!r}", field="deal_id")
    return deal_record(row)


def deals_page(
    tx: Tx, account: str, *, project: str | None, lead_id: str | None, after: str | None, limit: int
) -> Page[Deal]:
    """Return deals, newest first."""
    page, next_ = newest(
        tx, deals, account, by=("created_at_us", "deal_id"), after=after, limit=limit,
        project=project, lead_id=lead_id,
    )  # fmt: skip
    return Page(tuple(deal_record(row) for row in page), next_)


def deal_record(row: Found) -> Deal:
    """Return a deal as everybody may know it."""
    return Deal(
        **{name: row[name] for name in ("deal_id", "project", "title", "lead_id", "agent", "offer")},
        stage=DealStage(row["stage"]),
        created_at=from_us(row["created_at_us"]),
        updated_at=from_us(row["updated_at_us"]),
    )


def activities_of(tx: Tx, account: str, lead_id: str, limit: int) -> tuple[Activity, ...]:
    """Return what was done or noted on a lead, newest first."""
    c = activities.c
    rows = some(tx, activities, account, c.lead_id == lead_id, order=(c.at_us.desc(),), limit=limit)
    names = ("activity_id", "lead_id", "deal_id", "actor", "what")
    return tuple(Activity(**{name: row[name] for name in names}, at=from_us(row["at_us"])) for row in rows)


def drafts(tx: Tx, account: str, lead_id: str | None, limit: int) -> tuple[OutreachDraft, ...]:
    """Return outreach drafts, newest first."""
    c = outreach.c
    conditions = [] if lead_id is None else [c.lead_id == lead_id]
    rows = some(tx, outreach, account, *conditions, order=(c.created_at_us.desc(),), limit=limit)
    return tuple(_draft(row) for row in rows)


def draft(tx: Tx, account: str, draft_id: str) -> OutreachDraft:
    """Return one outreach draft. Raises RecordMissing."""
    row = one(tx, outreach, account, draft_id=draft_id)
    if row is None:
        raise RecordMissing(f"there is no draft {draft_id!r}")
    return _draft(row)


def _draft(row: Found) -> OutreachDraft:
    return OutreachDraft(
        **{name: row[name] for name in ("draft_id", "lead_id", "deal_id", "agent", "subject", "body")},
        review=ReviewState(row["review"]),
        sent_at=from_us(row["sent_at_us"]),
        created_at=from_us(row["created_at_us"]),
        recipient=row["recipient"] or "",
    )


# --- runs ------------------------------------------------------------------------------------------------


def intake_of(tx: Tx, account: str, run_id: str) -> OrderIntake | None:
    """Return what a run's order asks for."""
    row = one(tx, order_intakes, account, run_id=run_id)
    if row is None:
        return None
    names = ("intake_id", "order_id", "run_id", "brief")
    return OrderIntake(**{name: row[name] for name in names}, created_at=from_us(row["created_at_us"]))


def submissions_of(tx: Tx, account: str, run_id: str) -> tuple[Submission, ...]:
    """Return a run's plans, drafts and deliveries, oldest first."""
    rows = some(tx, submissions, account, submissions.c.run_id == run_id, order=(submissions.c.at_us,))
    return tuple(_submission(row) for row in rows)


def submission(tx: Tx, account: str, submission_id: str) -> Submission:
    """Return one submission. Raises RecordMissing."""
    row = one(tx, submissions, account, submission_id=submission_id)
    if row is None:
        raise RecordMissing(f"there is no submission {submission_id!r}")
    return _submission(row)


def _submission(row: Found) -> Submission:
    names = ("submission_id", "run_id", "kind", "agent", "title", "text", "review_id", "words")
    at = from_us(row["at_us"])
    files = msgspec.json.decode(row["artifacts"], type=list[dict[str, Any]])
    named = tuple(Artifact(run_id=row["run_id"], created_at=at, **file) for file in files)
    review = ReviewState(row["review"])
    return Submission(**{name: row[name] for name in names}, artifacts=named, review=review, at=at)


def decisions_of(tx: Tx, account: str, run_id: str) -> tuple[ModelDecision, ...]:
    """Return what a run's agents declared of the models they asked, oldest first."""
    c = model_decisions.c
    rows = some(tx, model_decisions, account, c.run_id == run_id, order=(c.at_us,))
    names = ("decision_id", "run_id", "agent", "model", "purpose", "summary")
    return tuple(
        ModelDecision(
            **{name: row[name] for name in names},
            references=tuple(msgspec.json.decode(row["refs"], type=list[str])),
            at=from_us(row["at_us"]),
        )
        for row in rows
    )


def artifacts_of(tx: Tx, account: str, run_id: str) -> tuple[Artifact, ...]:
    """Return the files of a run, by name."""
    c = run_artifacts.c
    return tuple(
        _artifact(row) for row in some(tx, run_artifacts, account, c.run_id == run_id, order=(c.name,))
    )


def artifact_bytes(tx: Tx, account: str, run_id: str, sha256: str) -> tuple[Artifact, bytes]:
    """Return one file of a run with its bytes. Raises RecordMissing."""
    row = one(tx, run_artifacts, account, run_id=run_id, sha256=sha256)
    kept = one(tx, artifacts, account, sha256=sha256)
    if row is None or kept is None:
        raise RecordMissing("there is no such file in this run")
    return _artifact(row), bytes(kept["content"])


def _artifact(row: Found) -> Artifact:
    names = ("sha256", "run_id", "name", "media_type", "size")
    return Artifact(**{name: row[name] for name in names}, created_at=from_us(row["created_at_us"]))
