"""Records of the built-in CRM and of fulfilment, and the changes that their tools may ask for.

Text that came from outside carries its `origin` and reaches agents only after the owner released the lead.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from ledger.records import Change, Query, ReviewState
from ledger.records_revenue import DealStage


class Lead(Struct, frozen=True, kw_only=True):
    """Someone who may want to buy. Until `released`, no agent sees a word of it."""

    lead_id: str
    project: str
    origin: str  # "public_form", "agent" or "owner".
    name: str
    email: str
    company: str
    website: str
    wish: str  # What they asked for, in their words; untrusted.
    fields: Mapping[str, str] = {}
    review: ReviewState = ReviewState.WAITING
    released: bool = False
    agent: str | None = None  # The one agent it is assigned to.
    created_by: str = ""
    created_at: datetime
    updated_at: datetime


class Activity(Struct, frozen=True, kw_only=True):
    """Something that was done or noted on a lead or a deal."""

    activity_id: str
    lead_id: str
    deal_id: str | None
    actor: str
    what: str
    at: datetime


class OutreachDraft(Struct, frozen=True, kw_only=True):
    """A message an agent drafted; a person sends it, or not."""

    draft_id: str
    lead_id: str
    deal_id: str | None
    agent: str
    subject: str
    body: str
    review: ReviewState
    sent_at: datetime | None = None
    created_at: datetime
    recipient: str = ""  # The lead's address when it was drafted; the ledger writes it, whoever drafts.


class OrderIntake(Struct, frozen=True, kw_only=True):
    """What a paid order asks for: the link between Order and Run."""

    intake_id: str
    order_id: str
    run_id: str
    brief: str
    created_at: datetime


class Artifact(Struct, frozen=True, kw_only=True):
    """A file of a run, stored by the hash of its bytes."""

    sha256: str
    run_id: str
    name: str
    media_type: str
    size: int
    created_at: datetime


class ModelDecision(Struct, frozen=True, kw_only=True):
    """What an agent says it asked which model, and why; recorded as declared."""

    decision_id: str
    run_id: str
    agent: str
    model: str
    purpose: str
    summary: str
    references: tuple[str, ...]
    at: datetime


class Submission(Struct, frozen=True, kw_only=True):
    """A plan, a draft or a delivery of a run, with its review."""

    submission_id: str
    run_id: str
    kind: str  # "plan", "draft" or "delivery".
    agent: str
    title: str
    text: str
    artifacts: tuple[Artifact, ...]
    review_id: str
    review: ReviewState
    words: str = ""
    at: datetime


# --- what tools may read -------------------------------------------------------------------------------
# Every query is answered for the reading agent: released leads only, and its own or nobody's.


class LeadById(Query, frozen=True):
    """One released lead of the reader's project."""

    lead_id: str


class LeadsFor(Query, frozen=True):
    """Released leads that are the reader's or nobody's, newest first; `text` searches names and wishes."""

    text: str = ""
    stage: str | None = None
    after: str | None = None
    limit: int = 20


class DealFor(Query, frozen=True):
    """One deal of the reader's project, with its lead's data beside it."""

    deal_id: str


class RunById(Query, frozen=True):
    """One run of the reader's project, with its intake, submissions, reviews, spend and earnings.

    `budget` adds what its caps leave: for reads only, since a record that changes with every purchase of the
    run would withdraw what waits for a person.
    """

    run_id: str
    budget: bool = False


class RunsOf(Query, frozen=True):
    """The runs of the reader's project, open ones first, newest first."""

    after: str | None = None
    limit: int = 20


# --- what tools may change -----------------------------------------------------------------------------


class CreateLead(Change, frozen=True, kw_only=True):
    """A lead that waits for the owner's review, whoever brought it."""

    lead: Lead
    review_id: str


class UpdateLead(Change, frozen=True, kw_only=True):
    """Fields of a lead and a note on it; never its review, release or assignment."""

    lead_id: str
    fields: Mapping[str, str]
    note: str = ""
    actor: str
    at: datetime
    activity_id: str


class MoveDeal(Change, frozen=True, kw_only=True):
    """A stage an agent may set: never `won`, never `payment_pending`."""

    deal_id: str
    stage: DealStage
    note: str = ""
    actor: str
    at: datetime
    activity_id: str


class DraftOutreach(Change, frozen=True, kw_only=True):
    """A draft and the review that waits on it."""

    draft: OutreachDraft
    review_id: str


class StoreArtifact(Change, frozen=True, kw_only=True):
    """The bytes of a file, kept once per hash."""

    artifact: Artifact
    content: bytes


class Submit(Change, frozen=True, kw_only=True):
    """A plan, draft or delivery and the review that waits on it."""

    submission: Submission


class RecordModelDecision(Change, frozen=True, kw_only=True):
    """One declared model decision."""

    decision: ModelDecision
