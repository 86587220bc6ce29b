"""`bursar serve` as processes: two on one PostgreSQL share the work, one that has to stop answers first."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from msgspec import Struct

from ledger.audit import keys
from ledger.records import CallState
from tests.provider.house import Desk, Place, Shop, a_place, opened
from tests.tool_server.wires import connected, enlist
from tool_server.hosts import Bind, read_bind

ROOT: Final = Path(__file__).parents[2]
WIRE: Final = "http 2026-07-28"
AGENT: Final = "wired"
START_S: Final = 60.0  # A warm start takes two seconds; sixty is a crowded machine.
STOP_S: Final = 20.0  # The longest grace of listeners and of what runs.
CALLS: Final = 6


class Server(Struct, frozen=True):
    """One process and where it listens."""

    process: asyncio.subprocess.Process
    agents: Bind
    web: str

    async def ended(self) -> int:
        """Wait for its end."""
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def serving(place: Place) -> AsyncIterator[Server]:
    """Start `bursar serve` on free ports."""
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "BURSAR_DB": place.db,
        "BURSAR_POLICIES": str(place.settings.policies),
        "BURSAR_KEYS": str(place.settings.keys),
    }
    words = ("-m", "tool_server.cli", "serve", "--agents", "127.0.0.1:0", "--web", "127.0.0.1:0", "--json")
    with (place.folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=environ, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        assert line, (place.folder / "log").read_text()[-3000:]
        at = json.loads(line)["serving"]
        agents = read_bind(at["agents"].removeprefix("http://").removesuffix("/mcp"))
        yield Server(process, agents, at["web"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def console(pg: str, copied: Path, shop: Shop) -> AsyncIterator[tuple[Place, Desk]]:
    """Give a house on PostgreSQL that runs nothing: where people answer, and where tests look."""
    place = await a_place(copied, shop, db=pg, prepared=True)
    async with opened(place, work=False) as desk:
        await allowed(desk)
        yield place, desk


async def allowed(desk: Desk) -> None:
    """Let an owner accept the shop's tools, give an agent a token, and make the log's key as `init` does."""
    keys.generate(desk.house.settings.keys)
    for name, loaded in desk.house.registry.tools.items():
        info = loaded.info
        await desk.house.ledger.accept_tool(
            name, info.definition_hash, info.kind, by="olga", at=desk.house.now()
        )
    await enlist(desk, AGENT)


async def asked(server: Server, order: str) -> str:
    """Ask for a refund at one server; return the call that waits for a person."""
    async with connected(WIRE, server.agents, AGENT) as agent:
        said = await agent.call("shop_refund", order=order, idempotency_key=order)
    assert said.status == "pending_approval", said.text
    return str(said.data["call_id"])


async def approved(desk: Desk, call_id: str) -> None:
    """Let a person approve, in the console's process."""
    call = await desk.house.ledger.call(call_id)
    await desk.answer(await desk.house.ledger.approval(call.approval_id or ""), who="anton")


async def succeeded(desk: Desk, call_id: str) -> None:
    """Wait for a call's end."""
    end = time.monotonic() + START_S
    while (call := await desk.house.ledger.call(call_id)).state is not CallState.SUCCEEDED:
        assert time.monotonic() < end, (call.state, call.code, call.message)
        await desk.house.ledger.wait_changes(await desk.house.ledger.log_size(), 0.05)


async def noticed_s(desk: Desk, call_id: str) -> float:
    """Return how long after its verdict a call was claimed, by the log's own instants."""
    entries = (await desk.house.ledger.timeline(call_id)).entries
    at = {entry.kind: entry.at for entry in entries}
    return (at["call.claimed"] - at["call.approved"]).total_seconds()


async def test_two_servers_on_one_database_do_each_approved_call_once(
    console: tuple[Place, Desk], shop: Shop
) -> None:
    """Any may claim an approved call, one does; any tells how it ended; one is killed, the other goes on."""
    place, desk = console
    async with serving(place) as one, serving(place) as two:
        waiting = [await asked((one, two)[number % 2], f"ord_{number}") for number in range(CALLS)]
        last = waiting.pop()
        for call_id in waiting:
            await approved(desk, call_id)
            await succeeded(desk, call_id)
        assert shop.requests() == len(waiting)
        noticed = sorted([await noticed_s(desk, call_id) for call_id in waiting])
        # 250 ms to notice and 100 ms to start, on a crowded machine; the best of five.
        assert noticed[0] < 0.5, noticed
        async with connected(WIRE, two.agents, AGENT) as agent:
            assert (await agent.call("call_status", call_id=waiting[0])).status == "succeeded"
        one.process.send_signal(signal.SIGKILL)
        assert await one.ended() == -signal.SIGKILL
        await approved(desk, last)
        await succeeded(desk, last)
    assert shop.requests() == CALLS


async def test_a_server_told_to_stop_answers_what_is_open(copied: Path, shop: Shop) -> None:
    """One handler for all listeners: what runs is settled and told, then both are closed."""
    place = await a_place(copied, shop)
    async with opened(place, work=False) as desk:
        await allowed(desk)
    async with serving(place) as server, connected(WIRE, server.agents, AGENT) as agent:
        shop.fault("slow", seconds=0.4)
        item: dict[str, Any] = {"item": "thing", "vendor": "v.example", "amount": "5.00 USD"}
        open_call = asyncio.create_task(agent.call("shop_buy", idempotency_key="key", **item))
        while not await asyncio.to_thread(shop.requests):
            assert not open_call.done()
        server.process.send_signal(signal.SIGTERM)
        assert (await open_call).status in {"in_progress", "succeeded"}  # Told at once, or as it ended.
        assert await server.ended() == 0
        for address in (f"http://{server.agents}", server.web):
            with pytest.raises(httpx.ConnectError):
                await asyncio.to_thread(httpx.get, f"{address}/healthz")
    async with opened(place, work=False) as desk:
        calls = (await desk.house.ledger.calls()).items
        assert [call.state for call in calls] == [CallState.SUCCEEDED]
    assert len(shop.orders()) == 1
