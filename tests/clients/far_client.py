"""A client of another environment, steered over standard streams: it knows only its own SDK and no Bursar.

    python far_client.py sdk-1|fastmcp URL TOKEN ERA         over HTTP
    python far_client.py sdk-1|fastmcp -- COMMAND ARGUMENTS  over standard streams

It reads one JSON command a line, {"tools": true} or {"call": NAME, "arguments": {}, "meta": {}}, and writes
one JSON answer a line. Its SDK is found by name, since the suite's own environment has another version of it.
"""
# ruff: noqa: ANN401 -- another environment's types are unknown here

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

Call = Callable[[str, dict[str, Any], Any], Awaitable[Any]]


class Far:
    """What both SDKs can do: list tools by name, and call one with both forms of its answer."""

    def __init__(self, tools: Callable[[], Awaitable[list[str]]], call: Call) -> None:
        self.tools = tools
        self.call = call


@contextlib.asynccontextmanager
async def sdk_1(address: list[str]) -> AsyncIterator[Far]:
    """Connect by the official SDK 1.x, which speaks the era of 2025 alone."""
    mcp = importlib.import_module("mcp")
    async with contextlib.AsyncExitStack() as stack:
        if address[0] == "--":
            stdio = importlib.import_module("mcp.client.stdio")
            server = mcp.StdioServerParameters(command=address[1], args=address[2:], env=dict(os.environ))
            read, write = await stack.enter_async_context(stdio.stdio_client(server))
        else:
            http = importlib.import_module("mcp.client.streamable_http")
            headers = {"Authorization": f"Bearer {address[1]}"}
            client = await stack.enter_async_context(http.create_mcp_http_client(headers=headers))
            opened = http.streamable_http_client(address[0], http_client=client)
            read, write, _ = await stack.enter_async_context(opened)
        session = await stack.enter_async_context(mcp.ClientSession(read, write))
        await session.initialize()

        async def tools() -> list[str]:
            return [tool.name for tool in (await session.list_tools()).tools]

        async def call(name: str, arguments: dict[str, Any], meta: Any) -> Any:
            result = await session.call_tool(name, arguments, meta=meta)
            return said(result.structuredContent, result.content, result.isError)

        yield Far(tools, call)


@contextlib.asynccontextmanager
async def fastmcp(address: list[str]) -> AsyncIterator[Far]:
    """Connect by fastmcp's client."""
    package = importlib.import_module("fastmcp")
    transports = importlib.import_module("fastmcp.client.transports")
    mode = "auto"
    if address[0] == "--":
        transport = transports.StdioTransport(address[1], address[2:], env=dict(os.environ), keep_alive=False)
    else:
        transport = transports.StreamableHttpTransport(address[0], auth=address[1])
        mode = {"2025-11-25": "legacy"}.get(address[2], address[2])
    async with package.Client(transport, mode=mode) as client:

        async def tools() -> list[str]:
            return [tool.name for tool in await client.list_tools()]

        async def call(name: str, arguments: dict[str, Any], meta: Any) -> Any:
            result = await client.call_tool(name, arguments, meta=meta, raise_on_error=False)
            return said(result.structured_content, result.content, result.is_error)

        yield Far(tools, call)


def said(structured: Any, content: Any, is_error: Any) -> dict[str, Any]:
    """Return an answer's two forms as JSON."""
    text = "".join(getattr(block, "text", "") for block in content)
    return {"structured": structured, "text": text, "is_error": bool(is_error)}


async def serve(far: Far) -> None:
    """Obey until the test closes its end."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if "call" in command:
            answer = await far.call(command["call"], command["arguments"], command.get("meta"))
        else:
            answer = await far.tools()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


async def main(kind: str, address: list[str]) -> None:
    """Connect and obey."""
    connect = {"sdk-1": sdk_1, "fastmcp": fastmcp}[kind]
    async with connect(address) as far:
        sys.stdout.write("connected\n")
        sys.stdout.flush()
        await serve(far)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
