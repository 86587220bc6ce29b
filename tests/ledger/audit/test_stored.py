"""Verification of real ledgers on both engines: a house through its own door, then a hand in the database."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, make_url

from ledger.audit import keys
from ledger.audit.checkpoint import ForkFound, origin_of
from ledger.audit.export import ExportSource, write_export
from ledger.audit.receipt import Extra, verify_receipt, write_receipt
from ledger.audit.signing import check_not_forked, sign_checkpoint
from ledger.audit.stored import StoredSource, read_ledger
from ledger.audit.verify import Anchor, Verified, verify_account
from ledger.making import alone
from ledger.side_audit import INCOMING
from policy.errors import ConfigurationError
from tests.ledger.audit.houses import House, lived_in


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lived-in house on SQLite, made once and copied by each test."""
    folder = tmp_path_factory.mktemp("house")
    asyncio.run(lived_in(f"sqlite:///{folder}/bursar.db", folder / "keys"))
    return folder


@pytest.fixture
def house(template: Path, tmp_path: Path) -> House:
    """A copy of the lived-in house."""
    shutil.copytree(template, tmp_path / "house")
    return House(f"sqlite:///{tmp_path}/house/bursar.db", tmp_path / "house" / "keys")


def checked(house: House) -> Verified:
    """Verify as the command does: with the key's public part and the checkpoint beside it."""
    public = keys.load(house.folder).public
    last = keys.last_checkpoint(house.folder, house.account)
    anchors = [] if last is None else [Anchor(0, last.size, last.root, "keys")]
    return read_ledger(
        house.url, lambda source: verify_account(source, house.account, keys=[public], anchors=anchors)
    )


def spoil(house: House, *statements: str) -> str:
    """Run statements past the guards, as whoever has the file can, and return what verify names."""
    connection = sqlite3.connect(str(make_url(house.url).database))
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert connection.execute(statement).rowcount != 0, statement
    connection.commit()
    connection.close()
    return str(checked(house).bad)


def test_a_lived_in_ledger_verifies_with_its_tables(house: House) -> None:
    """I7: replaying the log of every kind of call gives back the tables, usage included."""
    said = checked(house)
    assert said.bad is None
    assert said.entries == said.signed_size > 25
    assert said.checkpoints == 2


def test_a_lived_in_ledger_verifies_on_postgresql_too(postgres_url: str, tmp_path: Path) -> None:
    """The same functions read both engines; here a hand changes a row past the guards as well."""
    house = asyncio.run(lived_in(postgres_url, tmp_path / "keys"))
    assert checked(house).bad is None
    asyncio.run(_spoil_postgres(postgres_url))
    assert "tool_calls" in str(checked(house).bad)
    assert "amount_minor" in str(checked(house).bad)


