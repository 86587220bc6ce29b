"""The agents' listener over a real socket, met by the official client of SDK 2.x in both protocol eras."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tests.tool_server.doors import FakeDoor, House, token_of
from tool_server.envelope import CallResult, Envelope, answered
from tool_server.hosts import Bind
from tool_server.limits import Limits
from tool_server.serve import Listener, open_socket, served

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@contextlib.asynccontextmanager
async def listening(house: House) -> AsyncIterator[str]:
    """Serve a house on a free port; yield its address."""
    listener = Listener("agents", house.app, open_socket(Bind("127.0.0.1", 0), "agents"))
    async with house.running(), served([listener], grace_s=2):
        yield f"http://{listener.address}"


@contextlib.asynccontextmanager
async def client(url: str, era: str, *, name: str = "scout", run: str | None = None) -> AsyncIterator[Client]:
    """Connect the official client in one era."""
    headers = {"Authorization": f"Bearer {token_of(name)}"} | ({"X-Bursar-Run": run} if run else {})
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=era) as connected,
    ):
        yield connected


def modern(method: str, params: dict[str, Any], *, name: str | None = None) -> dict[str, Any]:
    """Return the keyword arguments of one raw POST in the era of 2026."""
    headers = {
        "authorization": f"Bearer {token_of('scout')}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": method,
    }
    if name:
        headers["mcp-name"] = name
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": MODERN, **params}}
    return {"headers": headers, "json": body}


@pytest.mark.parametrize("era", ["legacy", "2026-07-28", "auto"])
async def test_an_agent_lists_its_tools_and_calls_one(era: str) -> None:
    """Half of all clients speak the older era; both must meet the same server on the same path."""
    house = House()
    async with listening(house) as url, client(url, era, run="run_7") as agent:
        tools = (await agent.list_tools()).tools
        meta = cast("Any", {"io.bursar/run_id": "run_8"})  # The SDK types only the keys it knows.
        result = await agent.call_tool("pay_vendor", {"vendor": "example.com"}, meta=meta)
    assert [tool.name for tool in tools] == ["my_status", "pay_vendor"]
    assert result.is_error is False
    assert result.structured_content == {
        "status": "succeeded",
        "call_id": "call_1",
        "data": {"vendor": "example.com"},
    }
    ((principal, tool, raw, beside),) = house.door.calls
    assert (principal.agent, tool, json.loads(raw)) == ("scout", "pay_vendor", {"vendor": "example.com"})
    assert (beside.run_header, beside.meta["io.bursar/run_id"]) == ("run_7", "run_8")


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_tool_outside_its_kits_does_not_exist_for_a_token(era: str) -> None:
    """Saying `forbidden` would tell an agent what others can do."""
    house = House()
    async with listening(house) as url, client(url, era, name="maker") as agent:
        assert [tool.name for tool in (await agent.list_tools()).tools] == ["my_status"]
        messages = []
        for tool in ("pay_vendor", "no_such_tool"):
            with pytest.raises(MCPError) as error:
                await agent.call_tool(tool, {})
            assert error.value.error.code == -32602
            messages.append(error.value.error.message.replace(tool, "X"))
    assert messages[0] == messages[1]
    assert [tool for _, tool, _, _ in house.door.calls] == ["pay_vendor", "no_such_tool"]


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_a_revoked_token_stops_at_once(era: str) -> None:
    """The next request after a revocation must already fail, on a connection that is still open."""
    house = House()
    async with listening(house) as url:
        with contextlib.suppress(MCPError, BaseExceptionGroup, httpx2.HTTPError):
            async with client(url, era) as agent:
                await agent.call_tool("my_status", {})
                house.agents.revoke("scout")
                await agent.call_tool("my_status", {})
    assert len(house.door.calls) == 1
    assert "credential_revoked" in [refusal.reason for refusal in house.refusals]


async def test_raw_arguments_keep_what_a_parser_would_hide() -> None:
    """An approver must see exactly what runs: two equal keys are a refusal, not the last of them."""
    house = House()
    request = modern("tools/call", {"name": "pay_vendor", "arguments": {"amount": 1}}, name="pay_vendor")
    body = json.dumps(request["json"]).replace('{"amount": 1}', '{"amount": 1, "amount": 99}')
    async with listening(house) as url, httpx.AsyncClient() as http:
        answer = await http.post(
            f"{url}/mcp", headers=request["headers"] | {"content-type": "application/json"}, content=body
        )
    result = answer.json()["result"]
    assert (answer.status_code, result["isError"]) == (200, False)
    assert result["structuredContent"]["status"] == "invalid"
    assert "given twice" in result["content"][0]["text"]


async def test_a_break_of_ours_is_an_error_result_and_gives_nothing_away() -> None:
    """The model must learn that it did nothing wrong, and nobody may read our insides."""

    async def broken(_tool: str) -> CallResult:
        raise RuntimeError("password=hunter2 in /srv/bursar/gate.py")

    house = House(FakeDoor(broken))
    async with listening(house) as url, client(url, "2026-07-28") as agent:
        result = await agent.call_tool("pay_vendor", {})
    assert result.is_error is True
    assert "hunter2" not in str(result)
    assert result.structured_content is not None
    assert result.structured_content["problem"]["code"] == "internal"


async def test_a_call_that_never_ends_is_answered_before_clients_give_up() -> None:
    """A client's own timeout would leave the model with nothing at all to go on."""

    async def stuck(_tool: str) -> CallResult:
        await asyncio.Event().wait()
        raise AssertionError

    house = House(FakeDoor(stuck), limits=Limits(answer_seconds=0.05))
    async with listening(house) as url, client(url, "legacy") as agent:
        result = await agent.call_tool("pay_vendor", {})
    assert result.is_error is True
    assert "calls_list" in str(result.structured_content)


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
async def test_too_many_calls_are_answers_with_the_same_key_not_errors(era: str) -> None:
    """Three errors in a row make a common client drop the whole server; a pace limit must not do that."""
    house = House(limits=Limits(calls_at_once=2))
    async with listening(house) as url, client(url, era) as agent:
        results = [await agent.call_tool("my_status", {}) for _ in range(3)]
        house.monotonic += 1
        later = await agent.call_tool("my_status", {})
    assert [result.is_error for result in results] == [False] * 3
    assert results[2].structured_content is not None
    assert results[2].structured_content["status"] == "not_executed"
    problem = results[2].structured_content["problem"]
    assert (problem["code"], problem["ran"], problem["retry"]) == ("rate_limited", False, "same_key")
    assert later.structured_content is not None
    assert later.structured_content["status"] == "succeeded"


