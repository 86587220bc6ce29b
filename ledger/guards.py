"""Triggers that hold what the module promises even against a statement written by hand.

- The log only grows: no UPDATE, DELETE, REPLACE or (PostgreSQL) TRUNCATE. A payload may be emptied once.
- A call moves along legal edges only, its version by one each time.
- What an approver answered for never changes.
- Calls, keys, verdicts and adjustments are never deleted.

A superuser can drop triggers; that is what signed checkpoints are for. Rebuilding a table on SQLite drops its
triggers, so a migration ends with `create_guards`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, inspect

# Where a call may go. Terminal states have no line: no edge leaves them.
EDGES: Final[dict[str, tuple[str, ...]]] = {
    "awaiting_approval": ("queued", "denied", "cancelled", "expired"),
    "queued": ("executing", "awaiting_approval", "denied", "cancelled", "expired"),
    "executing": ("queued", "succeeded", "failed", "unknown"),
    "unknown": ("succeeded", "failed"),
}

FROZEN: Final = (
    *(
        "ordinal",
        "project",
        "run_id",
        "agent",
        "enforcer_id",
        "tool",
        "tool_hash",
        "kind",
        "operation",
        "provider",
    ),
    *("provider_account", "mode", "payee_basis", "amount_minor", "currency", "idempotency_key", "twin_key"),
    *("core", "own", "provider_key", "replay_lifetime_s", "admitted_at_us", "requested_by"),
)
# What an erasure empties (M35) and nothing else may touch.
ERASABLE: Final = ("payee", "effect", "args", "op_hash", "fingerprint", "records", "reason")

APPEND_ONLY: Final = (
    *("audit_entry", "log_node", "checkpoint", "adjustments"),
    *("revenue_events", "authorization_requests", "purchase_postings"),
)
NEVER_DELETED: Final = (
    *(
        "audit_payload",
        "log_head",
        "accounts",
        "tool_calls",
        "idempotency",
        "attempts",
        "cap_usage",
        "reservations",
    ),
    *(
        "discrepancies",
        "known_payees",
        "approvals",
        "verdicts",
        "reviews",
        "policy_versions",
        "agents",
        "operators",
    ),
    *("enforcers", "runs", "projects"),
    # Of the rooms whose tables later migrations make.
    *("orders", "purchases", "authorizations", "disputes", "inbox", "offers", "deals", "checkouts"),
    *("payment_links", "leads", "order_intakes", "submissions", "model_decisions"),
)

_LEGAL: Final = " OR ".join(
    f"(OLD.state = '{old}' AND NEW.state IN ({', '.join(repr(new) for new in news)}))"
    for old, news in EDGES.items()
)
_ERASED: Final = "(length(NEW.args) = 0 AND NEW.op_hash = '' AND NEW.fingerprint = '')"

# An erasure empties a hash; nothing gives it another value.
_REHASHED: Final = "(NEW.op_hash <> OLD.op_hash AND NEW.op_hash <> '')"


def _differs(columns: tuple[str, ...]) -> str:
    return " OR ".join(f"NEW.{column} IS DISTINCT FROM OLD.{column}" for column in columns)


def _update(table: str, name: str) -> str:
    """Name the event.

    A trigger of frozen columns fires only for a statement that sets one, so it costs nothing.
    """
    columns = {"frozen": FROZEN, "bound": ERASABLE}.get(name) if table == "tool_calls" else None
    return f"UPDATE OF {', '.join(columns)} ON {table}" if columns else f"UPDATE ON {table}"


# Conditions under which an UPDATE is refused: (table, name, condition, what is said).
REFUSALS: Final[tuple[tuple[str, str, str, str], ...]] = (
    (
        "tool_calls",
        "edge",
        f"OLD.state <> NEW.state AND NOT ({_LEGAL})",
        "illegal edge of a call",
    ),
    (
        # Erasing leaves the version as it is; every other write of a call is one step of its life.
        "tool_calls",
        "version",
        f"NEW.version <> OLD.version + 1 AND NOT {_ERASED}",
        "stale write of a call",
    ),
    ("tool_calls", "frozen", _differs(FROZEN), "what was admitted never changes"),
    (
        "tool_calls",
        "bound",
        f"({_differs(ERASABLE)}) AND NOT {_ERASED}",
        "what an approver answers for never changes",
    ),
    (
        "tool_calls",
        "settled",
        (
            f"OLD.settled_at_us IS NOT NULL AND ({_differs(('settled_at_us', 'actual_minor', 'result'))}) "
            f"AND NOT {_ERASED}"
        ),
        "a terminal call never changes",
    ),
    (
        "idempotency",
        "frozen",
        (
            f"({_differs(('agent', 'tool', 'key', 'call_id'))}) OR (NEW.fingerprint <> OLD.fingerprint "
            "AND NEW.fingerprint <> '')"
        ),
        "a key names one intention for ever",
    ),
    (
        "approvals",
        "bound",
        f"{_differs(('call_id', 'asks', 'created_at_us'))} OR {_REHASHED}",
        "the question of a request never changes",
    ),
    (
        "verdicts",
        "bound",
        f"{_differs(('approval_id', 'call_id', 'operator', 'verdict', 'at_us'))} OR {_REHASHED}",
        "a verdict never changes",
    ),
    (
        "audit_payload",
        "erase",
        (
            "NOT (OLD.body IS NOT NULL AND NEW.body IS NULL AND NEW.salt IS NULL "
            "AND NEW.erased_by IS NOT NULL AND NEW.seq = OLD.seq AND NEW.account_id = OLD.account_id)"
        ),
        "a payload can only be erased",
    ),
)


def create_guards(connection: Connection) -> None:
    """Create every guard anew, on either engine, of the tables made so far; a migration's last act."""
    made = frozenset(inspect(connection).get_table_names())
    statements = _sqlite(made) if connection.dialect.name == "sqlite" else _postgres(made)
    for statement in statements:
        connection.exec_driver_sql(statement)


