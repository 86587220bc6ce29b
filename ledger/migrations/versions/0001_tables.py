"""Make the ledger's tables."""

from __future__ import annotations

from alembic import op

from ledger.guards import create_guards
from ledger.migrations.tables import check, index, refers, table, unique

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table of who and what may, of calls and caps, and of the log."""
    _house_1()
    _house_2()
    _house_3()
    _calls_1()
    _calls_2()
    _calls_3()
    _log_1()
    create_guards(op.get_bind())


def _house_1() -> None:
    table(
        "accounts",
        "account_id:text name:text instance_id:text house_version:int next_ordinal:int policy_sha256:text? "
        "created_at_us:int moved_to:text?",
        key="account_id",
    )
    table(
        "agents",
        "account_id:text agent_id:text name:text project:text kits:text run_id:text? expires_at_us:int? "
        "made_by:text strict_errors:int state:text token_sha256:text created_at_us:int "
        "last_seen_at_us:int?",
        key="account_id agent_id",
        parts=(
            check("ck_agents_state", "state IN ('active', 'revoked')"),
            unique("uq_agents_name", "account_id name"),
            unique("uq_agents_token", "token_sha256"),
        ),
    )
    table(
        "enforcers",
        "account_id:text enforcer_id:text name:text project:text made_by:text state:text token_sha256:text "
        "created_at_us:int last_seen_at_us:int?",
        key="account_id enforcer_id",
        parts=(
            check("ck_enforcers_state", "state IN ('active', 'revoked')"),
            unique("uq_enforcers_name", "account_id name"),
            unique("uq_enforcers_token", "token_sha256"),
        ),
    )
    table(
        "login_throttles",
        "account_id:text subject:text failures:int blocked_until_us:int last_at_us:int",
        key="account_id subject",
    )
    table(
        "operator_links",
        "account_id:text link_sha256:text operator_id:text made_by:text expires_at_us:int used_at_us:int?",
        key="account_id link_sha256",
    )
    table(
        "operator_sessions",
        "account_id:text session_key:text data:bytes expires_at_us:int",
        key="account_id session_key",
    )
    index("ix_operator_sessions_expiry", "operator_sessions", "account_id expires_at_us")


def _house_2() -> None:
    table(
        "operators",
        "account_id:text operator_id:text name:text role:text state:text password_hash:text? made_by:text "
        "created_at_us:int",
        key="account_id operator_id",
        parts=(
            check("ck_operators_role", "role IN ('viewer', 'approver', 'owner')"),
            check("ck_operators_state", "state IN ('active', 'disabled')"),
            unique("uq_operators_name", "account_id name"),
        ),
    )
    table(
        "policy_versions",
        "account_id:text sha256:text file:text text:text state:text loaded_by:text loaded_at_us:int "
        "activated_by:text? activated_at_us:int?",
        key="account_id sha256",
        parts=(check("ck_policy_versions_state", "state IN ('candidate', 'active', 'retired')"),),
    )
    table(
        "postures",
        "account_id:text scope:text scope_key:text posture:text because:text set_by:text at_us:int",
        key="account_id scope scope_key",
        parts=(
            check("ck_postures_posture", "posture IN ('normal', 'no_spend', 'draft_only', 'read_only')"),
            check("ck_postures_scope", "scope IN ('account', 'project', 'agent', 'provider')"),
        ),
    )
    table(
        "processes",
        "account_id:text process_id:text live_spend:int policy_sha256:text? version:text started_at_us:int "
        "beat_at_us:int stopped_at_us:int?",
        key="account_id process_id",
    )
    table(
        "projects",
        "account_id:text name:text state:text created_at_us:int",
        key="account_id name",
        parts=(check("ck_projects_state", "state IN ('open', 'closed')"),),
    )


def _house_3() -> None:
    table(
        "runs",
        "account_id:text run_id:text project:text title:text state:text standing:int opened_at_us:int "
        "closed_at_us:int? order_id:text?",
        key="account_id run_id",
        parts=(check("ck_runs_state", "state IN ('open', 'closed')"),),
    )
    index("ix_runs_project", "runs", "account_id project opened_at_us")
    index(
        "ux_runs_standing", "runs", "account_id project", unique=True, where="standing = 1 AND state = 'open'"
    )
    table(
        "tool_acceptances",
        "account_id:text tool:text definition_hash:text accepted_kind:text accepted_by:text at_us:int",
        key="account_id tool",
    )


def _calls_1() -> None:
    table(
        "adjustments",
        "account_id:text adjustment_id:text call_id:text? purchase_id:text? reason_code:text "
        "amount_minor:int currency:text mode:text moves:text evidence:text at_us:int",
        key="account_id adjustment_id",
    )
    table(
        "cap_usage",
        "account_id:text meter:text window_start_us:int cap_id:text scope:text scope_key:text unit:text "
        "mode:text window:text held:int committed:int posted:int",
        key="account_id meter window_start_us",
        parts=(check("ck_cap_usage_never_negative", "held >= 0 AND committed >= 0"),),
        rowid=False,
    )
    table(
        "discrepancies",
        "account_id:text discrepancy_id:text call_id:text? provider:text? code:text state:text "
        "evidence:text found_at_us:int operator:text? resolved_at_us:int? words:text",
        key="account_id discrepancy_id",
        parts=(check("ck_discrepancies_state", "state IN ('open', 'resolved')"),),
    )
    table(
        "earnings",
        "account_id:text earning_id:text project:text amount_minor:int currency:text mode:text "
        "proof_level:text booked_at_us:int",
        key="account_id earning_id",
    )
    index("ix_earnings_sum", "earnings", "account_id currency mode project booked_at_us")
    table(
        "idempotency",
        "account_id:text agent:text tool:text key:text fingerprint:text call_id:text",
        key="account_id key agent tool",
        rowid=False,
    )
    table(
        "known_payees",
        "account_id:text mode:text payee:text first_call_id:text at_us:int",
        key="account_id payee mode",
        rowid=False,
    )


def _calls_2() -> None:
    table(
        "outbox",
        "account_id:text outbox_id:text topic:text payload:bytes due_at_us:int tries:int "
        "lease_until_us:int done_at_us:int?",
        key="account_id outbox_id",
    )
    index("ix_outbox_due", "outbox", "account_id due_at_us", where="done_at_us IS NULL")
    table(
        "reviews",
        "account_id:text review_id:text kind:text subject_type:text subject_id:text run_id:text? "
        "agent:text call_id:text? state:text body:bytes words:text operator:text? answered_at_us:int? "
        "submitted_at_us:int",
        key="account_id review_id",
        parts=(check("ck_reviews_state", "state IN ('waiting', 'approved', 'changes_asked', 'rejected')"),),
    )
    index("ix_reviews_state", "reviews", "account_id state submitted_at_us")
    index("ix_reviews_subject", "reviews", "account_id subject_type subject_id")
    table(
        "tool_calls",
        "account_id:text call_id:text ordinal:int project:text run_id:text agent:text enforcer_id:text? "
        "tool:text tool_hash:text kind:text operation:text provider:text provider_account:text mode:text "
        "payee:text? payee_basis:text? amount_minor:int? currency:text? effect:bytes args:bytes "
        "op_hash:text fingerprint:text idempotency_key:text? twin_key:text? records:text core:int own:int "
        "provider_key:text? replay_lifetime_s:int admitted_at_us:int similar_to:text? requested_by:text "
        "traceparent:text reason:text state:text version:int run_by_us:int? policy_sha256:text "
        "decision:bytes approval_id:text? held_reason:text? code:text message:text retry:text "
        "retry_at_us:int? attempts:int maybe_sent:int provider_ref:text? provider_key_until_us:int? "
        "lease_token:int lease_holder:text? lease_until_us:int? instance:text? actual_minor:int? "
        "result:bytes proof_level:text? proof_by:text? proof_provider:text? replaced_by:text? "
        "unknown_at_us:int? alert_at_us:int? settled_at_us:int? twin_until_us:int same_until_us:int",
        key="account_id call_id",
        parts=(
            check("ck_tool_calls_amount", "amount_minor IS NULL OR amount_minor >= 0"),
            check(
                "ck_tool_calls_state",
                "state IN ('denied', 'awaiting_approval', 'queued', 'executing', 'succeeded', "
                "'failed', 'unknown', 'cancelled', 'expired')",
            ),
        ),
    )
    index("ix_tool_calls_agent", "tool_calls", "account_id agent ordinal")
    index("ix_tool_calls_history", "tool_calls", "account_id ordinal")
    index(
        "ix_tool_calls_open",
        "tool_calls",
        "account_id state agent ordinal",
        where="settled_at_us IS NULL",
    )
    index(
        "ix_tool_calls_provider_ref",
        "tool_calls",
        "account_id provider provider_ref",
        where="provider_ref IS NOT NULL",
    )
    index("ix_tool_calls_run", "tool_calls", "account_id run_id ordinal")
    index(
        "ix_tool_calls_same", "tool_calls", "account_id fingerprint same_until_us", where="same_until_us > 0"
    )
    index(
        "ix_tool_calls_settled",
        "tool_calls",
        "account_id settled_at_us",
        where="settled_at_us IS NOT NULL",
    )
    index("ix_tool_calls_twin", "tool_calls", "account_id twin_key twin_until_us", where="twin_until_us > 0")


def _calls_3() -> None:
    table(
        "verdicts",
        "account_id:text verdict_id:text approval_id:text call_id:text operator:text op_hash:text "
        "verdict:text comment:text confirmed_by:text? at_us:int revoked_at_us:int?",
        key="account_id verdict_id",
        parts=(check("ck_verdicts_verdict", "verdict IN ('approve', 'deny', 'comment')"),),
    )
    index("ix_verdicts_call", "verdicts", "account_id call_id")
    table(
        "approvals",
        "account_id:text approval_id:text call_id:text op_hash:text state:text asks:bytes "
        "created_at_us:int expires_at_us:int run_within_s:int approved_at_us:int? supersedes:text?",
        key="account_id approval_id",
        parts=(
            check(
                "ck_approvals_state",
                "state IN ('pending', 'approved', 'consumed', 'denied', 'expired', 'superseded', "
                "'withdrawn', 'revoked')",
            ),
            refers("fk_approvals_account_id", "account_id call_id", "tool_calls", "account_id call_id"),
        ),
    )
    index("ix_approvals_call", "approvals", "account_id call_id")
    index("ix_approvals_due", "approvals", "account_id expires_at_us approval_id", where="state = 'pending'")
    table(
        "attempts",
        "account_id:text call_id:text number:int purpose:text provider_account:text mode:text "
        "instance:text holder:text lease_token:int started_at_us:int lease_until_us:int ended_at_us:int? "
        "outcome:text? detail:text maybe_sent:int",
        key="account_id call_id number",
        parts=(
            check("ck_attempts_purpose", "purpose IN ('execute', 'replay', 'lookup')"),
            refers("fk_attempts_account_id", "account_id call_id", "tool_calls", "account_id call_id"),
        ),
        rowid=False,
    )
    table(
        "reservations",
        "account_id:text call_id:text meter:text ordinal:int amount:int window_start_us:int state:text "
        "posted:int",
        key="account_id call_id meter",
        parts=(
            check("ck_reservations_state", "state IN ('held', 'committed', 'posted', 'void')"),
            refers("fk_reservations_account_id", "account_id call_id", "tool_calls", "account_id call_id"),
        ),
    )
    index(
        "ix_reservations_floating",
        "reservations",
        "account_id meter ordinal",
        where="state = 'held' AND window_start_us = -1",
    )


def _log_1() -> None:
    table(
        "audit_entry",
        "account_id:text seq:int at_us:int kind:text subject_type:text subject_id:text body:bytes leaf:bytes",
        key="account_id seq",
    )
    index("ix_audit_entry_subject", "audit_entry", "account_id subject_type subject_id seq")
    table(
        "audit_payload",
        "account_id:text seq:int salt:bytes? body:bytes? erased_by:int?",
        key="account_id seq",
    )
    table(
        "checkpoint",
        "account_id:text size:int previous:int root:bytes note:text key_id:text",
        key="account_id size",
    )
    table(
        "log_head",
        "account_id:text size:int epoch:int frontier:bytes",
        key="account_id",
    )
    table(
        "log_node",
        "account_id:text level:int position:int hash:bytes",
        key="account_id level position",
        rowid=False,
    )
