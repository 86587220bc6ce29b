"""Checkpoints, as C2SP tlog-checkpoint defines them: origin, size and root of a log, signed.

An origin names one history: `bursar/<instance>/<account>`, with `/e<epoch>` after a recovery, because a
log must never sign two checkpoints of which one does not begin the other. Before signing, `sign`
therefore takes the last checkpoint that was signed for this origin and refuses a tree that does not
extend it (M33).
"""

import base64
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from ledger.audit.merkle import Lookup, ProofRefused, consistency_proof, verify_consistency
from ledger.audit.note import (
    NoteRefused,
    Signs,
    VerifierKey,
    check_name,
    decode64,
    parse_note,
    signature_line,
    verify_note,
    write_note,
)

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_ROOT_BYTES: Final = 32


class ForkFound(ValueError):  # noqa: N818  # What was met, in money.md's word.
    """The tree does not extend the last checkpoint that was signed for it."""


class Checkpoint(NamedTuple):
    """A tree at one size; `note` is the signed text it was read from."""

    origin: str
    size: int
    root: bytes
    note: str


class SigningKey(NamedTuple):
    """The key of one instance; it signs for each log under that log's origin."""

    private: Signs
    public: bytes

    def verifier(self, origin: str) -> VerifierKey:
        """Return what outsiders check this log's notes with."""
        return VerifierKey(check_name(origin), self.public)


def origin_of(instance: str, account: str, epoch: int = 0) -> str:
    """Return the origin of an account's log in one epoch."""
    base = f"bursar/{instance}/{account}"
    return check_name(base if epoch == 0 else f"{base}/e{epoch}")


def sign(
    key: SigningKey, origin: str, size: int, root: bytes, *, last: Checkpoint | None, lookup: Lookup
) -> Checkpoint:
    """Sign the tree of `size` leaves with `root`, which must extend `last`.

    `lookup` gives the tree's stored nodes. Raises ForkFound where the tree does not extend `last`.
    """
    if last is not None:
        check_extends(last, origin, size, root, lookup=lookup)
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    note = write_note(text, signature_line(text, key.verifier(origin), key.private))
    return Checkpoint(origin, size, root, note)


def check_extends(last: Checkpoint, origin: str, size: int, root: bytes, *, lookup: Lookup) -> None:
    """Check that the tree extends the checkpoint.

    Raises ForkFound where it does not, or where it is another log's.
    """
    if last.origin != origin:
        raise ForkFound(f"the last checkpoint is of {last.origin}, this log is {origin}")
    if last.size > size:
        raise ForkFound(f"{origin} has {size} entries, but {last.size} were signed: entries are missing")
    try:
        proof = consistency_proof(last.size, size, lookup)
        verify_consistency(last.size, last.root, size, root, proof=proof)
    except (ProofRefused, LookupError):
        raise ForkFound(f"the first {last.size} entries of {origin} are not those that were signed") from None


def parse_checkpoint(note: str) -> Checkpoint:
    """Read a checkpoint strictly, without verifying who signed it.

    Raises NoteRefused where it is no checkpoint. Extension lines are read over: they say nothing of the tree.
    """
    lines = parse_note(note).text[:-1].split("\n")
    if len(lines) < len(("origin", "size", "root")) or not all(lines):
        raise NoteRefused("a checkpoint has an origin, a size and a root, and no empty line")
    if not _SIZE.fullmatch(lines[1]):
        raise NoteRefused(f"{lines[1][:80]!r} is no tree size")
    root = decode64(lines[2], "a root hash")
    if len(root) != _ROOT_BYTES:
        raise NoteRefused(f"a root hash has {_ROOT_BYTES} bytes, not {len(root)}")
    return Checkpoint(lines[0], int(lines[1]), root, note)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint of the log that `key` is named after, signed by that key.

    Raises NoteRefused otherwise.
    """
    checkpoint = parse_checkpoint(note)
    if checkpoint.origin != key.name:
        raise NoteRefused(f"a checkpoint of {checkpoint.origin!r}, not of {key.name!r}")
    verify_note(parse_note(note), key)
    return checkpoint


# ---- another key


def rotation_statement(origin: str, old: SigningKey, new: SigningKey) -> str:
    """Return the statement, signed by both keys, that `new` signs for this log from now on (M35).

    Its second line is no number, so it can never be taken for a checkpoint.
    """
    before, after = old.verifier(origin), new.verifier(origin)
    text = f"{origin}\nkey rotation\n{before}\n{after}\n"
    return write_note(
        text, signature_line(text, before, old.private), signature_line(text, after, new.private)
    )


def open_rotation(statement: str, origin: str) -> tuple[VerifierKey, VerifierKey]:
    """Return the old and the new key of a rotation that both have signed.

    Raises NoteRefused where either has not, or where it is of another log.
    """
    note = parse_note(statement)
    lines: Sequence[str] = note.text[:-1].split("\n")
    if len(lines) != len(("origin", "title", "old", "new")) or list(lines[:2]) != [origin, "key rotation"]:
        raise NoteRefused(f"this is no key rotation of {origin}")
    old, new = VerifierKey.parse(lines[2]), VerifierKey.parse(lines[3])
    if (old.name, new.name) != (origin, origin) or old.public == new.public:
        raise NoteRefused(f"a key rotation of {origin} names two keys of that log")
    verify_note(note, old)
    verify_note(note, new)
    return old, new
