"""The simulator of a demo: a child process that ends with its parent and remembers everything in a file."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from policy.errors import ConfigurationError
from tool_server.cli.demo_place import Place

_START_S: Final = 30.0  # It takes one; a machine that needs thirty would not play the demo either.
_STOP_S: Final = 5.0  # It saves its state and goes.
_ANSWER_S: Final = 10.0  # A control of the simulator answers in milliseconds.


@asynccontextmanager
async def simulator(place: Place, *, seed: int | None = None) -> AsyncIterator[dict[str, Any]]:
    """Run the simulator for as long as the block runs; give the line it introduces itself with."""
    seeded = () if seed is None else ("--seed", str(seed))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "plugins.payments.simulator", "--with-parent", *seeded),
        *("--state", str(place.folder / "simulator.json")),
        *("--webhook", f"{place.console_url}/webhooks/stripe"),
        *("--issuing-webhook", f"{place.console_url}/webhooks/stripe/issuing"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1_048_576,  # Bytes of the one line.
        start_new_session=True,  # Ctrl-C is for the demo, which then ends it in order.
    )
    try:
        # Its start and our own imports take a second each, and there is more than one core.
        line, _ = await asyncio.gather(_introduction(process), asyncio.to_thread(_import_the_house))
        yield line
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _import_the_house() -> None:
    for name in ("tool_server.bootstrap", "tool_server.agents", "webhooks.web", "plugins.payments.plugin"):
        importlib.import_module(name)


async def _introduction(process: asyncio.subprocess.Process) -> dict[str, Any]:
    if process.stdout is None:
        raise AssertionError("the pipe was asked for")
    try:
        line = await asyncio.wait_for(process.stdout.readline(), _START_S)
        found: dict[str, Any] = json.loads(line)
    except (TimeoutError, ValueError):
        raise ConfigurationError("the simulator did not start; try `./run --again`") from None
    return found


class Controls:
    """What the demo asks of the simulator: its truth, and what shall go wrong."""

    def __init__(self, address: str) -> None:
        self._client = httpx.AsyncClient(base_url=address, timeout=_ANSWER_S, trust_env=False)

    async def fault(self, kind: str, match: str, **more: object) -> None:
        """Let one thing go wrong."""
        fault = {"kind": kind, "match": match, **more}
        answer = await self._client.post("/_sim/faults", json={"faults": [fault]})
        answer.raise_for_status()

    async def no_fault(self) -> None:
        """Let nothing more go wrong."""
        answer = await self._client.delete("/_sim/faults")
        answer.raise_for_status()

    async def effects(self) -> list[dict[str, Any]]:
        """Return everything through which money moved."""
        return list((await self._get("/_sim/effects"))["effects"])

    async def count(self, kind: str) -> int:
        """Return how many objects of a kind there are."""
        return int((await self._get("/_sim"))["objects"].get(kind, 0))

    async def deliveries(self) -> list[dict[str, Any]]:
        """Return each delivery that was made."""
        return list((await self._get("/_sim/deliveries"))["deliveries"])

    async def close(self) -> None:
        """Let go."""
        await self._client.aclose()

    async def _get(self, path: str) -> dict[str, Any]:
        answer = await self._client.get(path)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


async def make_price(address: str, key: str, *, name: str, minor_units: int) -> tuple[str, str]:
    """Make a product with one price at the simulator, as an owner does at Stripe; return their ids."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, trust_env=False) as client:
        product = await client.post("/v1/products", data={"name": name}, timeout=_ANSWER_S)
        product.raise_for_status()
        reference = str(product.json()["id"])
        wanted = {"product": reference, "unit_amount": str(minor_units), "currency": "usd"}
        price = await client.post("/v1/prices", data=wanted, timeout=_ANSWER_S)
        price.raise_for_status()
        return reference, str(price.json()["id"])
