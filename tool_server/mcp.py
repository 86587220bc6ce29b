"""The MCP server: the SDK's low-level `Server`, whose tool handler leads to the gate and nowhere else.

Answers are results, not protocol errors, since common clients abandon a turn, or the whole server, over the
latter. Only an unknown tool (-32602) and what the SDK itself refuses are JSON-RPC errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import structlog
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, PaginatedRequestParams
from msgspec import Struct
from opentelemetry import trace

from policy.errors import Busy, CallRefused, RateLimited, Unavailable, UnknownTool
from tool_server.catalogue import listed_json
from tool_server.envelope import CallMeta, CallResult, Principal
from tool_server.gate import Door
from tool_server.limits import Limits, Meter
from tool_server.metrics import Metrics
from tool_server.replies import broke, refused, wire

SERVER_NAME: Final = "bursar"
INBOUND: Final = "bursar.inbound"  # Where the transport leaves what the handlers need, in the ASGI scope.
LIST_TTL_MS: Final = 60_000  # A token's tools change only with its kits or a start; a minute spares lists.

INSTRUCTIONS: Final = (
    "Tools that earn and spend money, under the owner's policy. Start with my_status. A call may answer "
    "pending_approval: nothing has run, a person decides; ask call_status later instead of calling again."
)

Middleware = Callable[[Any, Any], Awaitable[Any]]  # Of the SDK, which has no public name for it.

_log = structlog.get_logger("bursar.mcp")


class Inbound(Struct, kw_only=True):
    """What the transport knows of one request before the SDK reads it, and whether a handler saw it."""

    principal: Principal
    raw_arguments: bytes
    call_meta: CallMeta
    refusal: CallRefused | None = None  # The limit that a tool call met on its way in.
    reached: bool = False  # Set by our handlers: what never reached one was refused by the SDK.


class Face(Struct, frozen=True, kw_only=True):
    """What the MCP handlers lean on; `version` is what clients are told."""

    door: Door
    meter: Meter
    limits: Limits
    metrics: Metrics
    version: str
    draining: Callable[[], bool] = lambda: False


def build_server(face: Face) -> Server[Any]:
    """Return the SDK's server with our two handlers; the transport decides how it is reached."""

    async def list_tools(
        ctx: ServerRequestContext[Any, Any], _params: PaginatedRequestParams | None
    ) -> dict[str, Any]:
        tools = [listed_json(tool) for tool in face.door.listing(_inbound(ctx).principal)]
        return {"resultType": "complete", "tools": tools}

    async def call_tool(ctx: ServerRequestContext[Any, Any], params: CallToolRequestParams) -> dict[str, Any]:
        inbound = _inbound(ctx)
        result = await answer(face, inbound, params.name)
        return wire(result, strict_errors=inbound.principal.strict_errors)

    server: Server[Any] = Server(
        SERVER_NAME,
        version=face.version,
        title="Bursar",
        instructions=INSTRUCTIONS,
        cache_hints={"tools/list": CacheHint(ttl_ms=LIST_TTL_MS, scope="private")},
        # Our schemas declare no Mcp-Param headers; without this the SDK would list all tools on every call.
        get_tool_input_schema=lambda _name: None,
        # The runner takes the wire's own dict, which spares building and dumping a model per call; the types
        # of the SDK name only the models.
        on_list_tools=cast("Any", list_tools),
        on_call_tool=cast("Any", call_tool),
    )
    found = [watched_only(each) if is_tracing(each) else each for each in server.middleware]
    server.middleware[:] = cast("Any", found)
    return server


def is_tracing(middleware: object) -> bool:
    """Say whether a middleware of the SDK's makes spans; its class is not exported."""
    return type(middleware).__name__ == "OpenTelemetryMiddleware"


def watched_only(tracing: Middleware) -> Middleware:
    """Make spans only where something was set up to see them; a span for nobody is a tenth of a read."""

    async def traced(ctx: Any, call_next: Any) -> Any:  # noqa: ANN401 -- the SDK's own open types
        unwatched = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
        return await (call_next(ctx) if unwatched else tracing(ctx, call_next))

    return traced


async def answer(face: Face, inbound: Inbound, tool: str) -> CallResult:
    """Return the answer to one tool call. Raises MCPError for a tool that does not exist for this token."""
    refusal = inbound.refusal
    if refusal is None and face.draining():
        refusal = Unavailable("Bursar is stopping; nothing was done, ask again with the same key in a minute")
    if refusal is not None:
        face.metrics.refused("agents", refusal.code)
        return refused(refusal)
    start = face.metrics.now()
    result = await _bounded(face, inbound, tool)
    problem = result.envelope.problem
    if problem is not None and problem.code == UnknownTool.code:
        # The name is the caller's own text: it goes into no metric's label.
        face.metrics.refused("agents", problem.code)
        raise MCPError(code=INVALID_PARAMS, message=f"Unknown tool: {tool[:64]}")
    face.metrics.answered(tool, result.envelope.status, since=start)
    return result


async def _bounded(face: Face, inbound: Inbound, tool: str) -> CallResult:
    """Ask the gate, for as long as any client waits; the gate shields what must not be interrupted."""
    try:
        async with asyncio.timeout(face.limits.answer_seconds):
            return await face.door.call(inbound.principal, tool, inbound.raw_arguments, inbound.call_meta)
    except TimeoutError:
        _log.error("no_answer_in_time", tool=tool[:64], agent=inbound.principal.agent)
        return broke("Bursar gave no answer in time; the call may have been taken in")
    except Exception:  # noqa: BLE001 - whatever broke, the agent must be told, and told no more than that
        _log.exception("gate_broke", tool=tool[:64], agent=inbound.principal.agent)
        return broke("Bursar broke while it worked on this call; the call may have been taken in")


def over_limit(meter: Meter, agent_id: str) -> CallRefused | None:
    """Return the limit that one more tool call of this agent meets, None where there is room."""
    if not meter.may_call(agent_id):
        return RateLimited("more calls in a short time than one agent may make; wait some seconds")
    if not meter.has_room(agent_id):
        return Busy("too many of this agent's calls are being answered; wait for one of them")
    return None


def _inbound(ctx: ServerRequestContext[Any, Any]) -> Inbound:
    """Return what the transport left; without it there is no principal, and so no answer."""
    scope: Mapping[str, Any] = getattr(ctx.request, "scope", {})
    found = scope.get(INBOUND)
    if isinstance(found, Inbound):
        found.reached = True
        return found
    raise MCPError(code=INVALID_PARAMS, message="This request reached the server without a credential")
