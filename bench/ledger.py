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
import itertools
import json
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import asyncpg
import msgspec

from ledger.commands import Admission, Claim, Claimed, ProcessFacts, Settlement
from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import Outcome, ProviderIdentity
from policy.decide import decide, needs
from policy.language import Kind, Mode, PayeeBasis
from policy.load import load
from policy.model import Call, Effect
from policy.money import Money

WARM = 200  # Calls before the clock runs: prepared statements, caches, the file's first pages.
STEPS = 3  # Admit, claim, settle: a durable commit each.
SIMULATOR = ProviderIdentity("acct_sim", Mode.SIMULATED, "one")
PROCESS = ProcessFacts(live_spend=False, ready={"stripe": True}, identities={"stripe": SIMULATOR})
POLICY = """
version: 1
timezone: Europe/Berlin
caps:
  - {id: account-month, per: account, window: month, limit: "9000000.00 USD"}
  - {id: project-day, per: project, window: day, limit: "9000000.00 USD"}
  - {id: run-total, per: run, window: run, limit: "9000000.00 USD"}
  - {id: agent-pace, per: agent, window: 1h, limit: "9000000 calls"}
rules:
  - {id: buy, match: {kind: [spend, provision]}, effect: allow}
  - {id: look, match: {kind: [read, draft, withdraw]}, effect: allow}
  - {id: late, match: {kind: spend, amount: {above: "500.00 USD"}}, effect: deny}
"""


class Result(NamedTuple):
    """One figure beside its floor; `holds` says whether the goal was met."""

    name: str
    figure: float
    unit: str
    floor: float
    ratio: float
    goal: str
    holds: bool


class Timed(NamedTuple):
    """What a run took: calls per second, CPU per call in microseconds, and each call's milliseconds."""

    rate: float
    cpu_us: float
    each_ms: list[float]


# --- our side --------------------------------------------------------------------------------------------


class Shop:
    """An opened ledger and calls to run through it."""

    def __init__(self, ledger: Ledger, ids: Callable[[str], str], run: str) -> None:
        self.ledger, self.ids, self.run = ledger, ids, run
        self.number = itertools.count(1)

    async def call(self) -> None:
        """Run one whole call."""
        number, at = next(self.number), dt.datetime.now(dt.UTC)
        call_id = self.ids("call")
        effect = Effect(
            kind=Kind.SPEND,
            operation="card",
            provider="stripe",
            mode=Mode.SIMULATED,
            payee=f"shop-{number}.example",
            payee_basis=PayeeBasis.CLAIMED,
            amount=Money(100, "USD"),
            summary=f"Pay 1.00 USD to shop-{number}.example",
        )
        args = {
            "vendor": effect.payee,
            "amount": "1.00 USD",
            "purpose": "a month of hosting for the new shop",
        }
        call = Call(
            tool="buy", effect=effect, account="acct", project="shop", run=self.run, agent="scout", args=args
        )
        admitted = await self.ledger.admit(
            Admission(
                call_id=call_id,
                at=at,
                call=call,
                agent_id="scout",
                tool_hash="a" * 64,
                provider_account="acct_sim",
                op_hash=f"{number:064d}",
                fingerprint=f"{number:064x}",
                args=msgspec.json.encode(args),
                process=PROCESS,
                key_required=True,
                idempotency_key=f"key-{number}",
                replay_key=f"bursar:{call_id}",
                replay_lifetime_s=86_400,
                reason="the shop must stay up",
            )
        )
        assert admitted.call.state == "queued", admitted.decision
        claimed = await self.ledger.claim(
            Claim(
                call_id=call_id,
                at=at,
                holder="bench",
                lease_s=30.0,
                process=PROCESS,
                expect=lambda _c, _r: None,
            )
        )
        assert isinstance(claimed, Claimed), claimed
        settled = await self.ledger.settle(
            Settlement(
                call_id=call_id,
                at=at,
                attempt=claimed.attempt,
                lease_token=claimed.lease_token,
                outcome=Outcome.SUCCEEDED,
                identity=SIMULATOR,
                actual=Money(100, "USD"),
                provider_ref=f"ch_{number}",
                result=b'{"charge":"ch_1","receipt":"https://example.test/receipts/1"}',
            )
        )
        assert settled.call.state == "succeeded"


async def open_shop(url: str, **options: Any) -> Shop:  # noqa: ANN401 -- options of the writer
    """Make a ledger with one agent and open it."""
    judge, counter = Judge(needs, decide, lambda text, file: load(text, file, {})), itertools.count(1)
    at = dt.datetime.now(dt.UTC)

    def ids(prefix: str) -> str:
        return f"{prefix}_{next(counter):026d}"

    await make_ledger(url, account_id="acct", name="bench", instance_id="i", judge=judge, ids=ids, at=at)
    ledger = await open_ledger(url, judge=judge, clock=lambda: at, ids=ids, options=options)
    await ledger.activate(POLICY, "policies.yaml", by="system:bench", at=at)
    await ledger.add_project("shop", by="system:bench", at=at)
    await ledger.add_agent(name="scout", project="shop", kits=("buy",), token_sha256="t", by="bench", at=at)  # noqa: S106 -- a hash of nothing
    return Shop(ledger, ids, (await ledger.standing_run("shop", at)).run_id)


