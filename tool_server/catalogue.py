"""Which tools there are for whom: the core, the kits of a token, and what an owner has accepted.

A tool outside a token's kits does not exist for it. A tool whose definition is not the accepted one is off:
it is not listed, and a call to it is answered with what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from msgspec import Struct

from plugins.registry import WEIGHT, LoadedTool, PluginRefused, Registry
from plugins.schema import input_schema
from plugins.tool import Annotations
from policy.errors import ConfigurationError, NotReady, UnknownTool
from policy.model import Kind
from tool_server.core import CoreTool
from tool_server.envelope import Principal

MOST_TOOLS: Final = 24  # In one list; above that, clients hide tools behind a search or drop them.
MOST_BYTES: Final = 18_432  # Of one list as JSON: 18 kB, about 4,500 tokens of an agent's context.


class ToolListing(Struct, frozen=True, kw_only=True):
    """One tool as an agent may see it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    annotations: Annotations


class Accepted(Struct, frozen=True):
    """What an owner, or the release, accepted a tool as."""

    definition_hash: str
    kind: Kind


class Catalogue:
    """Every tool of this process, with the reason of each that is off."""

    def __init__(
        self, registry: Registry, core: Iterable[CoreTool[Any]], accepted: Mapping[str, Accepted]
    ) -> None:
        self.registry = registry
        self.core = {tool.name: tool for tool in core}
        self.off: dict[str, str] = {}
        self._core_listing = tuple(_core_listing(tool) for tool in self.core.values())
        self._lists: dict[tuple[str, ...], tuple[ToolListing, ...]] = {}
        self.accept(accepted)

    def accept(self, accepted: Mapping[str, Accepted]) -> None:
        """Take what owners have accepted as it is now.

        Raises PluginRefused for a kind below its accepted one.
        """
        self.off = {}
        self._lists = {}
        for name, loaded in self.registry.tools.items():
            known = accepted.get(name)
            if known is not None and WEIGHT[loaded.tool.kind] < WEIGHT[known.kind]:
                raise PluginRefused(
                    loaded.plugin,
                    f"tool {name!r} is of kind {loaded.tool.kind}, below {known.kind} as it was accepted; "
                    "keep the kind, or have an owner accept it under another name",
                )
            why = _why_off(loaded, known)
            if why:
                self.off[name] = why

    def find(self, principal: Principal, name: str) -> LoadedTool:
        """Return a tool. Raises UnknownTool where the caller has none so named, NotReady where it is off."""
        loaded = self.registry.tools.get(name)
        if loaded is None or loaded.tool.kit not in principal.kits:
            raise UnknownTool(
                f"there is no tool {name[:40]!r} for you; ask for the list of tools", retry="never"
            )
        if name in self.off:
            raise NotReady(f"the tool {name} is off: {self.off[name]}")
        return loaded

    def listing(self, kits: tuple[str, ...]) -> tuple[ToolListing, ...]:
        """Return the core tools and those of the kits that are on, in stable order."""
        found = self._lists.get(kits)
        if found is None:
            tools = [loaded for loaded in self.registry.tools.values() if loaded.tool.kit in kits]
            listed = [_listing(loaded) for loaded in tools if loaded.tool.name not in self.off]
            found = self._lists[kits] = (*self._core_listing, *sorted(listed, key=lambda tool: tool.name))
        return found

    def check_kits(self, kits: tuple[str, ...]) -> None:
        """Refuse a set of kits that no client could hold. Raises ConfigurationError."""
        unknown = sorted(set(kits) - set(self.registry.kits()))
        if unknown:
            known = ", ".join(self.registry.kits()) or "none"
            raise ConfigurationError(f"there is no kit {unknown[0]!r}; there are {known}")
        tools = self.listing(kits)
        size = len(orjson.dumps([listed_json(tool) for tool in tools]))
        if len(tools) > MOST_TOOLS or size > MOST_BYTES:
            raise ConfigurationError(
                f"the kits {', '.join(kits)} make {len(tools)} tools of {size} bytes with the core; "
                f"at most {MOST_TOOLS} tools and {MOST_BYTES} bytes reach every client, so give fewer kits"
            )


def listed_json(tool: ToolListing) -> dict[str, Any]:
    """Return a listed tool as MCP writes it."""
    hints = tool.annotations
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "annotations": {
            "readOnlyHint": hints.read_only,
            "destructiveHint": hints.destructive,
            "idempotentHint": hints.idempotent,
            "openWorldHint": hints.open_world,
        },
    }


def _why_off(loaded: LoadedTool, known: Accepted | None) -> str:
    if known is None:
        return f"an owner has not accepted it yet; run: bursar plugin accept {loaded.plugin}"
    if known.definition_hash != loaded.info.definition_hash:
        return f"it changed since it was accepted; look at it and run: bursar plugin accept {loaded.plugin}"
    return ""


def _listing(loaded: LoadedTool) -> ToolListing:
    tool = loaded.tool
    return ToolListing(
        name=tool.name, description=tool.description, input_schema=loaded.schema, annotations=tool.annotations
    )


def _core_listing(tool: CoreTool[Any]) -> ToolListing:
    schema = input_schema(tool.arguments)
    if not schema["required"]:
        del schema["required"]
    return ToolListing(
        name=tool.name, description=tool.description, input_schema=schema, annotations=tool.annotations
    )