async def _spoil_postgres(url: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        await connection.execute("SET session_replication_role = replica")  # What a superuser can do.
        await connection.execute("UPDATE tool_calls SET amount_minor = 1 WHERE amount_minor = 250")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "UPDATE tool_calls SET state = 'failed' WHERE state = 'succeeded' AND amount_minor = 250",
            "tool_calls",
        ),
        ("UPDATE tool_calls SET amount_minor = 1 WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET actual_minor = 1 WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET payee = 'evil.example' WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET args = x'7b7d20' WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET op_hash = 'f' WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET agent = 'eve' WHERE amount_minor = 250", "tool_calls"),
        ("UPDATE tool_calls SET result = x'7b7d' WHERE amount_minor = 250", "tool_calls"),
        ("DELETE FROM reservations WHERE state = 'posted'", "cap_usage"),
        ("UPDATE reservations SET amount = amount + 1 WHERE state = 'held'", "cap_usage"),
        ("UPDATE cap_usage SET posted = posted - 1 WHERE posted > 0", "cap_usage"),
        ("DELETE FROM cap_usage WHERE posted > 0", "cap_usage"),
        ("UPDATE postures SET posture = 'normal'", "postures"),
        ("DELETE FROM postures", "postures"),
        ("UPDATE operators SET role = 'viewer'", "operators"),
        ("UPDATE agents SET state = 'revoked'", "agents"),
        ("UPDATE policy_versions SET state = 'candidate'", "policy_versions"),
        ("UPDATE runs SET state = 'closed'", "runs"),
        ("UPDATE tool_acceptances SET definition_hash = 'e'", "tool_acceptances"),
        (
            "UPDATE audit_entry SET body = replace(body, 'spend', 'speed') WHERE seq = 12",
            "audit_entry seq 12",
        ),
        ("UPDATE audit_entry SET kind = 'call.read' WHERE seq = 12", "audit_entry seq 12"),
        ("DELETE FROM audit_entry WHERE seq = 12", "audit_entry seq 12"),
        ("DELETE FROM audit_entry WHERE seq > 20", "audit_entry seq 21"),
        ("UPDATE audit_payload SET body = x'7b7d' WHERE seq = 12", "audit_payload seq 12"),
        (
            "UPDATE audit_payload SET salt = NULL, body = NULL, erased_by = 3 WHERE seq = 12",
            "audit_payload seq 12",
        ),
        (
            "UPDATE log_node SET hash = zeroblob(32) WHERE level = 1 AND position = 3",
            "log_node level 1 position 3",
        ),
        ("UPDATE log_head SET frontier = zeroblob(32)", "log_head"),
        ("UPDATE checkpoint SET root = zeroblob(32)", "checkpoint size"),
        ("UPDATE checkpoint SET note = replace(note, 'A', 'B')", "checkpoint size"),
    ],
)
def test_a_hand_in_the_database_is_found(house: House, statement: str, named: str) -> None:
    """The issue's promise on a real file: past every guard, and still found."""
    statement = statement.replace("SET body = replace(body, 'spend', 'speed')", _BLOB)
    assert spoil(house, statement).startswith(named)


_BLOB = "SET body = CAST(replace(CAST(body AS TEXT), 'spend', 'speed') AS BLOB)"


def test_a_policy_text_that_was_changed_is_named(house: House) -> None:
    """What decided yesterday must be readable tomorrow; the text is bound by its hash."""
    assert "policy_versions" in spoil(house, "UPDATE policy_versions SET sha256 = 'f'")


def test_what_is_read_while_a_server_writes_is_one_snapshot(house: House) -> None:
    """An operator verifies beside a running server; a row read later must not be newer than one before."""

    def work(source: StoredSource) -> tuple[int, int]:
        before = source.head(house.account)
        asyncio.run(_spend(house))
        after = source.head(house.account)
        assert before is not None
        assert after is not None
        return before.size, after.size

    before, after = read_ledger(house.url, work)
    assert before == after
    assert checked(house).entries > after


async def _spend(house: House) -> None:
    house.ids = lambda prefix: f"{prefix}_late"
    async with await house.open() as ledger:
        await ledger.add_project("other", by="system:init", at=house.tick())


def test_a_receipt_of_a_stored_entry_proves_it(house: House) -> None:
    """From the database to a file that a stranger checks."""
    last = keys.last_checkpoint(house.folder, house.account)
    assert last is not None
    key = keys.load(house.folder).verifier(last.origin)

    def work(source: StoredSource) -> str:
        seq = source.entries_about(house.account, "call_000004", last.size)[-1]
        stored = source.payload(house.account, seq)
        assert stored is not None
        extra = Extra(source.entry(house.account, seq), stored.salt, stored.body)
        return write_receipt(extra, seq, last, source.lookup(house.account))

    proven = verify_receipt(read_ledger(house.url, work), key)
    assert proven.entry.kind == "call.settled"
    assert proven.payload is not None


def test_an_export_of_a_stored_ledger_verifies_alone(house: House, tmp_path: Path) -> None:
    """The file says what the database says, without its secrets."""
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        read_ledger(house.url, lambda source: write_export(source, house.account, file))
    said = verify_account(ExportSource(path), house.account, keys=[keys.load(house.folder).public])
    assert said.bad is None
    assert said.root == checked(house).root
    assert b"token_sha256" not in path.read_bytes()
    assert b"password" not in path.read_bytes()


