"""The controls under /_sim, which a child process is driven by."""

from typing import Any

import httpx
import pytest

from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Receiver, Shop


async def test_the_effects_are_the_truth(shop: Shop, web: httpx.AsyncClient) -> None:
    """What harnesses count: every object through which money moves, with the key that made it."""
    charge = await shop.charge(1900)
    refund: Any = {"charge": charge["id"], "amount": 100}
    await shop.client.v1.refunds.create_async(refund, {"idempotency_key": "call_7"})
    card = await shop.card(1106)
    await shop.authorize(card.id, 1106)
    rows = (await web.get("/_sim/effects")).json()["effects"]
    found = {row["kind"]: (row["amount_minor"], row["currency"], row["status"]) for row in rows}
    assert found == {
        "checkout_session": (1900, "usd", "complete/paid"),
        "charge": (1900, "usd", "succeeded"),
        "refund": (100, "usd", "succeeded"),
        "card": (1106, "usd", "canceled"),
        "authorization": (1106, "usd", "pending/approved"),
    }
    refunded = next(row for row in rows if row["kind"] == "refund")
    assert (refunded["idempotency_key"], refunded["refers_to"]) == ("call_7", charge["id"])
    assert next(row for row in rows if row["kind"] == "card")["metadata"] == {"call": "call_1"}


async def test_the_clock_moves_forward_only(sim: Simulator, web: httpx.AsyncClient) -> None:
    """And says what was delivered on the way."""
    before = sim.clock.now()
    moved = await web.post("/_sim/clock", json={"advance_s": 3600})
    assert moved.json() == {"now": before + 3600, "delivered": 0}
    back = await web.post("/_sim/clock", json={"advance_s": -1})
    assert (back.status_code, sim.clock.now()) == (400, before + 3600)
    assert "only moves forward" in back.json()["problem"]


async def test_faults_can_be_scripted_seeded_and_cleared(sim: Simulator, web: httpx.AsyncClient) -> None:
    """The same plan as the Python API's, over HTTP."""
    await web.post("/_sim/faults", json={"faults": [{"kind": "rate_limited", "count": 2}]})
    answers = [(await web.get("/v1/balance", auth=(sim.secret_key, ""))).status_code for _ in range(3)]
    assert answers == [429, 429, 200]
    await web.post("/_sim/faults", json={"faults": [{"kind": "html_502"}], "seed": 1, "rate": 1.0})
    assert (await web.get("/v1/balance", auth=(sim.secret_key, ""))).status_code == 502
    assert (await web.get("/_sim/faults")).json()["taken"][-1] == ["html_502", "GET /v1/balance"]
    await web.delete("/_sim/faults")
    assert (await web.get("/v1/balance", auth=(sim.secret_key, ""))).status_code == 200


async def test_a_subscription_is_made_rotated_and_fed(
    sim: Simulator, shop: Shop, web: httpx.AsyncClient, receiver: Receiver
) -> None:
    """A demo wires its webhooks without a dashboard."""
    made = (await web.post("/_sim/webhook_endpoints", json={"url": "http://x/hook"})).json()
    await shop.client.v1.products.create_async({"name": "Snapshot"})
    assert (await web.post("/_sim/deliver")).json() == {"delivered": 1}
    log = (await web.get("/_sim/deliveries")).json()["deliveries"]
    assert [(row["type"], row["status"]) for row in log] == [("product.created", 200)]
    rotated = await web.post(f"/_sim/webhook_endpoints/{made['id']}/rotate", json={"overlap_s": 0})
    assert rotated.json()["secret"] != made["secret"]
    event = sim.world.all("event")[0]["id"]
    assert (await web.post(f"/_sim/events/{event}/resend")).json() == {"queued": 1}
    await sim.deliver_due()
    assert [row["id"] for row in receiver.events] == [event, event]


