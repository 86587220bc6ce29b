"""The wires by which an agent reaches a house in tests: HTTP in both eras, and standard streams.

By the official SDK 2.x in this process, or by another client in an environment of its own (tests/clients).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from msgspec import Struct

from tests.clients import environments
from tests.provider.house import Desk
from tests.tool_server.doors import token_of
from tool_server.agents import AgentsListener
from tool_server.hosts import Bind, names
from tool_server.identity import token_sha256
from tool_server.limits import Limits
from tool_server.serve import Listener, open_socket, served

WIRES = ("http 2025-11-25", "http 2026-07-28", "stdio 2025-11-25", "stdio 2026-07-28")
# SDK 1.x knows the older era alone; fastmcp speaks the newer one unless it is told otherwise.
FAR_WIRES = (
    *("sdk-1 http 2025-11-25", "sdk-1 stdio 2025-11-25"),
    *("fastmcp http 2025-11-25", "fastmcp http 2026-07-28", "fastmcp stdio 2026-07-28"),
)
FAR_S = 30.0  # For one answer of another environment's client; its first import takes seconds.
_ERAS = {"2025-11-25": "legacy", "2026-07-28": "2026-07-28"}
_BRIDGE = """\
import asyncio, sys
from tool_server.cli.stdio import bridge
from tool_server.hosts import Bind
asyncio.run(bridge(Bind("127.0.0.1", int(sys.argv[1])), sys.argv[2]))
"""


class Said(Struct, frozen=True):
    """One answer as the agent has it."""

    status: str
    data: dict[str, Any]
    text: str
    is_error: bool


Heard = tuple[dict[str, Any], str, bool]  # Both forms of an answer, and whether it is marked as an error.


class Agent:
    """An agent at the far end of a wire, whatever its client."""

    def __init__(
        self,
        tools: Callable[[], Awaitable[list[str]]],
        call: Callable[[str, dict[str, Any], Any], Awaitable[Heard]],
    ) -> None:
        self.tools = tools  # The names it is shown.
        self._call = call

    async def call(self, tool: str, /, *, meta: dict[str, Any] | None = None, **arguments: object) -> Said:
        """Call a tool."""
        whole, text, is_error = await self._call(tool, arguments, meta)
        return Said(whole["status"], whole, text, is_error)


def near(client: Client) -> Agent:
    """Return an agent that speaks through the SDK of this environment."""

    async def tools() -> list[str]:
        return [tool.name for tool in (await client.list_tools()).tools]

    async def call(tool: str, arguments: dict[str, Any], meta: Any) -> Heard:  # noqa: ANN401 -- the SDK types only the keys of `_meta` that it knows
        result = await client.call_tool(tool, arguments, meta=meta)
        text = "".join(getattr(block, "text", "") for block in result.content)
        return cast("dict[str, Any]", result.structured_content), text, bool(result.is_error)

    return Agent(tools, call)


async def enlist(desk: Desk, name: str, **changes: Any) -> None:  # noqa: ANN401 -- any field of an agent
    """Give a house an agent whose token tests know."""
    about: dict[str, Any] = {
        "project": "shop",
        "kits": ("shop",),
        "by": "olga",
        "at": desk.house.now(),
        **changes,
    }
    await desk.house.ledger.add_agent(name=name, token_sha256=token_sha256(token_of(name)), **about)


@contextlib.asynccontextmanager
async def listening(desk: Desk, limits: Limits | None = None) -> AsyncIterator[Bind]:
    """Serve a house's agents on a free port."""
    opened = open_socket(Bind("127.0.0.1", 0), "agents")
    bind = Bind("127.0.0.1", opened.getsockname()[1])
    listener = AgentsListener(desk.house, names(bind, ""), limits=limits)
    async with listener.app.running(), served([Listener("agents", listener.app, opened)], grace_s=2):
        yield bind


@contextlib.asynccontextmanager
async def connected(wire: str, bind: Bind, name: str, *, run: str | None = None) -> AsyncIterator[Agent]:
    """Connect an agent over one of WIRES or FAR_WIRES."""
    *far, kind, era = wire.split()
    token = token_of(name)
    if far:
        async with connected_from_afar(far[0], kind, era, bind, token) as agent:
            yield agent
        return
    if kind == "stdio":
        server = StdioServerParameters(
            command=sys.executable,
            args=["-c", _BRIDGE, str(bind.port), token],
            env={"PYTHONPATH": str(Path.cwd())},
        )
        async with Client(stdio_client(server), mode=_ERAS[era]) as client:
            yield near(client)
        return
    headers = {"Authorization": f"Bearer {token}"} | ({"X-Bursar-Run": run} if run else {})
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"http://{bind}/mcp", http_client=http), mode=_ERAS[era]) as client,
    ):
        yield near(client)


@contextlib.asynccontextmanager
async def connected_from_afar(
    client: str, kind: str, era: str, bind: Bind, token: str
) -> AsyncIterator[Agent]:
    """Connect a client that lives in an environment of its own; skip where that cannot be had."""
    python = await asyncio.to_thread(environments.python_of, client)
    if python is None:
        pytest.skip(f"the client {client} could not be installed: no package registry could be reached")
    over = [f"http://{bind}/mcp", token, era]
    if kind == "stdio":
        over = ["--", sys.executable, "-c", _BRIDGE, str(bind.port), token]
    process = await asyncio.create_subprocess_exec(
        *(str(python), str(environments.HERE / "far_client.py"), client, *over),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path.cwd())} if kind == "stdio" else {},
    )
    far = FarProcess(process)
    try:
        assert await far.line() == "connected"
        yield Agent(far.tools, far.call)
        await far.leave()
    finally:
        if process.returncode is None:
            process.kill()


class FarProcess:
    """A client's process, obeying one line at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout

    async def line(self) -> str:
        """Return the next line it says."""
        async with asyncio.timeout(FAR_S):
            return (await self._out.readline()).decode().strip()

    async def _ask(self, command: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        self._in.write(json.dumps(command).encode() + b"\n")
        await self._in.drain()
        return json.loads(await self.line())

    async def tools(self) -> list[str]:
        """Return the names it is shown."""
        return [str(name) for name in await self._ask({"tools": True})]

    async def call(self, tool: str, arguments: dict[str, Any], meta: Any) -> Heard:  # noqa: ANN401 -- JSON
        """Return what it heard of a call."""
        heard = await self._ask({"call": tool, "arguments": arguments, "meta": meta})
        return heard["structured"], heard["text"], heard["is_error"]

    async def leave(self) -> None:
        """Close its input and let it end by itself."""
        self._in.close()
        async with asyncio.timeout(FAR_S):
            await self._process.wait()
