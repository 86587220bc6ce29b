"""One story over every wire, through the whole house: what an agent is told, and what the shop really did."""

import json
from typing import Any

import httpx
import pytest

from ledger.records import CallState
from tests.provider.house import Desk, Shop
from tests.tool_server.doors import token_of
from tests.tool_server.wires import FAR_WIRES, WIRES, Agent, Said, connected, enlist, listening


async def answer(desk: Desk, said: Said, verdict: str = "approve") -> None:
    """Answer an agent's request as a person does in the console."""
    request = await desk.house.ledger.approval(said.data["approval"]["approval_id"])
    await desk.answer(request, verdict=verdict)


async def settled(agent: Agent, said: Said, *, status: str) -> Said:
    """Look with call_status, as an agent does, until the call stands so."""
    for _ in range(12):
        said = await agent.call("call_status", call_id=said.data["call_id"], wait_seconds=1)
        if said.status == status:
            return said
    raise AssertionError(f"it is {said.status}, not {status}: {said.text}")


@pytest.mark.parametrize("wire", [*WIRES, *FAR_WIRES])
async def test_the_whole_story(wire: str, small: Desk, shop: Shop) -> None:
    """Denied, pending, approved, executed, replayed, twin, cancelled, unknown then reconciled."""
    await enlist(small, "wanda")
    async with listening(small) as bind, connected(wire, bind, "wanda") as agent:
        assert {"my_status", "shop_buy"} <= set(await agent.tools())
        denied = await agent.call(
            "shop_buy", item="a", vendor="x.evil.example", amount="1.00 USD", idempotency_key="story-denied"
        )
        assert (denied.status, denied.is_error, denied.data["problem"]["ran"]) == ("denied", False, False)
        assert shop.requests() == 0

        wanted: dict[str, Any] = {"item": "b", "vendor": "b.example", "amount": "50.00 USD"}
        pending = await agent.call("shop_buy", **wanted, idempotency_key="story-pending")
        assert (pending.status, pending.is_error) == ("pending_approval", False)
        assert pending.data["approval"]["url"].startswith("http://127.0.0.1:8401/approvals/apr_")
        assert pending.data["approval"]["retry_after_seconds"] == 15
        again = await agent.call("shop_buy", **wanted, idempotency_key="story-pending")
        assert again.data["approval"]["approval_id"] == pending.data["approval"]["approval_id"]
        assert shop.requests() == 0

        await answer(small, pending)
        done = await settled(agent, pending, status="succeeded")
        assert done.data["proof"] == {"level": "simulated", "by": "response", "provider": "shop"}
        replayed = await agent.call("shop_buy", **wanted, idempotency_key="story-pending")
        assert (replayed.status, replayed.data["replayed"]) == ("succeeded", True)
        assert len(shop.orders()) == 1

        twin = await agent.call("shop_buy", **wanted, idempotency_key="story-twin")
        assert (twin.status, twin.data["similar_to"]) == ("pending_approval", done.data["call_id"])
        cancelled = await agent.call("call_cancel", call_id=twin.data["call_id"])
        assert cancelled.status == "cancelled"
        assert len(shop.orders()) == 1

        shop.fault("lose")
        lost = await agent.call(
            "shop_buy_lookup", item="c", vendor="c.example", amount="2.00 USD", idempotency_key="story-lost"
        )
        assert lost.status == "outcome_unknown"
        assert "elsewhere" in lost.text
        await small.look(lost.data["call_id"])
        found = await settled(agent, lost, status="succeeded")
        assert found.data["proof"]["by"] == "lookup"
        assert len(shop.orders()) == 2

        listed = await agent.call("calls_list")
        statuses = [line["status"] for line in listed.data["data"]["calls"]]
        assert statuses == ["succeeded", "cancelled", "succeeded", "denied"]


@pytest.mark.parametrize("wire", WIRES[1:3])
async def test_two_agents_see_nothing_of_each_other(wire: str, small: Desk, shop: Shop) -> None:
    """Another agent's call is no call: the same answer as for an id nobody has, and nothing of it leaks."""
    await enlist(small, "wanda")
    await enlist(small, "mallory")
    async with listening(small) as bind, connected(wire, bind, "wanda") as wanda:
        pending = await wanda.call(
            "shop_buy", item="secret", vendor="b.example", amount="50.00 USD", idempotency_key="private-1"
        )
        call_id = pending.data["call_id"]
        async with connected(wire, bind, "mallory") as mallory:
            for tool in ("call_status", "call_cancel"):
                theirs = await mallory.call(tool, call_id=call_id)
                nobodys = await mallory.call(tool, call_id="call_0000000000")
                assert theirs.data == nobodys.data
                assert theirs.status == "invalid"
            assert (await mallory.call("calls_list")).data["data"]["calls"] == []
            same_key = await mallory.call(
                "shop_buy", item="mine", vendor="m.example", amount="50.00 USD", idempotency_key="private-1"
            )
            assert same_key.status == "pending_approval"
            assert call_id not in same_key.text
        assert (await wanda.call("call_status", call_id=call_id)).status == "pending_approval"
    assert shop.requests() == 0


