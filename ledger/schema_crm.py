"""The tables of CRM and fulfilment: leads, activities, drafts, intakes, artifacts, submissions."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Index, UniqueConstraint

from ledger.schema import account_table, number, one_of, raw, words

REVIEW_STATES: Final = ("waiting", "approved", "changes_asked", "rejected")

leads: Final = account_table(
    "leads",
    words("lead_id", key=True),
    words("project"),
    words("origin"),
    words("name"),
    words("email"),
    words("company"),
    words("website"),
    words("wish"),
    words("fields"),  # JSON object of texts.
    words("review"),
    number("released"),  # Until 1, no agent sees a word of it.
    words("agent", null=True),
    words("created_by"),
    number("created_at_us"),
    number("updated_at_us"),
    number("version"),
    one_of("origin", ("public_form", "agent", "owner")),
    one_of("review", REVIEW_STATES),
)
Index("ix_leads_project", leads.c.account_id, leads.c.project, leads.c.created_at_us, leads.c.lead_id)

activities: Final = account_table(
    "activities",
    words("activity_id", key=True),
    words("lead_id"),
    words("deal_id", null=True),
    words("actor"),
    words("what"),
    number("at_us"),
)
Index("ix_activities_lead", activities.c.account_id, activities.c.lead_id, activities.c.at_us)

outreach: Final = account_table(
    "outreach",
    words("draft_id", key=True),
    words("lead_id"),
    words("deal_id", null=True),
    words("agent"),
    words("subject"),
    words("body"),
    words("review_id"),
    words("review"),
    words("words"),
    number("sent_at_us", null=True),
    number("created_at_us"),
    words("recipient", null=True),  # Null in drafts from before 0004.
    one_of("review", REVIEW_STATES),
)
Index("ix_outreach_lead", outreach.c.account_id, outreach.c.lead_id, outreach.c.created_at_us)

order_intakes: Final = account_table(
    "order_intakes",
    words("intake_id", key=True),
    words("order_id"),
    words("run_id"),
    words("brief"),
    number("created_at_us"),
    UniqueConstraint("account_id", "order_id", name="uq_order_intakes_order"),
)
Index("ix_order_intakes_run", order_intakes.c.account_id, order_intakes.c.run_id)

artifacts: Final = account_table(
    "artifacts",  # Bytes, once per hash.
    words("sha256", key=True),
    number("size"),
    raw("content"),
    CheckConstraint("size = length(content)", name="whole"),
)

run_artifacts: Final = account_table(
    "run_artifacts",
    words("run_id", key=True),
    words("sha256", key=True),
    words("name", key=True),
    words("media_type"),
    number("size"),
    number("created_at_us"),
    rowid=False,
)

model_decisions: Final = account_table(
    "model_decisions",
    words("decision_id", key=True),
    words("run_id"),
    words("agent"),
    words("model"),
    words("purpose"),
    words("summary"),
    words("refs"),  # JSON list.
    number("at_us"),
)
Index(
    "ix_model_decisions_run", model_decisions.c.account_id, model_decisions.c.run_id, model_decisions.c.at_us
)

submissions: Final = account_table(
    "submissions",
    words("submission_id", key=True),
    words("run_id"),
    words("kind"),
    words("agent"),
    words("title"),
    words("text"),
    words("artifacts"),  # JSON list of {sha256, name, media_type, size}.
    words("review_id"),
    words("review"),
    words("words"),
    number("at_us"),
    one_of("kind", ("plan", "draft", "delivery")),
    one_of("review", REVIEW_STATES),
)
Index("ix_submissions_run", submissions.c.account_id, submissions.c.run_id, submissions.c.at_us)
