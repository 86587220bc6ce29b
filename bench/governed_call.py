"""What a governed call costs beside the floor: a bare server of the same SDK, a no-op tool, a bearer token.

    python bench/governed_call.py [--calls 600] [--json]

Every server is a process of its own, Bursar on SQLite with synchronous=FULL; the client speaks raw HTTP in
the era of 2026 over kept connections. CPU is the server's own, of all its threads. The machine's other work
still shows in it: by cold caches, and by the house's clocks and looks, which a slow run spreads over fewer
calls. fastmcp brings forty packages that Bursar has no use for, so it lives in an environment of its own:

    python -m venv elsewhere && elsewhere/bin/pip install fastmcp httptools
    python bench/governed_call.py --fastmcp elsewhere/bin/python
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import child, wire
from bench.figures import Result, exit_code, print_json
from bench.house import purchase

Arguments = Callable[[], dict[str, Any]]
BURSAR = (sys.executable, "-m", "bench.house", "1")
PEERS = ("-m", "bench.peers")


class Cost(NamedTuple):
    """What a call took of the server's CPU, at one caller and at sixteen, and calls a second at sixteen."""

    alone_ms: float
    crowd_ms: float
    rate: float


def main() -> int:
    """Measure, print a table, and say whether the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--fastmcp", default="", metavar="PYTHON", help="an interpreter that has fastmcp")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    print(f"{'':20}{'CPU ms, 1':>11}{'ratio':>7}{'goal':>6}{'CPU ms, 16':>11}{'ratio':>7}", end="")
    print(f"{'calls/s, 16':>13}{'ratio':>7}{'goal':>6}")
    results = asyncio.run(measure(args.calls, args.fastmcp))
    if args.json:
        print_json(results)
    return exit_code(results)


async def measure(calls: int, fastmcp: str) -> list[Result]:
    """Run every server, print a row for each, and return figures beside the floor of the same run."""
    floor = await run((sys.executable, *PEERS, "floor"), "noop", calls, lambda: {"n": 1})
    results = beside(floor, "floor: no-op tool", floor)
    effect = await run(BURSAR, "bench_buy", calls, purchase)
    results += beside(floor, "allowed purchase", effect, most_cpu=1.6, least_rate=0.6)
    read = await run(BURSAR, "bench_read", calls, lambda: {"text": "x"})
    results += beside(floor, "read", read, most_cpu=1.25)
    results += beside(floor, "my_status", await run(BURSAR, "my_status", calls, dict))
    if not fastmcp:
        print("fastmcp, no policy   not compared; --fastmcp PYTHON names one that has it")
        return results
    peer = await run((fastmcp, *PEERS, "fastmcp"), "noop", calls, lambda: {"n": 1})
    results += beside(floor, "fastmcp, no policy", peer)
    ratio = effect.alone_ms / peer.alone_ms
    print(f"an allowed purchase takes {ratio:.2f} of the CPU of fastmcp's no-op (goal: below 1)")
    words = "purchase beside fastmcp: CPU"
    return [*results, Result(words, effect.alone_ms, "ms/call", peer.alone_ms, ratio, 1.0, ratio <= 1)]


def beside(
    floor: Cost, name: str, got: Cost, *, most_cpu: float | None = None, least_rate: float | None = None
) -> list[Result]:
    """Print a server's row, and return its figures beside the floor's."""
    cpu, crowd, rate = (mine / base for mine, base in zip(got, floor, strict=True))
    print(
        f"{name:20}{got.alone_ms:11.2f}{cpu:7.2f}{most_cpu or '':>6}{got.crowd_ms:11.2f}{crowd:7.2f}"
        f"{got.rate:13.0f}{rate:7.2f}{least_rate or '':>6}"
    )
    cheap, quick = most_cpu is None or cpu <= most_cpu, least_rate is None or rate >= least_rate
    alone, sixteen = f"{name}: server CPU, 1 caller", f"{name}: server CPU, 16 callers"
    return [
        Result(alone, got.alone_ms, "ms/call", floor.alone_ms, cpu, most_cpu, cheap),
        Result(sixteen, got.crowd_ms, "ms/call", floor.crowd_ms, crowd, None, holds=True),
        Result(f"{name}: at 16 callers", got.rate, "calls/s", floor.rate, rate, least_rate, quick),
    ]


async def run(server: tuple[str, ...], tool: str, calls: int, arguments: Arguments) -> Cost:
    """Serve, and measure calls of one tool."""
    with (
        tempfile.TemporaryDirectory(prefix="bursar-bench-") as folder,
        child.serving(server, folder=folder) as (pid, line),
    ):
        _, port, token = line.split()
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30, trust_env=False
        ) as http:
            asking = http, wire.headers(token, "tools/call", tool), tool, arguments
            await _calls(*asking, calls=100, callers=4)
            alone, _ = await _cost(pid, _calls(*asking, calls=calls, callers=1))
            crowd, took_s = await _cost(pid, _calls(*asking, calls=calls, callers=16))
            return Cost(alone * 1000 / calls, crowd * 1000 / calls, calls / took_s)


async def _cost(pid: int, work: Coroutine[Any, Any, None]) -> tuple[float, float]:
    """Return the seconds of a server's CPU, and of the clock, that some work takes."""
    begun, before = time.perf_counter(), child.cpu_s(pid)
    await work
    return child.cpu_s(pid) - before, time.perf_counter() - begun


async def _calls(
    http: httpx.AsyncClient,
    headers: dict[str, str],
    tool: str,
    arguments: Arguments,
    *,
    calls: int,
    callers: int,
) -> None:
    """Make calls, shared between callers; each must succeed, else the figure would be of something else."""
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            body = wire.body("tools/call", name=tool, arguments=arguments())
            answer = await http.post("/mcp", json=body, headers=headers)
            result = answer.json()["result"]
            said = result.get("structuredContent", {}).get("status", "succeeded")
            assert said == "succeeded", result

    await asyncio.gather(*(caller() for _ in range(callers)))


if __name__ == "__main__":
    sys.exit(main())
