"""A bridge between one agent's standard streams and a running server; it holds no state worth losing.

Each line is one JSON-RPC message, posted to /mcp as it is, so the server sees the agent's own bytes. The era
of 2026 names its version in every message; the older one negotiates it once, and the bridge remembers that.
Imports neither the MCP SDK nor a web framework: agents wait barely a second for a server that they start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy.errors import Unavailable
from tool_server.hosts import Bind
from tool_server.mcp_wire import INVALID_REQUEST, TOOLS_CALL, Malformed, Message, read_message
from tool_server.replies import broke, refused, wire

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
LONGEST_LINE: Final = 262_144  # Bytes; as much as the server reads of a body.
ANSWER_S: Final = 45.0  # The server answers within 30 s; past this it is gone.
LAST_ANSWERS_S: Final = 5.0  # After the agent closed its end: time for answers that are on their way.
_SERVER_ERROR: Final = -32603  # JSON-RPC 2.0, section 5.1: internal error.


class Unreachable(Exception):  # noqa: N818 - it says what was met
    """No server was reached: nothing of this message was read by one."""


class Posted(Struct, frozen=True):
    """What the server answered."""

    status: int
    body: bytes


Post = Callable[[Mapping[str, str], bytes], Awaitable[Posted]]  # Raises Unreachable, OSError or TimeoutError.


class Bridge:
    """Carries messages from an agent to a server and the answers back."""

    def __init__(self, post: Post, token: str, write: Callable[[bytes], None]) -> None:
        self._post = post
        self._token = token
        self._write = write
        self._version = ""
        self._open: dict[str | int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, lines: AsyncIterator[bytes]) -> None:
        """Carry messages until the agent closes its end."""
        async for line in lines:
            if line.strip():
                await self._take(line)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_ANSWERS_S)

    async def _take(self, line: bytes) -> None:
        """Start carrying one message; the next line does not wait for its answer, save after a handshake."""
        try:
            message = read_message(line) if len(line) <= LONGEST_LINE else None
        except Malformed as malformed:
            return self._error(None, malformed.code, malformed.message)
        if message is None:
            return self._error(None, INVALID_REQUEST, f"a message has at most {LONGEST_LINE} bytes")
        if message.method == "notifications/cancelled":
            return self._forget(line)
        task = asyncio.create_task(self._carry(message, line), name="carry")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        key = message.request_id
        if key is not None:
            self._open[key] = task
            task.add_done_callback(lambda _done: self._open.pop(key, None))
        if message.method == "initialize":
            await asyncio.wait([task])
        return None

    def _forget(self, line: bytes) -> None:
        """Stop waiting for an answer that the agent no longer wants; what runs at the server runs on."""
        params = json.loads(line).get("params")
        wanted = params.get("requestId") if isinstance(params, dict) else None
        task = self._open.get(wanted) if isinstance(wanted, str | int) else None
        if task is not None:
            task.cancel()

    async def _carry(self, message: Message, line: bytes) -> None:
        """Post one message and write its answer, whatever happens on the way."""
        try:
            async with asyncio.timeout(ANSWER_S):
                posted = await self._post(self._headers(message), line)
        except Unreachable:
            return self._unavailable(message)
        except (OSError, TimeoutError, HTTPException):
            return self._lost(message)
        if posted.status == 202 or not message.has_id:  # noqa: PLR2004 - HTTP's own number: accepted
            return None
        return self._answer(message, posted)

    def _headers(self, message: Message) -> dict[str, str]:
        version = message.meta.get(VERSION_KEY) or self._version
        headers = {
            "authorization": f"Bearer {self._token}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        if isinstance(version, str) and version.isascii() and version.isprintable() and version:
            headers["mcp-protocol-version"] = version
        # The names that the era of 2026 wants repeated; text that fits no header is for the server to refuse.
        if VERSION_KEY in message.meta:
            named = {"mcp-method": message.method, "mcp-name": message.tool}
            headers |= {
                name: text for name, text in named.items() if text.isascii() and text.isprintable() and text
            }
        return headers

    def _answer(self, message: Message, posted: Posted) -> None:
        """Write the server's answer on one line, or what its refusal means."""
        try:
            answer = msgspec.json.decode(posted.body)
        except msgspec.DecodeError:
            return self._lost(message)
        if not isinstance(answer, dict) or "jsonrpc" not in answer:
            said = answer.get("error_description") if isinstance(answer, dict) else None
            return self._error(message.request_id, _SERVER_ERROR, str(said or f"HTTP {posted.status}"))
        if message.method == "initialize" and isinstance(answer.get("result"), dict):
            self._version = str(answer["result"].get("protocolVersion", ""))
        if answer.get("id") is None:
            answer["id"] = message.request_id
        return self._send(answer)

    def _unavailable(self, message: Message) -> None:
        """Answer a message that no server has read."""
        said = "no Bursar server is running; nothing was done, ask again with the same key once it is started"
        if message.method == TOOLS_CALL and message.has_id:
            result = wire(refused(Unavailable(said)), strict_errors=False)
            return self._send({"jsonrpc": "2.0", "id": message.request_id, "result": result})
        return self._error(message.request_id, _SERVER_ERROR, said) if message.has_id else None

    def _lost(self, message: Message) -> None:
        """Answer a message that a server may have read, and whose answer is lost."""
        said = "The connection to Bursar broke before its answer; the call may have been taken in"
        if message.method == TOOLS_CALL and message.has_id:
            result = wire(broke(said), strict_errors=False)
            return self._send({"jsonrpc": "2.0", "id": message.request_id, "result": result})
        return self._error(message.request_id, _SERVER_ERROR, said) if message.has_id else None

    def _error(self, request_id: str | int | None, code: int, message: str) -> None:
        error = {"code": code, "message": message}
        self._send({"jsonrpc": "2.0", "id": request_id, "error": error})

    def _send(self, answer: Mapping[str, Any]) -> None:
        self._write(msgspec.json.encode(answer) + b"\n")


def http_post(bind: Bind) -> Post:
    """Return a Post to a server on this machine, one connection per message: agents make few at a time."""

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        connection = HTTPConnection(bind.host, bind.port, timeout=ANSWER_S)
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Unreachable(str(error)) from None
            connection.request("POST", "/mcp", body=body, headers=dict(headers))
            response = connection.getresponse()
            return Posted(response.status, response.read())
        finally:
            connection.close()

    async def in_thread(headers: Mapping[str, str], body: bytes) -> Posted:
        return await asyncio.to_thread(post, headers, body)

    return in_thread


def is_served(bind: Bind, timeout_s: float = 2.0) -> bool:
    """Say whether a Bursar answers there; a stranger on the port is none."""
    connection = HTTPConnection(bind.host, bind.port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        body = response.read(LONGEST_LINE)
        return response.status == 200 and msgspec.json.decode(body).get("server") == "bursar"  # noqa: PLR2004 - HTTP
    except (OSError, HTTPException, msgspec.DecodeError, AttributeError):
        return False
    finally:
        connection.close()
