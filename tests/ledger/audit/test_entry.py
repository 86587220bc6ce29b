"""What an entry says, what it keeps to itself, and how it takes its place in a log."""

import hashlib
import json
from typing import get_type_hints

import msgspec
import pytest
import rfc8785

from ledger.audit import call_kinds, house_kinds, merkle
from ledger.audit.append import EntryRow, Head, append
from ledger.audit.canonical import FloatRefused, canonical
from ledger.audit.catalogue import CATALOGUE
from ledger.audit.entry import Draft, EntryRefused, payload_hash, read_entry, read_fact
from ledger.audit.fact import Fact, Move
from tests.ledger.audit.logs import Scribe


def salts(count: int) -> bytes:
    """Randomness that a test can foresee."""
    return b"s" * count


ADMITTED = call_kinds.CallAdmitted(
    state="queued", tool="pay_vendor", kind="spend", agent="scout", project="p"
)
DRAFT = Draft(
    fact=ADMITTED,
    subject_id="call_1",
    actor="agent:scout",
    at_us=1_763_800_000_000_000,
    payload={"payee": "ada@example.com"},
    moves=(Move("run-total@0", 500, 0, 0),),
)


def test_the_bytes_of_an_entry_are_what_an_outsider_expects_of_them() -> None:
    """The format is a promise: a log is verified by programs we did not write, also in ten years."""
    added = append(Head("acc_1"), [DRAFT], salts)
    body = added.entries[0].body
    said = json.loads(body)
    assert body == rfc8785.dumps(said)
    assert said == {
        "account": "acc_1",
        "epoch": 0,
        "seq": 0,
        "at_us": 1_763_800_000_000_000,
        "kind": "call.admitted",
        "subject_type": "call",
        "subject_id": "call_1",
        "actor": "agent:scout",
        "facts": {"state": "queued", "tool": "pay_vendor", "kind": "spend", "agent": "scout", "project": "p"},
        "moves": [["run-total@0", 500, 0, 0]],
        "payload_sha256": hashlib.sha256(b"s" * 16 + b'{"payee":"ada@example.com"}').hexdigest(),
    }
    assert added.entries[0].leaf == hashlib.sha256(b"\x00" + body).digest()


def test_an_entry_read_back_is_what_was_written() -> None:
    """`verify` judges by what it reads, so reading must lose nothing."""
    entry = read_entry(append(Head("acc_1"), [DRAFT], salts).entries[0].body)
    assert read_fact(entry) == ADMITTED
    assert entry.moves == DRAFT.moves
    assert (entry.account, entry.seq, entry.subject_id, entry.actor) == ("acc_1", 0, "call_1", "agent:scout")


def test_nothing_of_a_payload_can_be_read_from_its_entry() -> None:
    """M35: once salt and payload are gone, the entry must not give the payload away, nor let one guess it."""
    twice = append(Head("acc_1"), [DRAFT], lambda count: b"t" * count)
    once = append(Head("acc_1"), [DRAFT], salts)
    assert b"ada@example.com" not in once.entries[0].body
    assert twice.payloads[0].body == once.payloads[0].body
    assert twice.entries[0].body != once.entries[0].body
    assert payload_hash(b"", once.payloads[0].body).encode() not in once.entries[0].body


def test_entries_take_their_places_one_after_the_other() -> None:
    """The caller carries the head alone: appending one by one or at once must be the same log."""
    drafts = [DRAFT, msgspec.structs.replace(DRAFT, payload=None, moves=()), DRAFT] * 5
    whole = append(Head("acc_1"), drafts, salts)
    head = Head("acc_1")
    rows: list[EntryRow] = []
    for draft in drafts:
        added = append(head, [draft], salts)
        head = added.head
        rows += added.entries
    assert (head, rows) == (whole.head, whole.entries)
    assert [row.seq for row in rows] == list(range(15))
    assert merkle.root(head.frontier) == merkle.root(
        merkle.extend((), 0, [row.leaf for row in rows]).frontier
    )
    assert [row.seq for row in whole.payloads] == [seq for seq in range(15) if seq % 3 != 1]


def test_a_draft_outside_the_profile_is_refused_before_anything_is_written() -> None:
    """Money as a float must not reach the log; the caller's transaction fails as a whole."""
    wrong = msgspec.structs.replace(DRAFT, payload={"amount": 19.99})
    with pytest.raises(FloatRefused):
        append(Head("acc_1"), [DRAFT, wrong], salts)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "call.dreamt"}, "is unknown here"),
        ({"subject_type": "agent"}, "speaks of 'call'"),
        ({"facts": {"state": "queued"}}, "do not fit"),
        ({"facts": {**json.loads(msgspec.json.encode(ADMITTED)), "code": None, "extra": 1}}, "do not fit"),
    ],
)
def test_an_entry_that_the_catalogue_does_not_know_is_refused(change: dict[str, object], match: str) -> None:
    """An unread fact is an unchecked fact: `verify` must stop rather than skip it."""
    said = json.loads(append(Head("acc_1"), [DRAFT], salts).entries[0].body)
    with pytest.raises(EntryRefused, match=match):
        read_fact(read_entry(canonical({**said, **change})))


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"account": 1}', b"\xff", b'{"actor": "\xec("}'])
def test_bytes_that_are_no_entry_are_refused(body: bytes) -> None:
    """A spoiled row must be named, not crash the verifier."""
    with pytest.raises(EntryRefused, match="no audit entry"):
        read_entry(body)


@pytest.mark.parametrize("cls", CATALOGUE.values(), ids=CATALOGUE)
def test_every_kind_is_typed_and_documented(cls: type[Fact]) -> None:
    """Facts stay for ever, so only integers, text and lists of them, never an object to hide things in."""
    assert cls.__doc__
    assert cls.__doc__.strip()
    for name, hint in get_type_hints(cls).items():
        if name in {"KIND", "SUBJECT", "PAYLOAD"}:
            continue
        assert hint in {int, str, int | None, str | None, tuple[int, ...], tuple[str, ...]}, name
        assert name not in cls.PAYLOAD, f"{name} is said for ever and also erasable"


def test_the_catalogue_holds_every_kind_once() -> None:
    """Two classes of one kind would read each other's entries."""
    modules = (call_kinds, house_kinds)
    classes = [cls for module in modules for cls in vars(module).values() if isinstance(cls, type)]
    kinds = [cls.KIND for cls in classes if issubclass(cls, Fact) and cls is not Fact]
    assert len(kinds) == len(set(kinds)) == len(CATALOGUE)


def test_two_accounts_with_equal_histories_have_different_trees() -> None:
    """An account's entries must not pass for another's, not even where they say the same."""
    one, two = Scribe("acc_1", seed=3), Scribe("acc_2", seed=3)
    for scribe in (one, two):
        scribe.call(1)
    assert merkle.root(one.log.head.frontier) != merkle.root(two.log.head.frontier)
