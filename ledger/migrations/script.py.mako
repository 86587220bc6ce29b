"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from ledger.guards import create_guards

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Go forward."""
    ${upgrades if upgrades else "pass"}
    create_guards(op.get_bind())
