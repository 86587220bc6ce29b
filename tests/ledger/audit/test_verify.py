"""What `verify` finds, row by row: each test spoils one thing and expects it named."""

from collections.abc import Callable
from typing import Any

import pytest

from ledger.audit import call_kinds as calls
from ledger.audit import house_kinds as house
from ledger.audit.append import Head
from ledger.audit.checkpoint import origin_of, rotation_statement
from ledger.audit.fact import Move
from ledger.audit.source import StoredCheckpoint, StoredHead, StoredNode, StoredPayload
from ledger.audit.verify import Anchor, Verified, verify_account
from tests.ledger.audit.logs import INSTANCE, Log, MemorySource, Scribe, history, signing_key

ORIGIN = origin_of(INSTANCE, "acc_1")


def verified(scribe: Scribe, *anchors: Anchor, keys: list[bytes] | None = None) -> Verified:
    """Verify a scribe's log with its own key."""
    trusted = [scribe.key.public] if keys is None else keys
    return verify_account(MemorySource(scribe.log), scribe.log.account, keys=trusted, anchors=anchors)


def found(scribe: Scribe, *anchors: Anchor, keys: list[bytes] | None = None) -> str:
    """Return the row that verify names, and what is wrong with it."""
    return str(verified(scribe, *anchors, keys=keys).bad)


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


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("tool_calls", {"state": "succeeded!"}, "state is 'succeeded!', the log says"),
        ("tool_calls", {"amount_minor": 1}, "amount_minor is 1, the log says"),
        ("tool_calls", {"op_hash": "ff"}, "op_hash is 'ff', the log says"),
        ("tool_calls", {"payee": "evil.example"}, "payee is 'evil.example', the log says"),
        ("tool_calls", {"call_id": "call_x"}, "call_x: the log never spoke of it"),
        ("cap_usage", {"posted": 1}, "the log moved"),
        ("cap_usage", {"meter": "other"}, "the log moved"),
        ("reservations", {"state": "void", "amount": 0, "posted": 0}, "their parts add up to"),
        ("reservations", {"state": "void"}, "it is void, but"),
        ("reservations", {"state": "held"}, "it is held, its call is succeeded"),
        ("reservations", {"call_id": "call_x"}, "its call is unheard of"),
        ("postures", {"posture": "loose"}, "posture is 'loose'"),
    ],
)
def test_tables_that_the_log_does_not_say_are_found(table: str, change: dict[str, Any], named: str) -> None:
    """I7: states derived from the log equal the tables, and usage equals reservations plus adjustments."""
    scribe = history()
    rows = scribe.log.tables[table]
    place = next((at for at, row in enumerate(rows) if row.get("state") == "posted"), 0)
    rows[place] = {**rows[place], **change}
    assert named in found(scribe)


@pytest.mark.parametrize("table", ["tool_calls", "cap_usage", "reservations", "postures"])
def test_a_row_deleted_from_a_table_is_found(table: str) -> None:
    """A call that vanished from the table is still in the log."""
    scribe = history()
    rows = scribe.log.tables[table]
    del rows[next((at for at, row in enumerate(rows) if row.get("state") == "posted"), 0)]
    assert any(word in found(scribe) for word in ("it is missing", "their parts add up to"))


def test_adjustments_are_parts_of_usage() -> None:
    """M14: refunds and overruns are booked on usage without a reservation, and must add up too."""
    scribe = history()
    fact = calls.AdjustmentBooked(reason_code="overrun", amount_minor=7, currency="USD", mode="test")
    scribe.write(fact, "adj_1", moves=(Move("run-total@9", 0, 0, 7),))
    scribe.book("run-total", 9, held=0, posted=7)
    assert "adjustments adj_1: it is missing" in found(scribe)
    row = {
        "adjustment_id": "adj_1",
        "reason_code": "overrun",
        "amount_minor": 7,
        "currency": "USD",
        "mode": "test",
    }
    scribe.log.tables["adjustments"].append({**row, "moves": '[["run-total",9,0,0,7]]'})
    assert verified(scribe).bad is None
    scribe.log.tables["adjustments"][0]["moves"] = "[]"
    assert "their parts add up to" in found(scribe)


