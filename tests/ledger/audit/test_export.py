"""An export verifies alone, carries no secret, and says where it is damaged."""

import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from ledger.audit.export import ExportRefused, ExportSource, write_export
from ledger.audit.verify import verify_account
from tests.ledger.audit.logs import MemorySource, Scribe, history


def exported(scribe: Scribe, folder: Path) -> Path:
    """Export a scribe's log to a file."""
    path = folder / "log.jsonl"
    with path.open("wb") as file:
        write_export(MemorySource(scribe.log), scribe.log.account, file)
    return path


def verdict(scribe: Scribe, path: Path) -> str:
    """What verify says of the file, with the public key alone."""
    return str(verify_account(ExportSource(path), scribe.log.account, keys=[scribe.key.public]).bad)


def test_an_export_verifies_alone_with_the_public_key(tmp_path: Path) -> None:
    """The issue's promise to an auditor who has no access to the database."""
    scribe = history()
    path = exported(scribe, tmp_path)
    source = ExportSource(path)
    said = verify_account(source, "acc_1", keys=[scribe.key.public])
    assert said.bad is None
    assert said.entries == scribe.log.head.size
    assert said.erased == 3
    assert source.accounts() == ["acc_1"]


def test_a_line_holds_the_very_bytes_that_are_hashed(tmp_path: Path) -> None:
    """So that an auditor's own program of ten lines can rebuild the tree."""
    scribe = history(3)
    lines = [
        line for line in exported(scribe, tmp_path).read_bytes().split(b"\n") if line.startswith(b'{"entry":')
    ]
    for line, row in zip(lines, scribe.log.entries, strict=True):
        body = line[len(b'{"entry":') :][: len(row.body)]
        assert row.columns is not None
        assert hashlib.sha256(b"\x00" + body).digest() == row.columns.leaf


def test_an_export_carries_only_columns_that_the_log_speaks_of(tmp_path: Path) -> None:
    """Tokens, passwords and keys live in the same tables and must not leave the house."""
    scribe = history(3)
    scribe.log.tables["tool_calls"][0]["provider_key"] = "secret-of-the-provider"
    scribe.log.tables["tool_calls"][0]["op_hash"] = f"{0:064x}"
    text = exported(scribe, tmp_path).read_text()
    assert "secret-of-the-provider" not in text
    assert '"op_hash"' in text


def test_progress_is_told_while_an_export_is_written() -> None:
    """An export of millions of entries shows that it lives."""
    told: list[int] = []
    scribe = history(400, every=100)
    write_export(MemorySource(scribe.log), "acc_1", BytesIO(), told.append)
    assert told[0] == 1000
    assert told[-1] == scribe.log.head.size


def test_a_tampered_export_is_found(tmp_path: Path) -> None:
    """Each line is as good as a row."""
    scribe = history()
    path = exported(scribe, tmp_path)
    good = path.read_bytes()
    lines = good.split(b"\n")
    wants = {
        b'"call_000003"': "audit_entry",
        b'"payee":"example.com"': "audit_payload",
        b'"held":': "cap_usage",
        b'"previous":': "checkpoint",
    }
    for text, named in wants.items():
        place = max(at for at, line in enumerate(lines) if text in line)
        if named == "audit_payload":
            spoiled = lines[place].replace(b"example.com", b"evil.example")
        elif named == "audit_entry":
            place = next(at for at, line in enumerate(lines) if text in line)
            spoiled = lines[place].replace(b"call_000003", b"call_000004", 1)
        else:
            spoiled = lines[place].replace(text, text + b"1", 1)
        path.write_bytes(b"\n".join([*lines[:place], spoiled, *lines[place + 1 :]]))
        assert verdict(scribe, path) != "None", named


def test_an_erased_payload_is_exported_as_erased(tmp_path: Path) -> None:
    """M35: what is gone from the house is not in a file either, and the file says so."""
    scribe = history()
    assert exported(scribe, tmp_path).read_bytes().count(b'"erased_by":') == 3


def damaged(good: list[bytes]) -> dict[str, list[bytes]]:
    """Files that are no whole export, by what the refusal says."""
    rows = [at for at, line in enumerate(good) if line.startswith(b'{"row"')]
    return {
        "is no export": [b"{}", *good[1:]],
        "of format 2": [good[0].replace(b'"bursar_export":1', b'"bursar_export":2'), *good[1:]],
        "cut short": good[:-1],
        "lost lines": [*good[:4], *good[5:]],
        "out of its place": [*good[:4], good[-2], *good[4:]],
        "5: no line of an export": [*good[:4], b"rubbish", *good[4:]],
        "a row of tool_calls out of its place": [*good[:-1], good[rows[0]], good[-1]],
        f"line {rows[0] + 1} of the export is damaged": [
            *good[: rows[0]], good[rows[0]].replace(b'"table"', b'"tab'), *good[rows[0] + 1 :],
        ],
    }  # fmt: skip


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, number: int) -> None:
    """Half a download must not verify as a shorter log."""
    path = exported(history(3), tmp_path)
    match, lines = list(damaged(path.read_bytes().rstrip(b"\n").split(b"\n")).items())[number]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(ExportRefused, match=match):
        ExportSource(path)


def test_hex_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    """Salts and roots are hex; a typo is a damaged file, not a crash."""
    scribe = history(3)
    path = exported(scribe, tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"root":"', b'"root":"x'))
    with pytest.raises(ExportRefused, match="is no hex"):
        verdict(scribe, path)


def test_a_missing_file_and_a_missing_account_are_refused(tmp_path: Path) -> None:
    """One clear line each."""
    with pytest.raises(ExportRefused, match="cannot be read"):
        ExportSource(tmp_path / "nothing.jsonl")
    scribe = Scribe()
    with pytest.raises(ExportRefused, match="has no log"):
        write_export(MemorySource(scribe.log), "acc_1", BytesIO())


def test_a_log_with_a_foreign_payload_is_not_exported() -> None:
    """An export of a broken log would hide what `verify` on the database names."""
    scribe = history(3)
    scribe.log.payloads.append(scribe.log.payloads[-1]._replace(seq=10_000))
    with pytest.raises(ExportRefused, match="belongs to no entry"):
        write_export(MemorySource(scribe.log), "acc_1", BytesIO())


def test_another_accounts_log_is_not_in_the_file(tmp_path: Path) -> None:
    """One export, one account."""
    source = ExportSource(exported(history(3), tmp_path))
    assert source.head("acc_2") is None
    assert source.instance("acc_2") == ""
    assert list(source.entries("acc_2")) == []
    assert list(source.rows("acc_1", "no_such_table")) == []
    assert list(source.nodes("acc_1", 1)) == []


def test_a_log_that_was_never_signed_is_exported_too(tmp_path: Path) -> None:
    """A house on its first day; the file says that it holds no checkpoint."""
    scribe = Scribe()
    scribe.call(1)
    said = verify_account(ExportSource(exported(scribe, tmp_path)), "acc_1", keys=[scribe.key.public])
    assert (said.bad, said.checkpoints) == (None, 0)
