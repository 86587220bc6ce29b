"""A thousand connected agents, a hundred mixed calls a second for a minute: none lost, memory stays.

    python bench/load.py [--agents 1000] [--rate 100] [--seconds 60] [--json]

Calls leave at their due times whether or not earlier ones are answered, so a slow server shows as waiting,
not as fewer calls. The provider answers at once: what is measured is the house itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
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
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        from bench.governed_call import bursar

        asyncio.run(bursar(args.serve))
        return 0
    results = asyncio.run(measure(args))
    for each in results:
        goal = (
            ""
            if each["goal"] is None
            else f"   goal {each['goal']}: {'holds' if each['holds'] else 'MISSED'}"
        )
        print(f"{each['name']:34}{each['figure']:>10} {each['unit']:<8}{goal}")
    if args.json:
        said = " ".join(["python bench/load.py", *(word for word in sys.argv[1:] if word != "--json")])
        machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        when = datetime.now(UTC).isoformat()
        print(json.dumps({"results": results, "command": said, "machine": machine, "date": when}))
    return 0 if all(each["holds"] for each in results) else 1


async def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Serve a house, connect the agents, call at the rate, and return the figures."""
    with tempfile.TemporaryDirectory(prefix="bursar-load-") as folder:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program; nothing runs beside it yet
            [sys.executable, __file__, "--serve", str(args.agents)],
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            if process.stdout is None:
                raise AssertionError("the server has no output")
            line = next(line for line in process.stdout if line.startswith("serving "))
            _, port, *tokens = line.split()
            limits = httpx.Limits(max_connections=args.agents, max_keepalive_connections=args.agents)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=PATIENCE_S
            ) as http:
                return await _load(http, tokens, args, process.pid)
        finally:
            process.kill()
            process.wait()


async def _load(
    http: httpx.AsyncClient, tokens: list[str], args: argparse.Namespace, pid: int
) -> list[dict[str, Any]]:
    for start in range(0, len(tokens), 50):
        await asyncio.gather(*(_call(http, token, "calls_list") for token in tokens[start : start + 50]))
    draw, before, began = random.Random(args.seed), _memory_mb(pid), time.perf_counter()
    names, weights = [name for name, _ in MIX], [weight for _, weight in MIX]
    tasks = []
    for number in range(int(args.rate * args.seconds)):
        await asyncio.sleep(max(0.0, began + number / args.rate - time.perf_counter()))
        tool = draw.choices(names, weights)[0]
        tasks.append(asyncio.create_task(_call(http, draw.choice(tokens), tool)))
    took = await asyncio.gather(*tasks)
    answered = sorted(ms for ms in took if ms is not None)
    lost, growth = len(took) - len(answered), _memory_mb(pid) - before
    p50, p99 = (answered[int(len(answered) * share)] if answered else float("inf") for share in (0.5, 0.99))
    return [
        _row("connected agents", len(tokens), "", None),
        _row("calls", len(took), "", None),
        _row("lost", lost, "calls", 0),
        _row("answer, median", p50, "ms", None),
        _row("answer, 99 of 100 within", p99, "ms", MOST_P99_MS),
        _row("memory growth", growth, "MB", MOST_GROWTH_MB),
    ]


def _row(name: str, figure: float, unit: str, goal: float | None) -> dict[str, Any]:
    shown = round(figure, 1)
    ratio = None if not goal else round(figure / goal, 2)
    return {
        "name": name,
        "figure": shown,
        "unit": unit,
        "floor": None,
        "ratio": ratio,
        "goal": goal,
        "holds": goal is None or figure <= goal,
    }


async def _call(http: httpx.AsyncClient, token: str, tool: str) -> float | None:
    """Make one call and return its milliseconds; None where it was not answered as it should be."""
    arguments: dict[str, Any] = {"text": "x"} if tool == "bench_read" else {}
    if tool == "bench_buy":
        name = secrets.token_hex(8)
        arguments = {"vendor": f"v{name}.example", "amount": "0.01 USD", "idempotency_key": f"load-{name}"}
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    params = {"name": tool, "arguments": arguments, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    start = time.perf_counter()
    try:
        answer = await http.post("/mcp", json=body, headers=headers)
        said = answer.json()["result"]["structuredContent"]["status"]
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return (time.perf_counter() - start) * 1000 if said == "succeeded" else None


def _memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
