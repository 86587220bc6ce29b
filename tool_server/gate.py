"""The only door: every tool call of every agent, over whichever wire, comes through `Gate.call`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from ledger.records import CallRecord
from plugins.tool import Annotations
from policy.model import Decision
from tool_server.envelope import CallMeta, CallResult, Principal


class ToolListing(Struct, frozen=True, kw_only=True):
    """One tool as an agent may see it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    annotations: Annotations


class Door(Protocol):
    """What the wires (MCP, the console) may ask of the gate."""

    async def call(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> CallResult:
        """Take one tool call through the house; never raises but for cancellation."""
        ...

    def listing(self, principal: Principal) -> tuple[ToolListing, ...]:
        """Return the tools this principal may see: core and its kits, in stable order."""
        ...

    def shown(self, call: CallRecord, *, replayed: bool = False) -> CallResult:
        """Render a stored call as the answer its agent gets now."""
        ...

    async def watch(self, call_id: str, wait_s: float) -> CallRecord:
        """Return the call once it settles or is answered, or as it stands after `wait_s`.

        Raises RecordMissing.
        """
        ...

    async def preview(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> Decision:
        """Say what the policy would decide now, doing nothing. Raises CallRefused."""
        ...
