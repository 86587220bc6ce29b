"""What hangs on a run without an order: its calls, what people said, what was bought; and receipts."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest

from ledger.audit import keys
from ledger.audit.receipt import verify_receipt
from ledger.audit.run_proof import check_run_proof
from ledger.records import CallState
from policy.errors import RecordMissing, Unavailable
from tests.journeys.conftest import KITS, Front
from tool_server.cli.demo_place import OWNER, PROJECT

FONT = {
    "vendor": "fonts.example",
    "url": "https://fonts.example/buy",
    "category": "software",
    "purpose": "a font",
    "amount": "11.06 USD",
    "idempotency_key": "k1",
}


async def _bought(front: Front) -> str:
    """Buy a font in a run of its own, with a person's approval; return the run."""
    ledger, now = front.ledger, front.house.now()
    await ledger.add_agent(name="buyer", project=PROJECT, kits=KITS, token_sha256="1" * 64, by=OWNER, at=now)
    run = await ledger.open_run(PROJECT, "buy a font", by=OWNER, at=now)
    asked = await front.call("buyer", "request_card_purchase", {**FONT, "run_id": run.run_id})
    assert asked.envelope.approval is not None, asked.text
    request = await ledger.approval(asked.envelope.approval.approval_id)
    await ledger.answer(request.approval_id, OWNER, request.op_hash, "approve", at=front.house.now())
    until = time.monotonic() + 20
    while (await ledger.call(request.call_id)).state is not CallState.SUCCEEDED:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)  # The dispatcher does it by itself; nothing tells us when.
    return run.run_id


async def test_a_run_shows_what_was_asked_approved_and_bought_and_proves_it(front: Front) -> None:
    """A run that an operator opened has no order behind it, and is to be proved all the same."""
    run_id = await _bought(front)
    ledger, folder = front.ledger, front.house.settings.keys
    shown = await front.call("buyer", "run_get", {"run_id": run_id})
    assert shown.envelope.data is not None, shown.text
    told: Any = shown.envelope.data
    (budget,) = told["run"]["budget"]
    assert (budget["cap"], budget["left"], budget["limit"]) == ("run-total", "13.94 USD", "25.00 USD")
    kinds = [part.kind for part in (await ledger.run_story(run_id)).parts]
    assert kinds == ["run", "call", "approval", "purchase"]
    with pytest.raises(Unavailable):
        await ledger.run_proof(run_id)
    with pytest.raises(Unavailable):
        await ledger.receipt(0)
    key = keys.load(folder)
    await ledger.sign_log(key, folder)
    proof = await ledger.run_proof(run_id)
    assert check_run_proof(proof, key.verifier(proof.origin)).unlinked == ()
    bare = await ledger.run_proof(run_id, payloads=False)
    assert check_run_proof(bare, key.verifier(proof.origin)).entries == len(proof.receipts)
    assert len(msgspec.json.encode(bare)) < len(msgspec.json.encode(proof))
    assert verify_receipt(await ledger.receipt(0), key.verifier(proof.origin)).entry.seq == 0
    with pytest.raises(Unavailable):
        await ledger.receipt(1_000_000)
    with pytest.raises(RecordMissing):
        await ledger.receipt(-1)
    with pytest.raises(RecordMissing):
        await ledger.run_story("run_unknown")
