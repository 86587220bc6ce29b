"""A hand in the database: random edits, insertions, deletions, swaps, truncations, rewritten histories.

Every one must be found. Most are found in the database alone. Two need an *anchor*, a checkpoint that the
hand cannot reach, and the harness holds that they are found with it and only with it:

- `cut`: the log taken back to an earlier checkpoint without a trace. Anchor: that beside the signing key.
- `resign`: another history, signed anew by a hand that holds the key too. Anchor: one held by someone else.

Two are not counted, because nothing is there to find: deleting the newest checkpoint rows takes away no
entry, and their last note lies beside the key; and an entry added after the last checkpoint was written as
ours are, by whoever may write. docs/reference/audit.md says both to users.

The broken twins at the end are verifiers that leave one check out; each must miss what the whole one finds.
"""

import copy
import random
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from ledger.audit import merkle
from ledger.audit.append import Head
from ledger.audit.entries import EntryCheck
from ledger.audit.entry import Entry
from ledger.audit.fact import Fact
from ledger.audit.merkle import leaf_hash
from ledger.audit.signatures import SignatureCheck
from ledger.audit.source import StoredEntry, StoredHead, StoredNode
from ledger.audit.verify import Anchor, verify_account
from tests.ledger.audit.logs import Log, MemorySource, Scribe, history

R = TypeVar("R", bound=tuple[Any, ...])
Rows = list[Any]

HONEST = history(30)
KEYS = [HONEST.key.public]


def changed(value: object, rng: random.Random) -> object:
    """Another value of the same kind: a flipped bit, a number beside it, a text with one letter changed."""
    if isinstance(value, bytes):
        at = rng.randrange(len(value)) if value else 0
        return value[:at] + bytes([value[at] ^ 1 << rng.randrange(8)]) + value[at + 1 :] if value else b"x"
    if isinstance(value, int):
        return value + rng.choice([-1, 1, 1000])
    if isinstance(value, str):
        at = rng.randrange(len(value) or 1)
        return value[:at] + ("x" if value[at : at + 1] != "x" else "y") + value[at + 1 :]
    return "something"


def edit(log: Log, rng: random.Random) -> str:
    """Change one value of one row, anywhere."""
    what = rng.choice(["entry", "columns", "payload", "node", "checkpoint", "head", "table"])
    if what == "table":
        table = rng.choice([name for name, rows in log.tables.items() if rows])
        row = rng.choice(log.tables[table])
        told = [name for name in row if _is_told(table, row, name)]
        column = rng.choice(told)
        row[column] = changed(row[column], rng)
        return f"edit {table}.{column}"
    if what == "head":
        assert log.stored_head is not None
        log.stored_head = _edited(log.stored_head, rng)
        return "edit log_head"
    if what == "columns":
        at = rng.randrange(len(log.entries))
        columns = log.entries[at].columns
        assert columns is not None
        log.entries[at] = log.entries[at]._replace(columns=_edited(columns, rng))
        return f"edit a column of entry {at}"
    if what == "entry":
        at = rng.randrange(len(log.entries))
        body: Any = changed(log.entries[at].body, rng)
        log.entries[at] = log.entries[at]._replace(body=body)
        return f"edit the bytes of entry {at}"
    reach: dict[str, Rows] = {"payload": log.payloads, "checkpoint": log.checkpoints}
    rows = reach.get(what) or rng.choice(_nodes(log))
    at = rng.randrange(len(rows))
    rows[at] = _edited(rows[at], rng)
    return f"edit {what} {at}"


def _edited(row: R, rng: random.Random) -> R:
    """A row with one of its values changed."""
    named: Any = row
    column = rng.choice([name for name in named._fields if isinstance(getattr(row, name), bytes | int | str)])
    spoiled: R = named._replace(**{column: changed(getattr(row, column), rng)})
    return spoiled


def _is_told(table: str, row: dict[str, Any], column: str) -> bool:
    """Whether the log speaks of this column, which is what `verify` promises to compare."""
    if table == "reservations" and row["state"] == "void":
        return column in {"state", "posted"}  # Nothing is reserved: what and when no longer matters.
    if table == "reservations":
        return column != "call_id" and not (column == "amount" and row["state"] == "posted")
    return not (column == "actual_minor" and row[column] is None)


def insert(log: Log, rng: random.Random) -> str:
    """Put a copy of a row, with a value changed, beside it."""
    reach: list[Rows] = [log.entries, log.payloads, log.checkpoints, *_nodes(log)]
    rows = rng.choice(reach)
    at = rng.randrange(len(rows))
    rows.insert(at, rows[at] if rng.random() < 0.5 else _edited(rows[at], rng))
    return f"insert at {at} of {type(rows[at]).__name__}"


