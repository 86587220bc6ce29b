"""The statements of the hot commands, as Core constructs that are compiled once (see `ledger.engines.tx`)."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnClause,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql import ClauseElement

from ledger import schema as s
from ledger import schema_house as h
from ledger import schema_log as g
from ledger.engines.sets import SetStatement, insert_form, update_form
from ledger.engines.tx import Listed, Statement

ACCOUNT: Final[BindParameter[Any]] = bindparam("account")
# Constants stand in the text: a partial index serves only a query that spells its condition out.
ZERO: Final[ColumnClause[Any]] = literal_column("0")


def of_account(table: Table) -> Select[Any]:
    """Select all columns of one account's rows."""
    return select(table).where(table.c.account_id == ACCOUNT)


def listed(table: Table, column: str) -> Listed:
    """Select whole rows by a list of one column."""
    return Listed(lambda values: of_account(table).where(table.c[column].in_(values)))


LOCK: Final = Statement(
    select(
        h.accounts.c.house_version,
        h.accounts.c.next_ordinal,
        h.accounts.c.policy_sha256,
        h.accounts.c.moved_to,
        g.log_head.c.size,
        g.log_head.c.epoch,
        g.log_head.c.frontier,
    )
    .select_from(h.accounts.join(g.log_head, g.log_head.c.account_id == h.accounts.c.account_id))
    .where(h.accounts.c.account_id == ACCOUNT)
    # Both rows, so that whoever waited reads both as they are then, and not one as it was before.
    .with_for_update()  # SQLite leaves it out: BEGIN IMMEDIATE has locked the whole file.
)
ACCOUNT_STATE: Final = Statement(
    select(
        h.accounts.c.house_version,
        h.accounts.c.next_ordinal,
        h.accounts.c.policy_sha256,
        h.accounts.c.moved_to,
    ).where(h.accounts.c.account_id == ACCOUNT)
)
HOUSE_VERSION: Final = Statement(select(h.accounts.c.house_version).where(h.accounts.c.account_id == ACCOUNT))
HEAD: Final = Statement(
    select(g.log_head.c.size, g.log_head.c.epoch, g.log_head.c.frontier).where(
        g.log_head.c.account_id == ACCOUNT
    )
)
POLICY: Final = Statement(
    select(h.policy_versions.c.text, h.policy_versions.c.file).where(
        h.policy_versions.c.account_id == ACCOUNT, h.policy_versions.c.sha256 == bindparam("sha256")
    )
)
PROCESSES: Final = Statement(
    select(h.processes.c.process_id, h.processes.c.live_spend, h.processes.c.beat_at_us).where(
        h.processes.c.account_id == ACCOUNT, h.processes.c.stopped_at_us.is_(None)
    )
)
AGENTS: Final = Statement(of_account(h.agents))
OPERATORS: Final = Statement(of_account(h.operators))
POSTURES: Final = Statement(of_account(h.postures))
ACCEPTED: Final = Statement(
    select(h.tool_acceptances.c.tool, h.tool_acceptances.c.definition_hash).where(
        h.tool_acceptances.c.account_id == ACCOUNT
    )
)

CALLS: Final = listed(s.tool_calls, "call_id")
# Open calls in one state, oldest first, without those that are an enforcer's to claim.
OURS: Final = Statement(
    select(s.tool_calls.c.call_id)
    .where(
        s.tool_calls.c.account_id == ACCOUNT,
        s.tool_calls.c.state == bindparam("state"),
        s.tool_calls.c.settled_at_us.is_(None),
        s.tool_calls.c.enforcer_id.is_(None),
    )
    # Not the column itself: to spare the sort, SQLite would walk through all calls there ever were.
    .order_by(s.tool_calls.c.ordinal + literal_column("0"))
    .limit(bindparam("most"))
    .offset(bindparam("skipped"))  # Named, since SQLite's LIMIT brings one of its own otherwise.
)
RUNS: Final = listed(h.runs, "run_id")
ATTEMPTS: Final = listed(s.attempts, "call_id")
RESERVATIONS: Final = listed(s.reservations, "call_id")
APPROVALS: Final = listed(s.approvals, "approval_id")
VERDICTS: Final = listed(s.verdicts, "call_id")
KEYS: Final = listed(s.idempotency, "key")
PAYEES: Final = Listed(
    lambda values: select(s.known_payees.c.mode, s.known_payees.c.payee).where(
        s.known_payees.c.account_id == ACCOUNT, s.known_payees.c.payee.in_(values)
    )
)

