"""The tools that the public MCP conformance suite asks a tool server for, as a plugin like any other.

What a Bursar tool cannot be by design (an image, a schema outside the portable subset, a question to its
client) is not here; the scenarios that want it are listed as expected failures, each with its reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from plugins.hookspecs import Plugin, PluginContext, hookimpl
from plugins.tool import Annotations, Applied, ApplyContext, Described, Records, Tool
from policy.model import Effect, Kind, Mode

_HINTS = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


def _describe(_args: Nothing, _records: Records, _known: Described) -> Effect:
    return Effect(kind=Kind.READ, operation="look", provider="bursar", mode=Mode.SIMULATED, reversible=True)


def _tool(
    name: str, says: str, read: Callable[[Nothing, Records, ApplyContext], Awaitable[Applied]]
) -> Tool[Nothing]:
    return Tool(
        name=name,
        kit="conformance",
        kind=Kind.READ,
        operation="look",
        provider="bursar",
        description=says,
        arguments=Nothing,
        result=None,
        annotations=_HINTS,
        describe=_describe,
        read=read,
    )


async def _text(_args: Nothing, _records: Records, _context: ApplyContext) -> Applied:
    return Applied({"text": "This is a simple text response for testing."})


async def _breaks(_args: Nothing, _records: Records, _context: ApplyContext) -> Applied:
    raise RuntimeError("This tool intentionally returns an error for testing")


@hookimpl
def bursar_plugin(context: PluginContext) -> Plugin:
    """Return the fixture tools."""
    del context
    return Plugin(
        tools=(
            _tool("test_simple_text", "Answers with a line of text.", _text),
            _tool("test_error_handling", "Breaks, so that a client sees how a break looks.", _breaks),
        )
    )
