"""The agents' listener: everything between the socket and the MCP server, in one order for every request.

1. Host and Origin: is this listener meant at all?
2. Credential: whose request is it? Agents' tokens open /mcp and nothing else does.
3. Limits: rate and open requests of that agent, then size and time of the body.
4. Message: one unambiguous JSON-RPC object, whose raw arguments are kept for the gate.
5. The SDK's streamable HTTP manager, which serves both protocol eras on this path.

Every refusal is counted, logged and handed to `record`; none reaches the gate. There are no sessions and no
server-sent streams: each request stands alone, so any process can answer it and a restart loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from msgspec import Struct

from tool_server.envelope import CallMeta, Principal
from tool_server.hosts import Names
from tool_server.identity import Closed, FindAgent, Refused, bearer, identify, token_sha256
from tool_server.limits import Limits, Meter
from tool_server.mcp import INBOUND, SERVER_NAME, Inbound, over_limit
from tool_server.mcp_wire import INVALID_REQUEST, TOOLS_CALL, Malformed, Message, read_message
from tool_server.metrics import CONTENT_TYPE, Metrics

Scope = Any  # ASGI's own types are open mappings; Starlette's aliases for them are the same.
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

MCP_PATH: Final = "/mcp"
RUN_HEADER: Final = "x-bursar-run"
# Every path of this listener and who may have it; the authentication matrix is generated from here.
ROUTES: Final[Mapping[str, str]] = {
    MCP_PATH: "agents",
    "/healthz": "anybody",
    "/readyz": "anybody",
    "/metrics": "this machine, or agents",
}
_BAD_REQUEST: Final = 400
_SDK_ANSWERS: Final = frozenset(
    {"initialize", "ping", "server/discover"}
)  # Served without a handler of ours.
_READ: Final = frozenset((b"host", b"origin", b"accept", b"content-type", b"last-event-id", b"traceparent"))
_LONGEST_RUN: Final = 200  # Characters; a run id has about thirty.

_log = structlog.get_logger("bursar.agents")


class Refusal(Struct, frozen=True, kw_only=True):
    """One request that was refused before the gate; holds nothing secret and no text of the caller's."""

    listener: str
    reason: str
    at: datetime
    method: str
    path: str
    agent: str | None = None  # Whose credential it was, valid or not, where that is known.
    credential: str | None = None  # The first 12 hex digits of the token's SHA-256, to find a leaked one by.


class Gateway(Struct, frozen=True, kw_only=True):
    """What the listener leans on."""

    find: FindAgent
    now: Callable[[], datetime]
    names: Names
    meter: Meter
    limits: Limits
    metrics: Metrics
    record: Callable[[Refusal], None]
    ready: Callable[[], Awaitable[tuple[bool, Mapping[str, object]]]]


