"""How soon a house serves, what it keeps in memory while idle, and what a list of tools costs.

    python bench/start.py [--starts 3] [--json]

A house is made as `bursar init` makes it, with the shipped policy and plugins, and served by `bursar serve`
in a process of its own. Each start after the first is a warm one: the operating system has the files.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
META: Final = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
IDLE_S: Final = 5.0  # What a start leaves behind is let go of by then.
LISTS: Final = 50
KITS: Final = (("sell", "buy"), ("buy", "care"), ("sell", "care"), ("fulfil", "buy"), ("fulfil", "care"))
MOST_START_S, MOST_MEMORY_MB, MOST_LIST_MS, MOST_LIST_BYTES = 4.0, 160, 100, 18_432


def main() -> int:
    """Measure, print, and say whether the goals hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bursar-start-") as folder:
        os.chdir(folder)
        tokens = asyncio.run(make())
        results = measure(tokens, args.starts)
    for each in results:
        held = "holds" if each["holds"] else "MISSED"
        print(f"{each['name']:44}{each['figure']:>10} {each['unit']:<8} goal {each['goal']}: {held}")
    if args.json:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        said = {"command": f"python bench/start.py --starts {args.starts}", "machine": machine}
        print(json.dumps({"results": results, **said, "date": datetime.now(UTC).isoformat()}))
    return 0 if all(each["holds"] for each in results) else 1


async def make() -> dict[tuple[str, ...], str]:
    """Make a house with an agent for each pair of kits that one token may hold, and return their tokens."""
    from ledger.ledger import open_ledger
    from tool_server.bootstrap import Wiring, judge_of
    from tool_server.cli import init
    from tool_server.identity import TokenKind, mint, token_sha256
    from tool_server.ids import id_maker
    from tool_server.settings import Settings

    wiring, url = Wiring(), "sqlite:///bursar.db"
    settings = Settings(db="bursar.db", policies=Path("policies.yaml"), keys=Path("keys"))
    wanted = argparse.Namespace(account="Bench", project="bench", owner="olga")
    await init._make(settings, wanted, "")  # What `bursar init` does, without its terminal.
    tokens: dict[tuple[str, ...], str] = {kits: mint(TokenKind.AGENT, secrets.token_bytes) for kits in KITS}
    new_id = id_maker(wiring.now, wiring.random_bytes)
    async with await open_ledger(url, judge=judge_of({}), clock=wiring.now, ids=new_id) as ledger:
        for kits, token in tokens.items():
            await ledger.add_agent(
                name="-".join(kits),
                project="bench",
                kits=kits,
                token_sha256=token_sha256(token),
                by="system:init",
                at=wiring.now(),
            )
    return tokens


def measure(tokens: dict[tuple[str, ...], str], starts: int) -> list[dict[str, Any]]:
    """Start the house again and again, and look at it the last time."""
    took: list[float] = []
    for _ in range(starts):
        with served() as (_, _, seconds):
            took.append(seconds)
    with served() as (process, agents, _):
        time.sleep(IDLE_S)
        memory = _memory_mb(process.pid)
        lists = {kits: _listed(agents, token) for kits, token in tokens.items()}
    largest = max(lists, key=lambda kits: lists[kits][1])
    ms, size, count = lists[largest]
    return [
        _row("first served page, warm start", statistics.median(took), "s", MOST_START_S),
        _row("memory while idle", memory, "MB", MOST_MEMORY_MB),
        _row(f"tools/list, {count} tools of {'+'.join(largest)}", ms, "ms", MOST_LIST_MS),
        _row("tools/list, size", size, "bytes", MOST_LIST_BYTES),
    ]


@contextmanager
def served() -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Serve the house; give its process, the agents' address, and seconds until a page was served."""
    command = [sys.executable, "-m", "tool_server.cli", "serve", "--json"]
    command += ["--agents", "127.0.0.1:0", "--web", "127.0.0.1:0"]
    begun = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        if process.stdout is None:
            raise AssertionError("the server has no output")
        said = json.loads(process.stdout.readline())["serving"]
        httpx.get(f"{said['web']}/", follow_redirects=True, trust_env=False).raise_for_status()
        yield process, said["agents"], time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(timeout=30)


def _listed(address: str, token: str) -> tuple[float, int, int]:
    """Return the median milliseconds of tools/list, the bytes of its tools as JSON, and their number."""
    headers = {
        "authorization": f"Bearer {token}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/list",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
    took: list[float] = []
    tools: list[Any] = []
    with httpx.Client(headers=headers, timeout=30, trust_env=False) as http:
        for _ in range(LISTS):
            begun = time.perf_counter()
            answer = http.post(address, json=body)
            took.append((time.perf_counter() - begun) * 1000)
            tools = answer.json()["result"]["tools"]
            time.sleep(1 / 50)  # One agent may ask sixty times a second.
    return statistics.median(took), len(json.dumps(tools, separators=(",", ":")).encode()), len(tools)


def _row(name: str, figure: float, unit: str, goal: float) -> dict[str, Any]:
    shown = round(figure, 2)
    ratio = round(figure / goal, 2)
    held = figure <= goal
    return {
        "name": name,
        "figure": shown,
        "unit": unit,
        "floor": None,
        "ratio": ratio,
        "goal": goal,
        "holds": held,
    }


def _memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
