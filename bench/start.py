"""How soon a house serves, what it keeps in memory while idle, and what a list of tools costs.

    python bench/start.py [--starts 3] [--json]

A house is made as `bursar init` makes it, with the shipped policy and plugins, and served by `bursar serve`
in a process of its own. Each start after the first is a warm one: the operating system has the files.
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import child, wire
from bench.figures import Result, at_most, exit_code, print_json, show

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
    show(results)
    if args.json:
        print_json(results)
    return exit_code(results)


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


def measure(tokens: dict[tuple[str, ...], str], starts: int) -> list[Result]:
    """Start the house again and again, and look at it the last time."""
    took: list[float] = []
    for _ in range(starts):
        with served() as (_, _, seconds):
            took.append(seconds)
    with served() as (pid, agents, _):
        time.sleep(IDLE_S)
        memory = child.memory_mb(pid)
        lists = {kits: _listed(agents, token) for kits, token in tokens.items()}
    largest = max(lists, key=lambda kits: lists[kits][1])
    ms, size, count = lists[largest]
    return [
        at_most("first served page, warm start", statistics.median(took), "s", MOST_START_S),
        at_most("memory while idle", memory, "MB", MOST_MEMORY_MB),
        at_most(f"tools/list, {count} tools of {'+'.join(largest)}", ms, "ms", MOST_LIST_MS),
        at_most("tools/list, size", size, "bytes", MOST_LIST_BYTES),
    ]


@contextmanager
def served() -> Iterator[tuple[int, str, float]]:
    """Serve the house; give its process id, the agents' address, and seconds until a page was served."""
    command = [sys.executable, "-m", "tool_server.cli", "serve", "--json"]
    command += ["--agents", "127.0.0.1:0", "--web", "127.0.0.1:0"]
    begun = time.perf_counter()
    with child.serving(command, folder=".", said='{"serving"', quiet=True) as (pid, line):
        addresses = json.loads(line)["serving"]
        httpx.get(f"{addresses['web']}/", follow_redirects=True, trust_env=False).raise_for_status()
        yield pid, addresses["agents"], time.perf_counter() - begun


def _listed(address: str, token: str) -> tuple[float, int, int]:
    """Return the median milliseconds of tools/list, the bytes of its tools as JSON, and their number."""
    headers, body = wire.headers(token, "tools/list"), wire.body("tools/list")
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


if __name__ == "__main__":
    sys.exit(main())
