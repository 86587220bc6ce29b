"""The tables of calls, caps and answers, as SQLAlchemy Core declares them; `migrations/` builds the same.

Conventions: `account_id` leads every key. Instants are `*_us`, microseconds since 1970 in UTC; amounts
`*_minor`; flags 0 or 1; hashes hex text, except in the log, where they are 32 raw bytes. Only integers, text
and bytes are stored, so both drivers give back what was put in. A column is named like the audit fact that
sets it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.sqlite import INTEGER as SQLITE_INTEGER

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA: Final = MetaData(naming_convention=NAMES)

# STRICT tables know INTEGER only; PostgreSQL needs 64 bits for microseconds and minor units.
Int: Final = BigInteger().with_variant(SQLITE_INTEGER(), "sqlite")

CALL_STATES: Final = (
    "denied",
    "awaiting_approval",
    "queued",
    "executing",
    "succeeded",
    "failed",
    "unknown",
    "cancelled",
    "expired",
)
OPEN_STATES: Final = ("awaiting_approval", "queued", "executing", "unknown")


def words(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    """Declare a text column."""
    return Column(name, Text, primary_key=key, nullable=null)


def number(name: str, *, key: bool = False, null: bool = False, default: int | None = None) -> Column[int]:
    """Declare a 64 bit integer column."""
    given = None if default is None else text(str(default))
    # Without autoincrement=False a single integer in a key would become SQLite's rowid.
    return Column(name, Int, primary_key=key, nullable=null, server_default=given, autoincrement=False)


def raw(name: str, *, null: bool = False) -> Column[bytes]:
    """Declare a bytes column."""
    return Column(name, LargeBinary, nullable=null)


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """Hold a text column to its words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def account_table(
    name: str,
    *parts: Any,  # noqa: ANN401 -- columns and constraints
    rowid: bool = True,
    key: tuple[str, ...] = (),
) -> Table:
    """Declare a STRICT table whose key begins with account_id; `key` where its order is not the columns'."""
    first = words("account_id", key=not key)
    keys = (PrimaryKeyConstraint(*key),) if key else ()
    return Table(name, METADATA, first, *parts, *keys, sqlite_strict=True, sqlite_with_rowid=rowid)


def indexed(name: str, table: Table, columns: str, *, where: str | None = None) -> None:
    """Declare an index, of some rows only where a condition is given."""
    some = None if where is None else text(where)
    Index(name, *(table.c[column] for column in columns.split()), sqlite_where=some, postgresql_where=some)


def of_call(column: str = "call_id") -> ForeignKeyConstraint:
    """Hold a row to the call it speaks of."""
    return ForeignKeyConstraint(["account_id", column], ["tool_calls.account_id", "tool_calls.call_id"])


# --- calls -----------------------------------------------------------------------------------------------

