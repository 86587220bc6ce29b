"""The tables of the audit log, in the shapes that `ledger.audit` declares."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Index

from ledger.schema import account_table, number, raw, words

audit_entry: Final = account_table(
    "audit_entry",
    number("seq", key=True),
    number("at_us"),
    words("kind"),
    words("subject_type"),
    words("subject_id"),
    raw("body"),
    raw("leaf"),
)
Index(
    "ix_audit_entry_subject",
    audit_entry.c.account_id,
    audit_entry.c.subject_type,
    audit_entry.c.subject_id,
    audit_entry.c.seq,
)

audit_payload: Final = account_table(
    "audit_payload",
    number("seq", key=True),
    raw("salt", null=True),
    raw("body", null=True),
    number("erased_by", null=True),
)

log_node: Final = account_table(
    "log_node",
    number("level", key=True),
    number("position", key=True),
    raw("hash"),
    rowid=False,
)

log_head: Final = account_table("log_head", number("size"), number("epoch"), raw("frontier"))

checkpoint: Final = account_table(
    "checkpoint",
    number("size", key=True),
    number("previous"),  # The size of the checkpoint before, 0 at first.
    raw("root"),
    words("note"),
    words("key_id"),
)