_c = s.tool_calls.c
_TWIN_COLUMNS: Final = (_c.call_id, _c.ordinal, _c.state, _c.agent)
TWINS: Final = Listed(
    lambda values: select(_c.twin_key, *_TWIN_COLUMNS, _c.twin_until_us, _c.admitted_at_us).where(
        _c.account_id == ACCOUNT,
        _c.twin_key.in_(values),
        _c.twin_until_us > bindparam("at_us"),
        _c.twin_until_us > ZERO,  # Said again so that the partial index is known to serve.
    )
)
SAME: Final = Listed(
    lambda values: select(_c.fingerprint, *_TWIN_COLUMNS, _c.same_until_us, _c.admitted_at_us).where(
        _c.account_id == ACCOUNT,
        _c.fingerprint.in_(values),
        _c.same_until_us > bindparam("at_us"),
        _c.same_until_us > ZERO,  # The same.
    )
)
_r = s.reservations.c
WAITING: Final = Listed(
    lambda values: (
        select(_c.agent, _c.call_id, _r.meter, _r.amount)
        .select_from(
            s.tool_calls.outerjoin(
                s.reservations,
                (_r.account_id == _c.account_id)
                & (_r.call_id == _c.call_id)
                & (_r.state == literal_column("'held'")),
            )
        )
        .where(
            _c.account_id == ACCOUNT,
            _c.settled_at_us.is_(None),
            _c.state == literal_column("'awaiting_approval'"),
            _c.agent.in_(values),
        )
    )
)
FLOATING: Final = Listed(
    lambda values: select(_r.meter, _r.call_id, _r.ordinal, _r.amount).where(
        _r.account_id == ACCOUNT,
        _r.meter.in_(values),
        _r.state == literal_column("'held'"),
        _r.window_start_us == literal_column("-1"),
    )
)

_u = s.cap_usage.c


def usage_at(starts: int) -> Listed:
    """Select usage of listed meters in so many named windows."""
    names: list[BindParameter[Any]] = [bindparam(f"start_{place}") for place in range(starts)]
    return Listed(
        lambda values: of_account(s.cap_usage).where(_u.meter.in_(values), _u.window_start_us.in_(names))
    )


USAGE_AT: Final = {count: usage_at(count) for count in (1, 2, 4, 8, 16, 32)}
USAGE_SINCE: Final = Listed(
    lambda values: of_account(s.cap_usage).where(
        _u.meter.in_(values), _u.window_start_us >= bindparam("since")
    )
)

_e = s.earnings.c
EARNED: Final = Statement(
    select(func.coalesce(func.sum(_e.amount_minor), ZERO)).where(
        _e.account_id == ACCOUNT,
        _e.currency == bindparam("currency"),
        _e.mode == bindparam("mode"),
        # Only what the evidence shows to be as real as the mode: a live cap grows by live earnings alone.
        _e.proof_level == bindparam("mode"),
        (bindparam("project") == literal_column("''")) | (_e.project == bindparam("project")),
        (_e.amount_minor < ZERO) | (_e.booked_at_us <= bindparam("until")),
    )
)


# --- writing ---------------------------------------------------------------------------------------------


def insert_all(table: Table) -> SetStatement:
    """Insert whole rows, in the order of the columns."""
    return SetStatement(insert(table), table, insert_form(table, tuple(table.c.keys())))


class PerDialect(Statement):
    """A statement that the two engines build with constructs of their own."""

    def __init__(self, sqlite: ClauseElement, postgres: ClauseElement) -> None:
        super().__init__(sqlite)
        self._of = {"sqlite": Statement(sqlite), "postgresql": Statement(postgres)}

    def text(self, dialect: Any) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        """Return the text of that engine's statement."""
        return self._of[dialect.name].text(dialect)


def insert_new(table: Table) -> SetStatement:
    """Insert whole rows, leaving those that are there as they are."""
    form = insert_form(table, tuple(table.c.keys()), ending="ON CONFLICT DO NOTHING")
    plain = postgres_insert(table).on_conflict_do_nothing()
    return SetStatement(sqlite_insert(table).on_conflict_do_nothing(), table, form, on_postgres=plain)


def update_columns(table: Table, keys: tuple[str, ...], columns: tuple[str, ...]) -> SetStatement:
    """Update columns of rows named by their keys; parameters are `set_COLUMN` and `key_COLUMN`."""
    statement: Update = update(table).values({name: bindparam(f"set_{name}") for name in columns})
    for name in keys:
        statement = statement.where(table.c[name] == bindparam(f"key_{name}"))
    form = update_form(
        table, {name: f'given."set_{name}"' for name in columns}, {name: f"key_{name}" for name in keys}
    )
    return SetStatement(statement, table, form)