def test_verdicts_are_told_by_entries_about_their_request() -> None:
    """A person's answer is a row of its own; changing who gave it, or what it was, must not pass."""
    scribe = history()
    scribe.write(
        calls.ApprovalRequested(call_id="call_1", expires_at_us=1), "apr_1", payload={"op_hash": "aa"}
    )
    given = calls.VerdictGiven(verdict_id="ver_1", operator="ada", verdict="approve", state="approved")
    scribe.write(given, "apr_1")
    tables = scribe.log.tables
    tables["approvals"].append(
        {"approval_id": "apr_1", "call_id": "call_1", "state": "approved", "op_hash": "aa"}
    )
    tables["verdicts"].append(
        {"verdict_id": "ver_1", "approval_id": "apr_1", "operator": "ada", "verdict": "approve"}
    )
    assert verified(scribe).bad is None
    tables["verdicts"][0]["operator"] = "eve"
    assert "verdicts ver_1: operator is 'eve'" in found(scribe)


@pytest.mark.parametrize(
    ("table", "row", "named"),
    [
        ("adjustments", {"adjustment_id": "adj_1", "moves": "no list"}, "adj_1: its moves cannot be read"),
        ("reservations", {"amount": "1"}, "no integers"),
        ("reservations", {"amount": 5, "posted": 5, "state": "posted"}, "its call is unheard of"),
    ],
)
def test_rows_that_cannot_be_read_are_named_too(table: str, row: dict[str, Any], named: str) -> None:
    """A verifier that crashes on rubbish can be stopped by rubbish."""
    scribe = Scribe()
    if table == "adjustments":
        fact = calls.AdjustmentBooked(reason_code="overrun", amount_minor=7, currency="USD", mode="test")
        scribe.write(fact, "adj_1")
    scribe.store_head()
    hold = {"call_id": "c", "meter": "m", "window_start_us": 0, "posted": 0, "state": "held"}
    scribe.log.tables[table].append({**hold, **row})
    assert named in found(scribe)


def test_a_commitment_is_held_until_it_is_posted() -> None:
    """M19: an armed purchase stays on the cap, part captured or not."""
    scribe = history(3)
    call = next(row["call_id"] for row in scribe.log.tables["tool_calls"] if row["state"] == "succeeded")
    scribe.write(calls.PurchaseMoved(state="captured"), "pur_1", moves=(Move("m@0", 0, 600, 400),))
    usage = {"meter": "m", "window_start_us": 0, "held": 0, "committed": 600, "posted": 400}
    scribe.log.tables["cap_usage"].append(usage)
    hold = {
        "call_id": call,
        "meter": "m",
        "window_start_us": 0,
        "amount": 1000,
        "posted": 400,
        "state": "committed",
    }
    scribe.log.tables["reservations"].append(hold)
    assert verified(scribe).bad is None


def test_bytes_in_a_table_are_compared_as_the_texts_they_are() -> None:
    """Arguments are stored as bytes, and the log says them as text: the very bytes an approver saw."""
    scribe = Scribe()
    admitted = calls.CallAdmitted(state="queued", tool="t", kind="spend", agent="a", project="p")
    scribe.write(admitted, "call_1", payload={"arguments": '{"n":1}'})
    scribe.log.tables["tool_calls"].append({"call_id": "call_1", "args": b'{"n":1}', "state": "queued"})
    assert verified(scribe).bad is None
    scribe.log.tables["tool_calls"][0]["args"] = b'{"n":2}'
    assert "args is" in found(scribe)


def test_a_payload_that_is_no_object_is_named() -> None:
    """Only a program that is not ours can have written it, with the right hash."""
    scribe = Scribe()
    admitted = calls.CallAdmitted(state="queued", tool="t", kind="spend", agent="a", project="p")
    wrong: Any = ["not", "an", "object"]
    scribe.write(admitted, "call_1", payload=wrong)
    assert "it is no object" in found(scribe)


def test_a_lost_last_entry_of_a_gapless_log_is_named_by_what_follows_it() -> None:
    """An entry taken out of the middle leaves its seq missing."""
    scribe = history()
    del scribe.log.entries[9]
    assert "audit_entry seq 9: the entry after 8 is 10" in found(scribe)


# ---- anchors: what the log cannot show by itself


