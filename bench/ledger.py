"""Measure the ledger: whole calls (admit, claim, settle) with four caps, a decision each time, and their log.

    python bench/ledger.py [--json] [--calls N] [--postgres URL]

SQLite, WAL and FULL: a lone caller and 64 callers. The floor is measured in the same run: every INSERT and
UPDATE that the lone caller's calls wrote is written again with plain sqlite3, one durable commit per step,
and nothing else: no reads, no decision, no guards. PostgreSQL (where a URL is given): 16 callers on one hot
cap, beside the same steps committed call by call under row locks with plain asyncpg. CPU is that of this
process. Ends with 1 if a goal fails.
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import statistics
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import asyncpg
from ledger_floors import Recorder, Timed, administer_tables, floor, row_locks, state_before, timed
from ledger_shop import JUDGE, open_shop

from bench.figures import Result, exit_code, print_json, show
from ledger.ledger import open_ledger

WARM = 200  # Calls before the clock runs: prepared statements, caches, the file's first pages.


# --- SQLite ----------------------------------------------------------------------------------------------


async def lone(folder: Path, calls: int) -> tuple[Timed, Timed]:
    """Time a lone caller, and the floor of the very same writes."""
    path = folder / "lone.db"
    recorder = Recorder(path)
    shop = await open_shop(f"sqlite:///{path}", connect=recorder.connect)
    await timed(shop.call, WARM, 1)
    await shop.ledger.close()
    copy = folder / "floor.db"
    copy.write_bytes(path.read_bytes())
    shop.ledger = await open_ledger(
        f"sqlite:///{path}", judge=JUDGE, clock=lambda: dt.datetime.now(dt.UTC), ids=shop.ids,
        options={"connect": recorder.connect},
    )  # fmt: skip
    await timed(shop.call, 20, 1)
    recorder.commits.clear()
    recorder.recording = True
    # The floor needs the rows of these twenty as well; they are written before its clock runs.
    ours = await timed(shop.call, calls, 1)
    await shop.ledger.close()
    return ours, floor(state_before(copy, path, recorder.commits), recorder.commits)


async def crowd(url: str, calls: int, callers: int) -> Timed:
    """Time many callers at once."""
    shop = await open_shop(url)
    await timed(shop.call, WARM, callers)
    if url.startswith("postgresql"):
        # Autovacuum does so within a minute; until then PostgreSQL plans as if every table were empty.
        connection = await asyncpg.connect(url)
        await connection.execute("ANALYZE")
        await connection.close()
    found = await timed(shop.call, calls, callers)
    await shop.ledger.close()
    return found


# --- PostgreSQL ------------------------------------------------------------------------------------------


async def postgres(url: str, calls: int) -> list[Result]:
    """Compare with row locks on a database of its own."""
    administer = await asyncpg.connect(url)
    await administer.execute("DROP DATABASE IF EXISTS bursar_bench")
    await administer.execute("CREATE DATABASE bursar_bench")
    await administer.close()
    own = urlsplit(url)._replace(path="/bursar_bench").geturl()
    peer = await row_locks(own, calls // 4, 16)
    await administer_tables(own)
    ours = await crowd(own, calls, 16)
    ratio = ours.rate / peer.rate
    return [
        Result(
            "PostgreSQL, 16 callers, one hot cap",
            ours.rate,
            "calls/s",
            peer.rate,
            ratio,
            ">= 4 x",
            ratio >= 4,
        ),
        Result(
            "PostgreSQL, CPU of this process",
            ours.cpu_us,
            "us/call",
            peer.cpu_us,
            ours.cpu_us / peer.cpu_us,
            "",
            holds=True,
        ),
    ]


# --- the table -------------------------------------------------------------------------------------------


def p50(times: Timed) -> float:
    """Return the median of a run's calls, in milliseconds."""
    return statistics.median(times.each_ms)


async def measure(calls: int, url: str | None) -> list[Result]:
    """Take every figure."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".bench" if (ROOT / ".bench").exists() else None) as name:
        folder = Path(name)
        one, bottom = await lone(folder, max(200, calls // 4))
        many = await crowd(f"sqlite:///{folder / 'many.db'}", calls, 64)
    slower, faster = p50(one) / p50(bottom), many.rate / bottom.rate
    out = [
        Result(
            "SQLite, a lone caller, p50", p50(one), "ms/call", p50(bottom), slower, "<= 2.5 x", slower <= 2.5
        ),
        Result("SQLite, 64 callers", many.rate, "calls/s", bottom.rate, faster, ">= 3 x", faster >= 3),
        Result(
            "SQLite, 64 callers, CPU",
            many.cpu_us,
            "us/call",
            bottom.cpu_us,
            many.cpu_us / bottom.cpu_us,
            "<= 300 us",
            many.cpu_us <= 300,
        ),
        Result(
            "SQLite, 64 callers, p50",
            p50(many),
            "ms/call",
            p50(bottom),
            p50(many) / p50(bottom),
            "",
            holds=True,
        ),
    ]
    return out + (await postgres(url, calls) if url else [])


def main() -> int:
    """Print the table, and with --json one last line for machines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=6_000)
    parser.add_argument("--postgres", metavar="URL")
    given = parser.parse_args()
    results = asyncio.run(measure(given.calls, given.postgres))
    show(results)
    print(
        "What limits it: many callers, the writer's Python on one core; a lone one, three waits for the disk."
    )
    if given.json:
        print_json(results)
    return exit_code(results)


if __name__ == "__main__":
    sys.exit(main())
