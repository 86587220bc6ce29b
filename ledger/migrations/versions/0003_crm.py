"""Make the tables of the CRM and of fulfilment."""

from __future__ import annotations

from alembic import op

from ledger.guards import create_guards
from ledger.migrations.tables import check, index, table, unique

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of the CRM and of fulfilment."""
    _part_1()
    _part_2()
    _part_3()
    create_guards(op.get_bind())


def _part_1() -> None:
    table(
        "leads",
        "account_id:text lead_id:text project:text origin:text name:text email:text company:text "
        "website:text wish:text fields:text review:text released:int agent:text? created_by:text "
        "created_at_us:int updated_at_us:int version:int",
        key="account_id lead_id",
        parts=(
            check("ck_leads_origin", "origin IN ('public_form', 'agent', 'owner')"),
            check("ck_leads_review", "review IN ('waiting', 'approved', 'changes_asked', 'rejected')"),
        ),
    )
    index("ix_leads_project", "leads", "account_id project created_at_us lead_id")
    table(
        "activities",
        "account_id:text activity_id:text lead_id:text deal_id:text? actor:text what:text at_us:int",
        key="account_id activity_id",
    )
    index("ix_activities_lead", "activities", "account_id lead_id at_us")
    table(
        "outreach",
        "account_id:text draft_id:text lead_id:text deal_id:text? agent:text subject:text body:text "
        "review_id:text review:text words:text sent_at_us:int? created_at_us:int",
        key="account_id draft_id",
        parts=(
            check("ck_outreach_review", "review IN ('waiting', 'approved', 'changes_asked', 'rejected')"),
        ),
    )
    index("ix_outreach_lead", "outreach", "account_id lead_id created_at_us")


def _part_2() -> None:
    table(
        "order_intakes",
        "account_id:text intake_id:text order_id:text run_id:text brief:text created_at_us:int",
        key="account_id intake_id",
        parts=(unique("uq_order_intakes_order", "account_id order_id"),),
    )
    index("ix_order_intakes_run", "order_intakes", "account_id run_id")
    table(
        "artifacts",
        "account_id:text sha256:text size:int content:bytes",
        key="account_id sha256",
        parts=(check("ck_artifacts_whole", "size = length(content)"),),
    )
    table(
        "run_artifacts",
        "account_id:text run_id:text sha256:text name:text media_type:text size:int created_at_us:int",
        key="account_id run_id sha256 name",
        rowid=False,
    )


def _part_3() -> None:
    table(
        "model_decisions",
        "account_id:text decision_id:text run_id:text agent:text model:text purpose:text summary:text "
        "refs:text at_us:int",
        key="account_id decision_id",
    )
    index("ix_model_decisions_run", "model_decisions", "account_id run_id at_us")
    table(
        "submissions",
        "account_id:text submission_id:text run_id:text kind:text agent:text title:text text:text "
        "artifacts:text review_id:text review:text words:text at_us:int",
        key="account_id submission_id",
        parts=(
            check("ck_submissions_kind", "kind IN ('plan', 'draft', 'delivery')"),
            check("ck_submissions_review", "review IN ('waiting', 'approved', 'changes_asked', 'rejected')"),
        ),
    )
    index("ix_submissions_run", "submissions", "account_id run_id at_us")