async def test_keys_and_accounts_can_be_changed(sim: Simulator, web: httpx.AsyncClient) -> None:
    """What an operator does in Stripe's dashboard."""
    made = (await web.post("/_sim/keys", json={"scopes": ["balance:read"]})).json()["key"]
    assert made.startswith("rk_test_sim_")
    assert (await web.get("/v1/balance", auth=(made, ""))).status_code == 200
    fresh = (await web.post("/_sim/keys/rotate", json={"key": made})).json()["key"]
    assert (await web.get("/v1/balance", auth=(made, ""))).status_code == 401
    assert (await web.get("/v1/balance", auth=(fresh, ""))).status_code == 200
    home = sim.world.account_id
    other = (await web.post("/_sim/account/swap")).json()["account"]
    assert (await web.get("/v1/account", auth=(sim.secret_key, ""))).json()["id"] == other != home
    assert (await web.post("/_sim/account/restore")).json() == {"account": home}
    changed = await web.post("/_sim/settings", json={"charges_enabled": False})
    assert changed.json()["charges_enabled"] is False
    assert (await web.get("/v1/account", auth=(sim.secret_key, ""))).json()["charges_enabled"] is False


async def test_the_outside_world_can_be_played(sim: Simulator, shop: Shop, web: httpx.AsyncClient) -> None:
    """Buyers, banks and networks, for processes that cannot reach into the simulator."""
    session = await shop.session()
    paid = await web.post(f"/_sim/checkout/sessions/{session.id}/pay", json={"card": "000123456789"})
    assert paid.json()["payment_status"] == "unpaid"
    settled = await web.post(f"/_sim/checkout/sessions/{session.id}/settle", json={"outcome": "succeeded"})
    assert settled.json()["payment_status"] == "paid"
    charge = sim.world.all("charge")[0]["id"]
    assert (await web.post("/_sim/early_fraud_warnings", json={"charge": charge})).status_code == 200
    opened = (await web.post("/_sim/disputes", json={"charge": charge, "reason": "fraudulent"})).json()
    closed = await web.post(f"/_sim/disputes/{opened['id']}/close", json={"status": "won"})
    assert closed.json()["status"] == "won"
    other = await shop.charge()
    refund = await shop.client.v1.refunds.create_async({"charge": other["id"]})
    assert (await web.post(f"/_sim/refunds/{refund.id}/fail")).json()["status"] == "failed"
    outgoing: Any = {
        "amount": {"value": 500, "currency": "usd"},
        "from": {"financial_account": sim.world.financial_account, "currency": "usd"},
        "to": {"recipient": sim.world.recipient},
    }
    payment = await shop.client.v2.money_management.outbound_payments.create_async(outgoing)
    moved = await web.post(f"/_sim/outbound_payments/{payment.id}", json={"status": "returned"})
    assert moved.status_code == 400
    moved = await web.post(f"/_sim/outbound_payments/{payment.id}", json={"status": "posted"})
    assert moved.json()["status"] == "posted"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/_sim/nothing", {}, 404),
        ("/_sim/faults", {"faults": [{"kind": "typo"}]}, 400),
        ("/_sim/faults", {"faults": [{"kind": "latency", "sconds": 3}]}, 400),
        ("/_sim/clock", {}, 400),
        ("/_sim/settings", {"surprise": 1}, 400),
        ("/_sim/disputes", {"charge": "ch_sim_none"}, 404),
    ],
)
async def test_a_mistaken_control_is_said_in_one_line(
    web: httpx.AsyncClient, path: str, body: dict[str, Any], status: int
) -> None:
    """A harness with a typing mistake must not believe that its fault was set."""
    answer = await web.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["problem"]


async def test_a_foreign_page_cannot_press_the_controls(sim: Simulator, web: httpx.AsyncClient) -> None:
    """A form post from any site in the browser carries no JSON type."""
    before = sim.clock.now()
    answer = await web.post(
        "/_sim/clock", content=b'{"advance_s": 60}', headers={"content-type": "text/plain"}
    )
    assert (answer.status_code, sim.clock.now()) == (400, before)


async def test_a_body_without_end_is_cut(web: httpx.AsyncClient) -> None:
    """The simulator is a server like any other."""
    answer = await web.post("/v1/products", content=b"x" * (1 << 21))
    assert answer.status_code == 413


async def test_unknown_pages_and_routes_say_so(sim: Simulator, web: httpx.AsyncClient) -> None:
    """404 with a body of its kind."""
    assert "SIMULATED" in (await web.get("/nowhere")).text
    answer = await web.get("/v1/unicorns", auth=(sim.secret_key, ""))
    assert (answer.status_code, "Unrecognized request URL" in answer.text) == (404, True)
    assert (await web.get("/pay/cs_test_sim_none")).status_code == 404