def cut(scribe: Scribe, checkpoints: int) -> None:
    """Take the log back to an earlier checkpoint, leaving no trace in the database."""
    log = scribe.log
    kept = Scribe(log.account)
    size = log.checkpoints[-1 - checkpoints].size
    kept.log.entries, kept.log.payloads = log.entries[:size], [row for row in log.payloads if row.seq < size]
    for level, nodes in log.nodes.items():
        kept.log.nodes[level] = [node for node in nodes if (node.position + 1) << level <= size]
    log.entries, log.payloads, log.nodes = kept.log.entries, kept.log.payloads, kept.log.nodes
    log.checkpoints = log.checkpoints[: len(log.checkpoints) - checkpoints]
    frontier = tuple(log.node(level, place) for level, place in _frontier(size))
    log.head = Head(log.account, size, log.head.epoch, frontier)
    scribe.store_head()


def _frontier(size: int) -> list[tuple[int, int]]:
    return [(level, (size >> level) - 1) for level in range(40, -1, -1) if size >> level & 1]


def without_tables(scribe: Scribe, *anchors: Anchor) -> Verified:
    """Verify the log alone, as if the tables had been cut to match."""
    source = MemorySource(scribe.log)
    return verify_account(source, "acc_1", keys=[scribe.key.public], anchors=anchors, tables=False)


def test_a_log_cut_back_to_a_checkpoint_is_found_only_with_an_anchor() -> None:
    """M33: what is left is a true log; only a checkpoint kept elsewhere knows of more."""
    scribe = history(erase=False)
    last = scribe.last
    assert last is not None
    anchor = Anchor(0, last.size, last.root, "keys/acc_1.checkpoint")
    assert without_tables(scribe, anchor).bad is None
    cut(scribe, 2)
    assert without_tables(scribe).bad is None
    named = str(without_tables(scribe, anchor).bad)
    assert f"audit_entry seq {scribe.log.head.size}: it is missing: {last.size} entries were signed" in named


def test_a_history_rewritten_after_the_last_checkpoint_is_found_only_with_an_anchor() -> None:
    """Whoever holds database and key can sign another history; a checkpoint held elsewhere convicts it."""
    honest, rewritten = history(seed=1), history(seed=2)
    early = honest.log.checkpoints[1]
    assert verified(rewritten).bad is None
    anchor = Anchor(0, early.size, early.root, "a witness")
    assert "is not what a witness was signed over" in found(rewritten, anchor)


def test_signed_entries_cut_off_are_found_without_an_anchor_while_their_checkpoint_is_left() -> None:
    """A checkpoint row in the database is enough against a hand that cuts entries only."""
    scribe = history()
    last = scribe.log.checkpoints[-1]
    cut(scribe, 1)
    scribe.log.checkpoints.append(last)
    assert f"{last.size} entries were signed, see table checkpoint" in str(without_tables(scribe).bad)


# ---- epochs and keys


def test_a_recovery_declares_what_was_lost_and_goes_on_in_a_new_epoch() -> None:
    """M33: after a restore the old anchor is ahead of the log, and the log itself must say so."""
    scribe = history(erase=False)  # The backup is older than any erasure.
    last = scribe.last
    assert last is not None
    cut(scribe, 2)
    head = scribe.log.head
    scribe.log.head = Head(head.account, head.size, 1, head.frontier)
    opened = house.EpochOpened(
        opened=1, kept_size=head.size, signed_size=last.size, signed_root=last.root.hex(), cause="restore"
    )
    scribe.write(opened, ORIGIN)
    for number in range(902, 925):
        scribe.call(number)
    scribe.checkpoint()
    anchor = Anchor(0, last.size, last.root, "keys/acc_1.checkpoint")
    assert scribe.log.checkpoints[-1].note.startswith(f"{ORIGIN}/e1\n")
    assert without_tables(scribe, anchor).bad is None
    beyond = Anchor(0, last.size + 1, last.root, "a witness")
    assert "a witness" in str(without_tables(scribe, beyond).bad)


def test_an_epoch_out_of_order_is_found() -> None:
    """Epochs count recoveries; one that is skipped or claimed without a recovery hides one."""
    scribe = history()
    fact = house.EpochOpened(opened=2, kept_size=1, signed_size=1, signed_root="", cause="restore")
    scribe.write(fact, ORIGIN)
    assert "it opens epoch 2 where 1 is next" in found(scribe)
    other = history()
    other.log.head = Head("acc_1", other.log.head.size, 1, other.log.head.frontier)
    other.posture("account:", "normal")
    assert "it says epoch 1 in epoch 0" in found(other)