def test_what_is_not_there_is_said(house: House, tmp_path: Path) -> None:
    """One clear line each."""
    with pytest.raises(ConfigurationError, match="there is no ledger"):
        read_ledger(f"sqlite:///{tmp_path}/nothing.db", lambda source: source.accounts())

    def work(source: StoredSource) -> None:
        assert source.instance("acc_9") == ""
        assert source.head("acc_9") is None
        assert source.payload(house.account, 10_000) is None
        with pytest.raises(LookupError, match="no entry"):
            source.entry(house.account, 10_000)
        with pytest.raises(LookupError, match="no node"):
            source.node(house.account, 3, 10_000)

    read_ledger(house.url, work)


@pytest.mark.parametrize("page", [1, 2, 7])
def test_long_tables_are_read_in_pages_without_a_gap(house: House, page: int) -> None:
    """A page's border must not lose or double a row, whatever the key is made of."""

    def work(connection: Connection) -> None:
        small, whole = StoredSource(connection, page=page), StoredSource(connection)
        assert list(small.entries("acc_1")) == list(whole.entries("acc_1"))
        assert list(small.payloads("acc_1")) == list(whole.payloads("acc_1"))
        assert list(small.nodes("acc_1", 1)) == list(whole.nodes("acc_1", 1))
        for table in ("reservations", "cap_usage", "tool_calls", "postures"):
            rows = list(whole.rows("acc_1", table))
            assert list(small.rows("acc_1", table)) == rows
            assert rows

    asyncio.run(alone(house.url, work))


# ---- signing


def test_signing_twice_changes_nothing_and_a_grown_log_is_signed_anew(house: House) -> None:
    """A checkpoint a second while nothing happens would only be noise."""
    first = asyncio.run(house.sign())
    assert asyncio.run(house.sign()) == first
    asyncio.run(_spend(house))
    later = asyncio.run(house.sign())
    assert later.size > first.size
    assert checked(house).checkpoints == 3


def forked(house: House) -> None:
    """Ask at a start whether the database extends what was signed."""

    def work(connection: Connection) -> None:
        check_not_forked(connection, house.account, house.folder)

    asyncio.run(alone(house.url, work))


def test_a_restored_backup_is_a_fork_and_nothing_is_signed_over_it(house: House, tmp_path: Path) -> None:
    """M33: the backup is whole in itself; the checkpoint beside the key knows that there was more."""
    database = Path(str(make_url(house.url).database))
    backup = tmp_path / "backup.db"
    shutil.copy(database, backup)
    asyncio.run(_spend(house))
    asyncio.run(house.sign())
    forked(house)
    for left in (database, database.with_name("bursar.db-wal"), database.with_name("bursar.db-shm")):
        left.unlink(missing_ok=True)
    shutil.copy(backup, database)
    with pytest.raises(ForkFound, match="entries are missing"):
        forked(house)
    with pytest.raises(ForkFound, match="entries are missing"):
        asyncio.run(house.sign())
    assert "entries were signed, see keys" in str(checked(house).bad)


def test_a_log_that_is_not_there_is_not_signed(house: House) -> None:
    """An account without a head has nothing to vouch for."""
    key = keys.load(house.folder)

    def work(connection: Connection) -> None:
        sign_checkpoint(connection, "acc_9", key, house.folder)

    with pytest.raises(ForkFound, match="has no log"):
        asyncio.run(alone(house.url, work))


def test_a_fresh_house_without_a_checkpoint_is_no_fork(tmp_path: Path) -> None:
    """The first start has nothing to compare with."""
    house = House(f"sqlite:///{tmp_path}/bursar.db", tmp_path / "keys")
    asyncio.run(house.make())
    forked(house)
    made = asyncio.run(house.sign())
    assert made.origin == origin_of("ins_1", "acc_1")
    forked(house)