async def test_a_run_is_taken_from_header_meta_or_argument_and_only_an_open_one_of_its_project(
    small: Desk,
) -> None:
    """Frameworks differ in what a model may set; what a client claims is checked against the token."""
    await enlist(small, "wanda")
    house = small.house
    run = await house.ledger.open_run("shop", "a", by="olga", at=house.now())
    await house.ledger.add_project("other", by="olga", at=house.now())
    foreign = await house.ledger.open_run("other", "b", by="olga", at=house.now())
    async with listening(small) as bind:
        async with connected(WIRES[1], bind, "wanda", run=run.run_id) as agent:
            by_header = await agent.call("shop_note", text="x")
        async with connected(WIRES[1], bind, "wanda") as agent:
            by_meta = await agent.call("shop_note", text="y", meta={"io.bursar/run_id": run.run_id})
            by_argument = await agent.call("shop_note", text="z", run_id=run.run_id)
            wrong = await agent.call("shop_note", text="w", run_id=foreign.run_id)
    for said in (by_header, by_meta, by_argument):
        call = await house.ledger.call(said.data["call_id"])
        assert call.run_id == run.run_id
    assert wrong.status == "invalid"


async def test_a_trace_context_is_kept_with_its_call(small: Desk) -> None:
    """Somebody who follows one request through many systems finds it in the ledger too."""
    await enlist(small, "wanda")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with listening(small) as bind, connected(WIRES[1], bind, "wanda") as agent:
        said = await agent.call("shop_note", text="x", meta={"traceparent": trace})
    assert (await small.house.ledger.call(said.data["call_id"])).traceparent == trace


async def test_a_client_that_hangs_up_interrupts_nothing(small: Desk, shop: Shop) -> None:
    """The purchase of an agent that gave up is settled like any other, and its key still shows it."""
    await enlist(small, "wanda")
    shop.fault("hang", seconds=0.3)
    arguments: dict[str, Any] = {"item": "d", "vendor": "d.example", "amount": "2.00 USD"}
    arguments["idempotency_key"] = "hang-up-1"
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "shop_buy", "arguments": arguments},
    }
    headers = {
        "authorization": f"Bearer {token_of('wanda')}",
        "accept": "application/json, text/event-stream",
    }
    async with listening(small) as bind:
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ReadTimeout):
                await http.post(f"http://{bind}/mcp", json=body, headers=headers, timeout=0.15)
        async with connected(WIRES[0], bind, "wanda") as agent:
            said = await agent.call("shop_buy", **arguments)
            while said.status in {"in_progress", "outcome_unknown"}:
                said = await agent.call("call_status", call_id=said.data["call_id"], wait_seconds=1)
            said = await agent.call("shop_buy", **arguments)
    assert (said.status, said.data["replayed"]) == ("succeeded", True)
    assert len(shop.orders()) == 1


async def test_status_shows_the_room_under_the_caps_and_what_moved(small: Desk) -> None:
    """An agent that wakes up needs one look: where it stands, what it may spend, what was decided."""
    await enlist(small, "wanda")
    async with listening(small) as bind, connected(WIRES[1], bind, "wanda") as agent:
        fresh = (await agent.call("my_status")).data["data"]
        assert fresh["news"] == []
        assert fresh["posture"] == "normal"
        assert {cap["id"]: cap["left"] for cap in fresh["caps"]} == {
            "account-month": "500.00 USD",
            "project-day": "100.00 USD",
        }
        pending = await agent.call(
            "shop_buy", item="a", vendor="a.example", amount="30.00 USD", idempotency_key="status-1"
        )
        held = (await agent.call("my_status")).data["data"]
        assert {cap["id"]: cap["left"] for cap in held["caps"]}["project-day"] == "70.00 USD"
        assert held["news"] == []
        await answer(small, pending)
        await small.house.ledger.call(pending.data["call_id"])
        await settled(agent, pending, status="succeeded")
        news = (await agent.call("my_status")).data["data"]["news"]
        assert [(line["call_id"], line["status"]) for line in news] == [
            (pending.data["call_id"], "succeeded")
        ]
        assert (await agent.call("my_status")).data["data"]["news"] == []


async def test_a_preview_does_nothing_and_says_so(small: Desk, shop: Shop) -> None:
    """A separate question, never a flag of the real call that could be forgotten."""
    await enlist(small, "wanda")
    arguments = json.dumps({"item": "a", "vendor": "a.example", "amount": "30.00 USD"})
    async with listening(small) as bind, connected(WIRES[1], bind, "wanda") as agent:
        said = await agent.call("call_preview", tool="shop_buy", arguments=arguments)
        assert said.text.startswith("PREVIEW, nothing was done")
        assert said.data["data"]["would"] == "require_approval"
        assert [rule["id"] for rule in said.data["decision"]["rules"]] == ["large"]
        bad = await agent.call("call_preview", tool="shop_buy", arguments="[1]")
        assert bad.status == "invalid"
        assert (await agent.call("calls_list")).data["data"]["calls"] == []
    assert shop.requests() == 0
    assert (await small.house.ledger.open_counts()).get(CallState.AWAITING_APPROVAL.value, 0) == 0
