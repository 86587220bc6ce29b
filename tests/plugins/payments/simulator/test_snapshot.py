"""A restart with a state file: the same world, keys, secrets and clocks."""

import stat
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import stripe

from plugins.payments.simulator import snapshot
from plugins.payments.simulator.delivery import AppDeliver
from plugins.payments.simulator.resources import outbound
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.simulator.world import WorldSettings
from tests.plugins.payments.simulator.conftest import Receiver, Shop


def reborn(sim: Simulator, path: Path, receiver: Receiver, **settings: Any) -> Simulator:  # noqa: ANN401  settings
    """Save a simulator and give another one that read the file."""
    snapshot.save(sim, path)
    state = snapshot.read(path)
    assert state is not None
    base = sim.clock.wall()
    again = Simulator(999, lambda: base, settings=WorldSettings(**settings), deliver=AppDeliver(receiver))
    snapshot.restore(again, state)
    return again


async def test_the_world_is_the_same_after_a_restart(
    sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path
) -> None:
    """Truth, identity and keys: M4 would otherwise see another account after every restart of the demo."""
    await shop.charge(card="4000000000000259")
    await shop.authorize((await shop.card()).id, 500)
    await sim.advance(60)
    again = reborn(sim, tmp_path / "sim.json", receiver)
    assert again.effects() == sim.effects()
    assert again.world.kinds == sim.world.kinds
    names = ("instance", "secret_key", "earn_key", "spend_key")
    assert [getattr(again, n) for n in names] == [getattr(sim, n) for n in names]
    assert (again.world.account_id, again.clock.now()) == (sim.world.account_id, sim.clock.now())
    # The next ids go on where the old ones ended: a repeated event id would be taken for a duplicate.
    assert again.world.ids.new("evt") == sim.world.ids.new("evt")


async def test_what_was_one_object_is_one_again(
    sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path
) -> None:
    """An authorization sees its card change, as it did before."""
    made = await shop.authorize((await shop.card()).id, 500)
    again = reborn(sim, tmp_path / "sim.json", receiver)
    row = again.world.get("issuing.authorization", made.id)
    assert row["card"] is again.world.get("issuing.card", row["card"]["id"])
    assert row["card"]["cardholder"] is again.world.all("issuing.cardholder")[1]
    assert all(one is again.world.by_id[one["id"]] for one in row["balance_transactions"])


async def test_time_goes_on(sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path) -> None:
    """Sessions expire, holds lapse, debits settle and payouts post as if nothing had happened."""
    await shop.session()
    await shop.pay((await shop.session()).id, "000123456789")
    await shop.authorize((await shop.card()).id, 500)
    body: Any = {
        "amount": {"value": 500, "currency": "usd"},
        "from": {"financial_account": sim.world.financial_account, "currency": "usd"},
        "to": {"recipient": sim.world.recipient},
    }
    await shop.client.v2.money_management.outbound_payments.create_async(body)
    again = reborn(sim, tmp_path / "sim.json", receiver, settle_after_s=60.0, post_after_s=60.0)
    await again.advance(8 * 24 * 3600)
    sessions = [(row["status"], row["payment_status"]) for row in again.world.all("checkout.session")]
    assert sessions == [("expired", "unpaid"), ("complete", "paid")]
    assert again.world.all("issuing.authorization")[0]["status"] == "expired"
    assert again.world.all(outbound.PAYMENT)[0]["status"] == "posted"


async def test_deliveries_and_secrets_survive(
    sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path
) -> None:
    """What was on its way arrives, signed with the secret the receiver knows, at the address of now."""
    secret = sim.subscribe_as("events", "http://old.example/hook", ["*"])
    await shop.client.v1.products.create_async({"name": "Snapshot"})
    again = reborn(sim, tmp_path / "sim.json", receiver)
    assert again.subscribe_as("events", "http://new.example/hook", ["*"]) == secret
    assert [target.url for target in again.hooks.targets.values()] == ["http://new.example/hook"]
    assert await again.deliver_due() == 1
    stripe.WebhookSignature.verify_header(receiver.bodies[0], receiver.signatures[0], secret, 300)


async def test_a_stored_answer_is_still_replayed(
    sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path
) -> None:
    """M3: a restart in the middle of a doubt must not turn a retry into a second purchase."""
    head = {"idempotency-key": "call_1", "content-type": "application/x-www-form-urlencoded"}
    made = await shop.client.v1.products.create_async({"name": "Snapshot"}, {"idempotency_key": "call_1"})
    again = reborn(sim, tmp_path / "sim.json", receiver)
    transport = httpx.ASGITransport(app=again.app())
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sim", auth=(sim.secret_key, "")
    ) as http:
        answer = await http.post("/v1/products", content=b"name=Snapshot", headers=head)
    assert answer.json()["id"] == made.id
    assert answer.headers["idempotent-replayed"] == "true"


async def test_open_pages_move_with_the_address(
    sim: Simulator, shop: Shop, receiver: Receiver, tmp_path: Path
) -> None:
    """Another port after the restart; the session's link must lead there."""
    session = await shop.session()
    again = reborn(sim, tmp_path / "sim.json", receiver, base_url="http://127.0.0.1:8431")
    url = again.world.get("checkout.session", session.id)["url"]
    assert url == f"http://127.0.0.1:8431/pay/{session.id}"


def test_the_file_is_private_and_of_our_make(sim: Simulator, tmp_path: Path) -> None:
    """It holds keys and secrets, if only of a simulator; another program's file is left alone."""
    path = tmp_path / "sim.json"
    assert snapshot.read(path) is None
    snapshot.save(sim, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(orjson.dumps({"format": 99}))
    with pytest.raises(ValueError, match="is no state of this simulator"):
        snapshot.read(path)
