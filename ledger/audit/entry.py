"""One audit entry: what is hashed into the tree, and the salted payload beside it.

The bytes of an entry are the canonical JSON of `Entry`; its leaf is SHA-256(0x00 || bytes), as in RFC 6962.
A payload is bound by `payload_sha256` = SHA-256(salt || canonical payload). Without the 16
random bytes of salt nobody can guess a payload from its hash: deleting both erases it, and the entry still
proves.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from ledger.audit.canonical import canonical
from ledger.audit.catalogue import CATALOGUE
from ledger.audit.fact import Fact, Move

SALT_BYTES: Final = 16  # 128 bits: not even a payload that is a single yes or no can be guessed.


class Draft(Struct, frozen=True, kw_only=True):
    """An entry before it has its place in a log: what a planner writes.

    `actor` is `agent:ID`, `operator:ID`, `enforcer:ID`, `provider:NAME` or `system:NAME`. `payload` has keys
    among its fact's `PAYLOAD` and values of the canonical profile, or is None. `at_us` is microseconds since
    1970 in UTC.
    """

    fact: Fact
    subject_id: str
    actor: str
    at_us: int
    payload: Mapping[str, object] | None = None
    moves: tuple[Move, ...] = ()


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An entry as its bytes say it; `seq` is its leaf's index, counted from 0 in its account's log."""

    account: str
    epoch: int
    seq: int
    at_us: int
    kind: str
    subject_type: str
    subject_id: str
    actor: str
    facts: dict[str, Any]
    moves: tuple[Move, ...] = ()
    payload_sha256: str | None = None


class EntryRefused(ValueError):  # noqa: N818  # The glossary's word; it names what was met.
    """The bytes of an entry are not what this catalogue can read."""


_ENTRY: Final = msgspec.json.Decoder(Entry)


def entry_bytes(draft: Draft, *, account: str, epoch: int, seq: int, payload_sha256: str | None) -> bytes:
    """Return the bytes that stand in the log for `draft` at place `seq`."""
    fact = draft.fact
    header: dict[str, object] = {
        "account": account,
        "actor": draft.actor,
        "at_us": draft.at_us,
        "epoch": epoch,
        "facts": _said(fact),
        "kind": fact.KIND,
        "seq": seq,
        "subject_id": draft.subject_id,
        "subject_type": fact.SUBJECT,
    }
    if draft.moves:
        header["moves"] = [astuple(move) for move in draft.moves]
    if payload_sha256 is not None:
        header["payload_sha256"] = payload_sha256
    return canonical(header)


def _said(fact: Fact) -> dict[str, object]:
    """Return what a fact says; what it leaves out is None."""
    said: dict[str, object] = {}
    for name in fact.__struct_fields__:
        value = getattr(fact, name)
        if value is not None:
            said[name] = value
    return said


def read_entry(body: bytes) -> Entry:
    """Return the entry that `body` says.

    Raises EntryRefused where it is no entry. Kinds and facts are checked by `read_fact`.
    """
    try:
        return _ENTRY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EntryRefused(f"these bytes are no audit entry: {error}") from None


def read_fact(entry: Entry) -> Fact:
    """Return the entry's facts as the class of its kind.

    Raises EntryRefused for an unknown kind, and for facts or a subject that are not this kind's.
    """
    cls = CATALOGUE.get(entry.kind)
    if cls is None:
        raise EntryRefused(
            f"kind {entry.kind!r} is unknown here; use the version that wrote it, or a later one"
        )
    if entry.subject_type != cls.SUBJECT:
        raise EntryRefused(f"{entry.kind} speaks of {cls.SUBJECT!r}, not of {entry.subject_type!r}")
    try:
        return msgspec.convert(entry.facts, cls)
    except msgspec.ValidationError as error:
        raise EntryRefused(f"the facts of this {entry.kind} do not fit: {error}") from None


def payload_hash(salt: bytes, payload: bytes) -> str:
    """Return what binds a payload to its entry, in hex."""
    return sha256(salt + payload).hexdigest()
