"""Alembic's door: one history for both engines, run on the connection that `ledger.schema_state` hands in."""

from __future__ import annotations

from alembic import context

from ledger import schema, schema_crm, schema_house, schema_log, schema_revenue

# Named here so that autogenerate sees every table, not only those of the module it imports.
_DECLARED = (
    *(schema.METADATA, schema_house.accounts, schema_log.log_head),
    *(schema_revenue.orders, schema_crm.leads),
)


def run() -> None:
    """Run the migrations asked for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=schema.METADATA,
        render_as_batch=True,  # SQLite can alter little; batch operations rebuild the table.
        compare_type=False,  # TEXT, INTEGER and BLOB are all there is, and SQLite reports them by affinity.
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
