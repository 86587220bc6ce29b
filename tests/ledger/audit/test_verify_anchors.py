"""Anchors, epochs, keys and erasures: what a log says of its own history, and what it cannot."""

from base64 import b64encode

from ledger.audit import house_kinds as house
from ledger.audit import merkle
from ledger.audit.append import Head
from ledger.audit.checkpoint import origin_of, rotation_statement
from ledger.audit.source import StoredCheckpoint, StoredPayload
from ledger.audit.verify import Anchor, Verified, verify_account
from tests.ledger.audit.logs import INSTANCE, MemorySource, Scribe, found, history, signing_key, verified

ORIGIN = origin_of(INSTANCE, "acc_1")


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


def test_a_recovered_log_that_is_still_shorter_than_what_was_signed_verifies() -> None:
    """M33: right after a recovery the old anchor lies beyond the end, and the log has said so."""
    scribe = history(erase=False)
    last = scribe.last
    assert last is not None
    cut(scribe, 2)
    head = scribe.log.head
    scribe.log.head = Head(head.account, head.size, 1, head.frontier)
    lost = {"kept_size": head.size, "signed_size": last.size}
    scribe.write(house.EpochOpened(opened=1, **lost, signed_root=last.root.hex(), cause="restore"), ORIGIN)
    assert scribe.log.head.size < last.size
    assert without_tables(scribe, Anchor(0, last.size, last.root, "keys/acc_1.checkpoint")).bad is None
    assert "a witness" in str(without_tables(scribe, Anchor(0, last.size + 1, last.root, "a witness")).bad)


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


def test_what_a_log_cites_of_the_system_log_must_be_so() -> None:
    """M35: events without an account are in the system log, which each account's log holds to its roots."""
    system, scribe = Scribe("system"), history()
    roots = []
    for number in range(3):
        system.write(house.ProcessStopped(), f"proc_{number}")
        roots.append(b64encode(merkle.root(system.log.head.frontier)).decode())
    cited = [(scribe.write(_cited(size, roots[size - 1]), ORIGIN), size, roots[size - 1]) for size in (3, 1)]
    both = MemorySource(scribe.log, system.log)
    told = verify_account(both, "acc_1", keys=[scribe.key.public])
    assert (told.bad, told.cited) == (None, tuple(cited))
    assert f"seq {cited[1][0]}: the system log has no 1 entries" in found(scribe)
    system.log.entries[1] = system.log.entries[0]
    assert f"seq {cited[0][0]}: the system log's root was another one" in str(
        verify_account(both, "acc_1", keys=None).bad
    )


def _cited(size: int, root: str) -> house.SystemCited:
    return house.SystemCited(origin="bursar/ins_1/system", size=size, root=root)


def test_a_checkpoint_at_a_size_that_the_log_never_had_is_found() -> None:
    """A row that sorts before its predecessor, as a file may hold it, is out of place."""
    scribe = history()
    rows = scribe.log.checkpoints
    rows[2] = StoredCheckpoint(rows[2].size - 1, rows[2].previous, rows[2].root, rows[2].note, rows[2].key_id)
    assert "its root is not that of the first" in found(scribe)
