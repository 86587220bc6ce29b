"""Peers of a house, each with one tool that does nothing: `python -m bench.peers floor|fastmcp`."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import socket
import sys
from typing import Any, cast


def serve_floor() -> None:
    """Serve a no-op tool with the SDK's low-level server and its bearer authentication, and nothing else."""
    import mcp_types as types
    import msgspec
    from mcp.server import Server
    from mcp.server.auth.provider import AccessToken, TokenVerifier
    from mcp.server.auth.settings import AuthSettings
    from pydantic import AnyHttpUrl

    token = secrets.token_hex(32)
    known = {hashlib.sha256(token.encode()).hexdigest(): "a"}
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    class Number(msgspec.Struct, forbid_unknown_fields=True):
        n: int

    class Verifier(TokenVerifier):
        async def verify_token(self, given: str) -> AccessToken | None:
            who = known.get(hashlib.sha256(given.encode()).hexdigest())
            return None if who is None else AccessToken(token="-", client_id=who, scopes=["tools"])  # noqa: S106 - shown to nobody

    async def list_tools(_ctx: object, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[types.Tool(name="noop", description="Nothing.", input_schema=schema)]
        )

    async def call_tool(_ctx: object, params: types.CallToolRequestParams) -> types.CallToolResult:
        data = {"status": "succeeded", "n": msgspec.convert(params.arguments or {}, Number).n}
        text = types.TextContent(type="text", text="DONE")
        return types.CallToolResult(content=[text], structured_content=data)

    server = Server(
        "floor",
        on_list_tools=cast("Any", list_tools),
        on_call_tool=cast("Any", call_tool),
        get_tool_input_schema={"noop": schema}.get,
    )
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://example.com"),
        resource_server_url=AnyHttpUrl("https://example.com/mcp"),
        required_scopes=["tools"],
        validate_token_resource=False,
    )
    app = server.streamable_http_app(
        json_response=True, auth=auth, token_verifier=Verifier(), host="127.0.0.1"
    )
    _uvicorn(app, token)


def serve_fastmcp() -> None:
    """Serve a no-op tool with fastmcp, without any policy or credential."""
    from fastmcp import FastMCP  # type: ignore[import-not-found,unused-ignore]  # A peer: installed only where it is compared.

    server = FastMCP("peer")

    @server.tool  # type: ignore[untyped-decorator,unused-ignore]  # As above: typed where it is installed.
    def noop(n: int) -> dict[str, object]:
        """Do nothing."""
        return {"status": "succeeded", "n": n}

    _uvicorn(server.http_app(path="/mcp", json_response=True, stateless_http=True), "-")


def _uvicorn(app: object, token: str) -> None:
    import uvicorn

    opened = socket.socket(proto=socket.IPPROTO_TCP)  # Else asyncio leaves Nagle's algorithm on.
    opened.bind(("127.0.0.1", 0))
    opened.listen(128)  # Callers may come while the application is still starting.
    print("serving", opened.getsockname()[1], token, flush=True)
    config = uvicorn.Config(cast("Any", app), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(config).serve(sockets=[opened]))


if __name__ == "__main__":
    {"floor": serve_floor, "fastmcp": serve_fastmcp}[sys.argv[1]]()
