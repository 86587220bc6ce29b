"""The wires by which an agent reaches a house in tests: HTTP in both eras, and standard streams."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from msgspec import Struct

from tests.provider.house import Desk
from tests.tool_server.doors import token_of
from tool_server.agents import AgentsListener
from tool_server.hosts import Bind, names
from tool_server.identity import token_sha256
from tool_server.limits import Limits
from tool_server.serve import Listener, open_socket, served

WIRES = ("http 2025-11-25", "http 2026-07-28", "stdio 2025-11-25", "stdio 2026-07-28")
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


class Agent:
    """An agent at the far end of a wire."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def tools(self) -> list[str]:
        """Return the names it is shown."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def call(self, tool: str, /, *, meta: dict[str, Any] | None = None, **arguments: object) -> Said:
        """Call a tool; both forms of the answer must say the same status."""
        # The SDK types only the keys of `_meta` that it knows.
        result = await self._client.call_tool(tool, arguments, meta=cast("Any", meta))
        whole = cast("dict[str, Any]", result.structured_content)
        text = "".join(getattr(block, "text", "") for block in result.content)
        return Said(whole["status"], whole, text, bool(result.is_error))


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
    """Connect an agent over one of WIRES."""
    kind, _, era = wire.partition(" ")
    token = token_of(name)
    if kind == "stdio":
        server = StdioServerParameters(
            command=sys.executable,
            args=["-c", _BRIDGE, str(bind.port), token],
            env={"PYTHONPATH": str(Path.cwd())},
        )
        async with Client(stdio_client(server), mode=_ERAS[era]) as client:
            yield Agent(client)
        return
    headers = {"Authorization": f"Bearer {token}"} | ({"X-Bursar-Run": run} if run else {})
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(f"http://{bind}/mcp", http_client=http), mode=_ERAS[era]) as client,
    ):
        yield Agent(client)