tool_calls: Final = account_table(
    "tool_calls",
    words("call_id", key=True),
    number("ordinal"),  # The order of admission in the account: M12's "admitted before".
    words("project"),
    words("run_id"),
    words("agent"),
    words("enforcer_id", null=True),
    words("tool"),
    words("tool_hash"),
    words("kind"),
    words("operation"),
    words("provider"),
    words("provider_account"),
    words("mode"),
    words("payee", null=True),
    words("payee_basis", null=True),
    number("amount_minor", null=True),
    words("currency", null=True),
    raw("effect"),
    raw("args"),
    words("op_hash"),
    words("fingerprint"),
    words("idempotency_key", null=True),
    words("twin_key", null=True),  # Tool, payee, amount and currency of a purchase (M26).
    words("records"),  # JSON list of the hashes of the records `describe` saw.
    number("core"),
    number("own"),
    words("provider_key", null=True),
    number("replay_lifetime_s"),
    number("admitted_at_us"),
    words("similar_to", null=True),
    words("requested_by"),
    words("traceparent"),
    words("reason"),
    # From here on columns change with the call's edges.
    words("state"),
    number("version"),
    number("run_by_us", null=True),
    words("policy_sha256"),
    raw("decision"),
    words("approval_id", null=True),
    words("held_reason", null=True),
    words("code"),
    words("message"),
    words("retry"),
    number("retry_at_us", null=True),
    number("attempts"),
    number("maybe_sent"),  # 1 once an attempt may have reached the provider (M1).
    words("provider_ref", null=True),
    number("provider_key_until_us", null=True),
    number("lease_token"),
    words("lease_holder", null=True),
    number("lease_until_us", null=True),
    words("instance", null=True),
    number("actual_minor", null=True),
    raw("result"),
    words("proof_level", null=True),
    words("proof_by", null=True),
    words("proof_provider", null=True),
    words("replaced_by", null=True),
    number("unknown_at_us", null=True),
    number("alert_at_us", null=True),  # When an owner hears of this unknown next (M7).
    number("settled_at_us", null=True),
    number("twin_until_us"),  # Until when this call makes an equal purchase a twin; 0 never.
    number("same_until_us"),  # Until when an equal keyless call is this call (M25); 0 never.
    one_of("state", CALL_STATES),
    CheckConstraint("amount_minor IS NULL OR amount_minor >= 0", name="amount"),
)
indexed("ix_tool_calls_history", tool_calls, "account_id ordinal")
indexed("ix_tool_calls_agent", tool_calls, "account_id agent ordinal")
indexed("ix_tool_calls_run", tool_calls, "account_id run_id ordinal")
# Open calls. SQLite uses a partial index only where the query says its very words.
_OPEN = "settled_at_us IS NULL"
indexed("ix_tool_calls_open", tool_calls, "account_id state agent ordinal", where=_OPEN)
_TWIN = "twin_until_us > 0"
indexed("ix_tool_calls_twin", tool_calls, "account_id twin_key twin_until_us", where=_TWIN)
_SAME = "same_until_us > 0"
indexed("ix_tool_calls_same", tool_calls, "account_id fingerprint same_until_us", where=_SAME)
_SETTLED = "settled_at_us IS NOT NULL"
indexed("ix_tool_calls_settled", tool_calls, "account_id settled_at_us", where=_SETTLED)
_REF = "provider_ref IS NOT NULL"
indexed("ix_tool_calls_provider_ref", tool_calls, "account_id provider provider_ref", where=_REF)

idempotency: Final = account_table(
    "idempotency",
    words("agent"),
    words("tool"),
    words("key"),
    words("fingerprint"),
    words("call_id"),
    rowid=False,
    key=("account_id", "key", "agent", "tool"),  # The key first, so that a batch finds its keys by one list.
)

attempts: Final = account_table(
    "attempts",
    words("call_id", key=True),
    number("number", key=True),
    words("purpose"),
    words("provider_account"),
    words("mode"),
    words("instance"),
    words("holder"),
    number("lease_token"),
    number("started_at_us"),
    number("lease_until_us"),
    number("ended_at_us", null=True),
    words("outcome", null=True),
    words("detail"),
    number("maybe_sent"),
    of_call(),
    one_of("purpose", ("execute", "replay", "lookup")),
    rowid=False,
)

# --- caps ------------------------------------------------------------------------------------------------

cap_usage: Final = account_table(
    "cap_usage",
    words(
        "meter", key=True
    ),  # What is counted together: cap or rule, scope, unit, mode. See ledger/meters.py.
    number(
        "window_start_us", key=True
    ),  # -1: holds of calls not yet claimed, which count in the current window.
    words("cap_id"),
    words("scope"),
    words("scope_key"),
    words("unit"),
    words("mode"),
    words("window"),
    number("held"),
    number("committed"),
    number("posted"),
    CheckConstraint("held >= 0 AND committed >= 0", name="never_negative"),
    rowid=False,
)

