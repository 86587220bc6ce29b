"""Kill -9 a dispatcher at named points, start another, and compare the ledger with the provider's truth.

    python -m tests.crash.episodes URL --kills N [--seed S] [--twin NAME]

Each life is a fork of a process that has imported everything and lived once. First every named point has its
turn, then they are drawn, with `anytime` among them: an alarm that ends the process wherever it is. Where
URL is `cluster:`, a PostgreSQL of the series' own is what dies, by an immediate stop or by `kill -9` of a
backend, and the dispatcher meets a ledger that is gone. Prints one line of JSON: how many were killed, at
which points, and what was found wrong. BROKEN lists the twins.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ledger.ledger import Ledger, open_ledger
from ledger.records import Role
from tests.crash.dispatcher import Plan, Shop, alive
from tests.crash.provider import Line, start, truth
from tests.crash.server import Server
from tests.ledger.till import ALLOW_ALL, JUDGE, NOON, Till, make, open_till

OWN_CLUSTER: Final = "cluster:"
WORKS: Final = ("Admission", "Claim", "Settlement", "answer", "sweep")
STAGES: Final = ("begun", "planned", "written", "committed")
POINTS: Final = (
    *(f"{work}:{stage}" for work in WORKS for stage in STAGES if stage != "planned" or work[0].isupper()),
    *("shop:sending", "shop:effected", "shop:answered"),
)
BROKEN: Final = (
    "sends before the claim",
    "an unknown call is sent again",
    "keys change with each try",
    "says yes before it is stored",
)
WHERE_TWINS_SHOW: Final = ("answer:begun", "Claim:begun", "Settlement:begun", "shop:effected")
MOST_LIVES: Final = 6  # At one point: a life that never comes by it ends in peace.
LEAVES_A_LEASE: Final = "Claim:committed"  # There is something to sweep in the life after this one only.
ANYTIME: Final = "anytime"
ANYTIME_SHARE: Final = 0.3  # Of what is drawn.
LATEST_S: Final = 0.09  # Of an alarm: a life that nobody disturbs takes about this long.
VICTIMS: Final = ("server", "backend")  # Of a series on a PostgreSQL of its own, in turn.
KEPT_OPEN: Final = 5
LAST_LIVES: Final = 4  # Undisturbed ones at the end: everything open must come to its end in them.
POLICY: Final = (
    ALLOW_ALL.replace(
        "rules:",
        'caps:\n  - {id: day, per: account, window: day, limit: "90000.00 USD"}\n'
        "approvals:\n"
        "  - {id: desk, who: [role:approver], quorum: 1, expires_in: 7d, run_within: 24h}\nrules:",
    )
    + '  - {id: ask, match: {kind: spend, amount: {above: "2.00 USD"}},'
    " effect: require_approval, approval: desk}\n"
)


class Series:
    """One database, one provider, many lives."""

    def __init__(self, url: str, folder: Path, *, seed: int, twin: str, server: Server | None = None) -> None:
        self.url, self.twin, self.server = url, twin, server
        self.dice = random.Random(seed)
        self.path = folder / f"provider-{secrets.token_hex(4)}.sock"
        self.provider = start(self.path)
        self.numbers = itertools.count(1)
        self.intentions = itertools.count(1)
        self.open: list[int] = []
        self.calls: dict[int, set[str]] = {}
        self.approved: set[str] = set()
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.house: dict[str, str] = {}
        self.pulled: list[int] = []  # The processes of PostgreSQL that this life was the last of.

    def run(self, kills: int) -> None:
        """Live and die until so many lives were killed, then let everything come to its end."""
        self._warm_up()
        turns = self._turns()
        for _ in range(2 * kills):
            if self.killed.total() >= kills or self.wrong:
                break
            point, nth = next(turns)
            for _ in range(MOST_LIVES):
                if point.startswith("sweep"):
                    self._live(LEAVES_A_LEASE, 3)  # The first may be a replay's, of an unknown call.
                # One that ends in peace did not come by the point so often; the next has fresh intentions.
                if self._live(point, nth) or self.wrong:
                    break
                nth = 1
        if not self.wrong:
            for _ in range(LAST_LIVES):
                self._live("nowhere", 0, quiet=True)
            self._fork(lambda say: asyncio.run(_tell(self.url, say)))
        os.kill(self.provider, signal.SIGKILL)
        os.waitpid(self.provider, 0)

    def _turns(self) -> Iterator[tuple[str, int]]:
        """Yield where to kill, and at which of its visits there: each point once, then as the dice say."""
        points = list(WHERE_TWINS_SHOW if self.twin else POINTS)
        yield from ((point, 1) for point in self.dice.sample(points, len(points)))
        while True:
            anytime = not self.twin and self.server is None and self.dice.random() < ANYTIME_SHARE
            yield ANYTIME if anytime else self.dice.choice(points), self.dice.choice((1, 1, 2, 3))

    def _warm_up(self) -> None:
        """Set up, and live once in this very process: what is imported and compiled here, every fork has."""

        def hear(line: str) -> None:
            self._heard(line.split())

        asyncio.run(_set_up(self.url, hear))
        first = tuple(itertools.islice(self.intentions, KEPT_OPEN))
        plan = Plan(number=next(self.numbers), point="nowhere", nth=0, open_intentions=first)
        asyncio.run(_life(self.url, self.path, plan, self.house, hear))
        gc.freeze()  # A collection in a fork would copy every page that it counts on.

    def _live(self, point: str, nth: int, *, quiet: bool = False) -> bool:
        """Live once; return whether the kill came."""
        while len(self.open) < KEPT_OPEN and not quiet:
            self.open.append(next(self.intentions))
        plan = Plan(
            number=next(self.numbers),
            point=point,
            nth=nth,
            twin=self.twin,
            open_intentions=tuple(self.open),
            alarm_s=self.dice.uniform(0, LATEST_S) if point == ANYTIME else 0.0,
            victim=VICTIMS[self.killed.total() % len(VICTIMS)] if self.server and not quiet else "",
            postmaster=self.server.pid if self.server else 0,
        )
        self.pulled.clear()
        status = self._fork(lambda say: asyncio.run(_life(self.url, self.path, plan, self.house, say)))
        killed = bool(self.pulled) or (
            os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGKILL, signal.SIGALRM}
        )
        if killed:
            self.killed[point] += 1
        elif status != 0 and not self.wrong:
            self.wrong.append(f"a life ended with {status}")
        else:
            self.open.clear()
        if self.pulled and self.server:
            self.server.revive(self.pulled, whole=plan.victim == VICTIMS[0])
        self._look()
        return killed

    def _look(self) -> None:
        """Hold the provider's truth against the one rule that needs no ledger: one intention, one effect."""
        effects = truth(self.path)
        for intention, times in Counter(each["intention"] for each in effects).items():
            if times > 1:
                self.wrong.append(f"intention {intention} had {times} effects")

    # --- processes ---------------------------------------------------------------------------------------

    def _fork(self, work: Callable[[Callable[[str], None]], None]) -> int:
        """Run something in a fork, hear what it says, and return how it ended."""
        hear, say = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(hear)
            _in_fork(work, say)
        os.close(say)
        with os.fdopen(hear) as lines:
            for line in lines:
                self._heard(line.split())
        return os.waitpid(process, 0)[1]

    def _heard(self, words: list[str]) -> None:
        what = words[0]
        if what == "house":
            self.house = dict(zip(words[1::2], words[2::2], strict=True))
        elif what == "admitted":
            self.calls.setdefault(int(words[1]), set()).add(words[2])
            if words[2] in self.approved and words[3] == "awaiting_approval":
                self.wrong.append(f"{words[2]} was approved and waits for a person again")
            if len(self.calls[int(words[1])]) > 1:
                self.wrong.append(f"intention {words[1]} is {len(self.calls[int(words[1])])} calls")
        elif what == "approved":
            self.approved.add(words[2])
        elif what == "call":
            self._judge(*words[1:])
        elif what == "pulled":
            self.pulled.extend(map(int, words[1:]))
        elif what in {"wrong", "refused", "broken"} and not self.pulled:
            self.wrong.append(" ".join(words))  # Who lost his server may well complain.

    def _judge(self, call_id: str, state: str, sent: str) -> None:
        """Compare one call, at the end of everything, with the provider's truth."""
        effects = [e for e in truth(self.path) if e["call_id"] == call_id]
        if state not in {"succeeded", "failed"}:
            self.wrong.append(f"{call_id} is still {state}")
        if len(effects) != (state == "succeeded"):
            self.wrong.append(f"{call_id} is {state} with {len(effects)} effects")
        if effects and int(sent) < 1:
            self.wrong.append(f"{call_id} had an effect without a committed claim")