def delete(log: Log, rng: random.Random) -> str:
    """Take one row out, not the newest checkpoint."""
    reach: list[Rows] = [log.entries, log.payloads, log.checkpoints, *_nodes(log), *_telling(log)]
    rows = rng.choice(reach)
    at = rng.randrange(len(rows) - (rows is log.checkpoints)) if len(rows) > 1 else 0
    gone = rows.pop(at)
    return f"delete {gone}"[:120]


def _nodes(log: Log) -> list[Rows]:
    return [list_ for list_ in log.nodes.values() if list_]


def _telling(log: Log) -> list[Rows]:
    return [rows for name, rows in log.tables.items() if rows and name != "reservations"]


def swap(log: Log, rng: random.Random) -> str:
    """Exchange what two rows hold, leaving their keys where they are."""
    what = rng.choice(["entries", "payloads", "nodes"])
    rows: Rows = log.nodes[rng.choice([1, 2, 3])] if what == "nodes" else getattr(log, what)
    key = rows[0]._fields[0]
    while True:
        one, two = rng.sample(range(len(rows)), 2)
        if rows[one][1:] != rows[two][1:]:
            break
    keys = getattr(rows[one], key), getattr(rows[two], key)
    rows[one], rows[two] = rows[two]._replace(**{key: keys[0]}), rows[one]._replace(**{key: keys[1]})
    return f"swap {what} {keys}"


def truncate(log: Log, rng: random.Random) -> str:
    """Cut the tail off one table."""
    reach: list[Rows] = [log.entries, log.payloads, *_nodes(log)]
    rows = rng.choice(reach)
    keep = rng.randrange(len(rows))
    del rows[keep:]
    return f"truncate to {keep}"


def rewrite(log: Log, rng: random.Random) -> str:
    """Change an entry that is signed, and make everything that follows from it fit again; without the key."""
    at = rng.randrange(log.checkpoints[-1].size)
    body = log.entries[at].body.replace(b'"at_us":1', b'"at_us":2', 1)
    columns = log.entries[at].columns
    assert columns is not None
    columns = columns._replace(at_us=columns.at_us + 10**15, leaf=leaf_hash(body))
    log.entries[at] = StoredEntry(at, body, columns)
    rebuild(log)
    return f"rewrite entry {at}"


def rebuild(log: Log) -> None:
    """Make nodes and head fit the entries."""
    leaves = [leaf_hash(row.body) for row in log.entries]
    grown = merkle.extend((), 0, leaves)
    log.nodes.clear()
    for level, position, node in grown.nodes:
        log.nodes[level].append(StoredNode(position, node))
    log.head = Head(log.account, len(leaves), log.head.epoch, grown.frontier)
    log.stored_head = StoredHead(len(leaves), log.head.epoch, b"".join(grown.frontier))


def cut(log: Log, rng: random.Random) -> str:
    """Take log and tree back to an earlier checkpoint, without a trace; the tables are left out of it."""
    keep = rng.randrange(1, len(log.checkpoints))
    size = log.checkpoints[keep - 1].size
    del log.checkpoints[keep:], log.entries[size:]
    log.payloads[:] = [row for row in log.payloads if row.seq < size]
    rebuild(log)
    return f"cut to {size}"


def resign(log: Log, rng: random.Random) -> str:
    """Write and sign another history of the same length or longer, with the key."""
    other = history(34, seed=rng.randrange(2, 10**6)).log
    for name in ("entries", "payloads", "nodes", "checkpoints", "tables", "stored_head", "head"):
        setattr(log, name, getattr(other, name))
    return "resign"


HANDS: list[Callable[[Log, random.Random], str]] = [edit, edit, edit, insert, delete, swap, truncate, rewrite]
ANCHORED: list[Callable[[Log, random.Random], str]] = [cut, resign]


def bad(log: Log, *anchors: Anchor, tables: bool = True) -> str | None:
    """What verify finds first."""
    said = verify_account(MemorySource(log), "acc_1", keys=KEYS, anchors=anchors, tables=tables)
    return None if said.bad is None else str(said.bad)


def test_the_honest_log_verifies() -> None:
    """Else everything below would be found for the wrong reason."""
    assert bad(HONEST.log, anchor()) is None


def anchor() -> Anchor:
    """The last checkpoint, as it lies where the hand cannot reach."""
    assert HONEST.last is not None
    return Anchor(0, HONEST.last.size, HONEST.last.root, "elsewhere")


def test_every_hand_is_found(deep: bool) -> None:  # noqa: FBT001  # A fixture.
    """200 random hands (1,000 with --deep), each on a fresh copy; the seed of a miss is its number."""
    for seed in range(1000 if deep else 200):
        rng, log = random.Random(seed), copy.deepcopy(HONEST.log)
        did = rng.choice(HANDS)(log, rng)
        assert bad(log) is not None, f"seed {seed}: {did}"


