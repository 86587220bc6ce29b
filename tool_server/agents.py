"""The agents' listener of a whole house: gate, identity, limits and counters put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

import structlog

from tool_server.books import Books
from tool_server.bootstrap import House
from tool_server.hosts import Names
from tool_server.limits import Limits, Meter
from tool_server.mcp import Face, build_server
from tool_server.mcp_transport import AgentsApp, Gateway, Refusal
from tool_server.metrics import Metrics

_RECORDS: Final = Limits(
    calls_per_second=1.0, calls_at_once=30
)  # M36: a flood of refusals must not fill the log.

_log = structlog.get_logger("bursar.agents")


class Recorder:
    """Writes refusals of known agents into the audit log, without making anybody wait for it.

    A refusal of nobody we know is counted and logged only: else anybody on the network could write there.
    """

    def __init__(self, books: Books, meter: Meter) -> None:
        self._books = books
        self._meter = meter
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, refusal: Refusal) -> None:
        """Queue one entry, where the agent has not had too many already."""
        if refusal.agent is None or not self._meter.may_call(refusal.agent):
            return
        task = asyncio.get_running_loop().create_task(self._write(refusal, refusal.agent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, refusal: Refusal, agent: str) -> None:
        said = f"{refusal.method} {refusal.path} was refused before the gate"
        try:
            await self._books.note_invalid(agent, "", refusal.reason, said, refusal.at)
        except Exception as error:  # noqa: BLE001 - the refusal stands, and is in the process log
            _log.error("a refusal could not be recorded", error=f"{type(error).__name__}: {error}")


class Readiness:
    """What /readyz answers: whether calls can be admitted now, and why not."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.draining = False

    async def __call__(self) -> tuple[bool, Mapping[str, object]]:
        """Ask the ledger, since a process whose ledger is away can answer nobody."""
        if self.draining:
            return False, {"because": "stopping"}
        try:
            active = await self._house.ledger.active()
        except Exception as error:  # noqa: BLE001 - whatever keeps the ledger from answering, we are not ready
            return False, {"because": f"the ledger does not answer ({type(error).__name__})"}
        if active is None:
            return False, {"because": "no policy is active; run: bursar policy activate"}
        return True, {}


class AgentsListener:
    """The application, and the switch that makes it answer new calls with `unavailable`."""

    def __init__(
        self, house: House, names: Names, *, limits: Limits | None = None, json_response: bool = True
    ) -> None:
        limits = limits or Limits()
        self.metrics = Metrics()
        self.readiness = Readiness(house)
        meter = Meter(limits, time.monotonic)
        self.metrics.watch_open(lambda: meter.open_now)
        face = Face(
            door=house.gate,
            meter=meter,
            limits=limits,
            metrics=self.metrics,
            version=version("bursar"),
            draining=lambda: self.readiness.draining,
        )
        gateway = Gateway(
            find=house.ledger.agent_by_token,
            now=house.now,
            names=names,
            meter=meter,
            limits=limits,
            metrics=self.metrics,
            record=Recorder(house.books, Meter(_RECORDS, time.monotonic)),
            ready=self.readiness,
        )
        self.app = AgentsApp(build_server(face), gateway, json_response=json_response)

    def drain(self) -> None:
        """Answer new calls with `unavailable` from here on."""
        self.readiness.draining = True
