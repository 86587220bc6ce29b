"""Kill -9 whoever hears and books a shop's events, again and again; then compare with once and in order.

    python -m tests.webhooks.killed ONCE OTHER --histories N [--seed S] [--twin NAME]

ONCE is the ledger that hears every event once, in order, undisturbed; OTHER hears them shuffled, doubled and
late, from processes that are killed at a random stage of a random transaction. On PostgreSQL two of them work
beside each other. Runs in a process of its own, since each life is a fork; this process keeps the simulator's
truth and no thread. Prints one line of JSON. TWINS lists the broken copies.
"""
# ruff: noqa: ANN401 -- Stripe's JSON: values of any type

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, cast

from litestar import Litestar
from msgspec import structs
from sqlalchemy import select, update

from ledger.ledger import Ledger, open_ledger
from ledger.schema_revenue import inbox, orders, revenue_events
from plugins.payments.simulator.simulator import Simulator
from tests.webhooks.histories import Story, balances, digest
from tests.webhooks.rig import PRICES, Clock, Rig, assembled, connected, judge, ledger_on, put_on_sale
from tests.webhooks.test_stripe_histories import deliver
from webhooks.stripe_events import stripe_routes
from webhooks.worker import WebhookWorker

STEPS: Final = 6  # Things that happen in one history, beside what is settled at its end.
LIVES: Final = 2  # Doomed ones per round.
LEASE_OVER_S: Final = 61.0  # A dead worker's events are given to another after that.
LAST_ROUNDS: Final = 6  # Undisturbed at the end: every pause is over within them.
ROUND_S: Final = 3_600.0
STAGES_PER_EVENT: Final = 5  # About as often a life comes by a stage for each event it hears.
ON_ONE_SHOP: Final = 30  # Histories beside each other on one pair of ledgers.
TWINS: Final = ("answers before it is stored", "says it is done before it is")