class Request(Struct, frozen=True):
    """The parts of an HTTP request that we look at."""

    scope: Scope
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Scope) -> Request:
        """Read the headers once; a repeated one keeps all its values, so it matches nothing by accident."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1").strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return cls(scope, headers)

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return str(self.scope["method"])

    @property
    def path(self) -> str:
        """Return the path, decoded."""
        return str(self.scope["path"])


class _Answer(Exception):  # noqa: N818 - it is an answer on its way out, not a failure of ours
    """An HTTP answer that ends the request here."""

    def __init__(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.body: object = {"error": reason, "error_description": message}
        self.headers = dict(headers or {})


class AgentsApp:
    """The ASGI application of the agents' listener."""

    def __init__(self, server: Server[Any], gateway: Gateway, *, json_response: bool = True) -> None:
        self._gateway = gateway
        self._manager = StreamableHTTPSessionManager(
            server,
            json_response=json_response,
            stateless=True,
            security_settings=_sdk_security(gateway.names),
            max_request_body_size=gateway.limits.body_bytes,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the SDK's manager running; enter it once, before the first request."""
        async with self._manager.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await _not_http(scope, receive, send)
        request = Request.of(scope)
        try:
            await self._route(request, receive, send)
        except _Answer as answer:
            await _send_json(send, answer.status, answer.body, answer.headers)
        return None

    async def _route(self, request: Request, receive: Receive, send: Send) -> None:
        self._check_names(request)
        if request.path == MCP_PATH:
            return await self._mcp(request, receive, send)
        if request.method not in {"GET", "HEAD"}:
            raise self._refuse(request, _Answer(404, "no_such_page", "There is nothing here"))
        if request.path == "/healthz":
            return await _send_json(send, 200, {"server": SERVER_NAME, "status": "alive"})
        if request.path == "/readyz":
            ready, why = await self._gateway.ready()
            return await _send_json(send, 200 if ready else 503, {"ready": ready, **why})
        if request.path == "/metrics":
            await self._metrics_for(request)
            return await _send(send, 200, self._gateway.metrics.text(), {"content-type": CONTENT_TYPE})
        raise self._refuse(request, _Answer(404, "no_such_page", "There is nothing here"))

    def _check_names(self, request: Request) -> None:
        """Refuse a request that was not meant for this listener: step 1."""
        allowed = self._gateway.names
        if not allowed.host_ok(request.headers.get("host")):
            raise self._refuse(
                request, _Answer(421, "wrong_host", "This server does not answer to that Host")
            )
        if not allowed.origin_ok(request.headers.get("origin")):
            raise self._refuse(
                request, _Answer(403, "wrong_origin", "This page may not speak to this server")
            )

    async def _metrics_for(self, request: Request) -> None:
        """Let this machine read the counters, and anybody else who has a token."""
        client = request.scope.get("client")
        # Behind a proxy everybody comes from loopback, so a forwarded request needs its token too.
        forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
        if client is None or client[0] not in {"127.0.0.1", "::1"} or forwarded:
            await self._principal(request)

    async def _mcp(self, request: Request, receive: Receive, send: Send) -> None:
        principal = await self._principal(request)
        if request.method != "POST":
            # Clients open a GET stream for messages we never send, and probe with HEAD; 405 tells both.
            raise _Answer(405, "method_not_allowed", "Send POST", {"allow": "POST"})
        if not self._gateway.meter.may_request(principal.agent_id):
            raise self._refuse(request, _too_many("rate_limited", "Too many requests"), principal)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise self._refuse(request, _Answer(415, "encoded_body", "Send the body as it is"), principal)
        message = await self._message(request, receive, principal)
        refusal = (
            over_limit(self._gateway.meter, principal.agent_id) if message.method == TOOLS_CALL else None
        )
        if message.method != TOOLS_CALL and not self._gateway.meter.has_room(principal.agent_id):
            raise self._refuse(request, _too_many("too_many_open", "Too many requests are open"), principal)
        run = request.headers.get(RUN_HEADER)
        inbound = Inbound(
            principal=principal,
            raw_arguments=message.raw_arguments,
            call_meta=CallMeta(run_header=run[:_LONGEST_RUN] if run else None, meta=message.meta),
            refusal=refusal,
        )
        scope = {**request.scope, INBOUND: inbound, "headers": _for_sdk(request.scope["headers"])}
        answered = _Status(send)
        with self._gateway.meter.opened(principal.agent_id):
            await self._manager.asgi_app(scope, _replay(message.body, receive), answered)
        served = inbound.reached or message.method in _SDK_ANSWERS or not message.has_id
        if answered.status >= _BAD_REQUEST or not served:
            self._refuse(request, _Answer(answered.status, "protocol", ""), principal)

    async def _principal(self, request: Request) -> Principal:
        """Return whose request it is: step 2. Raises _Answer, one 401 for whatever is wrong."""
        token = bearer(request.headers.get("authorization"))
        found = await identify(token, self._gateway.find, self._gateway.now())
        if isinstance(found, Principal):
            return found
        challenge = 'Bearer realm="bursar"'
        if found.why is not Refused.MISSING:
            challenge += ', error="invalid_token"'
        answer = _Answer(
            401,
            "invalid_token",
            "This needs an agent's token that is valid now: Authorization: Bearer bur_agent_...",
            {"www-authenticate": challenge},
        )
        raise self._refuse(request, answer, closed=found, token=token)

    async def _message(self, request: Request, receive: Receive, principal: Principal) -> Message:
        """Read the one message of this request: steps 3 and 4."""
        limits = self._gateway.limits
        try:
            async with asyncio.timeout(limits.body_seconds):
                body = await _body(receive, request.headers.get("content-length"), limits.body_bytes)
        except TimeoutError:
            answer = _Answer(408, "slow_body", "The body took too long", {"connection": "close"})
            raise self._refuse(request, answer, principal) from None
        except _Answer as answer:
            raise self._refuse(request, answer, principal) from None
        try:
            return read_message(body)
        except Malformed as malformed:
            raise self._refuse(request, _protocol_error(malformed), principal) from None

    def _refuse(
        self,
        request: Request,
        answer: _Answer,
        principal: Principal | None = None,
        *,
        closed: Closed | None = None,
        token: str | None = None,
    ) -> _Answer:
        """Count, log and record a refusal, and give it back to be raised."""
        agent = principal.agent if principal else None
        if closed is not None and closed.agent is not None:
            agent = closed.agent.name
        refusal = Refusal(
            listener="agents",
            reason=f"credential_{closed.why.value}" if closed else answer.reason,
            at=self._gateway.now(),
            method=request.method if request.method.isalpha() else "other",
            path=request.path if request.path in ROUTES else "other",
            agent=agent,
            credential=token_sha256(token)[:12] if token else None,
        )
        self._gateway.metrics.refused("agents", refusal.reason)
        shown = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value}
        _log.warning("request_refused", **shown)
        self._gateway.record(refusal)
        return answer


