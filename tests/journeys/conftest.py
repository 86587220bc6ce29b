"""A demo's house for journeys: its simulator as a child, its people and goods, on either engine."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, structs

from ledger.ledger import Ledger
from ledger.records_crm import Lead
from tool_server.bootstrap import House, Wiring, bootstrap
from tool_server.cli.demo_house import furnish, settings_of
from tool_server.cli.demo_place import PROJECT, Place, open_place, write_policy
from tool_server.cli.demo_simulator import Controls, simulator
from tool_server.envelope import CallMeta, CallResult, Principal
from webhooks.stripe_side import Simulated, stripe_side

KITS = ("sell", "buy", "fulfil", "care")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Give an empty folder with a ledger on each engine in turn."""
    database = str(request.getfixturevalue("postgres_url")) if request.param == "postgres" else ""
    return place_in(tmp_path, database)


def place_in(folder: Path, database: str = "") -> Place:
    """Return an empty demo's folder, on SQLite where no database is named."""
    place = open_place(folder / "demo", again=True, database=database)
    # The usual ports are for one demo of a machine; journeys run beside each other.
    with socket.create_server(("127.0.0.1", 0)) as agents, socket.create_server(("127.0.0.1", 0)) as web:
        ports = {"agents_port": agents.getsockname()[1], "web_port": web.getsockname()[1]}
    return structs.replace(place, kept=structs.replace(place.kept, **ports))


class Front(Struct, frozen=True):
    """A house without listeners: its gate is called in this process, its events are fetched."""

    house: House
    controls: Controls
    line: dict[str, Any]

    @property
    def ledger(self) -> Ledger:
        """Return the ledger."""
        return self.house.ledger

    def who(self, agent: str) -> Principal:
        """Return an agent with every kit."""
        return Principal(
            account_id=self.ledger.account_id, project=PROJECT, agent_id=agent, agent=agent, kits=KITS
        )

    async def call(self, agent: str, tool: str, arguments: dict[str, Any]) -> CallResult:
        """Call a tool as an agent with every kit."""
        return await self.house.gate.call(self.who(agent), tool, json.dumps(arguments).encode(), CallMeta())

    async def stranger(self, project: str = PROJECT) -> tuple[str, str]:
        """Bring a stranger's lead; give its id and its review's."""
        now = self.house.now()
        lead = Lead(
            lead_id=self.house.new_id("lead"),
            project=project,
            origin="public_form",
            name="Bea",
            email="bea@buyer.example",
            company="",
            website="",
            wish="a snapshot",
            created_at=now,
            updated_at=now,
        )
        return lead.lead_id, await self.ledger.add_lead(lead, at=now)


@asynccontextmanager
async def fronted(place: Place, *, reconcile_s: float) -> AsyncIterator[Front]:
    """Open a furnished house with its dispatcher and its webhook worker at work."""
    async with simulator(place) as line:
        write_policy(place, line)
        # A test makes more calls in a minute than an agent should in an hour.
        place.policies.write_text(place.policies.read_text().replace('"60 calls"', '"100000 calls"'))
        settings = settings_of(place, line)
        await furnish(place, settings, line)
        house = await bootstrap(settings, wiring=Wiring(seed=7))
        controls = Controls(str(line["address"]))
        secrets = Simulated(tuple(line["webhook_secrets"]), tuple(line["issuing_webhook_secrets"]))
        side = stripe_side(house, secrets, reconcile_s=reconcile_s)
        try:
            async with house.running(drain_s=3.0), side.working():
                yield Front(house, controls, line)
        finally:
            await controls.close()
            await house.close()


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    """Give such a house on SQLite, which looks for what no event told twice a second."""
    async with fronted(open_place(tmp_path / "demo", again=True), reconcile_s=0.5) as found:
        yield found
