"""The tables: migrated equals declared, guarded by triggers, refused where they are another program's."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text

from ledger import guards, rows, schema, schema_house, schema_log, schema_state
from ledger.engines.sqlite import FileLock, LockHeld, sqlite_warning
from ledger.ledger import open_ledger
from ledger.making import alone, make_ledger, upgrade_ledger
from policy.errors import ConfigurationError
from tests.ledger.till import ASK_ALL, JUDGE, NOON, Till, make, open_till, with_caps

DECLARED = schema.METADATA
ALL_TABLES = (schema_house.accounts, schema_log.log_head)


async def test_migrated_equals_declared(ledger_url: str) -> None:
    """The history of the tables leads to the tables the program speaks of, on either engine."""

    def compare(connection: Connection) -> Any:  # noqa: ANN401 -- alembic's differences have no type
        return compare_metadata(MigrationContext.configure(connection), DECLARED)

    assert await alone(ledger_url, compare) == []


async def test_every_guard_stands_after_the_last_migration(ledger_url: str) -> None:
    """Rebuilding a table on SQLite drops its triggers; each migration makes them anew."""

    def names(connection: Connection) -> set[str]:
        if connection.dialect.name == "sqlite":
            found = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))
        else:
            found = connection.execute(text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"))
        return {row[0] for row in found}

    engine = "sqlite" if ledger_url.startswith("sqlite") else "postgresql"
    assert await alone(ledger_url, names) >= guards.guard_names(engine)


@pytest.mark.parametrize(
    ("row", "table"),
    [
        (rows.CallRow, schema.tool_calls),
        (rows.AttemptRow, schema.attempts),
        (rows.UsageRow, schema.cap_usage),
        (rows.ReservationRow, schema.reservations),
        (rows.ApprovalRow, schema.approvals),
        (rows.VerdictRow, schema.verdicts),
        (rows.RunRow, schema_house.runs),
    ],
)
def test_a_row_s_fields_are_its_table_s_columns(row: type[Any], table: Any) -> None:  # noqa: ANN401 -- a Table
    """Rows are written and read by place, so another order would mix them up."""
    assert row.__struct_fields__ == tuple(column.name for column in table.columns)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET kind = 'x'",
        "DELETE FROM audit_entry",
        "UPDATE audit_payload SET body = NULL",
        "DELETE FROM audit_payload",
        "DELETE FROM log_node",
        "DELETE FROM tool_calls",
        "UPDATE tool_calls SET amount_minor = 1, version = version + 1",
        "UPDATE tool_calls SET op_hash = 'x', version = version + 1",
        "UPDATE tool_calls SET idempotency_key = 'x', version = version + 1",
        "UPDATE tool_calls SET state = 'queued', version = version + 1",
        "UPDATE tool_calls SET actual_minor = 7, version = version + 1",
        "UPDATE tool_calls SET message = 'x'",
        "UPDATE idempotency SET fingerprint = 'x'",
        "UPDATE idempotency SET call_id = 'x'",
        "DELETE FROM idempotency",
        "DELETE FROM cap_usage",
        "UPDATE approvals SET op_hash = 'x'",
        "UPDATE verdicts SET verdict = 'deny'",
        "DELETE FROM verdicts",
        "DELETE FROM agents",
    ],
)
async def test_the_guards_refuse_a_statement_written_by_hand(ledger_url: str, statement: str) -> None:
    """What the module promises holds against the command line of the database, too."""
    till = await open_till(ledger_url)
    await _use(till)
    await till.ledger.close()

    def run(connection: Connection) -> None:
        connection.execute(text(statement))

    with pytest.raises(
        Exception, match=r"keeps every row|only grows|never change|illegal edge|stale|for ever|erased"
    ):
        await alone(ledger_url, run)


async def _use(till: Till) -> None:
    """Leave a row in every guarded table."""
    await till.law(with_caps(ASK_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}'))
    ada = await till.person("ada")
    admitted = await till.admit()
    await till.approve(admitted, ada)
    await till.settle(await till.claim(admitted.call.call_id), result=b"{}")


async def test_truncate_is_refused_on_postgresql(postgres_url: str) -> None:
    """TRUNCATE asks no row trigger."""
    await make(postgres_url)

    def run(connection: Connection) -> None:
        connection.execute(text("TRUNCATE audit_entry"))

    with pytest.raises(Exception, match="keeps every row"):
        await alone(postgres_url, run)


def test_replace_is_refused_on_sqlite(sqlite_template: Path, tmp_path: Path) -> None:
    """REPLACE deletes in silence where a connection forgot recursive_triggers."""
    path = tmp_path / "copy.db"
    shutil.copy(sqlite_template, path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection, pytest.raises(Exception, match=r"only grows|keeps every row"):
        connection.execute(text("INSERT OR REPLACE INTO audit_entry SELECT * FROM audit_entry"))
    engine.dispose()


async def _open(url: str) -> None:
    await (await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=lambda prefix: prefix)).close()


async def test_another_revision_is_refused_with_the_line_that_says_what_to_run(ledger_url: str) -> None:
    """Old tables under a new program would break halfway through a purchase."""

    def set_back(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    def set_beyond(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    await alone(ledger_url, set_back)
    with pytest.raises(ConfigurationError, match="run `bursar ledger upgrade`"):
        await _open(ledger_url)
    await alone(ledger_url, set_beyond)
    with pytest.raises(ConfigurationError, match="install the newer Bursar"):
        await _open(ledger_url)


async def test_upgrading_what_is_up_to_date_does_nothing(ledger_url: str) -> None:
    """It may be run at every start."""
    head = schema_state.head()
    found = await upgrade_ledger(ledger_url, judge=JUDGE, ids=lambda prefix: prefix, at=NOON)
    assert found == (head, head)
    await _open(ledger_url)


async def test_no_ledger_no_account_and_a_moved_one_are_refused(ledger_url: str, tmp_path: Path) -> None:
    """Each with one line that says what to do (M34)."""
    with pytest.raises(ConfigurationError, match="bursar init"):
        await _open(f"sqlite:///{tmp_path / 'nowhere.db'}")
    with pytest.raises(ConfigurationError, match="needs a file"):
        await _open("sqlite://")
    with pytest.raises(ConfigurationError, match="no account 'other'"):
        await open_ledger(
            ledger_url, judge=JUDGE, clock=lambda: NOON, ids=lambda prefix: prefix, account_id="other"
        )

    def moved(connection: Connection) -> None:
        connection.execute(text("UPDATE accounts SET moved_to = 'postgresql://there'"))

    await alone(ledger_url, moved)
    with pytest.raises(ConfigurationError, match="has moved to"):
        await open_till(ledger_url)


async def test_a_second_process_cannot_write_the_same_file(sqlite_template: Path, tmp_path: Path) -> None:
    """Two writers can corrupt the file, so the second is refused before it opens it."""
    path = tmp_path / "ledger.db"
    shutil.copy(sqlite_template, path)
    lock = FileLock(path)
    lock.take()
    with pytest.raises(LockHeld):
        await _open(f"sqlite:///{path}")
    lock.release()
    await _open(f"sqlite:///{path}")


def test_a_build_of_sqlite_with_the_wal_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs it should know why no other program may write the file."""
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 2))
    assert "3.51.3" in (sqlite_warning() or "")
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 51, 3))
    assert sqlite_warning() is None