def test_two_accounts_in_one_database_never_mix(tmp_path: Path) -> None:
    """Each account's log, tree, tables and checkpoints stand alone, and a row moved across is found."""
    url, folder = f"sqlite:///{tmp_path}/bursar.db", tmp_path / "keys"
    one = asyncio.run(lived_in(url, folder, "acc_1"))
    two = asyncio.run(lived_in(url, folder, "acc_2"))
    assert checked(one).bad is None
    assert checked(two).bad is None
    assert checked(one).root != checked(two).root
    connection = sqlite3.connect(tmp_path / "bursar.db")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(
        "UPDATE audit_entry SET (body, leaf, at_us) ="
        " (SELECT body, leaf, at_us FROM audit_entry AS o WHERE o.account_id = 'acc_2' AND o.seq = 12)"
        " WHERE account_id = 'acc_1' AND seq = 12"
    )
    connection.commit()
    connection.close()
    assert "audit_entry seq 12: its bytes say that it is acc_2" in str(checked(one).bad)
    assert checked(two).bad is None


# ---- while it serves


def test_a_running_house_signs_what_grew_and_nothing_else(house: House) -> None:
    """Once a second and at the end; an idle house signs nothing."""

    async def serve() -> list[int | None]:
        house.ids = lambda prefix: f"{prefix}_late"
        key = keys.load(house.folder)
        async with await house.open() as ledger:
            await ledger.check_not_forked(house.folder)
            first = await ledger.sign_log(key, house.folder)
            await ledger.add_project("other", by="system:init", at=house.tick())
            made = await ledger.sign_log(key, house.folder)
            again = await ledger.sign_log(key, house.folder)
            return [None if each is None else each.size for each in (first, made, again)]

    first, made, again = asyncio.run(serve())
    assert (first, again) == (None, None)
    said = checked(house)
    assert said.bad is None
    assert made == said.signed_size == said.entries


def test_a_start_on_a_restored_backup_is_refused_with_what_to_run(house: House, tmp_path: Path) -> None:
    """M33: `serve` refuses; the message names the command."""
    database = Path(str(make_url(house.url).database))
    backup = tmp_path / "backup.db"
    shutil.copy(database, backup)
    asyncio.run(_spend(house))
    asyncio.run(house.sign())
    for left in database.parent.glob("bursar.db-*"):
        left.unlink()
    shutil.copy(backup, database)

    async def start() -> None:
        async with await house.open() as ledger:
            await ledger.check_not_forked(house.folder)

    with pytest.raises(ConfigurationError, match="bursar ledger recover"):
        asyncio.run(start())


def test_a_key_changes_while_the_house_runs_and_a_crash_in_between_is_healed(house: House) -> None:
    """M35: the entry first, the file second; whoever trusts the first key follows the log to the second."""
    first = keys.load(house.folder).public
    house.ids = lambda prefix: f"{prefix}_late"

    async def rotate(*, crash: bool) -> None:
        async with await house.open() as ledger:
            await ledger.rotate_key(house.folder, by="operator:ada", at=house.tick())
            if crash:  # As if the file had not been moved: the new key is still the incoming one.
                (house.folder / keys.KEY_FILE).rename(house.folder / INCOMING)
                kept = house.folder / f"checkpoint.{first.hex()[:8]}.pem"
                shutil.copy(kept, house.folder / keys.KEY_FILE)
                await ledger.rotate_key(house.folder, by="operator:ada", at=house.tick())
            await ledger.sign_log(keys.load(house.folder), house.folder)

    asyncio.run(rotate(crash=True))
    kept = keys.load(house.folder, f"checkpoint.{first.hex()[:8]}.pem")

    async def sign_with_the_old_one() -> None:
        async with await house.open() as ledger:
            await ledger.add_project("third", by="system:init", at=house.tick())
            await ledger.sign_log(kept, house.folder)

    with pytest.raises(keys.KeyRefused, match="another key"):
        asyncio.run(sign_with_the_old_one())
    assert keys.load(house.folder).public != first
    said = checked(house)
    assert said.bad is None
    by_first = read_ledger(house.url, lambda source: verify_account(source, house.account, keys=[first]))
    assert by_first.bad is None
    assert by_first.checkpoints == 3
