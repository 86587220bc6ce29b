"""The tables of who and what may: accounts, projects, runs, agents, operators, policies, postures."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Index, Table, UniqueConstraint, text

from ledger.schema import METADATA, account_table, number, one_of, raw, words

accounts: Final = Table(
    "accounts",
    METADATA,
    words("account_id", key=True),
    words("name"),
    words("instance_id"),  # A copy of the file with another instance beside its keys is a clone (M33).
    number("house_version"),  # Grows whenever a row of this module that a decision reads is written.
    number("next_ordinal"),
    words("policy_sha256", null=True),
    number("created_at_us"),
    words("moved_to", null=True),  # Set by the last act of a move to PostgreSQL (M34): never serves again.
    sqlite_strict=True,
)

projects: Final = account_table(
    "projects",
    words("name", key=True),
    words("state"),
    number("created_at_us"),
    one_of("state", ("open", "closed")),
)

runs: Final = account_table(
    "runs",
    words("run_id", key=True),
    words("project"),
    words("title"),
    words("state"),
    number("standing"),
    number("opened_at_us"),
    number("closed_at_us", null=True),
    words("order_id", null=True),
    one_of("state", ("open", "closed")),
)
_STANDING = text("standing = 1 AND state = 'open'")
Index(
    "ux_runs_standing",
    runs.c.account_id,
    runs.c.project,
    unique=True,
    sqlite_where=_STANDING,
    postgresql_where=_STANDING,
)
Index("ix_runs_project", runs.c.account_id, runs.c.project, runs.c.opened_at_us)

agents: Final = account_table(
    "agents",
    words("agent_id", key=True),
    words("name"),
    words("project"),
    words("kits"),  # JSON list.
    words("run_id", null=True),
    number("expires_at_us", null=True),
    words("made_by"),
    number("strict_errors"),
    words("state"),
    words("token_sha256"),
    number("created_at_us"),
    number("last_seen_at_us", null=True),
    one_of("state", ("active", "revoked")),
    UniqueConstraint("account_id", "name", name="uq_agents_name"),
    UniqueConstraint("token_sha256", name="uq_agents_token"),
)

enforcers: Final = account_table(
    "enforcers",
    words("enforcer_id", key=True),
    words("name"),
    words("project"),
    words("made_by"),
    words("state"),
    words("token_sha256"),
    number("created_at_us"),
    number("last_seen_at_us", null=True),
    one_of("state", ("active", "revoked")),
    UniqueConstraint("account_id", "name", name="uq_enforcers_name"),
    UniqueConstraint("token_sha256", name="uq_enforcers_token"),
)

operators: Final = account_table(
    "operators",
    words("operator_id", key=True),
    words("name"),
    words("role"),
    words("state"),
    words("password_hash", null=True),
    words("made_by"),
    number("created_at_us"),
    one_of("role", ("viewer", "approver", "owner")),
    one_of("state", ("active", "disabled")),
    UniqueConstraint("account_id", "name", name="uq_operators_name"),
)

operator_sessions: Final = account_table(
    "operator_sessions",
    words("session_key", key=True),
    raw("data"),
    number("expires_at_us"),
    words("operator_id", null=True),  # Null only where 0004 found it; it emptied the table.
)
Index("ix_operator_sessions_operator", operator_sessions.c.account_id, operator_sessions.c.operator_id)
Index("ix_operator_sessions_expiry", operator_sessions.c.account_id, operator_sessions.c.expires_at_us)

operator_links: Final = account_table(
    "operator_links",
    words("link_sha256", key=True),
    words("operator_id"),
    words("made_by"),
    number("expires_at_us"),
    number("used_at_us", null=True),
)

login_throttles: Final = account_table(
    "login_throttles",
    words("subject", key=True),  # An operator's name or an address.
    number("failures"),
    number("blocked_until_us"),
    number("last_at_us"),
)

policy_versions: Final = account_table(
    "policy_versions",
    words("sha256", key=True),
    words("file"),
    words("text"),
    words("state"),
    words("loaded_by"),
    number("loaded_at_us"),
    words("activated_by", null=True),
    number("activated_at_us", null=True),
    one_of("state", ("candidate", "active", "retired")),
)

postures: Final = account_table(
    "postures",
    words("scope", key=True),
    words("scope_key", key=True),
    words("posture"),
    words("because"),
    words("set_by"),
    number("at_us"),
    one_of("scope", ("account", "project", "agent", "provider")),
    one_of("posture", ("normal", "no_spend", "draft_only", "read_only")),
)

processes: Final = account_table(
    "processes",
    words("process_id", key=True),
    number("live_spend"),
    words("policy_sha256", null=True),
    words("version"),
    number("started_at_us"),
    number("beat_at_us"),
    number("stopped_at_us", null=True),
)

tool_acceptances: Final = account_table(
    "tool_acceptances",
    words("tool", key=True),
    words("definition_hash"),
    words("accepted_kind"),
    words("accepted_by"),
    number("at_us"),
)