async def timed(work: Callable[[], Awaitable[None]], calls: int, callers: int) -> Timed:
    """Let so many callers run so many calls together."""
    left, each_ms = itertools.repeat(None, calls), list[float]()

    async def caller() -> None:
        for _ in left:
            begun = time.perf_counter()
            await work()
            each_ms.append((time.perf_counter() - begun) * 1_000)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    return Timed(calls / wall, cpu / calls * 1e6, each_ms)


# --- SQLite ----------------------------------------------------------------------------------------------

Written = list[tuple[str, list[tuple[Any, ...]]]]


class Recorder:
    """Connections that note what they write, commit by commit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commits: list[Written] = []
        self.recording = False
        self._now: Written = []

    def connect(self) -> sqlite3.Connection:
        """Open a connection that records."""
        recorder = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, values: Any = ()) -> Cursor:  # noqa: ANN401 -- as sqlite3 has it
                recorder.note(sql, [tuple(values)])
                return super().execute(sql, values)

            def executemany(self, sql: str, rows: Any) -> Cursor:  # noqa: ANN401 -- as sqlite3 has it
                recorder.note(sql, rows)
                return super().executemany(sql, rows)

        class Connection(sqlite3.Connection):
            def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> sqlite3.Cursor:
                return super().cursor(factory)

            def commit(self) -> None:
                recorder.commit()
                super().commit()

        return sqlite3.connect(self.path, factory=Connection, check_same_thread=False)

    def note(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Note one statement that writes."""
        if self.recording and sql.startswith(("INSERT", "UPDATE")):
            self._now.append((sql, list(rows)))

    def commit(self) -> None:
        """Close one step."""
        if self._now:
            self.commits.append(self._now)
            self._now = []


