"""What `verify` finds, row by row: each test spoils one thing and expects it named."""

from collections.abc import Callable
from typing import Any

import pytest

from ledger.audit.source import StoredHead, StoredNode, StoredPayload
from ledger.audit.verify import verify_account
from tests.ledger.audit.logs import Log, MemorySource, Scribe, found, history, verified


def test_an_honest_log_verifies_and_says_what_it_covers() -> None:
    """A verifier that cries wolf is switched off."""
    scribe = history()
    said = verified(scribe)
    assert said.bad is None
    assert said.entries == scribe.log.head.size
    assert said.signed_size == said.entries
    assert said.checkpoints == len(scribe.log.checkpoints)
    assert said.erased == 3


def test_an_empty_log_verifies() -> None:
    """A fresh house has nothing to hide."""
    scribe = Scribe()
    scribe.store_head()
    assert verified(scribe).bad is None


def test_progress_is_told_while_it_goes() -> None:
    """A long verification shows that it lives (contract, section 2)."""
    scribe = history(every=10)
    told: list[int] = []
    verify_account(MemorySource(scribe.log), "acc_1", keys=None, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == scribe.log.head.size
    assert len(told) > 3


def spoil_column(column: str) -> Callable[[Log], None]:
    """Change one column beside an entry's bytes."""

    def spoil(log: Log) -> None:
        row = log.entries[5]
        assert row.columns is not None
        value: Any = row.columns.at_us + 1 if column == "at_us" else "other"
        log.entries[5] = row._replace(columns=row.columns._replace(**{column: value}))

    return spoil


def spoil_body(log: Log) -> None:
    """Change one byte of an entry."""
    row = log.entries[5]
    log.entries[5] = row._replace(body=row.body.replace(b':scout"', b':scouU"', 1))


def spoil_leaf(log: Log) -> None:
    """Change a stored leaf."""
    row = log.entries[5]
    assert row.columns is not None
    log.entries[5] = row._replace(columns=row.columns._replace(leaf=b"\0" * 32))


def spoil_payload(log: Log) -> None:
    """Change one byte of a payload."""
    row = log.payloads[10]
    assert row.body is not None
    log.payloads[10] = row._replace(body=row.body.replace(b"e", b"E", 1))


def resalt(log: Log) -> None:
    """Change a salt."""
    log.payloads[10] = log.payloads[10]._replace(salt=b"\0" * 16)


def half_erase(log: Log) -> None:
    """Leave the salt of an erased payload, which would let it be guessed."""
    place = next(place for place, row in enumerate(log.payloads) if row.body is None)
    log.payloads[place] = log.payloads[place]._replace(salt=b"\0" * 16)


def erase_in_silence(log: Log) -> None:
    """Empty a payload without an entry that says so."""
    row = log.payloads[10]
    log.payloads[10] = StoredPayload(row.seq, None, None, 3)


def bring_back(log: Log) -> None:
    """Put something in the place of an erased payload."""
    place = next(place for place, row in enumerate(log.payloads) if row.body is None)
    log.payloads[place] = StoredPayload(log.payloads[place].seq, b"s" * 16, b"{}", None)


def lose_payload(log: Log) -> None:
    """Delete a payload row."""
    del log.payloads[10]


def add_payload(log: Log) -> None:
    """Give a payload to an entry that has none."""
    bare = next(row.seq for row in log.entries if b"payload_sha256" not in row.body)
    log.payloads.append(StoredPayload(bare, b"s" * 16, b"{}", None))
    log.payloads.sort(key=lambda row: row.seq)


def double_payload(log: Log) -> None:
    """Store a payload twice."""
    log.payloads.insert(10, log.payloads[10])


def orphan_payload(log: Log) -> None:
    """Add a payload past the last entry."""
    log.payloads.append(StoredPayload(log.head.size + 5, b"s" * 16, b"{}", None))


def spoil_node(log: Log) -> None:
    """Change an interior node."""
    log.nodes[2][1] = StoredNode(1, b"\0" * 32)


def lose_node(log: Log) -> None:
    """Delete an interior node."""
    del log.nodes[2][1]


def add_node(log: Log) -> None:
    """Add a node that the tree does not have yet."""
    log.nodes[2].append(StoredNode(len(log.nodes[2]), b"\0" * 32))


def spoil_head(log: Log) -> None:
    """Change the frontier that the next append starts from."""
    assert log.stored_head is not None
    log.stored_head = StoredHead(log.stored_head.size, 0, b"\0" * 32)


def lose_checkpoint(log: Log) -> None:
    """Delete a checkpoint in the middle."""
    del log.checkpoints[2]


def spoil_root(log: Log) -> None:
    """Change a checkpoint's root column."""
    log.checkpoints[2] = log.checkpoints[2]._replace(root=b"\0" * 32)


def swap_note(log: Log) -> None:
    """Give a checkpoint its neighbour's note."""
    log.checkpoints[2] = log.checkpoints[2]._replace(note=log.checkpoints[3].note)


def spoil_note(log: Log) -> None:
    """Change a signature."""
    note = log.checkpoints[2].note
    log.checkpoints[2] = log.checkpoints[2]._replace(note=note[:-9] + "AAAA" + note[-5:])


def foreign_key_id(log: Log) -> None:
    """Name another key."""
    log.checkpoints[2] = log.checkpoints[2]._replace(key_id="00000000")


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (spoil_body, "audit_entry seq 5: its bytes do not hash to its leaf"),
        (spoil_leaf, "audit_entry seq 5: its bytes do not hash to its leaf"),
        (spoil_column("at_us"), "audit_entry seq 5: its column at_us differs"),
        (spoil_column("kind"), "audit_entry seq 5: its column kind differs"),
        (spoil_column("subject_type"), "audit_entry seq 5: its column subject_type differs"),
        (spoil_column("subject_id"), "audit_entry seq 5: its column subject_id differs"),
        (spoil_payload, "not the payload that its entry speaks of"),
        (resalt, "not the payload that its entry speaks of"),
        (half_erase, "neither whole nor erased"),
        (erase_in_silence, "no payload.erased entry names it"),
        (bring_back, "is not the payload"),
        (lose_payload, "it is missing, and was not erased"),
        (add_payload, "its entry has no payload"),
        (double_payload, "stored twice or out of place"),
        (orphan_payload, "no entry that it belongs to"),
        (spoil_node, "log_node level 2 position 1: it is not the hash"),
        (lose_node, "log_node level 2 position 1: it is missing"),
        (add_node, "the log has no such node"),
        (spoil_head, "log_head account acc_1: it is not the head"),
        (lose_checkpoint, "which is not the one before it"),
        (spoil_root, "its root is not that of the first"),
        (swap_note, "its note is about another tree"),
        (spoil_note, "is not of this text"),
        (foreign_key_id, "not the key in force"),
    ],
)
def test_a_spoiled_log_is_found_and_the_row_is_named(spoil: Callable[[Log], None], named: str) -> None:
    """The issue's promise: `verify` names the first bad row."""
    scribe = history()
    spoil(scribe.log)
    assert named in found(scribe)


def test_a_lost_head_is_named() -> None:
    """Without a head the next append would begin a second log."""
    scribe = history()
    scribe.log.stored_head = None
    assert "log_head" in found(scribe)


def test_an_entry_of_another_account_is_found() -> None:
    """Two accounts never mix, not even where the whole tree was rebuilt around the foreign entry."""
    scribe = Scribe("acc_2")
    scribe.call(1)
    scribe.log.account = "acc_1"
    log = scribe.log
    source = MemorySource(log)
    assert "its bytes say that it is acc_2 #0" in str(verify_account(source, "acc_1", keys=None).bad)


def test_a_lost_last_entry_of_a_gapless_log_is_named_by_what_follows_it() -> None:
    """An entry taken out of the middle leaves its seq missing."""
    scribe = history()
    del scribe.log.entries[9]
    assert "audit_entry seq 9: the entry after 8 is 10" in found(scribe)
