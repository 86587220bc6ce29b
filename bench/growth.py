"""Measure how a ledger's calls and pages fare as it grows: at a thousand calls, and at a million.

    python bench/growth.py [--json] [--calls N] [--folder DIR]

SQLite, WAL and FULL, a lone caller. The first thousand calls run through the ledger. The rest is loaded with
SQL, as copies of the last of them under ids, keys, payees and instants of their own: calls, keys, attempts,
four reservations each, payees, three entries of the log each with their tree, and a request for every tenth.
The loaded part of the log has the real size and shape but hashes of nothing, so `verify` would rightly refuse
it; payloads, which nothing reads here, are left out. Then the same calls and pages are timed again, with a
fresh process's caches. Ends with 1 if a goal fails.
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from growth_load import bulk_load
from ledger_floors import timed
from ledger_shop import JUDGE, POLICY, Shop, open_shop

from bench.figures import Result, exit_code, print_json, show
from ledger.ledger import open_ledger
from ledger.reads import CallFilter

FIRST = 1_000  # Calls that run through the ledger before anything is measured.
WAITING = 80  # Requests that wait for a person: more than a page.
MEASURED = 400  # Calls timed at each size.
PAGES = 40  # Times that each page is read.
RATIO, PAGE_MS = 1.3, 20.0  # The goals.
ASKING = f"""{POLICY}
  - id: ask
    match: {{kind: spend, amount: {{above: "300.00 USD"}}}}
    effect: require_approval
    approval: desk
approvals:
  - {{id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h}}
limits: {{open_requests: 200}}
"""


class Seen(NamedTuple):
    """What was measured at one size: a call's and each page's p50, in milliseconds."""

    calls: int
    call_ms: float
    pages_ms: dict[str, float]


async def measure(path: Path, shop: Shop, size: int) -> Seen:
    """Open the ledger afresh and time calls and pages."""
    shop.ledger = await open_ledger(
        f"sqlite:///{path}", judge=JUDGE, clock=lambda: dt.datetime.now(dt.UTC), ids=shop.ids
    )
    try:
        await timed(shop.call, 50, 1)
        each = await timed(shop.call, MEASURED, 1)
        return Seen(size, statistics.median(each.each_ms), await pages(shop))
    finally:
        await shop.ledger.close()


async def pages(shop: Shop) -> dict[str, float]:
    """Time the pages that the console and the tools show: the first ones, and one far down."""
    ledger = shop.ledger
    newest = await ledger.calls()
    ordinal = int(newest.after or 0)
    far, mine = str(max(ordinal // 2, 60)), CallFilter(agent="scout")
    run, state = CallFilter(run_id=shop.run), CallFilter(states=("succeeded",))
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "queue": ledger.queue,
        "history": ledger.calls,
        "history, half way down": lambda: ledger.calls(after=far),
        "history of an agent": lambda: ledger.calls(mine, after=far),
        "history of a run": lambda: ledger.calls(run, after=far),
        "history by state": lambda: ledger.calls(state),
        "one call's timeline": lambda: ledger.timeline(newest.items[-1].call_id),
        "log": ledger.entries,
    }
    return {name: await page_ms(read) for name, read in reads.items()}


async def page_ms(read: Callable[[], Awaitable[object]]) -> float:
    """Return the median time of one page."""
    times = []
    for _ in range(PAGES):
        begun = time.perf_counter()
        await read()
        times.append((time.perf_counter() - begun) * 1_000)
    return statistics.median(times)


async def grow(folder: Path, calls: int) -> tuple[Seen, Seen, float]:
    """Measure at a thousand calls, load the rest, measure again."""
    path = folder / "growth.db"
    shop = await open_shop(f"sqlite:///{path}", ASKING)
    await timed(shop.call, FIRST, 16)
    for _ in range(WAITING):
        await shop.ask()
    await shop.ledger.close()
    small = await measure(path, shop, FIRST)
    begun = time.perf_counter()
    bulk_load(path, calls - FIRST)
    loading = time.perf_counter() - begun
    return small, await measure(path, shop, calls), loading


def main() -> int:
    """Print the table, and with --json one last line for machines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the file of some 6 GB is made and removed again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        small, large, loading = asyncio.run(grow(Path(name), given.calls))
        size = (Path(name) / "growth.db").stat().st_size
    print(f"The floors are p50 at {small.calls:,} calls; the figures, at {large.calls:,}.")
    results = compared(small, large)
    show(results)
    print(f"Loaded by SQL in {loading:.0f} s; the file has {size / 1e9:.2f} GB.")
    if given.json:
        print_json(results)
    return exit_code(results)


def compared(small: Seen, large: Seen) -> list[Result]:
    """Return what was measured at many calls beside the same at few."""
    ratio, most = large.call_ms / small.call_ms, f"< {PAGE_MS:.0f} ms"
    call = Result("a call", large.call_ms, "ms", small.call_ms, ratio, f"<= {RATIO} x", ratio <= RATIO)
    pairs = ((page, ms, small.pages_ms[page]) for page, ms in large.pages_ms.items())
    return [call, *(Result(page, ms, "ms", was, ms / was, most, ms < PAGE_MS) for page, ms, was in pairs)]


if __name__ == "__main__":
    sys.exit(main())
