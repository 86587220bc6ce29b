"""`bursar ledger`: an auditor's and an operator's way to the log, as they type it."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.audit.houses import lived_in
from tool_server.cli import main as cli
from tool_server.cli.command import EXIT_CONFIGURATION, EXIT_DONE, EXIT_NO

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lived-in house, made once and copied by each test."""
    folder = tmp_path_factory.mktemp("house")
    asyncio.run(lived_in(f"sqlite:///{folder}/bursar.db", folder / "keys"))
    return folder


@pytest.fixture
def here(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a lived-in house, as the folder one stands in."""
    shutil.copytree(template, tmp_path / "house")
    monkeypatch.chdir(tmp_path / "house")
    return tmp_path / "house"


@pytest.fixture
def bursar(capsys: pytest.CaptureFixture[str]) -> Run:
    """Type `bursar ledger ...` and return exit code, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(["ledger", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def change_a_byte(database: Path) -> None:
    """The visitor's own try: one byte, past the guards."""
    connection = sqlite3.connect(database)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    body = connection.execute("SELECT body FROM audit_entry WHERE seq = 12").fetchone()[0]
    changed = body.replace(b"spend", b"speNd", 1)
    connection.execute("UPDATE audit_entry SET body = ? WHERE seq = 12", (changed,))
    connection.commit()
    connection.close()


@pytest.mark.usefixtures("here")
def test_an_honest_ledger_verifies_and_says_what_it_covers(bursar: Run) -> None:
    """Exit 0, one line a person reads, one document a program reads."""
    code, out, _ = bursar("verify")
    assert code == EXIT_DONE
    assert out.startswith("acc_1 verifies: 29 entries, 2 checkpoints")
    code, out, _ = bursar("verify", "--json")
    said: dict[str, Any] = json.loads(out)
    assert said["verifies"] is True
    assert said["signatures"] == "checked"
    assert said["accounts"][0]["signed_size"] == said["accounts"][0]["entries"] == 29
    assert said["accounts"][0]["anchors"] == 1


def test_one_changed_byte_is_named_and_exits_with_1(bursar: Run, here: Path) -> None:
    """The last beat of the story: change one byte in a copy of the ledger, and `verify` names the row."""
    copied = here / "copy.db"
    shutil.copy(here / "bursar.db", copied)
    change_a_byte(copied)
    code, out, _ = bursar("verify", str(copied))
    assert code == EXIT_NO
    assert "acc_1 does NOT verify: audit_entry seq 12: its bytes do not hash to its leaf" in out
    code, out, _ = bursar("verify", str(copied), "--json")
    assert code == EXIT_NO
    assert json.loads(out)["accounts"][0]["bad"]["key"] == "seq 12"
    assert bursar("verify")[0] == EXIT_DONE


def test_a_stranger_checks_an_export_and_a_receipt_with_the_public_key_alone(
    bursar: Run, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What leaves the house is checked in a folder that has nothing else."""
    key = bursar("checkpoint", "--public-key")[1].strip()
    assert key.startswith("bursar/ins_1/acc_1+")
    assert bursar("export", "log.jsonl")[0] == EXIT_DONE
    assert bursar("proof", "call_000004", "-o", "p.tlog-proof")[0] == EXIT_DONE
    assert bursar("checkpoint", "--show")[1].startswith("bursar/ins_1/acc_1\n29\n")
    (here / "last").write_text(bursar("checkpoint", "--show")[1])
    away = tmp_path / "away"
    away.mkdir()
    for name in ("log.jsonl", "p.tlog-proof", "last"):
        shutil.move(here / name, away / name)
    monkeypatch.chdir(away)
    (away / "key").write_text(key + "\n")
    assert bursar("verify", "log.jsonl", "--key", key)[0] == EXIT_DONE
    assert bursar("verify", "log.jsonl", "--key", "key", "--anchor", "last")[0] == EXIT_DONE
    code, out, _ = bursar("verify", "p.tlog-proof", "--key", "key")
    assert code == EXIT_DONE
    assert out.startswith("proven: entry 11 of bursar/ins_1/acc_1: call.settled about call_000004")
    code, _, err = bursar("verify", "log.jsonl")
    assert code == EXIT_CONFIGURATION
    assert "give the log's public key with --key" in err
    assert bursar("verify", "p.tlog-proof")[0] == EXIT_CONFIGURATION
    spoiled = (away / "p.tlog-proof").read_text().replace("index 11", "index 12")
    (away / "p.tlog-proof").write_text(spoiled)
    assert bursar("verify", "p.tlog-proof", "--key", "key")[0] == EXIT_NO


@pytest.mark.usefixtures("here")
def test_files_that_may_hold_personal_data_are_for_their_owner_and_never_overwritten(bursar: Run) -> None:
    """Payloads travel in exports and receipts."""
    for words in (("export", "log.jsonl"), ("proof", "3", "-o", "three")):
        assert bursar(*words)[0] == EXIT_DONE
        assert Path(words[-1]).stat().st_mode & 0o077 == 0
        code, _, err = bursar(*words)
        assert code == EXIT_CONFIGURATION
        assert "exists" in err
    assert not Path("log.jsonl.part").exists()


@pytest.mark.usefixtures("here")
def test_a_receipt_can_leave_out_what_could_be_erased(bursar: Run) -> None:
    """Handing on a proof must not hand on a person's data."""
    whole = bursar("proof", "9", "-o", "-")[1]
    bare = bursar("proof", "9", "-o", "-", "--without-payload")[1]
    assert len(bare) < len(whole)
    code, out, _ = bursar("proof", "9", "-o", "nine", "--json")
    assert (code, json.loads(out)) == (EXIT_DONE, {"file": "nine", "seq": 9})
    code, out, _ = bursar("verify", "nine", "--json")
    assert json.loads(out)["entry"]["kind"] == "call.admitted"
    assert "payload:" in bursar("verify", "nine")[1]


@pytest.mark.usefixtures("here")
def test_signing_again_says_the_same(bursar: Run) -> None:
    """Nothing happened, so there is nothing new to sign."""
    shown = bursar("checkpoint", "--show")[1]
    assert bursar("checkpoint")[1] == shown
    said = json.loads(bursar("checkpoint", "--json")[1])
    assert said["size"] == 29
    assert said["note"] == shown
    assert json.loads(bursar("checkpoint", "--public-key", "--json")[1])["origin"] == "bursar/ins_1/acc_1"


def test_a_restored_backup_does_not_verify(bursar: Run, here: Path) -> None:
    """M33: the checkpoint beside the key is ahead of the database."""
    shutil.copy(here / "bursar.db", here / "backup.db")
    connection = sqlite3.connect(here / "bursar.db")
    connection.close()
    asyncio.run(_grow(here))
    assert bursar("checkpoint")[0] == EXIT_DONE
    for left in here.glob("bursar.db*"):
        left.unlink()
    shutil.move(here / "backup.db", here / "bursar.db")
    code, out, _ = bursar("verify")
    assert code == EXIT_NO
    assert "entries were signed, see the checkpoint in keys" in out
    code, _, err = bursar("checkpoint")
    assert code == EXIT_NO
    assert "entries are missing" in err


async def _grow(here: Path) -> None:
    from tests.ledger.audit.houses import House

    house = House(f"sqlite:///{here}/bursar.db", here / "keys")
    house.ids = lambda prefix: f"{prefix}_late"
    async with await house.open() as ledger:
        await ledger.add_project("other", by="system:init", at=house.tick())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("verify", "nothing.jsonl"), EXIT_CONFIGURATION, "cannot be read"),
        (("verify", "keys/checkpoint.pem"), EXIT_CONFIGURATION, "is no export, no receipt and no ledger"),
        (("verify", "--db", "other.db"), EXIT_CONFIGURATION, "there is no ledger at other.db"),
        (("verify", "--db", "keys/acc_1.checkpoint"), EXIT_CONFIGURATION, "cannot be read"),
        (("verify", "--account", "acc_9"), EXIT_CONFIGURATION, "there is no log of acc_9 here"),
        (("verify", "--key", "nonsense"), EXIT_CONFIGURATION, "is no Ed25519 verifier key"),
        (("verify", "--anchor", "foreign"), EXIT_CONFIGURATION, "which is no log here"),
        (("export", "x", "--account", "acc_9"), EXIT_CONFIGURATION, "there is no account 'acc_9'"),
        (("proof", "99"), EXIT_NO, "entry 99 is not signed yet, 29 entries are"),
        (("proof", "call_nobody"), EXIT_NO, "no signed entry speaks of 'call_nobody'"),
    ],
)
def test_a_mistake_is_one_line(bursar: Run, here: Path, words: tuple[str, ...], code: int, says: str) -> None:
    """What was met and what to do, with the exit code that scripts branch on."""
    last = (here / "keys" / "acc_1.checkpoint").read_text()
    (here / "foreign").write_text(last.replace("acc_1\n", "acc_7\n"))
    got, _, err = bursar(*words)
    assert got == code
    assert says in err
    assert err.count("\n") == 1


def test_without_keys_a_ledger_of_ones_own_is_checked_but_for_signatures(bursar: Run, here: Path) -> None:
    """A look at a copy; the output says what was not looked at."""
    shutil.rmtree(here / "keys")
    code, out, _ = bursar("verify")
    assert code == EXIT_DONE
    assert "signatures were not checked" in out
    assert "a log cut short could not be told" in out
    code, _, err = bursar("checkpoint", "--show")
    assert code == EXIT_NO
    assert "nothing was signed yet" in err


def test_a_key_that_others_can_read_is_refused(bursar: Run, here: Path) -> None:
    """Whoever can read it can sign another history, so nothing is signed with it."""
    (here / "keys" / "checkpoint.pem").chmod(0o644)
    code, _, err = bursar("checkpoint")
    assert code == EXIT_CONFIGURATION
    assert "chmod 600" in err


@pytest.mark.usefixtures("here")
def test_a_ledger_is_moved_verifies_there_and_serves_here_no_more(bursar: Run, postgres_url: str) -> None:
    """M34, as it is typed; the address is shown without a password."""
    code, _, err = bursar("migrate", postgres_url)
    assert (code, "calls that are executing: 1" in err) == (EXIT_CONFIGURATION, True)
    assert bursar("recover", "--because", "a move", "--without-providers")[0] == EXIT_DONE
    code, out, err = bursar("migrate", postgres_url)
    assert (code, err) == (EXIT_DONE, "")
    assert "entries of the log, and all they tell of, are in postgresql" in out
    assert bursar("verify", "--db", postgres_url)[0] == EXIT_DONE
    code, _, err = bursar("migrate", postgres_url)
    assert code == EXIT_CONFIGURATION
    assert "and never serves again" in err
