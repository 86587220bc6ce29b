"""The history of the tables, for Alembic: one line for both engines."""
