"""The signing key on disk: nobody else's, never overwritten, and the last checkpoint beside it."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ledger.audit import keys
from ledger.audit.keys import KeyRefused
from ledger.audit.note import NoteRefused
from tests.ledger.audit.logs import history


def test_a_new_key_is_for_its_owner_only_and_signs_as_it_did_when_it_was_made(tmp_path: Path) -> None:
    """Whoever can read the key can sign another history."""
    folder = tmp_path / "keys"
    made = keys.generate(folder)
    path = folder / keys.KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    loaded = keys.load(folder)
    assert loaded.public == made.public
    assert loaded.private.sign(b"x") == made.private.sign(b"x")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    """A second `init` must not orphan every checkpoint that outsiders hold."""
    made = keys.generate(tmp_path)
    with pytest.raises(KeyRefused, match="never overwritten"):
        keys.generate(tmp_path)
    assert keys.load(tmp_path).public == made.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_a_key_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """The agent may run on this machine (design, section 5); the message says what to run."""
    keys.generate(tmp_path)
    path = tmp_path / keys.KEY_FILE
    path.chmod(mode)
    with pytest.raises(KeyRefused, match=f"chmod 600 {path}"):
        keys.load(tmp_path)


def test_what_is_no_key_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    """Missing, a link, a folder, rubbish, and a key of another kind."""
    with pytest.raises(KeyRefused, match="is missing"):
        keys.load(tmp_path)
    path = tmp_path / keys.KEY_FILE
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    path.symlink_to(target)
    with pytest.raises(KeyRefused, match="cannot be read"):
        keys.load(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyRefused, match="plain file"):
        keys.load(tmp_path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyRefused, match="plain file"):
        keys.load(tmp_path)
    path.unlink()
    path.touch(0o600)
    with pytest.raises(KeyRefused, match="no PKCS#8 key"):
        keys.load(tmp_path)
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(other.private_bytes(encoding, form, serialization.NoEncryption()))
    with pytest.raises(KeyRefused, match="no Ed25519 key"):
        keys.load(tmp_path)


def test_a_key_protected_by_a_passphrase_is_refused_in_one_line(tmp_path: Path) -> None:
    """The server starts unattended, so it could never ask for the passphrase."""
    path = tmp_path / keys.KEY_FILE
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.touch(0o600)
    path.write_bytes(other.private_bytes(encoding, form, serialization.BestAvailableEncryption(b"x")))
    with pytest.raises(KeyRefused, match="no PKCS#8 key"):
        keys.load(tmp_path)


def test_a_new_key_takes_the_place_of_the_old_one_which_is_kept(tmp_path: Path) -> None:
    """M35: rotation; a crash in the middle leaves a folder that works and can be finished."""
    old = keys.generate(tmp_path)
    new = keys.generate(tmp_path, "incoming.pem")
    keys.replace(tmp_path, incoming="incoming.pem")
    assert keys.load(tmp_path).public == new.public
    kept = f"checkpoint.{old.public.hex()[:8]}.pem"
    assert keys.load(tmp_path, kept).public == old.public
    third = keys.generate(tmp_path, "incoming.pem")
    os.link(tmp_path / keys.KEY_FILE, tmp_path / f"checkpoint.{new.public.hex()[:8]}.pem")
    keys.replace(tmp_path, incoming="incoming.pem")
    assert keys.load(tmp_path).public == third.public


def test_the_last_checkpoint_lies_beside_the_key_for_each_log_and_epoch(tmp_path: Path) -> None:
    """M33: what was signed last is known outside the database, or a restored backup would pass."""
    assert keys.last_checkpoint(tmp_path, "acc_1") is None
    scribe = history(3)
    first = scribe.checkpoint()
    keys.keep_checkpoint(tmp_path, "acc_1", first)
    scribe.call(77)
    second = scribe.checkpoint()
    keys.keep_checkpoint(tmp_path, "acc_1", second)
    keys.keep_checkpoint(tmp_path, "acc_1", first, epoch=1)
    (tmp_path / "acc_1.new").write_text("left by a crash")
    keys.keep_checkpoint(tmp_path, "acc_1", second)
    assert keys.last_checkpoint(tmp_path, "acc_1") == second
    assert keys.last_checkpoint(tmp_path, "acc_1", 1) == first
    assert keys.last_checkpoint(tmp_path, "acc_2") is None


def test_a_spoiled_checkpoint_beside_the_key_is_refused(tmp_path: Path) -> None:
    """Emptying the file must not look like never having signed."""
    (tmp_path / "acc_1.checkpoint").write_text("")
    with pytest.raises(NoteRefused):
        keys.last_checkpoint(tmp_path, "acc_1")


@pytest.mark.parametrize("account", ["", "../acc", "a/b", "a b", ".."])
def test_an_account_id_cannot_name_a_file_elsewhere(tmp_path: Path, account: str) -> None:
    """Account ids come from a database that may have been tampered with."""
    with pytest.raises(KeyRefused, match="can name a file"):
        keys.last_checkpoint(tmp_path, account)