def rotate(scribe: Scribe, seed: int) -> None:
    """Change the signing key, as M35 asks."""
    new = signing_key(seed)
    statement = rotation_statement(ORIGIN, scribe.key, new)
    fact = house.KeyRotated(
        old_key=str(scribe.key.verifier(ORIGIN)), new_key=str(new.verifier(ORIGIN)), statement=statement
    )
    scribe.write(fact, ORIGIN)
    scribe.key = new
    scribe.call(500 + seed)
    scribe.checkpoint()


def test_a_log_whose_key_changed_twice_verifies_with_any_of_its_keys() -> None:
    """M35: both keys sign the change, so trust in one reaches the others; an outsider may hold the first."""
    scribe = history()
    keys = [scribe.key.public]
    for seed in (2, 3):
        rotate(scribe, seed)
        keys.append(scribe.key.public)
    for key in keys:
        assert verified(scribe, keys=[key]).bad is None
    assert "no key that you trust" in found(scribe, keys=[signing_key(9).public])


def test_after_a_rotation_the_old_key_signs_nothing() -> None:
    """A key is rotated because it may be known to someone else."""
    scribe = history()
    old = scribe.key
    rotate(scribe, 2)
    scribe.key = old
    scribe.call(700)
    scribe.checkpoint()
    assert "not the key in force" in found(scribe, keys=[old.public])


def test_a_rotation_that_does_not_follow_the_one_before_is_found() -> None:
    """A chain of keys with a gap trusts a key that nobody vouched for."""
    scribe = history()
    first = scribe.key
    rotate(scribe, 2)
    scribe.key = first
    rotate(scribe, 3)
    assert "replaces a key that was not in force" in found(scribe, keys=[first.public])


def test_a_rotation_that_says_other_keys_than_it_signed_is_found() -> None:
    """The facts are what people read; they must be what was signed."""
    scribe = history()
    statement = rotation_statement(ORIGIN, scribe.key, signing_key(2))
    scribe.write(house.KeyRotated(old_key="a", new_key="b", statement=statement), ORIGIN)
    assert "about other keys than it says" in found(scribe)
    other = history()
    other.write(house.KeyRotated(old_key="a", new_key="b", statement="no note"), ORIGIN)
    assert "audit_entry seq" in found(other)


def test_an_unknown_signer_is_found_and_without_keys_nothing_is_said_of_signatures() -> None:
    """Verifying without a key is possible for a look at one's own log, and says less."""
    scribe = history()
    assert "not the key in force" in found(scribe, keys=[signing_key(9).public])
    source = MemorySource(scribe.log)
    assert verify_account(source, "acc_1", keys=None).bad is None


def test_a_false_erasure_is_found() -> None:
    """An erasure entry that names other leaves, or another number of them, would excuse a lost payload."""
    for leaves in (("00",), ()):
        scribe = history()
        seq = scribe.log.payloads[12].seq
        by = scribe.write(house.PayloadErased(seqs=(seq,), leaves=leaves), "era_2")
        scribe.log.payloads[12] = StoredPayload(seq, None, None, by)
        assert any(text in found(scribe) for text in ("says that it erased this payload", "another number"))


def test_what_a_log_cites_of_the_system_log_is_reported() -> None:
    """M35: events without an account are in the system log, which each account's log holds to its roots."""
    scribe = history()
    seq = scribe.write(house.SystemCited(origin="bursar/ins_1/system", size=3, root="cm9vdA=="), ORIGIN)
    assert verified(scribe).cited == ((seq, 3, "cm9vdA=="),)


def test_a_checkpoint_at_a_size_that_the_log_never_had_is_found() -> None:
    """A row that sorts before its predecessor, as a file may hold it, is out of place."""
    scribe = history()
    rows = scribe.log.checkpoints
    rows[2] = StoredCheckpoint(rows[2].size - 1, rows[2].previous, rows[2].root, rows[2].note, rows[2].key_id)
    assert "its root is not that of the first" in found(scribe)