def _in_fork(work: Callable[[Callable[[str], None]], None], say: int) -> None:
    try:
        work(lambda line: _say(say, line))
    except BaseException:  # noqa: BLE001 -- whatever it was, the parent must hear of it
        _say(say, f"broken {traceback.format_exc()[-1500:]!r}")
        os._exit(1)
    os._exit(0)


def _say(pipe: int, line: str) -> None:
    os.write(pipe, line.replace("\n", " ").encode() + b"\n")


async def _set_up(url: str, say: Callable[[str], None]) -> None:
    await make(url)
    till = await open_till(url)
    await till.law(POLICY)
    person = await till.person("ann", Role.APPROVER)
    run = await till.ledger.open_run("shop", "crashes", by="system:test", at=NOON)
    say(f"house run {run.run_id} operator {person.operator_id}")
    await till.ledger.close()


async def _open(url: str, **parts: Any) -> tuple[Ledger, Till]:  # noqa: ANN401 -- any part of open_ledger
    def ids(prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(8)}"

    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids, **parts)
    return ledger, Till(ledger, ids)


async def _life(url: str, path: Path, plan: Plan, house: dict[str, str], say: Callable[[str], None]) -> None:
    shops: list[Shop] = []
    faults: list[str] = []

    def reached(stage: str, work: str) -> None:
        if shops:
            shops[0].reached(stage, work)

    ledger, till = await _open(
        url, reached=reached, failed=lambda what, fault: faults.append(f"{what} {fault!r}")
    )
    till.run = house["run"]
    till.keys = itertools.count(plan.number * 1_000)
    shops.append(Shop(ledger, till, Line(path), plan, say))
    signal.setitimer(signal.ITIMER_REAL, plan.alarm_s)  # Nobody handles it: it ends the process at once.
    await alive(shops[0], house["operator"])
    shops[0].line.close()
    for fault in faults:
        say(f"wrong {fault}")


