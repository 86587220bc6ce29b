"""The bridge between an agent's standard streams and the server, the official client at the agent's end."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.tool_server.doors import House, token_of
from tool_server.hosts import Bind
from tool_server.serve import Listener, open_socket, served
from tool_server.stdio import LONGEST_LINE, Bridge, Post, Posted, Unreachable, http_post, is_served

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "my_status", "arguments": {}}}


async def fed(*lines: object) -> AsyncIterator[bytes]:
    """Yield messages as an agent would write them."""
    for line in lines:
        yield line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"


async def carried(post: Post, *lines: object) -> list[dict[str, Any]]:
    """Return what the agent reads after it wrote these lines."""
    written: list[bytes] = []
    await Bridge(post, "bur_agent_x", written.append).run(fed(*lines))
    assert all(line.endswith(b"\n") and b"\n" not in line[:-1] for line in written)
    return [json.loads(line) for line in written]


@contextlib.asynccontextmanager
async def listening(house: House) -> AsyncIterator[Bind]:
    """Serve a house on a free port."""
    opened = open_socket(Bind("127.0.0.1", 0), "agents")
    async with house.running(), served([Listener("agents", house.app, opened)], grace_s=2):
        yield Bind("127.0.0.1", opened.getsockname()[1])


@pytest.mark.parametrize("era", ["legacy", "2026-07-28", "auto"])
async def test_the_official_client_calls_a_tool_through_the_bridge(era: str, tmp_path: Path) -> None:
    """The same story as over HTTP, in both eras, through a process of its own as clients start it."""
    house = House()
    async with listening(house) as bind:
        program = tmp_path / "bridge.py"
        program.write_text(
            "import asyncio, sys\n"
            "from tool_server.cli.stdio import bridge\n"
            "from tool_server.hosts import Bind\n"
            f"asyncio.run(bridge(Bind('127.0.0.1', {bind.port}), sys.argv[1]))\n"
        )
        server = StdioServerParameters(
            command=sys.executable,
            args=[str(program), token_of("scout")],
            env={"PYTHONPATH": str(Path.cwd())},
        )
        async with Client(stdio_client(server), mode=era) as agent:
            tools = (await agent.list_tools()).tools
            results = await asyncio.gather(*(agent.call_tool("pay_vendor", {"n": n}) for n in range(8)))
    assert [tool.name for tool in tools] == ["my_status", "pay_vendor"]
    assert [
        result.structured_content["data"]["n"] for result in results if result.structured_content
    ] == list(range(8))


async def test_the_server_sees_the_agents_own_bytes() -> None:
    """A bridge that parsed and wrote the arguments again would hide equal keys from the gate."""
    line = json.dumps(CALL).replace('"arguments": {}', '"arguments": {"a": 1, "a": 2}').encode() + b"\n"
    seen: list[bytes] = []

    async def post(_headers: Mapping[str, str], body: bytes) -> Posted:
        seen.append(body)
        return Posted(200, b'{"jsonrpc": "2.0", "id": 1, "result": {}}')

    await carried(post, line)
    assert seen == [line]


async def test_a_server_that_is_not_there_did_nothing_and_the_agent_hears_it() -> None:
    """A protocol error would end the agent's turn; nothing ran, and the same key may be used again."""

    async def post(_headers: Mapping[str, str], _body: bytes) -> Posted:
        raise Unreachable("refused")

    (answer,) = await carried(post, CALL)
    problem = answer["result"]["structuredContent"]["problem"]
    assert (problem["code"], problem["ran"], problem["retry"]) == ("unavailable", False, "same_key")
    assert answer["result"]["isError"] is False


async def test_a_lost_answer_is_unknown_and_never_called_a_refusal() -> None:
    """The server may have taken the call in before the line went dead."""

    async def post(_headers: Mapping[str, str], _body: bytes) -> Posted:
        raise ConnectionResetError

    (answer,) = await carried(post, CALL)
    assert answer["result"]["structuredContent"]["status"] == "outcome_unknown"
    assert "ran" not in answer["result"]["structuredContent"]["problem"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense\n", -32700),
        (b"[]\n", -32600),
        (b'{"id": 1, "id": 2}\n', -32600),
        (b"x" * (LONGEST_LINE + 1), -32600),
    ],
)
async def test_a_line_that_is_no_message_is_answered_without_asking_the_server(
    line: bytes, code: int
) -> None:
    """A reader that stopped here would leave the agent waiting for ever."""

    async def post(_headers: Mapping[str, str], _body: bytes) -> Posted:
        raise AssertionError

    (answer,) = await carried(post, line)
    assert (answer["error"]["code"], answer["id"]) == (code, None)


async def test_a_refused_credential_is_an_error_with_what_to_do() -> None:
    """The person who pasted the settings reads this line in the client's log."""
    house = House()
    async with listening(house) as bind:
        (answer,) = await carried(http_post(bind), CALL)
    assert "agent's token" in answer["error"]["message"]


async def test_a_cancelled_call_gets_no_answer_and_the_others_do() -> None:
    """MCP: the sender of a cancellation waits for no answer; what runs at the server runs on."""
    entered = asyncio.Event()

    async def post(_headers: Mapping[str, str], body: bytes) -> Posted:
        message = json.loads(body)
        if message["id"] == 1:
            entered.set()
            await asyncio.Event().wait()
        return Posted(200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}).encode())

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(CALL).encode()
        await entered.wait()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        async for line in fed(cancel, CALL | {"id": 2}):
            yield line

    written: list[bytes] = []
    await Bridge(post, "t", written.append).run(lines())
    assert [json.loads(line)["id"] for line in written] == [2]


async def test_only_a_bursar_counts_as_a_running_server() -> None:
    """The agent's token must not be handed to whatever else listens on the port."""
    house = House()
    async with listening(house) as bind:
        assert await asyncio.to_thread(is_served, bind)
    assert not await asyncio.to_thread(is_served, bind)

    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(stranger, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert not await asyncio.to_thread(is_served, Bind("127.0.0.1", port))
