"""The few ASGI pieces the simulator needs: a request, a response, and a connection that breaks."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_MAX_BODY = 1 << 20  # One mebibyte: larger than any request of the API, small enough to hold many.


class BodyTooLargeError(Exception):
    """The request's body is larger than the simulator reads."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, read whole."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """Give the plain fields of a page's form; a repeated field keeps its last value."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    def fields(self) -> dict[str, str]:
        """Give the plain fields of the query string."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True)
class Response:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class BrokenError(Exception):
    """The connection breaks instead of answering; `how` is disconnect, reset, timeout or unreachable."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(status, orjson.dumps(value), {"content-type": "application/json", **(headers or {})})


def html_response(status: int, text: str) -> Response:
    """Answer with a page that may load nothing from anywhere and may not be framed."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
    }
    return Response(status, text.encode(), headers)


def redirect(url: str) -> Response:
    """Send a browser elsewhere with GET."""
    return Response(303, b"", {"location": url, "cache-control": "no-store"})


async def read(scope: Scope, receive: Receive) -> Request:
    """Read a whole request. Raises BodyTooLargeError."""
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > _MAX_BODY:
            raise BodyTooLargeError
        chunks.append(chunk)
        more = bool(message.get("more_body", False))
    headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(scope["method"], scope["path"], query, headers, b"".join(chunks))


async def write(send: Send, response: Response) -> None:
    """Send an answer."""
    headers = {**response.headers, "content-length": str(len(response.body))}
    pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": pairs})
    await send({"type": "http.response.body", "body": response.body})


async def break_connection(how: str, receive: Receive, send: Send) -> None:
    """Break the connection without a byte of an answer.

    On a socket the transport is closed under the server; in process the httpx exception that a client
    would meet is raised, so that the SDK sees the same cause either way.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise _client_error(how)
    if how == "timeout":
        await _until_gone(receive)
        return
    if how == "reset":
        linger = struct.pack("ii", 1, 0)  # Close with RST at once, as a host that went down would.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    await _until_gone(receive)


async def _until_gone(receive: Receive) -> None:
    """Wait for the client's end, so that the server does not answer 500 on our behalf."""
    while (await receive())["type"] != "http.disconnect":  # noqa: ASYNC110  ASGI tells it only this way
        await asyncio.sleep(0)


def _client_error(how: str) -> Exception:
    import httpx

    if how == "unreachable":
        return httpx.ConnectError("simulated: connection refused")
    if how == "timeout":
        return httpx.ReadTimeout("simulated: no answer within the time limit")
    if how == "reset":
        return httpx.ReadError("simulated: connection reset by peer")
    return httpx.RemoteProtocolError("simulated: server disconnected without sending a response")
