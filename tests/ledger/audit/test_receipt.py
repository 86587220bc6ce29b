"""Receipts: one entry, proven offline with the public key, in the C2SP format."""

import base64

import msgspec
import pytest

from ledger.audit.note import VerifierKey
from ledger.audit.receipt import (
    MAX_PATH,
    Extra,
    ReceiptRefused,
    parse_receipt,
    verify_receipt,
    write_receipt,
)
from tests.ledger.audit.logs import Scribe, history

ORIGIN = "bursar/ins_1/acc_1"


def receipt(scribe: Scribe, seq: int, *, payload: bool = True) -> str:
    """The receipt of one entry under the last checkpoint."""
    row = next((row for row in scribe.log.payloads if row.seq == seq), None)
    extra = Extra(scribe.log.entries[seq].body)
    if payload and row is not None:
        extra = Extra(scribe.log.entries[seq].body, row.salt, row.body)
    assert scribe.last is not None
    return write_receipt(extra, seq, scribe.last, scribe.log.node)


def key_of(scribe: Scribe) -> VerifierKey:
    """The public key an outsider holds."""
    return scribe.key.verifier(ORIGIN)


def test_every_entry_of_a_log_has_a_receipt_that_proves_it() -> None:
    """The proof page hands these out; each must stand by itself."""
    scribe = history(20)
    for seq in range(scribe.log.head.size):
        proven = verify_receipt(receipt(scribe, seq), key_of(scribe))
        assert proven.entry.seq == seq
        assert proven.checkpoint == scribe.last


def test_a_receipt_has_the_form_of_the_specification() -> None:
    """C2SP tlog-proof@v1, so that other tools read it."""
    lines = receipt(history(4), 3).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ")
    assert lines[2] == "index 3"
    gap = lines.index("")
    assert all(len(base64.b64decode(line)) == 32 for line in lines[3:gap])
    assert lines[gap + 1] == ORIGIN


def test_a_receipt_without_its_payload_still_proves_the_entry() -> None:
    """M35: after an erasure, or where the payload is not the reader's business."""
    scribe = history(4)
    full = verify_receipt(receipt(scribe, 1), key_of(scribe))
    bare = verify_receipt(receipt(scribe, 1, payload=False), key_of(scribe))
    assert full.payload is not None
    assert bare.payload is None
    assert bare.entry == full.entry


def test_a_receipt_with_anything_changed_proves_nothing() -> None:
    """Whatever is altered in the file, the public key's holder sees it."""
    scribe = history(12)
    good = receipt(scribe, 4)
    other, key = receipt(scribe, 7), key_of(scribe)
    lines, others = good.split("\n"), other.split("\n")
    spoiled = {
        "index": good.replace("index 4", "index 5"),
        "the entry": good.replace(lines[1], others[1]),
        "a hash": good.replace(lines[3], others[3]),
        "a hash less": good.replace(lines[4] + "\n", "", 1),
        "a hash more": good.replace(lines[4] + "\n", lines[4] + "\n" + lines[4] + "\n", 1),
        "the root": good.replace(good.split("\n\n")[1].split("\n")[2], base64.b64encode(b"r" * 32).decode()),
        "the account": good.replace(ORIGIN, "bursar/ins_1/acc_2"),
    }
    for what, text in spoiled.items():
        assert text != good, what
        with pytest.raises(ReceiptRefused):
            verify_receipt(text, key)


def test_a_payload_that_is_not_the_entrys_is_refused() -> None:
    """`extra` is not signed; only its hash speaks for it."""
    scribe = history(4)
    row = scribe.log.payloads[1]
    assert scribe.last is not None
    extra = Extra(scribe.log.entries[row.seq].body, row.salt, b'{"payee":"someone else"}')
    text = write_receipt(extra, row.seq, scribe.last, scribe.log.node)
    with pytest.raises(ReceiptRefused, match="not the one its entry speaks of"):
        verify_receipt(text, key_of(scribe))


def test_an_entry_that_speaks_of_another_place_or_account_is_refused() -> None:
    """A true leaf of this tree that claims to be elsewhere was put there by whoever held the key."""
    scribe = Scribe("acc_2")
    scribe.call(1)
    scribe.log.account = "acc_1"
    scribe.last = scribe.checkpoint()
    with pytest.raises(ReceiptRefused, match="the entry says it is acc_2 #0"):
        verify_receipt(receipt(scribe, 0), scribe.key.verifier(scribe.last.origin))


def test_an_entry_after_the_checkpoint_has_no_receipt_yet() -> None:
    """A receipt rests on a signed root; before that there is nothing to show."""
    scribe = history(4)
    scribe.call(90)
    with pytest.raises(ValueError, match="not in a tree"):
        receipt(scribe, scribe.log.head.size - 1)


def damaged(good: str) -> list[str]:
    """Texts that are no receipt of ours."""
    lines = good.split("\n")
    extra = base64.b64encode(msgspec.json.encode({"entry": 1})).decode()
    return [
        "",
        good.replace("tlog-proof@v1", "tlog-proof@v2"),
        good.replace("\n\n", "\n"),
        good.replace(lines[1] + "\n", ""),
        good.replace(lines[1], "extra e30*"),
        good.replace(lines[1], f"extra {extra}"),
        good.replace(lines[1], "extra"),
        good.replace("index 4", "index 04"),
        good.replace("index 4", "index -4"),
        good.replace("index 4", "4"),
        good.replace(lines[3], "AAAA"),
        good.replace(lines[3], "not base 64"),
        good.replace(lines[3], "\n".join([lines[3]] * (MAX_PATH + 1))),
    ]


@pytest.mark.parametrize("number", range(13))
def test_what_is_no_receipt_is_refused(number: int) -> None:
    """Strict reading: one text, one meaning."""
    with pytest.raises(ReceiptRefused):
        parse_receipt(damaged(receipt(history(12), 4))[number])
