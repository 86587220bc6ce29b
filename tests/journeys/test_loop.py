"""The mission's loop over the real wires, on both engines, to a proof that any change of breaks."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.audit.keys import load
from ledger.audit.receipt import ReceiptRefused
from ledger.audit.run_proof import RunProof, RunProofRefused, check_run_proof, read_run_proof
from ledger.audit.stored import StoredSource, read_ledger
from ledger.engines.tx import Tx
from ledger.run_proof import run_proof
from tests.journeys.conftest import place_in
from tool_server.bootstrap import ledger_url
from tool_server.cli.demo import hosted
from tool_server.cli.demo_house import Furnished
from tool_server.cli.demo_loop import loop
from tool_server.cli.demo_place import Place
from tool_server.cli.demo_play import connected
from tool_server.cli.demo_story import Story

pytestmark = pytest.mark.xdist_group("loop")  # One worker, so that the loop on SQLite is played once.


async def _play(place: Place) -> Story:
    """Play the loop with everybody at the far end of a wire."""
    story = Story(json=True)

    async def play(furnished: Furnished, line: dict[str, Any]) -> None:
        async with connected(place, furnished, line) as cast:
            await cast.operator.sign_in(furnished.link)
            await loop(story, cast)

    await hosted(place, play)
    return story


Played = tuple[Place, Story]


def _played(place: Place) -> Played:
    # A loop factory keeps the runner from touching the thread's current loop, which pytest-asyncio owns.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return place, runner.run(_play(place))


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Play the loop once on SQLite, for every test that only looks at what it left."""
    return _played(place_in(tmp_path_factory.mktemp("loop")))


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Played:
    """Play the loop on PostgreSQL."""
    return _played(place_in(tmp_path, postgres_url))


@pytest.mark.parametrize("played", ["on_sqlite", "on_postgres"])
def test_a_public_request_becomes_a_paid_order_reviewed_work_and_a_proof(
    played: str, request: pytest.FixtureRequest
) -> None:
    """The mission, as one thread: form, lead, offer, checkout, webhook, Order, run, delivery, proof."""
    place, story = request.getfixturevalue(played)
    assert [beat["beat"] for beat in story.beats] == ["request", "lead", "sell", "fulfil", "proof", "refund"]
    proof = _proof(place)
    checked = check_run_proof(proof, load(place.keys).verifier(proof.origin))
    # From the payment's event to the lead, all is connected by what the log says, not by the file alone.
    assert checked.unlinked == ()


def _proof(place: Place) -> RunProof:
    def work(source: StoredSource) -> RunProof:
        (account,) = source.accounts()
        (order,) = source.rows(account, "orders")
        return run_proof(Tx(source.connection), account, str(order["run_id"]))

    return read_ledger(ledger_url(place.db), work)


def _breaks(proof: RunProof, place: Place, changed: dict[str, Any]) -> bool:
    """Say whether a changed proof is refused."""
    key = load(place.keys).verifier(proof.origin)
    try:
        check_run_proof(read_run_proof(msgspec.json.encode(changed)), key)
    except (RunProofRefused, ReceiptRefused):
        return True
    return False


@pytest.mark.timeout(240)  # A whole loop, then a check of every receipt for each change that is tried.
def test_no_value_of_a_proof_can_be_changed_unseen(on_sqlite: Played, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """The file is handed to strangers: each row, receipt, sum and missing record must be noticed."""
    place, _ = on_sqlite
    proof = _proof(place)
    whole: dict[str, Any] = msgspec.to_builtins(proof)
    assert not _breaks(proof, place, whole)
    places = {
        (part["kind"], name): (at, name) for at, part in enumerate(whole["parts"]) for name in part["row"]
    }
    assert len(places) > 40, places
    for what, (at, name) in list(places.items())[:: 1 if deep else 5]:
        other = copy.deepcopy(whole)
        value = other["parts"][at]["row"][name]
        other["parts"][at]["row"][name] = value + 1 if isinstance(value, int) else f"{value}x"
        assert _breaks(proof, place, other), what
    for change in (
        _without_receipt,
        _without_run,
        _other_sum,
        _doubled,
        _foreign_part,
        _stranger_entry,
        _more_said,
        _beside_it,
        _another_kind,
    ):
        other = copy.deepcopy(whole)
        change(other)
        assert _breaks(proof, place, other), change.__name__


def _without_receipt(proof: dict[str, Any]) -> None:
    proof["receipts"].pop()


def _without_run(proof: dict[str, Any]) -> None:
    proof["parts"] = [part for part in proof["parts"] if part["kind"] != "run"]


def _other_sum(proof: dict[str, Any]) -> None:
    proof["earned"] = ["900.00 USD"]


def _doubled(proof: dict[str, Any]) -> None:
    proof["receipts"].append(proof["receipts"][0])


def _foreign_part(proof: dict[str, Any]) -> None:
    proof["parts"].append({"kind": "order", "id": "ord_made_up", "row": {}, "more": {}, "entries": []})


def _more_said(proof: dict[str, Any]) -> None:
    proof["parts"][0]["row"]["approved_by"] = "everybody"


def _beside_it(proof: dict[str, Any]) -> None:
    proof["parts"][0]["more"]["proof"] = "live"


def _another_kind(proof: dict[str, Any]) -> None:
    deal = next(part for part in proof["parts"] if part["kind"] == "deal")
    deal["kind"] = "approval"


def _stranger_entry(proof: dict[str, Any]) -> None:
    first, second = proof["parts"][0], proof["parts"][1]
    first["entries"] = [*first["entries"], second["entries"][0]]
