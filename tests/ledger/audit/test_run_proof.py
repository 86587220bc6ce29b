"""The proof of a run as a file: read strictly, and refused where any part does not hang together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ledger.audit import house_kinds as house
from ledger.audit.note import VerifierKey
from ledger.audit.receipt import Extra, ReceiptRefused, write_receipt
from ledger.audit.run_proof import Checked, RunProofRefused, check_run_proof, read_run_proof
from tests.ledger.audit.logs import Scribe, signing_key

ORIGIN = "bursar/ins_1/acc_1"
Whole = dict[str, Any]


def _log() -> Scribe:
    """A run, its order and revenue, and a deal that no entry of theirs names by the run's id."""
    scribe = Scribe()
    scribe.write(house.RunChanged(state="open", project="p", order_id="ord_1"), "run_1")
    booked = house.OrderBooked(
        state="paid", amount_minor=100, currency="USD", mode="test", proof_level="test", run_id="run_1"
    )
    scribe.write(booked, "ord_1", payload={"reference": "cs_1"})
    for number, minor in ((1, 100), (2, -9)):
        earned = house.RevenueBooked(
            revenue_kind="payment" if minor > 0 else "fee",
            amount_minor=minor,
            currency="USD",
            mode="test",
            proof_level="test",
            order_id="ord_1",
        )
        scribe.write(earned, f"rvn_{number}", payload={"reference": f"ch_{number}"})
    scribe.write(house.RecordWritten(record_type="deal", version=2, state="won"), "deal_1")
    scribe.write(house.RecordWritten(record_type="lead", version=1, state=""), "lead_1")
    scribe.checkpoint()
    return scribe


def _receipt(scribe: Scribe, seq: int) -> str:
    row = next((row for row in scribe.log.payloads if row.seq == seq), None)
    body = scribe.log.entries[seq].body
    extra = Extra(body) if row is None else Extra(body, row.salt, row.body)
    assert scribe.last is not None
    return write_receipt(extra, seq, scribe.last, scribe.log.node)


def _whole(scribe: Scribe) -> Whole:
    """The file that tells this log's run, as it is written."""

    def part(kind: str, record_id: str, row: Whole, *entries: int) -> Whole:
        return {"kind": kind, "id": record_id, "row": row, "more": {}, "entries": list(entries)}

    return {
        "bursar_run_proof": 1,
        "origin": ORIGIN,
        "run_id": "run_1",
        "size": 6,
        "earned": ["0.91 USD"],
        "spent": [],
        "parts": [
            part("order", "ord_1", {"amount_minor": 100, "currency": "USD", "run_id": "run_1"}, 1),
            part("revenue", "rvn_1", {"amount_minor": 100, "currency": "USD"}, 2),
            part("revenue", "rvn_2", {"amount_minor": -9, "currency": "USD"}, 3),
            part("deal", "deal_1", {"state": "won", "version": 2}, 4),
            part("lead", "lead_1", {"state": None}, 5),
            part("run", "run_1", {"state": "open", "order_id": "ord_1"}, 0),
        ],
        "receipts": [_receipt(scribe, seq) for seq in range(6)],
    }


def _check(whole: Whole, key: VerifierKey | None = None) -> Checked:
    read = read_run_proof(msgspec.json.encode(whole))
    return check_run_proof(read, key or signing_key(1).verifier(ORIGIN))


def test_a_whole_proof_says_what_it_proves_and_what_it_only_claims() -> None:
    """A deal that no entry connects with the run is shown as such, instead of being taken on trust."""
    found = _check(_whole(_log()))
    assert (found.parts, found.entries, found.size) == (6, 6, 6)
    assert found.unlinked == ("deal deal_1", "lead lead_1")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"\xff", b'{"bursar_run_proof":1,"extra":1}'])
def test_what_is_no_proof_is_refused_in_words(raw: bytes) -> None:
    """Strangers hand these files around; a broken one must not look like another thing."""
    with pytest.raises(RunProofRefused, match="no proof of a run"):
        read_run_proof(raw)


def _set(where: tuple[Any, ...], value: object) -> Callable[[Whole], None]:
    def change(whole: Whole) -> None:
        at: Any = whole
        for step in where[:-1]:
            at = at[step]
        at[where[-1]] = value

    return change


CHANGES: dict[str, Callable[[Whole], None]] = {
    "format 2": _set(("bursar_run_proof",), 2),
    "amount_minor is 900": _set(("parts", 0, "row", "amount_minor"), 900),
    "says nothing of approved_by": _set(("parts", 0, "row", "approved_by"), "me"),
    "says proof, which nothing proves": _set(("parts", 0, "more"), {"proof": "live"}),
    "entry 4 speaks of something else": _set(("parts", 3, "kind"), "approval"),
    "no entry of": _set(("parts", 3, "entries"), []),
    "entry 9 has no receipt": _set(("parts", 3, "entries"), [9]),
    "speaks of something else": _set(("parts", 3, "entries"), [1]),
    "run_2 itself is missing": _set(("run_id",), "run_2"),
    "its revenue adds up to": _set(("earned",), ["1.00 USD"]),
    "another size": _set(("size",), 7),
    "of another log": _set(("origin",), "bursar/ins_2/acc_1"),
    "there twice": lambda whole: whole["receipts"].append(whole["receipts"][0]),
    "belongs to no part": lambda whole: whole["parts"].pop(3),
}


@pytest.mark.parametrize("said", CHANGES)
def test_any_change_is_named(said: str) -> None:
    """Each promise of the file, broken one at a time."""
    whole = _whole(_log())
    CHANGES[said](whole)
    with pytest.raises(RunProofRefused, match=said):
        _check(whole)


def test_another_key_and_a_changed_receipt_prove_nothing() -> None:
    """The file is worth what its signature is worth."""
    whole = _whole(_log())
    with pytest.raises(ReceiptRefused):
        _check(whole, signing_key(2).verifier(ORIGIN))
    whole["receipts"][2] = whole["receipts"][2].replace("index 2", "index 3")
    with pytest.raises(ReceiptRefused):
        _check(whole)


def test_without_payloads_the_numbers_are_proved_all_the_same() -> None:
    """What could be erased may be left out: then less is connected, and nothing else changes."""
    scribe = _log()
    whole = _whole(scribe)
    assert scribe.last is not None
    bare = [
        write_receipt(Extra(scribe.log.entries[seq].body), seq, scribe.last, scribe.log.node)
        for seq in range(6)
    ]
    assert _check({**whole, "receipts": bare}).entries == 6