async def test_readers_can_write_nothing(sqlite_template: Path, tmp_path: Path) -> None:
    """`query_only` holds even where our own code errs."""
    path = tmp_path / "ledger.db"
    shutil.copy(sqlite_template, path)
    till = await open_till(f"sqlite:///{path}")
    with pytest.raises(Exception, match=r"readonly|read-only"):
        await till.ledger._core.read(  # noqa: SLF001 -- the door every read goes through
            lambda tx: tx.connection.execute(text("UPDATE accounts SET name = 'x'"))
        )
    await till.ledger.close()


async def test_two_accounts_in_one_database_never_mix(ledger_url: str) -> None:
    """Isolation is by key, so it is tested with two."""
    await make_ledger(
        ledger_url,
        account_id="acct_two",
        name="two",
        instance_id="i",
        judge=JUDGE,
        ids=lambda p: f"{p}_t",
        at=NOON,
    )
    one = await open_till(ledger_url, account_id="acct_test")
    await _use(one)
    assert (await one.ledger.checked()).bad is None
    before = (await one.ledger.checked()).root
    await one.ledger.close()
    two = await open_till(ledger_url, account_id="acct_two", token="token-two")
    assert (await two.ledger.calls()).items == ()
    assert await two.ledger.active() is None
    await _use(two)
    assert (await two.ledger.checked()).bad is None
    await two.ledger.close()
    again = await open_ledger(
        ledger_url, judge=JUDGE, clock=lambda: NOON, ids=lambda p: p, account_id="acct_test"
    )
    assert (await again.checked()).root == before
    await again.close()


def test_every_table_begins_with_its_account() -> None:
    """So that accounts can be sharded."""
    for table in DECLARED.tables.values():
        assert next(iter(table.primary_key.columns)).name == "account_id", table.name
    assert all(table.metadata is DECLARED for table in ALL_TABLES)
    assert asyncio.iscoroutinefunction(_use)