async def _tell(url: str, say: Callable[[str], None]) -> None:
    """Say where every call stands, and whether the log and the usage are whole."""
    ledger, till = await _open(url)
    after, posted = None, 0
    while True:
        page = await ledger.calls(after=after)
        for call in page.items:
            line = await ledger.timeline(call.call_id)
            say(f"call {call.call_id} {call.state} {len(line.attempts)}")
            posted += call.actual.minor_units if call.state == "succeeded" and call.actual else 0
        after = page.after
        if after is None:
            break
    if await till.used("day") != (posted, 0):
        say(f"wrong usage {await till.used('day')} where {posted} was spent and nothing is open")
    verified = await ledger.checked()
    if verified.bad is not None:
        say(f"wrong log {verified.bad}")
    await ledger.close()


def series(url: str, kills: int, *, seed: int, twin: str = "") -> dict[str, Any]:
    """Run one series and return what came of it."""
    with tempfile.TemporaryDirectory(prefix="bursar-crash-") as folder:
        server = Server(Path(folder)) if url == OWN_CLUSTER else None
        try:
            told = Series(server.url if server else url, Path(folder), seed=seed, twin=twin, server=server)
            told.run(kills)
        finally:
            if server:
                server.remove()
    return {"killed": told.killed.total(), "points": told.killed, "wrong": told.wrong}


def main() -> int:
    """Run one series and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--twin", choices=("", *BROKEN), default="")
    args = parser.parse_args()
    told = series(args.url, args.kills, seed=args.seed, twin=args.twin)
    print(json.dumps(told))  # noqa: T201 -- the answer to whoever started this
    return 1 if told["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