def test_a_cut_and_a_signed_rewrite_are_found_with_an_anchor_and_only_with_one(deep: bool) -> None:  # noqa: FBT001  # A fixture.
    """20 (100): says plainly what the log cannot show by itself; docs/reference/audit.md tells users."""
    for seed in range(100 if deep else 20):
        rng, log = random.Random(seed), copy.deepcopy(without_erasure().log)
        hand = rng.choice(ANCHORED)
        did = hand(log, rng)
        assert bad(log, tables=False) is None, f"seed {seed}: {did}"
        last = without_erasure().last
        assert last is not None
        kept = Anchor(0, last.size, last.root, "elsewhere")
        assert bad(log, kept, tables=False) is not None, f"seed {seed}: {did}"


_WHOLE: list[Scribe] = []


def without_erasure() -> Scribe:
    """A log from which nothing was erased: a cut before an erasure would show the emptied payload."""
    if not _WHOLE:
        _WHOLE.append(history(30, erase=False))
    return _WHOLE[0]


def test_two_accounts_in_one_source_never_mix() -> None:
    """Each row of one account moved into the other is found in both, or in the one it was taken from."""
    rng = random.Random(4)
    for _ in range(40):
        one, two = copy.deepcopy(HONEST.log), copy.deepcopy(history(30, account="acc_2", seed=5).log)
        name = rng.choice(["entries", "payloads", "checkpoints"])
        mine, theirs = getattr(one, name), getattr(two, name)
        at = rng.randrange(min(len(mine), len(theirs)))
        mine[at], theirs[at] = theirs[at], mine[at]
        source = MemorySource(one, two)
        found = [verify_account(source, account, keys=KEYS).bad for account in ("acc_1", "acc_2")]
        assert any(found), (name, at)


# ---- broken twins


def missed(hands: list[Callable[[Log, random.Random], str]], tries: int = 150, **options: bool) -> int:
    """How many hands the verifier as it stands now does not find."""
    count = 0
    for seed in range(tries):
        rng, log = random.Random(seed), copy.deepcopy(HONEST.log)
        rng.choice(hands)(log, rng)
        try:
            count += bad(log, **options) is None
        except (AttributeError, TypeError, IndexError):
            continue  # A twin may fall over what it should have named; that is no miss.
    return count


def test_a_twin_that_skips_roots_at_checkpoints_misses_a_rewritten_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Consistency with each predecessor is what makes a log append-only."""
    assert missed([rewrite], 20) == 0
    monkeypatch.setattr("ledger.audit.verify._LogCheck._checkpointed", lambda *_: None)
    assert missed([rewrite], 20) > 0


def test_a_twin_that_trusts_stored_leaves_misses_edited_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leaf must be computed from the bytes, not read from beside them."""
    honest = EntryCheck.take

    def careless(self: EntryCheck, row: StoredEntry) -> tuple[bytes, Entry, Fact, bytes | None]:
        assert row.columns is not None
        _, entry, fact, payload = honest(self, row._replace(columns=None))
        return row.columns.leaf, entry, fact, payload

    monkeypatch.setattr(EntryCheck, "take", careless)
    assert missed([edit]) > 0


def test_a_twin_that_skips_payloads_misses_their_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an approver saw is in the payload."""
    monkeypatch.setattr(EntryCheck, "_payload", lambda *_: None)
    monkeypatch.setattr(EntryCheck, "_name_erased", lambda *_: None)
    monkeypatch.setattr(EntryCheck, "end", lambda *_: None)
    assert missed([edit, delete, swap], tables=False) > 0


def test_a_twin_that_skips_signatures_misses_forged_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cannot sign must not be able to put a checkpoint there."""
    monkeypatch.setattr(SignatureCheck, "end", lambda _: None)
    assert missed([edit]) > 0


def test_a_twin_that_skips_tables_misses_their_edits() -> None:
    """The tables are what the house acts on."""
    assert missed([edit], tables=False) > 0


def test_a_twin_that_skips_usage_misses_edited_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usage must be the sum of its parts, or a cap can be emptied by hand."""
    monkeypatch.setattr("ledger.audit.replay.compare_usage", lambda *_: None)
    assert missed([edit], 300) > 0


def test_a_twin_that_skips_nodes_misses_edited_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Receipts are made from stored nodes."""
    monkeypatch.setattr("ledger.audit.verify._NodeCheck.compare", lambda *_: None)
    monkeypatch.setattr("ledger.audit.verify._NodeCheck.end", lambda *_: None)
    assert missed([edit]) > 0


def test_a_twin_that_ignores_anchors_misses_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The anchor is the only witness of what was cut off."""
    last = without_erasure().last
    assert last is not None
    kept = Anchor(0, last.size, last.root, "elsewhere")
    log = copy.deepcopy(without_erasure().log)
    cut(log, random.Random(1))
    assert bad(log, kept, tables=False) is not None
    monkeypatch.setattr("ledger.audit.verify._by_size", lambda checkpoints, _: checkpoints)
    assert bad(log, kept, tables=False) is None
