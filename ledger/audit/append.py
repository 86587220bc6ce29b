"""Appending to a log, purely: from the head and new drafts to the rows to insert and the next head.

The caller holds the account's lock, reads `log_head`, calls `append`, inserts the rows and writes the head
back, all in the transaction of what the entries speak of. Nothing here touches a database or a clock.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from ledger.audit.canonical import canonical
from ledger.audit.entry import SALT_BYTES, Draft, entry_bytes, payload_hash
from ledger.audit.merkle import Frontier, extend, leaf_hash


class Head(Struct, frozen=True):
    """Where an account's log stands. `frontier` as in `log_head`: its complete subtrees, largest first."""

    account: str
    size: int = 0
    epoch: int = 0
    frontier: Frontier = ()


class EntryRow(NamedTuple):
    """A row of `audit_entry`."""

    account_id: str
    seq: int
    at_us: int
    kind: str
    subject_type: str
    subject_id: str
    body: bytes
    leaf: bytes


class PayloadRow(NamedTuple):
    """A row of `audit_payload`."""

    account_id: str
    seq: int
    salt: bytes
    body: bytes


class NodeRow(NamedTuple):
    """A row of `log_node`."""

    account_id: str
    level: int
    position: int
    hash: bytes


class Appended(NamedTuple):
    """What to insert, and the head to store in place of the one given."""

    entries: list[EntryRow]
    payloads: list[PayloadRow]
    nodes: list[NodeRow]
    head: Head


def append(head: Head, drafts: Iterable[Draft], random_bytes: Callable[[int], bytes]) -> Appended:
    """Give each draft its place after `head`, in order.

    `random_bytes` must be unpredictable (`secrets.token_bytes`): salts keep erased payloads from guessers.
    Raises NotCanonical for a draft outside the canonical profile; then nothing was appended.
    """
    account, epoch = head.account, head.epoch
    entries: list[EntryRow] = []
    payloads: list[PayloadRow] = []
    for seq, draft in enumerate(drafts, head.size):
        digest = None
        if draft.payload is not None:
            payload, salt = canonical(draft.payload), random_bytes(SALT_BYTES)
            digest = payload_hash(salt, payload)
            payloads.append(PayloadRow(account, seq, salt, payload))
        body = entry_bytes(draft, account=account, epoch=epoch, seq=seq, payload_sha256=digest)
        fact = draft.fact
        leaf = leaf_hash(body)
        entries.append(
            EntryRow(account, seq, draft.at_us, fact.KIND, fact.SUBJECT, draft.subject_id, body, leaf)
        )
    grown = extend(head.frontier, head.size, [row.leaf for row in entries])
    nodes = [NodeRow(account, level, position, node) for level, position, node in grown.nodes]
    after = Head(account, head.size + len(entries), epoch, grown.frontier)
    return Appended(entries, payloads, nodes, after)