class _Status:
    """Passes an answer on and keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Any) -> None:  # noqa: ANN401 - ASGI's messages are open mappings
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def _sdk_security(names: Names) -> TransportSecuritySettings:
    """Return the same lists for the SDK's own check, which stays on behind ours."""
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[form for host in names.hosts for form in (host, f"{host}:*")],
        allowed_origins=[form for origin in names.origins for form in (origin, f"{origin}:*")],
    )


def _too_many(reason: str, message: str) -> _Answer:
    return _Answer(429, reason, f"{message}; wait a second", {"retry-after": "1"})


def _protocol_error(malformed: Malformed) -> _Answer:
    """Return the JSON-RPC error of a body that is no message; without an id, since none could be read."""
    reason = "ambiguous_message" if malformed.code == INVALID_REQUEST else "no_json"
    answer = _Answer(400, reason, malformed.message)
    error = {"code": malformed.code, "message": malformed.message}
    answer.body = {"jsonrpc": "2.0", "id": None, "error": error}
    return answer


async def _body(receive: Receive, length: str | None, most: int) -> bytes:
    """Read the body, and no more than the limit of it."""
    too_large = _Answer(413, "body_too_large", f"At most {most} bytes are read", {"connection": "close"})
    if length is not None and length.isascii() and length.isdigit() and int(length[:20]) > most:
        raise too_large
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _Answer(400, "hung_up", "The body ended early")
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body we read once more, then whatever comes after it."""
    given = False

    async def again() -> Any:  # noqa: ANN401 - ASGI's messages are open mappings
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _for_sdk(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what the SDK reads, without space around values, which RFC 9110 does not count.

    The token stays here: nothing behind this line needs it. Nor does the body have its old length.
    """
    return [(name, value.strip(b" \t")) for name, value in headers if name in _READ or name[:4] == b"mcp-"]


async def _send_json(send: Send, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
    await _send(
        send, status, msgspec.json.encode(body), {"content-type": "application/json", **(headers or {})}
    )


async def _send(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    all_headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", **headers}
    raw = [(name.encode(), value.encode()) for name, value in all_headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _not_http(scope: Scope, receive: Receive, send: Send) -> None:
    """Close a web socket; nothing here speaks that. Life-cycle messages are the server's own business."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
