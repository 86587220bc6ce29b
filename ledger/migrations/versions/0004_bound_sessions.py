"""Say whose session each is, and to whom each draft was written."""

from __future__ import annotations

from alembic import op

from ledger.guards import create_guards
from ledger.migrations.tables import column, index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say whose session each is, and to whom each draft was written."""
    # Nobody knows whose these are without reading them; whoever they belong to signs in again.
    op.execute("DELETE FROM operator_sessions")
    op.add_column("operator_sessions", column("operator_id:text?"))
    index("ix_operator_sessions_operator", "operator_sessions", "account_id operator_id")
    op.add_column("outreach", column("recipient:text?"))
    create_guards(op.get_bind())