async def test_one_agent_cannot_hold_every_answer_open() -> None:
    """Long polls of one agent must leave room for the others."""
    release, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_tool: str) -> CallResult:
        entered.release()
        await release.wait()
        return answered(Envelope(status="succeeded"))

    house = House(FakeDoor(slow), limits=Limits(open_per_agent=2))
    async with listening(house) as url, httpx.AsyncClient() as http:
        request = modern("tools/call", {"name": "my_status", "arguments": {}}, name="my_status")
        held = [asyncio.create_task(http.post(f"{url}/mcp", **request)) for _ in range(2)]
        for _ in held:
            await entered.acquire()
        third = await http.post(f"{url}/mcp", **request)
        listing = await http.post(f"{url}/mcp", **modern("tools/list", {}))
        release.set()
        answers = await asyncio.gather(*held)
    assert third.json()["result"]["structuredContent"]["problem"]["code"] == "busy"
    assert listing.status_code == 429
    assert all(answer.json()["result"]["structuredContent"]["status"] == "succeeded" for answer in answers)
    assert house.meter.open_now == 0


async def test_open_calls_are_answered_when_the_server_stops() -> None:
    """A client whose call simply dies waits until its own timeout, up to five minutes."""
    release, entered = asyncio.Event(), asyncio.Event()

    async def slow(_tool: str) -> CallResult:
        entered.set()
        await release.wait()
        return answered(Envelope(status="in_progress", call_id="call_9"))

    house = House(FakeDoor(slow))
    listener = Listener("agents", house.app, open_socket(Bind("127.0.0.1", 0), "agents"))
    async with httpx.AsyncClient() as http, house.running():
        async with served([listener], grace_s=5):
            request = modern("tools/call", {"name": "my_status", "arguments": {}}, name="my_status")
            held = asyncio.create_task(http.post(f"http://{listener.address}/mcp", **request))
            await entered.wait()
            asyncio.get_running_loop().call_later(0.1, release.set)
        answer = await held
    assert answer.json()["result"]["structuredContent"]["call_id"] == "call_9"


async def test_a_call_that_arrives_while_stopping_is_told_so() -> None:
    """Nothing was done, and the same key may be used again."""
    house = House()
    house.is_draining = True
    async with listening(house) as url, client(url, "2026-07-28") as agent:
        result = await agent.call_tool("pay_vendor", {})
    assert result.structured_content is not None
    assert result.structured_content["problem"]["code"] == "unavailable"
    assert house.door.calls == []
