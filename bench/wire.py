"""An agent's requests over raw HTTP, in the era of 2026."""

from __future__ import annotations

from typing import Any, Final

ERA: Final = "2026-07-28"


def headers(token: str, method: str, tool: str = "") -> dict[str, str]:
    """Return what an agent says beside its request; the era wants the method and the tool named here too."""
    given = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": ERA,
        "mcp-method": method,
    }
    return given | ({"mcp-name": tool} if tool else {})


def body(method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 -- whatever the method takes, as JSON
    """Return a request with what every request of the era carries."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": ERA,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