CALL_KEY: Final = ("account_id", "call_id")
_ALL: Final = tuple(column.name for column in s.tool_calls.columns)
CALL_MOVES: Final = _ALL[_ALL.index("state") :]
# What the indexes of ended calls and of twins stand on: writing it costs each of them a turn, changed or not.
INDEXED: Final = ("provider_ref", "settled_at_us", "twin_until_us", "same_until_us")

INSERT_CALLS: Final = insert_all(s.tool_calls)
UPDATE_CALLS: Final = update_columns(s.tool_calls, CALL_KEY, CALL_MOVES)
MOVE_CALLS: Final = update_columns(
    s.tool_calls, CALL_KEY, tuple(name for name in CALL_MOVES if name not in INDEXED)
)
INSERT_KEYS: Final = insert_all(s.idempotency)
INSERT_ATTEMPTS: Final = insert_all(s.attempts)
UPDATE_ATTEMPTS: Final = update_columns(
    s.attempts, (*CALL_KEY, "number"), ("lease_until_us", "ended_at_us", "outcome", "detail", "maybe_sent")
)
INSERT_RESERVATIONS: Final = insert_all(s.reservations)
UPDATE_RESERVATIONS: Final = update_columns(
    s.reservations, (*CALL_KEY, "meter"), ("amount", "window_start_us", "state", "posted")
)
INSERT_USAGE: Final = insert_new(s.cap_usage)
MOVE_USAGE: Final = SetStatement(
    update(s.cap_usage)
    .values(
        held=_u.held + bindparam("add_held"),
        committed=_u.committed + bindparam("add_committed"),
        posted=_u.posted + bindparam("add_posted"),
    )
    .where(
        _u.account_id == ACCOUNT,
        _u.meter == bindparam("key_meter"),
        _u.window_start_us == bindparam("key_start"),
    ),
    s.cap_usage,
    update_form(
        s.cap_usage,
        {name: f'"cap_usage"."{name}" + given.add_{name}' for name in ("held", "committed", "posted")},
        {"account_id": "account", "meter": "key_meter", "window_start_us": "key_start"},
    ),
    renamed={"account": "account_id", "key_start": "window_start_us"},
)
INSERT_APPROVALS: Final = insert_all(s.approvals)
UPDATE_APPROVALS: Final = update_columns(
    s.approvals, ("account_id", "approval_id"), ("state", "expires_at_us", "approved_at_us")
)
INSERT_VERDICTS: Final = insert_all(s.verdicts)
UPDATE_VERDICTS: Final = update_columns(s.verdicts, ("account_id", "verdict_id"), ("revoked_at_us",))
INSERT_PAYEES: Final = insert_new(s.known_payees)
INSERT_ENTRIES: Final = insert_all(g.audit_entry)
_PAYLOAD: Final = ("account_id", "seq", "salt", "body")
INSERT_PAYLOADS: Final = SetStatement(
    insert(g.audit_payload).values({name: bindparam(name) for name in _PAYLOAD}),
    g.audit_payload,
    insert_form(g.audit_payload, _PAYLOAD),
)
INSERT_NODES: Final = insert_all(g.log_node)
SET_HEAD: Final = update_columns(g.log_head, ("account_id",), ("size", "frontier"))
SET_ORDINAL: Final = update_columns(h.accounts, ("account_id",), ("next_ordinal",))
SEEN_AGENTS: Final = update_columns(h.agents, ("account_id", "name"), ("last_seen_at_us",))
SET_HOUSE: Final = Statement(
    update(h.accounts)
    .values(house_version=h.accounts.c.house_version + literal_column("1"))
    .where(h.accounts.c.account_id == ACCOUNT)
)


def upsert(table: Table, keys: tuple[str, ...]) -> PerDialect:
    """Insert a whole row or replace what is there but its key."""

    def build(kind: Any) -> Insert:  # noqa: ANN401 -- as the driver, the job or the dialect has it
        made = kind(table)
        rest = {
            column.name: made.excluded[column.name] for column in table.columns if column.name not in keys
        }
        built: Insert = made.on_conflict_do_update(index_elements=list(keys), set_=rest)
        return built

    return PerDialect(build(sqlite_insert), build(postgres_insert))


UPSERT_POSTURE: Final = upsert(h.postures, ("account_id", "scope", "scope_key"))
OTHER: Final = {
    "outbox": insert_all(s.outbox),
    "discrepancies": insert_all(s.discrepancies),
    "adjustments": insert_all(s.adjustments),
    "reviews": insert_all(s.reviews),
    "earnings": insert_all(s.earnings),
}
