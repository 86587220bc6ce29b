"""A stand-in for the gate at the seam the wires know it by, and the agents it lets in."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import msgspec

from ledger.records import AgentRecord, CallRecord
from plugins.tool import Annotations
from policy.errors import CallRefused, UnknownTool
from policy.model import Decision
from tool_server.catalogue import ToolListing
from tool_server.decode import read_arguments
from tool_server.envelope import CallMeta, CallResult, Envelope, Principal, Problem, answered
from tool_server.hosts import Bind, Names, names
from tool_server.identity import TokenKind, mint, token_sha256
from tool_server.limits import Limits, Meter
from tool_server.mcp import Face, build_server
from tool_server.mcp_transport import AgentsApp, Gateway, Refusal
from tool_server.metrics import Metrics

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HINTS = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)


def token_of(name: str) -> str:
    """Return the one token of a named agent, the same in every test."""
    return mint(TokenKind.AGENT, lambda size: name.encode().ljust(size, b"\0")[:size])


def agent(name: str, **changes: object) -> AgentRecord:
    """Return an agent that may sell and buy."""
    record = AgentRecord(
        agent_id=f"agt_{name}",
        name=name,
        account_id="acc_1",
        project="shop",
        kits=("sell", "buy"),
        run_id=None,
        expires_at=None,
        owner="ada",
        strict_errors=False,
        active=True,
        created_at=NOW,
    )
    return msgspec.structs.replace(record, **changes)


class Agents:
    """The ledger's agents, by the hash of their token."""

    def __init__(self, *records: AgentRecord) -> None:
        self.by_token = {token_sha256(token_of(record.name)): record for record in records}

    async def __call__(self, sha256: str) -> AgentRecord | None:
        """Answer as `Ledger.agent_by_token` does."""
        return self.by_token.get(sha256)

    def revoke(self, name: str) -> None:
        """Make an agent's token open nothing any more."""
        sha256 = token_sha256(token_of(name))
        self.by_token[sha256] = msgspec.structs.replace(self.by_token[sha256], active=False)


class FakeDoor:
    """A gate with two tools: `succeeded` to whatever it can read, and it remembers what it was asked."""

    def __init__(self, answer: Callable[[str], Awaitable[CallResult]] | None = None) -> None:
        self.calls: list[tuple[Principal, str, bytes, CallMeta]] = []
        self._answer = answer

    async def call(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> CallResult:
        """Echo the arguments as they were read."""
        self.calls.append((principal, tool_name, raw_arguments, meta))
        if self._answer is not None:
            return await self._answer(tool_name)
        try:
            if all(tool_name != tool.name for tool in self.listing(principal)):
                raise UnknownTool("there is no such tool for you", retry="never")
            arguments = read_arguments(raw_arguments)
        except CallRefused as refused:
            problem = Problem(code=refused.code, message=refused.message, ran=False, retry=refused.retry)
            return answered(Envelope(status=refused.status, problem=problem))
        return answered(Envelope(status="succeeded", call_id="call_1", data=arguments))

    def listing(self, principal: Principal) -> tuple[ToolListing, ...]:
        """List one core tool, and one of the kit `buy`."""
        schema: Mapping[str, Any] = {"type": "object", "properties": {"vendor": {"type": "string"}}}
        core = ToolListing(
            name="my_status", description="Start here.", input_schema=schema, annotations=HINTS
        )
        buy = msgspec.structs.replace(core, name="pay_vendor", description="Pay a vendor.")
        return (core, buy) if "buy" in principal.kits else (core,)

    def shown(self, call: CallRecord, *, replayed: bool = False) -> CallResult:
        """Never asked by the wire."""
        raise NotImplementedError(call, replayed)

    async def watch(self, call_id: str, wait_s: float) -> CallRecord:
        """Never asked by the wire."""
        raise NotImplementedError(call_id, wait_s)

    async def preview(
        self, principal: Principal, tool_name: str, raw_arguments: bytes, meta: CallMeta
    ) -> Decision:
        """Never asked by the wire."""
        raise NotImplementedError(principal, tool_name, raw_arguments, meta)


class House:
    """The agents' listener around a fake gate, with everything it says kept for the test to read."""

    def __init__(
        self,
        door: FakeDoor | None = None,
        *,
        agents: Agents | None = None,
        limits: Limits | None = None,
        allowed: Names | None = None,
        json_response: bool = True,
    ) -> None:
        self.door = door or FakeDoor()
        self.agents = agents or Agents(agent("scout"), agent("maker", kits=("fulfil",)))
        self.refusals: list[Refusal] = []
        self.monotonic = 0.0
        self.is_ready = True
        self.is_draining = False
        limits = limits or Limits()
        self.meter, self.metrics = Meter(limits, lambda: self.monotonic), Metrics()
        face = Face(
            door=self.door,
            meter=self.meter,
            limits=limits,
            metrics=self.metrics,
            version="0.1.0",
            draining=lambda: self.is_draining,
        )
        gateway = Gateway(
            find=self.agents,
            now=lambda: NOW,
            names=allowed or names(Bind("127.0.0.1", 8400), ""),
            meter=self.meter,
            limits=limits,
            metrics=self.metrics,
            record=self.refusals.append,
            ready=self._ready,
        )
        self.app = AgentsApp(build_server(face), gateway, json_response=json_response)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep the listener's own tasks running."""
        return self.app.running()

    async def _ready(self) -> tuple[bool, Mapping[str, object]]:
        return self.is_ready, {}
