"""What the policy knows of the tools there are, read from tools.json so that no plugin need be imported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy.errors import ConfigurationError
from policy.language import Kind

TOOLS_FILE: Final = (
    Path(__file__).resolve().parent.parent / "tools.json"
)  # Beside the packages that bring them.
OUTSIDE: Final = "outside"  # The kit and plugin of tools that live in other servers.


class ToolInfo(Struct, frozen=True, kw_only=True):
    """One tool as policy files, cases and `tools/list` may rely on it."""

    name: str
    kind: Kind
    kit: str
    plugin: str  # "core" for Bursar's own core tools.
    provider: str
    operation: str
    description: str
    arguments: Mapping[str, object] = {}  # The tool's own arguments, as JSON Schema.
    definition_hash: str = ""

    @property
    def core(self) -> bool:
        """Whether it is one of Bursar's own core tools, which pass without a rule."""
        return self.kit == "core"

    @property
    def properties(self) -> Mapping[str, Mapping[str, object]]:
        """The schema of each argument by name."""
        properties = self.arguments.get("properties", {})
        return properties if isinstance(properties, Mapping) else {}


Tools = Mapping[str, ToolInfo]


class _ToolsFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The form of tools.json."""

    tools: list[ToolInfo]


def definition_hash(tool: ToolInfo) -> str:
    """Return SHA-256, in hex, of all that an approver, an agent or a rule relies on in a tool's definition.

    Canonical JSON: keys sorted, no spaces, UTF-8 (RFC 8785 for what a schema holds). Where a tool lives
    (its plugin) is left out: moving it between plugins changes nothing that anybody relied on.
    """
    known = {
        "name": tool.name,
        "kind": tool.kind.value,
        "kit": tool.kit,
        "operation": tool.operation,
        "provider": tool.provider,
        "description": tool.description,
        "arguments": tool.arguments,
    }
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load_tools(path: Path = TOOLS_FILE) -> Tools:
    """Return the tools of a tools.json by name. Raises ConfigurationError where it cannot be relied on."""
    try:
        read = msgspec.json.decode(path.read_bytes(), type=_ToolsFile)
    except OSError as error:
        raise ConfigurationError(
            f"{path.name} cannot be read: {error.strerror}; it lists the tools there are"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path.name} is no list of tools: {error}") from None
    for tool in read.tools:
        if tool.definition_hash != definition_hash(tool):
            raise ConfigurationError(f"{path.name}: the hash of {tool.name} is not current; write it anew")
    return {tool.name: tool for tool in read.tools}


def outside_tools(entries: Iterable[Mapping[str, object]]) -> Tools:
    """Return what `Policy.outside` says of the tools that live in other servers: all but their arguments."""
    return {
        str(entry["tool"]): ToolInfo(
            name=str(entry["tool"]),
            kind=Kind(str(entry["kind"])),
            kit=OUTSIDE,
            plugin=OUTSIDE,
            provider=str(entry["provider"]),
            operation=str(entry["operation"]),
            description="",
        )
        for entry in entries
    }


def tools_json(tools: Iterable[ToolInfo]) -> bytes:
    """Return the text of tools.json for these tools, by name, each with its current definition hash."""
    current = [msgspec.structs.replace(tool, definition_hash=definition_hash(tool)) for tool in tools]
    listed = _ToolsFile(sorted(current, key=lambda tool: tool.name))
    return msgspec.json.format(msgspec.json.encode(listed), indent=2) + b"\n"