reservations: Final = account_table(
    "reservations",
    words("call_id", key=True),
    words("meter", key=True),
    number("ordinal"),
    number("amount"),
    number("window_start_us"),  # -1 until the claim fixes it (M11).
    words("state"),
    number("posted"),
    of_call(),
    one_of("state", ("held", "committed", "posted", "void")),
    # With a rowid: without one SQLite prefers the key's first column to the index of what floats.
    rowid=True,
)
_FLOATING = "state = 'held' AND window_start_us = -1"
indexed("ix_reservations_floating", reservations, "account_id meter ordinal", where=_FLOATING)

adjustments: Final = account_table(
    "adjustments",
    words("adjustment_id", key=True),
    words("call_id", null=True),
    words("purchase_id", null=True),
    words("reason_code"),
    number("amount_minor"),
    words("currency"),
    words("mode"),
    words("moves"),  # JSON list of [meter, window_start_us, held, committed, posted] as booked.
    words("evidence"),
    number("at_us"),
)

discrepancies: Final = account_table(
    "discrepancies",
    words("discrepancy_id", key=True),
    words("call_id", null=True),
    words("provider", null=True),
    words("code"),
    words("state"),
    words("evidence"),
    number("found_at_us"),
    words("operator", null=True),
    number("resolved_at_us", null=True),
    words("words"),
    one_of("state", ("open", "resolved")),
)

earnings: Final = account_table(
    "earnings",  # What shares of earnings are computed from (M15); booked with the revenue event of that id.
    words("earning_id", key=True),
    words("project"),
    number("amount_minor"),  # Signed: money that left is negative.
    words("currency"),
    words("mode"),
    words("proof_level"),
    number("booked_at_us"),
)
indexed("ix_earnings_sum", earnings, "account_id currency mode project booked_at_us")

known_payees: Final = account_table(
    "known_payees",
    words("mode"),
    words("payee"),
    words("first_call_id"),
    number("at_us"),
    rowid=False,
    key=("account_id", "payee", "mode"),  # The payee first, for the same reason.
)

# --- people's answers ------------------------------------------------------------------------------------

approvals: Final = account_table(
    "approvals",
    words("approval_id", key=True),
    words("call_id"),
    words("op_hash"),
    words("state"),
    raw("asks"),
    number("created_at_us"),
    number("expires_at_us"),
    number("run_within_s"),
    number("approved_at_us", null=True),
    words("supersedes", null=True),
    of_call(),
    one_of(
        "state",
        ("pending", "approved", "consumed", "denied", "expired", "superseded", "withdrawn", "revoked"),
    ),
)
indexed("ix_approvals_call", approvals, "account_id call_id")
_PENDING = "state = 'pending'"
indexed("ix_approvals_due", approvals, "account_id expires_at_us approval_id", where=_PENDING)

verdicts: Final = account_table(
    "verdicts",
    words("verdict_id", key=True),
    words("approval_id"),
    words("call_id"),
    words("operator"),
    words("op_hash"),
    words("verdict"),
    words("comment"),
    words("confirmed_by", null=True),
    number("at_us"),
    number("revoked_at_us", null=True),
    one_of("verdict", ("approve", "deny", "comment")),
)
indexed("ix_verdicts_call", verdicts, "account_id call_id")

reviews: Final = account_table(
    "reviews",
    words("review_id", key=True),
    words("kind"),
    words("subject_type"),
    words("subject_id"),
    words("run_id", null=True),
    words("agent"),
    words("call_id", null=True),
    words("state"),
    raw("body"),
    words("words"),
    words("operator", null=True),
    number("answered_at_us", null=True),
    number("submitted_at_us"),
    one_of("state", ("waiting", "approved", "changes_asked", "rejected")),
)
indexed("ix_reviews_state", reviews, "account_id state submitted_at_us")
indexed("ix_reviews_subject", reviews, "account_id subject_type subject_id")

outbox: Final = account_table(
    "outbox",
    words("outbox_id", key=True),
    words("topic"),
    raw("payload"),
    number("due_at_us"),
    number("tries"),
    number("lease_until_us"),
    number("done_at_us", null=True),
)
_DUE = "done_at_us IS NULL"
indexed("ix_outbox_due", outbox, "account_id due_at_us", where=_DUE)