def floor(copy: Path, commits: Sequence[Written]) -> Timed:
    """Write the same bytes again with plain sqlite3, one durable commit per step."""
    connection = sqlite3.connect(copy, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    steps_ms: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    for written in commits:
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for sql, rows in written:
            connection.executemany(sql, rows)
        connection.execute("COMMIT")
        steps_ms.append((time.perf_counter() - start) * 1_000)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    connection.close()
    calls = len(commits) // STEPS
    each_ms = [sum(steps_ms[at : at + STEPS]) for at in range(0, calls * STEPS, STEPS)]
    return Timed(calls / wall, cpu / calls * 1e6, each_ms)


async def lone(folder: Path, calls: int) -> tuple[Timed, Timed]:
    """Time a lone caller, and the floor of the very same writes."""
    path = folder / "lone.db"
    recorder = Recorder(path)
    shop = await open_shop(f"sqlite:///{path}", connect=recorder.connect)
    await timed(shop.call, WARM, 1)
    await shop.ledger.close()
    copy = folder / "floor.db"
    copy.write_bytes(path.read_bytes())
    judge = Judge(needs, decide, lambda text, file: load(text, file, {}))
    shop.ledger = await open_ledger(
        f"sqlite:///{path}", judge=judge, clock=lambda: dt.datetime.now(dt.UTC), ids=shop.ids,
        options={"connect": recorder.connect},
    )  # fmt: skip
    await timed(shop.call, 20, 1)
    recorder.commits.clear()
    recorder.recording = True
    # The floor needs the rows of these twenty as well; they are written before its clock runs.
    ours = await timed(shop.call, calls, 1)
    await shop.ledger.close()
    return ours, floor(_with(copy, path, recorder.commits), recorder.commits)


def _with(copy: Path, path: Path, commits: Sequence[Written]) -> Path:
    """Return a file in the state that the recorded writes began from."""
    # Everything the recorded commits inserted is taken out of a copy of the end; what they updated is as good
    # as new.
    del copy
    start = path.with_name("floor.db")
    start.write_bytes(path.read_bytes())
    connection = sqlite3.connect(start)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    calls = {
        row[1] for written in commits for sql, rows in written if "INTO tool_calls" in sql for row in rows
    }
    entries = [
        row[1] for written in commits for sql, rows in written if "INTO audit_entry" in sql for row in rows
    ]
    first = min(entries)
    nodes = [row for written in commits for sql, rows in written if "INTO log_node" in sql for row in rows]
    marks = ",".join("?" * 1)
    for call in calls:
        for table in ("attempts", "reservations", "idempotency", "tool_calls"):
            column = "call_id" if table != "outbox" else "outbox_id"
            connection.execute(f"DELETE FROM {table} WHERE {column} IN ({marks})", (call,))  # noqa: S608 -- names above
        connection.execute("DELETE FROM known_payees WHERE first_call_id = ?", (call,))
    connection.execute("DELETE FROM audit_entry WHERE seq >= ?", (first,))
    connection.execute("DELETE FROM audit_payload WHERE seq >= ?", (first,))
    connection.executemany(
        "DELETE FROM log_node WHERE account_id = ? AND level = ? AND position = ?", [row[:3] for row in nodes]
    )
    connection.execute("UPDATE cap_usage SET held = held + 1000000000, posted = 0")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return start


async def crowd(url: str, calls: int, callers: int) -> Timed:
    """Time many callers at once."""
    shop = await open_shop(url)
    await timed(shop.call, WARM, callers)
    found = await timed(shop.call, calls, callers)
    await shop.ledger.close()
    return found


# --- PostgreSQL ------------------------------------------------------------------------------------------


async def row_locks(url: str, calls: int, callers: int) -> Timed:
    """Commit the same three steps call by call, under the row lock of one hot cap, with plain asyncpg."""
    pool = await asyncpg.create_pool(url, min_size=callers, max_size=callers)
    async with pool.acquire() as connection:
        await connection.execute(
            "DROP TABLE IF EXISTS bench_cap, bench_call, bench_log;"
            "CREATE TABLE bench_cap (id int PRIMARY KEY, held bigint, posted bigint);"
            "CREATE TABLE bench_call (id text PRIMARY KEY, state text, body bytea);"
            "CREATE TABLE bench_log (id bigserial PRIMARY KEY, body bytea);"
            "INSERT INTO bench_cap SELECT n, 0, 0 FROM generate_series(1, 4) n"
        )
    body, entry, number = b"x" * 2_300, b"x" * 1_600, itertools.count(1)
    held = "UPDATE bench_cap SET held = held + $1, posted = posted + $2 WHERE id = ANY($3::int[])"
    lock = "SELECT held + posted FROM bench_cap WHERE id = ANY($1::int[]) ORDER BY id FOR UPDATE"
    caps = [1, 2, 3, 4]

    async def call() -> None:
        name = f"call_{next(number):026d}"
        async with pool.acquire() as connection:
            for step in ("queued", "executing", "succeeded"):
                async with connection.transaction():
                    await connection.fetch(lock, caps)
                    if step == "queued":
                        await connection.execute(
                            "INSERT INTO bench_call VALUES ($1, $2, $3)", name, step, body
                        )
                        await connection.execute(held, 100, 0, caps)
                    else:
                        await connection.fetchrow("SELECT state, body FROM bench_call WHERE id = $1", name)
                        await connection.execute("UPDATE bench_call SET state = $2 WHERE id = $1", name, step)
                        if step == "succeeded":
                            await connection.execute(held, -100, 100, caps)
                    await connection.execute("INSERT INTO bench_log (body) VALUES ($1)", entry)

    await timed(call, 50, callers)
    found = await timed(call, calls, callers)
    await pool.close()
    return found


async def postgres(url: str, calls: int) -> list[Result]:
    """Compare with row locks on a database of its own."""
    administer = await asyncpg.connect(url)
    await administer.execute("DROP DATABASE IF EXISTS bursar_bench")
    await administer.execute("CREATE DATABASE bursar_bench")
    await administer.close()
    own = url.rsplit("/", 1)[0] + "/bursar_bench"
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


async def administer_tables(url: str) -> None:
    """Clear the peer's tables away, so that the ledger finds the empty database it makes its own in."""
    connection = await asyncpg.connect(url)
    await connection.execute("DROP TABLE bench_cap, bench_call, bench_log")
    await connection.close()


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
    print(f"{'':38}{'figure':>12}  {'':8}{'floor':>12}{'ratio':>8}  goal")
    for each in results:
        said = "" if not each.goal else ("holds" if each.holds else "FAILS")
        print(
            f"{each.name:38}{each.figure:12,.2f}  {each.unit:8}{each.floor:12,.2f}{each.ratio:8.2f}  "
            f"{each.goal} {said}"
        )
    print(
        "What limits it: many callers, the writer's Python on one core; a lone one, three waits for the disk."
    )
    if given.json:
        print(
            json.dumps(
                {
                    "results": [each._asdict() for each in results],
                    "command": f"python bench/ledger.py --json --calls {given.calls}",
                    "machine": f"{platform.machine()}, {platform.system()}, "
                    f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
                    "date": dt.datetime.now(dt.UTC).date().isoformat(),
                }
            )
        )
    return 0 if all(each.holds for each in results) else 1


if __name__ == "__main__":
    sys.exit(main())
