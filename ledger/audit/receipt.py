"""Receipts, as C2SP tlog-proof@v1 defines them: one entry is in the log, checkable offline.

The file holds the entry's place, its path to the root, and a signed checkpoint. Its `extra` line carries
the entry itself (the bytes that are hashed) and, unless erased, its payload and salt, so that the file
needs nothing beside it. `extra` is not signed and is trusted for nothing: its bytes must hash to the leaf
that the path proves.
"""

import base64
from typing import Final, NamedTuple

import msgspec

from ledger.audit.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from ledger.audit.entry import Entry, EntryRefused, payload_hash, read_entry, read_fact
from ledger.audit.merkle import Lookup, ProofRefused, inclusion_proof, leaf_hash, verify_inclusion
from ledger.audit.note import NoteRefused, VerifierKey, decode64

HEADER: Final = "c2sp.org/tlog-proof@v1"
SUFFIX: Final = ".tlog-proof"
MAX_PATH: Final = 63  # A tree of more than 2^63 leaves cannot be counted in our tables.


class ReceiptRefused(ValueError):  # noqa: N818  # The glossary's word; it names what was met.
    """A receipt is malformed or does not prove what it says."""


class Extra(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the `extra` line of our receipts carries; bytes are Base 64 in its JSON."""

    entry: bytes
    salt: bytes | None = None
    payload: bytes | None = None


class Receipt(msgspec.Struct, frozen=True):
    """A receipt as read, checked by nobody yet."""

    extra: Extra
    index: int
    path: list[bytes]
    note: str


class Proven(NamedTuple):
    """What a receipt has proven; `payload` is None where there was none, or it was erased."""

    entry: Entry
    payload: bytes | None
    checkpoint: Checkpoint


def write_receipt(extra: Extra, index: int, checkpoint: Checkpoint, lookup: Lookup) -> str:
    """Return the receipt of the entry at `index`, in the tree of `checkpoint`.

    Raises ValueError where the checkpoint does not cover the entry yet.
    """
    path = inclusion_proof(index, checkpoint.size, lookup)
    packed = base64.b64encode(msgspec.json.encode(extra)).decode()
    hashes = "".join(f"{base64.b64encode(node).decode()}\n" for node in path)
    return f"{HEADER}\nextra {packed}\nindex {index}\n{hashes}\n{checkpoint.note}"


def parse_receipt(text: str) -> Receipt:
    """Read a receipt strictly, verifying nothing.

    Raises ReceiptRefused where it is none, or not one of ours: others carry no entry in `extra`.
    """
    head, gap, note = text.partition("\n\n")
    lines = head.split("\n")
    if not gap or lines[0] != HEADER:
        raise ReceiptRefused(f"a receipt begins with {HEADER!r} and ends with a checkpoint")
    try:
        if len(lines) < len(("header", "extra", "index")) or not lines[1].startswith("extra "):
            raise ReceiptRefused("this receipt carries no entry; ask for one made by `bursar ledger proof`")
        extra = msgspec.json.decode(decode64(lines[1][6:], "extra data"), type=Extra)
        path = [decode64(line, "a hash") for line in lines[3:]]
    except (NoteRefused, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReceiptRefused(f"this receipt is damaged: {error}") from None
    if len(path) > MAX_PATH or any(len(node) != len(leaf_hash(b"")) for node in path):
        raise ReceiptRefused("this receipt is damaged: its path is not one of SHA-256 hashes")
    return Receipt(extra, _index(lines[2]), path, note)


def verify_receipt(text: str, key: VerifierKey) -> Proven:
    """Check a receipt with the log's public key alone.

    Raises ReceiptRefused where any part of it does not prove the others.
    """
    receipt = parse_receipt(text)
    try:
        origin = parse_checkpoint(receipt.note).origin
        checkpoint = open_checkpoint(receipt.note, key)
        leaf = leaf_hash(receipt.extra.entry)
        verify_inclusion(leaf, receipt.index, checkpoint.size, receipt.path, checkpoint.root)
        entry = read_entry(receipt.extra.entry)
        read_fact(entry)
    except (NoteRefused, ProofRefused, EntryRefused) as error:
        raise ReceiptRefused(f"this receipt proves nothing: {error}") from None
    account = origin.split("/")[2:3]
    if entry.seq != receipt.index or [entry.account] != account:
        raise ReceiptRefused(
            f"the entry says it is {entry.account} #{entry.seq}, the receipt {origin} #{receipt.index}"
        )
    return Proven(entry, _payload(receipt.extra, entry), checkpoint)


def _payload(extra: Extra, entry: Entry) -> bytes | None:
    if extra.payload is None or extra.salt is None:
        return None
    if payload_hash(extra.salt, extra.payload) != entry.payload_sha256:
        raise ReceiptRefused("the payload in this receipt is not the one its entry speaks of")
    return extra.payload


def _index(line: str) -> int:
    digits = line.removeprefix("index ")
    if not (
        line.startswith("index ") and digits.isascii() and digits.isdigit() and str(int(digits)) == digits
    ):
        raise ReceiptRefused(f"this receipt is damaged: {line[:80]!r} is no index")
    return int(digits)
