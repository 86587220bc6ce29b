"""How fast events come in, and how fast they become orders.

    python bench/webhook.py [--json] [--events N] [--orders N]

The floor is a bare Litestar route that checks the same HMAC, driven by the same senders in the same run.
Ingest writes each event durably (SQLite, synchronous=FULL) before it answers. Senders, simulator and house
share one process, so all figures are lower bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson
from litestar import Litestar, Request, Response, post

from bench.figures import Result, at_most, print_json, show
from plugins.payments.simulator.webhooks import sign
from tests.webhooks.rig import URL, Rig, delivery, rig_on, secret_of
from webhooks.signatures import check

SENDERS = 16


def floor_app(rig: Rig) -> Litestar:
    """Return the floor: the same HMAC, and nothing else."""

    @post("/webhooks/stripe", status_code=200)
    async def bare(request: Request[Any, Any, Any]) -> Response[str]:
        body = await request.body()
        now = int(rig.clock().timestamp())
        check(request.headers.get("stripe-signature"), body, rig.deps.secrets, now)
        return Response("", media_type="text/plain")

    return Litestar([bare], openapi_config=None, logging_config=None)


def signed(rig: Rig, number: int, prefix: str) -> tuple[bytes, dict[str, str]]:
    """Return one signed event of the usual size."""
    thing = {
        "id": f"cs_{prefix}{number}",
        "object": "checkout.session",
        "metadata": {},
        "filler": "x" * 1_500,
    }
    event = {
        "id": f"evt_{prefix}{number}",
        "object": "event",
        "type": "checkout.session.completed",
        "livemode": False,
        "created": int(rig.clock().timestamp()),
        "data": {"object": thing},
    }
    body = orjson.dumps(event)
    header = sign(body, [secret_of(rig.deps.secrets)], int(rig.clock().timestamp()))
    return body, {"content-type": "application/json", "stripe-signature": header}


async def drive(app: Litestar, requests: list[tuple[bytes, dict[str, str]]]) -> tuple[float, list[float]]:
    """Send all requests from SENDERS senders; return events per second and each one's milliseconds."""
    deliver, waiting, took = delivery(app), iter(requests), list[float]()

    async def sender() -> None:
        for body, headers in waiting:
            began = time.perf_counter()
            await asyncio.sleep(0)  # All senders have a request under way, as over sockets.
            answer = await deliver(URL, body, headers)
            took.append((time.perf_counter() - began) * 1_000)
            assert answer.status == 200, answer

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return len(requests) / (time.perf_counter() - began), took


async def ingest(rig: Rig, events: int) -> list[Result]:
    """Measure ingest beside its floor."""
    bare = floor_app(rig)
    await drive(bare, [signed(rig, n, "warm") for n in range(100)])
    await drive(rig.app, [signed(rig, n, "hot") for n in range(100)])
    floor_rate, floor_ms = await drive(bare, [signed(rig, n, "floor") for n in range(events)])
    rate, ms = await drive(rig.app, [signed(rig, n, "real") for n in range(events)])
    floor_p50, p50 = statistics.median(floor_ms), statistics.median(ms)
    slower = p50 / floor_p50
    return [
        Result("ingest p50 at 16 senders", p50, "ms", floor_p50, slower, "<= 2.5 x", slower <= 2.5),
        Result("ingest", rate, "events/s", floor_rate, rate / floor_rate, ">= 500", rate >= 500),
    ]


async def backlog(rig: Rig, orders: int) -> list[Result]:
    """Measure how fast a backlog of paid sessions is worked, one fetch for each, and from event to effect."""
    sessions = [(await rig.checkout())[1] for _ in range(orders)]
    rig.sim.hooks.targets.clear()
    for session in sessions:
        assert (await rig.pay(session)).status_code == 303
    events = [row for row in rig.sim.world.all("event") if row["type"] == "checkout.session.completed"]
    deliver = delivery(rig.app)
    latencies = []
    for event in events[: orders // 4]:
        began = time.perf_counter()
        await deliver(URL, *_signed(rig, event))
        while await rig.worker.work_due():
            pass
        latencies.append((time.perf_counter() - began) * 1_000)
    rest = events[orders // 4 :]
    for event in rest:
        await deliver(URL, *_signed(rig, event))
    began = time.perf_counter()
    while await rig.worker.work_due():
        pass
    rate = len(rest) / (time.perf_counter() - began)
    booked = await rig.ledger.orders(limit=10_000)
    assert len(booked.items) == orders, "a bench that booked something else measured nothing"
    p99 = sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    return [
        at_most("event to effect p99", p99, "ms", 1_000),
        Result("backlog, one fetch per object", rate, "events/s", None, None, ">= 100", rate >= 100),
    ]


def _signed(rig: Rig, event: Any) -> tuple[bytes, dict[str, str]]:  # noqa: ANN401 -- the simulator's JSON
    body = orjson.dumps(event)
    header = sign(body, [secret_of(rig.deps.secrets)], int(rig.clock().timestamp()))
    return body, {"content-type": "application/json", "stripe-signature": header}


async def measured(events: int, orders: int) -> list[Result]:
    """Run everything on a new ledger."""
    with tempfile.TemporaryDirectory() as folder:
        async with rig_on(f"sqlite:///{folder}/ingest.db") as rig:
            rows = await ingest(rig, events)
        async with rig_on(f"sqlite:///{folder}/backlog.db") as rig:
            return [*rows, *await backlog(rig, orders)]


def main() -> int:
    """Measure, print the table, and with --json one last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--orders", type=int, default=120)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = asyncio.run(measured(args.events, args.orders))
    show(rows)
    if args.json:
        print_json(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
