"""The signing key on disk, and beside it the last checkpoint it signed, both outside the database (M33).

`checkpoint.pem` is a PKCS#8 Ed25519 key, mode 0600, owned by whoever runs the server. For each log the last
signed checkpoint lies in `<account>.checkpoint` (`<account>.e1.checkpoint` after a recovery): a database
restored from a backup, or cut short, does not extend it.
"""

import os
import stat
from pathlib import Path
from typing import Final

from ledger.audit.checkpoint import Checkpoint, SigningKey, parse_checkpoint

KEY_FILE: Final = "checkpoint.pem"
_OWNER_ONLY: Final = 0o600
_FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
_MAX_FILE_BYTES: Final = 65_536  # A key has 119 bytes, a note at most 64,000 characters.


class KeyRefused(ValueError):  # noqa: N818  # What was met.
    """The signing key is missing, readable by others, or no Ed25519 key; the message says what to do."""


def generate(folder: Path, name: str = KEY_FILE) -> SigningKey:
    """Make a new signing key in `folder`, which is made where it is missing.

    Raises KeyRefused where there is a key already: it is never overwritten.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    try:
        _write_new(folder / name, pem)
    except FileExistsError:
        raise KeyRefused(f"{folder / name} exists; a signing key is never overwritten") from None
    return SigningKey(private, private.public_key().public_bytes_raw())


def load(folder: Path, name: str = KEY_FILE) -> SigningKey:
    """Read the signing key.

    Raises KeyRefused where it is missing, readable or writable by others, someone else's, or no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = folder / name
    pem = _read_private(path)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused(f"{path} is no PKCS#8 key; restore it from your backup of the keys folder") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyRefused(f"{path} is no Ed25519 key; checkpoints are signed with nothing else")
    return SigningKey(private, private.public_key().public_bytes_raw())


def replace(folder: Path, *, incoming: str) -> None:
    """Make the key in `incoming` the signing key, keeping the old one under its public key's first digits.

    Call it after the rotation entry is committed. A crash between the two is healed by calling it again.
    """
    old = load(folder)
    kept = folder / f"checkpoint.{old.public.hex()[:8]}.pem"
    if not kept.exists():
        os.link(folder / KEY_FILE, kept)
    (folder / incoming).replace(folder / KEY_FILE)
    _sync_folder(folder)


def last_checkpoint(folder: Path, account: str, epoch: int = 0) -> Checkpoint | None:
    """Return the last checkpoint signed for this log, or None where there was none.

    Raises NoteRefused where the file is no checkpoint.
    """
    try:
        return parse_checkpoint(_checkpoint_file(folder, account, epoch).read_text())
    except FileNotFoundError:
        return None


def keep_checkpoint(folder: Path, account: str, checkpoint: Checkpoint, epoch: int = 0) -> None:
    """Remember a signed checkpoint durably; call it before the checkpoint leaves this process."""
    path = _checkpoint_file(folder, account, epoch)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, checkpoint.note.encode())
    fresh.replace(path)
    _sync_folder(folder)


def _checkpoint_file(folder: Path, account: str, epoch: int) -> Path:
    if not account or not all(char.isalnum() or char in "_-" for char in account):
        raise KeyRefused(f"{account!r} is no account id that can name a file")
    return folder / (f"{account}.checkpoint" if epoch == 0 else f"{account}.e{epoch}.checkpoint")


def _read_private(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK a pipe in the key's place would stop the start for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyRefused(
            f"{path} is missing; `bursar init` makes it once, a restore must bring it back"
        ) from None
    except OSError as error:
        raise KeyRefused(f"{path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise KeyRefused(f"{path} must be a plain file of the user who runs this")
        if found.st_mode & _OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            raise KeyRefused(f"{path} is open to others (mode {mode:04o}); run: chmod 600 {path}")
        return os.read(handle, _MAX_FILE_BYTES)
    finally:
        os.close(handle)


def _write_new(path: Path, content: bytes) -> None:
    """Create a file that only its owner can read, and let it survive a power loss."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