def guard_names(dialect: str) -> frozenset[str]:
    """Return the names of the triggers that must exist, for the test and for `doctor`."""
    names = {f"guard_{table}_{name}" for table, name, _, _ in REFUSALS}
    names |= {f"guard_{table}_update" for table in APPEND_ONLY}
    names |= {f"guard_{table}_delete" for table in (*APPEND_ONLY, *NEVER_DELETED)}
    if dialect == "sqlite":
        return frozenset(names | {"guard_audit_entry_replace", "guard_tool_calls_replace"})
    return frozenset(names | {f"guard_{table}_truncate" for table in (*APPEND_ONLY, *NEVER_DELETED)})


def _sqlite(made: frozenset[str]) -> list[str]:
    out = []
    for table, name, condition, said in REFUSALS:
        out += _sqlite_trigger(f"guard_{table}_{name}", _update(table, name), condition, said)
    for table in [each for each in APPEND_ONLY if each in made]:
        out += _sqlite_trigger(f"guard_{table}_update", f"UPDATE ON {table}", "1", f"{table} only grows")
    for table in [each for each in (*APPEND_ONLY, *NEVER_DELETED) if each in made]:
        out += _sqlite_trigger(f"guard_{table}_delete", f"DELETE ON {table}", "1", f"{table} keeps every row")
    # Without recursive_triggers a REPLACE deletes in silence, so inserting over a row is refused as well.
    out += _sqlite_trigger(
        "guard_audit_entry_replace",
        "INSERT ON audit_entry",
        "NEW.seq <> (SELECT size FROM log_head WHERE account_id = NEW.account_id)"
        " AND EXISTS (SELECT 1 FROM audit_entry WHERE account_id = NEW.account_id AND seq = NEW.seq)",
        "audit_entry only grows",
    )
    out += _sqlite_trigger(
        "guard_tool_calls_replace",
        "INSERT ON tool_calls",
        "EXISTS (SELECT 1 FROM tool_calls WHERE account_id = NEW.account_id AND call_id = NEW.call_id)",
        "a call is admitted once",
    )
    return out


def _sqlite_trigger(name: str, event: str, condition: str, said: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE {event} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{said}'); END",
    ]


def _postgres(made: frozenset[str]) -> list[str]:
    out = [
        (
            "CREATE OR REPLACE FUNCTION bursar_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END $$"
        )
    ]
    for table, name, condition, said in REFUSALS:
        out += _postgres_trigger(f"guard_{table}_{name}", _update(table, name), f"WHEN ({condition})", said)
    for table in [each for each in APPEND_ONLY if each in made]:
        out += _postgres_trigger(f"guard_{table}_update", f"UPDATE ON {table}", "", f"{table} only grows")
    for table in [each for each in (*APPEND_ONLY, *NEVER_DELETED) if each in made]:
        said = f"{table} keeps every row"
        out += _postgres_trigger(f"guard_{table}_delete", f"DELETE ON {table}", "", said)
        out += _postgres_trigger(f"guard_{table}_truncate", f"TRUNCATE ON {table}", "", said)
    return out


def _postgres_trigger(name: str, event: str, condition: str, said: str) -> list[str]:
    table = event.rsplit(" ", 1)[-1]
    each = "STATEMENT" if event.startswith("TRUNCATE") else "ROW"
    return [
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        (
            f"CREATE TRIGGER {name} BEFORE {event} FOR EACH {each} {condition} "
            f"EXECUTE FUNCTION bursar_refuse('{said}')"
        ),
    ]