class Shop:
    """One simulator, two ledgers, many lives."""

    def __init__(self, once: str, other: str, *, seed: int, twin: str) -> None:
        self.urls = (once, other)
        self.dice = random.Random(seed)
        self.seed, self.twin = seed, twin
        self.known = 0
        self.held: list[Any] = []
        self.acked: set[str] = set()
        self.killed: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def open(self, histories: int, stack: AsyncExitStack) -> None:
        """Open the shop, make deals and checkouts, and close both ledgers again."""
        clock = Clock(datetime(2026, 11, 20, 10, tzinfo=UTC))
        sim = Simulator(self.seed, clock().timestamp)
        self.provider, self.api = await stack.enter_async_context(connected(sim, clock, _id))
        async with (
            ledger_on(self.urls[0], clock, self.seed) as (once, _),
            ledger_on(self.urls[1], clock, self.seed) as (other, _),
        ):
            self.rig = await assembled(sim, once, self.provider, self.api, clock, {})
            self.rig.mirrors = [replace(self.rig, ledger=other, mirrors=[])]
            for offer in PRICES:
                wanted = await put_on_sale(self.rig, offer)
                await other.set_offer(wanted, by="system:test", at=clock())
            sim.hooks.targets.clear()
            await self._begin(histories, stack)

    async def _begin(self, histories: int, stack: AsyncExitStack) -> None:
        import httpx

        transport = httpx.ASGITransport(app=self.rig.sim.app())
        self.rig.web = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://sim")
        )
        self.plays = []
        for number in range(histories):
            story = Story(self.rig, self.seed * 10_000 + number)
            story.sessions.append((await self.rig.checkout(offer=self.dice.choice(list(PRICES))))[1])
            if number % 3 == 0:
                story.sessions.append((await self.rig.checkout())[1])
            if number % 10 == 0:
                _, link = await self.rig.link()
                visit = await self.rig.web.get(f"/link/{link}")
                story.sessions.append(visit.headers["location"].rsplit("/", 1)[-1])
            self.plays.append(story.play(STEPS))

    async def happen(self) -> None:
        """Let one thing happen in every history, and let time pass."""
        for play in self.plays:
            await anext(play, None)
        self.rig.clock.move(LEASE_OVER_S)

    def news(self) -> list[Any]:
        """Give the events since the last round, in order; keep them for whoever hears them late."""
        events = [
            row for row in self.rig.sim.world.all("event") if row["type"] != "issuing_authorization.request"
        ]
        fresh = events[self.known :]
        self.known = len(events)
        self.held += fresh
        return fresh

    # --- lives -------------------------------------------------------------------------------------------

    def round(self) -> None:
        """Tell the one ledger all that is new; tell the other some of it, in lives that may not end well."""
        self.once(self.news())
        for _ in range(LIVES):
            self.held = [event for event in self.held if event["id"] not in self.acked]
            self.dice.shuffle(self.held)
            some = [event for event in self.held if self.dice.random() < 0.6]
            doubled = some + self.dice.sample(some, len(some) // 4) + self._replays()
            self.dice.shuffle(doubled)
            parts = [doubled[::2], doubled[1::2]] if "postgres" in self.urls[1] else [doubled]
            forks = [self.fork(self.urls[1], part, self._doom(part)) for part in parts]
            for fork in forks:
                self.listen(*fork)
            self.rig.clock.move(LEASE_OVER_S)

    def _replays(self) -> list[Any]:
        """Give a few events of any age that were answered for long ago."""
        known = [event for event in self.rig.sim.world.all("event") if event["id"] in self.acked]
        return self.dice.sample(known, min(len(known), len(self.plays) // 10))

    def _doom(self, events: list[Any]) -> int:
        if self.twin == TWINS[1]:
            return self.dice.choice((1, 3, 5))  # After the first of its two marks.
        return self.dice.randint(1, 4 + STAGES_PER_EVENT * len(events))

    def end(self) -> None:
        """Deliver what nobody answered for, and let every pause pass."""
        again = [event for event in self.rig.sim.world.all("event") if event["id"] not in self.acked]
        self.once([], rounds=LAST_ROUNDS)
        self.listen(*self.fork(self.urls[1], again, 0, rounds=LAST_ROUNDS))
        self.rig.clock.move(LAST_ROUNDS * ROUND_S)

    def once(self, events: list[Any], *, rounds: int = 1) -> None:
        """Let the undisturbed ledger hear events, in order."""
        other, self.acked = self.acked, set()
        self.listen(*self.fork(self.urls[0], events, 0, rounds=rounds))
        if self.acked != {event["id"] for event in events}:
            self.wrong.append("the undisturbed ledger did not take every event")
        self.acked = other

    def fork(self, url: str, events: list[Any], nth: int, *, rounds: int = 1) -> tuple[int, int]:
        """Hear and work events in a fork, which kills itself at the n-th stage it comes by.

        Its clock goes on by itself for as many rounds; ours stands still.
        """
        hear, say = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(hear)
            _in_fork(lambda: asyncio.run(_live(self, url, events, nth, say=say, rounds=rounds)), say)
        os.close(say)
        return process, hear

    def listen(self, process: int, hear: int) -> None:
        """Note which events a life answered for, and how it ended."""
        with os.fdopen(hear) as lines:
            for line in lines:
                what, _, rest = line.rstrip("\n").partition(" ")
                if what == "acked":
                    self.acked.add(rest)
                elif what == "dies":
                    self.killed[rest] += 1
                else:
                    self.wrong.append(line[:2_000])
        status = os.waitpid(process, 0)[1]
        if status not in {0, signal.SIGKILL}:
            self.wrong.append(f"a life ended with {status}")

    # --- the comparison ----------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Hold both ledgers to each other, to the simulator's payments and to its balance."""
        found = []
        for url in self.urls:
            async with await _open(url, self.rig) as ledger:
                rig = replace(self.rig, ledger=ledger)
                found.append(await digest(rig))
                await self._sums(url, ledger)
                verified = await ledger.checked()
                if verified.bad is not None:
                    self.wrong.append(f"{url}: the log: {verified.bad}")
        for table, rows in found[0].items():
            missing, more = set(rows) - set(found[1][table]), set(found[1][table]) - set(rows)
            if rows != found[1][table]:
                self.wrong.append(f"{table}: missing {sorted(missing)[:2]}, instead {sorted(more)[:2]}")
        paid = [
            each for each in self.rig.sim.world.all("checkout.session") if each["payment_status"] == "paid"
        ]
        if len(found[1]["orders"]) != len(paid):
            self.wrong.append(f"{len(paid)} sessions were paid, there are {len(found[1]['orders'])} orders")

    async def _sums(self, url: str, ledger: Ledger) -> None:
        """Per mode and currency: orders, revenue events and Stripe's balance say the same money."""
        wanted = balances(self.rig)
        booked = {key: sum_ for key, sum_ in (await ledger.revenue_sums()).items() if sum_}
        if booked != wanted:
            self.wrong.append(f"{url}: booked {booked}, the balance is {wanted}")
        by_order, by_event = await ledger._core.read(_both_sides)  # noqa: SLF001 -- what is stored is the claim
        if by_order != by_event:
            self.wrong.append(f"{url}: orders say {by_order}, revenue {by_event}")


def _both_sides(tx: Any) -> tuple[dict[Any, int], dict[Any, int]]:
    """Sum what orders say they took and gave back, and the same of revenue events, per mode and currency."""
    by_order: Counter[Any] = Counter()
    by_event: Counter[Any] = Counter()
    for row in tx.connection.execute(select(orders)).mappings():
        place = (row["mode"], row["currency"])
        by_order[*place, "payment"] += row["amount_minor"]
        by_order[*place, "refund"] -= row["refunded_minor"]
        by_order[*place, "dispute"] -= row["disputed_minor"]
    for row in tx.connection.execute(select(revenue_events)).mappings():
        if row["revenue_kind"] != "fee":
            kind = str(row["revenue_kind"]).removesuffix("_failed").removesuffix("_won")
            by_event[row["mode"], row["currency"], kind] += row["amount_minor"]
    return {key: n for key, n in by_order.items() if n}, {key: n for key, n in by_event.items() if n}


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(8)}"


async def _open(url: str, rig: Rig, **parts: Any) -> Ledger:
    return await open_ledger(url, judge=judge(), clock=rig.clock, ids=_id, **parts)


def _in_fork(work: Callable[[], None], say: int) -> None:
    try:
        work()
    except BaseException:  # noqa: BLE001 -- whatever it was, the parent must hear of it
        os.write(say, f"broken {traceback.format_exc()[-1500:]!r}\n".encode())
        os._exit(1)
    os._exit(0)


async def _live(shop: Shop, url: str, events: list[Any], nth: int, *, say: int, rounds: int) -> None:
    """Hear events over the route, work the inbox in between, and die at the n-th stage of a transaction."""
    stages = 0

    def reached(stage: str, work: str) -> None:
        nonlocal stages
        stages += _shows(shop.twin, f"{work}:{stage}")
        if 0 < nth <= stages:
            os.write(say, f"dies {work}:{stage}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    dice = random.Random(nth)
    async with await _open(url, shop.rig, reached=reached) as opened:
        ledger = _twin(opened, shop.twin) if url == shop.urls[1] else opened
        deps = structs.replace(shop.rig.deps, ledger=ledger)
        app = Litestar(stripe_routes(deps), openapi_config=None, logging_config=None)
        rig = replace(shop.rig, ledger=ledger, deps=deps, app=app)
        worker = WebhookWorker(deps, shop.provider)
        for event in events:
            if await deliver(rig, event) == 200:
                os.write(say, f"acked {event['id']}\n".encode())
            if dice.random() < 0.2:
                await worker.work_due()
        for _ in range(rounds):
            while await worker.work_due():
                pass
            shop.rig.clock.move(ROUND_S)


# --- twins -----------------------------------------------------------------------------------------------


class _Hasty:
    """A ledger that answers Stripe first and stores afterwards."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._later: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def receive(self, arrival: Any, at: datetime) -> bool:
        self._later.append((arrival, at))
        return True

    async def take_events(self, at: datetime, limit: int = 50) -> Any:
        await self._store()
        return await self._ledger.take_events(at, limit)

    async def _store(self) -> None:
        waiting, self._later = self._later, []
        for arrival, at in waiting:
            await self._ledger.receive(arrival, at)


class _Early:
    """A ledger that notes an event as done in a transaction of its own, before its effect."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def apply_events(self, event_ids: Any, *args: Any, **more: Any) -> Any:
        for state in ("processed", "received"):

            def mark(tx: Any, to: str = state) -> None:
                tx.connection.execute(
                    update(inbox).where(inbox.c.event_id.in_(event_ids)).values(state=to, next_at_us=None)
                )

            await self._ledger._core.plain("mark", mark)  # noqa: SLF001 -- the mistake itself
        return await self._ledger.apply_events(event_ids, *args, **more)


def _shows(twin: str, stage: str) -> bool:
    """Say whether a life may die here: where a twin's mistake shows, and anywhere where there is none."""
    return twin != TWINS[1] or stage == "mark:committed"


def _twin(ledger: Ledger, name: str) -> Ledger:
    made = {TWINS[0]: _Hasty, TWINS[1]: _Early}.get(name)
    return ledger if made is None else cast("Ledger", made(ledger))


def main() -> int:
    """Play the histories and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("once")
    parser.add_argument("other")
    parser.add_argument("--histories", type=int, default=ON_ONE_SHOP)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twin", choices=("", *TWINS), default="")
    args = parser.parse_args()
    shop = Shop(args.once, args.other, seed=args.seed, twin=args.twin)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        runner.run(shop.open(args.histories, stack))
        for _ in range(STEPS + 1):
            runner.run(shop.happen())
            shop.round()
        shop.end()
        runner.run(shop.compare())
        runner.run(stack.aclose())
    told = {
        "histories": args.histories,
        "events": shop.known,
        "killed": shop.killed.total(),
        "stages": shop.killed,
        "wrong": shop.wrong,
    }
    print(json.dumps(told))  # noqa: T201 -- the answer to whoever started this
    return 1 if shop.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
