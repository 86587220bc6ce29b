"""A thousand connected agents, a hundred mixed calls a second for a minute: none lost, memory stays.

    python bench/load.py [--agents 1000] [--rate 100] [--seconds 60] [--json]

Calls leave at their due times whether or not earlier ones are answered, so a slow server shows as waiting,
not as fewer calls. The provider answers at once: what is measured is the house itself.
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import child, wire
from bench.figures import Result, at_most, exit_code, print_json, show
from bench.house import purchase

MIX = (("bench_buy", 4), ("bench_read", 3), ("calls_list", 2), ("my_status", 1))  # Shares of the calls.
MOST_P99_MS, MOST_GROWTH_MB = 50, 50
PATIENCE_S = 30.0  # A call that takes longer counts as lost.


def main() -> int:
    """Measure, print, and say whether the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    results = asyncio.run(measure(args))
    show(results)
    if args.json:
        print_json(results)
    return exit_code(results)


async def measure(args: argparse.Namespace) -> list[Result]:
    """Serve a house, connect the agents, call at the rate, and return the figures."""
    server = [sys.executable, "-m", "bench.house", str(args.agents)]
    with (
        tempfile.TemporaryDirectory(prefix="bursar-load-") as folder,
        child.serving(server, folder=folder) as (pid, line),
    ):
        _, port, *tokens = line.split()
        limits = httpx.Limits(max_connections=args.agents, max_keepalive_connections=args.agents)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=PATIENCE_S, trust_env=False
        ) as http:
            return await _load(http, tokens, args, pid)


async def _load(
    http: httpx.AsyncClient, tokens: list[str], args: argparse.Namespace, pid: int
) -> list[Result]:
    for start in range(0, len(tokens), 50):
        await asyncio.gather(*(_call(http, token, "calls_list") for token in tokens[start : start + 50]))
    draw, before, began = random.Random(args.seed), child.memory_mb(pid), time.perf_counter()
    names, weights = [name for name, _ in MIX], [weight for _, weight in MIX]
    tasks = []
    for number in range(int(args.rate * args.seconds)):
        await asyncio.sleep(max(0.0, began + number / args.rate - time.perf_counter()))
        tool = draw.choices(names, weights)[0]
        tasks.append(asyncio.create_task(_call(http, draw.choice(tokens), tool)))
    took = await asyncio.gather(*tasks)
    answered = sorted(ms for ms in took if ms is not None)
    lost, growth = len(took) - len(answered), child.memory_mb(pid) - before
    p50, p99 = (answered[int(len(answered) * share)] if answered else float("inf") for share in (0.5, 0.99))
    return [
        at_most("connected agents", len(tokens), ""),
        at_most("calls", len(took), ""),
        at_most("lost", lost, "calls", 0),
        at_most("answer, median", p50, "ms"),
        at_most("answer, 99 of 100 within", p99, "ms", MOST_P99_MS),
        at_most("memory growth", growth, "MB", MOST_GROWTH_MB),
    ]


async def _call(http: httpx.AsyncClient, token: str, tool: str) -> float | None:
    """Make one call and return its milliseconds; None where it was not answered as it should be."""
    arguments: dict[str, Any] = {"text": "x"} if tool == "bench_read" else {}
    body = wire.body("tools/call", name=tool, arguments=purchase() if tool == "bench_buy" else arguments)
    headers = wire.headers(token, "tools/call", tool)
    start = time.perf_counter()
    try:
        answer = await http.post("/mcp", json=body, headers=headers)
        said = answer.json()["result"]["structuredContent"]["status"]
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return (time.perf_counter() - start) * 1000 if said == "succeeded" else None


if __name__ == "__main__":
    sys.exit(main())
