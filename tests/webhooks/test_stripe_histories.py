"""Deliveries in any order, any number of times, or not at all until later: the same final state as once in
order. BURSAR_SEED and BURSAR_SHARE choose other histories, and how many deliveries.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import orjson
from msgspec import structs

from ledger.ledger import open_ledger
from plugins.payments.simulator.webhooks import sign
from tests.webhooks.histories import Story, balances, digest
from tests.webhooks.rig import URL, Rig, delivery, judge, mirrored, rig_on, secret_of
from webhooks.worker import WebhookWorker

STEPS = 16
DELIVERIES = 150
DEEP = 10_000


class Disorder:
    """Delivers a history's events as the worst of networks would; counts what it delivered."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig, self.rand = rig, random.Random(seed)
        self.delivered = 0
        self._next = 0
        self._held: list[Any] = []

    async def some(self) -> None:
        """Deliver some of what happened so far, shuffled, some of it twice, some not yet."""
        events = [
            row for row in self.rig.sim.world.all("event") if row["type"] != "issuing_authorization.request"
        ]
        self._held += events[self._next :]
        self._next = len(events)
        self.rand.shuffle(self._held)
        now: list[Any] = []
        later: list[Any] = []
        for event in self._held:
            (now if self.rand.random() < 0.5 else later).append(event)
        self._held = later
        await self._deliver(now)
        if self.rand.random() < 0.5:
            await self.rig.worker.work_due()

    async def rest(self) -> None:
        """Deliver what was dropped, and many events once more."""
        await self._deliver(self._held)
        everything = self.rig.sim.world.all("event")
        await self._deliver(self.rand.sample(everything, len(everything) // 3))

    async def _deliver(self, events: list[Any]) -> None:
        for event in events:
            copies = self.rand.choice([1, 1, 2])
            for _ in range(copies):
                self.delivered += 1
                assert await deliver(self.rig, event) == 200


async def deliver(rig: Rig, event: dict[str, Any], *, age_s: int = 0) -> int:
    """Sign and deliver one event, as old as told; give the status."""
    body = orjson.dumps(event)
    stamp = int(rig.clock().timestamp()) - age_s
    headers = {
        "content-type": "application/json",
        "stripe-signature": sign(body, [secret_of(rig.deps.secrets)], stamp),
    }
    return (await delivery(rig.app)(URL, body, headers)).status


async def played(rig: Rig, seed: int, disorders: list[Disorder]) -> int:
    """Play one history: `rig` hears each event once and in order, its mirrors as their disorders will;
    count.
    """
    story = Story(rig, seed)
    await story.begin()
    async for _ in story.play(STEPS):
        await rig.work()
        for disorder in disorders:
            await disorder.some()
    for disorder in disorders:
        await disorder.rest()
    await rig.settle_down()
    for _ in range(4):
        for mirror in rig.mirrors:
            await mirror.work()
        rig.clock.move(3_600)
    return sum(disorder.delivered for disorder in disorders)


async def compared(rig: Rig) -> None:
    """Hold every mirror to the state of the ledger that heard all once and in order, and to Stripe's
    balance.
    """
    once = await digest(rig)
    net = balances(rig)
    assert await rig.ledger.revenue_sums() == net
    for mirror in rig.mirrors:
        assert await digest(mirror) == once
        assert await mirror.ledger.revenue_sums() == net
        assert (await mirror.ledger.webhook_counts()).get("quarantined", 0) == 0


async def test_any_order_of_deliveries_ends_in_the_state_of_once_in_order(
    tmp_path: Path,
    deep: bool,  # noqa: FBT001 -- pytest's fixture
) -> None:
    """Byte for byte, whatever the network does; and the money agrees with Stripe's own balance."""
    seed = int(os.environ.get("BURSAR_SEED", "1"))
    left = int(os.environ.get("BURSAR_SHARE", DEEP if deep else DELIVERIES))
    while left > 0:
        async with (
            rig_on(f"sqlite:///{tmp_path}/once{seed}.db", seed=seed) as rig,
            mirrored(rig, f"sqlite:///{tmp_path}/one{seed}.db", seed) as one,
            mirrored(rig, f"sqlite:///{tmp_path}/two{seed}.db", seed) as two,
        ):
            disorders = [Disorder(one, 100 * seed), Disorder(two, 100 * seed + 1)]
            left -= await played(rig, seed, disorders)
            await compared(rig)
        seed += 1


async def test_postgres_ends_in_the_same_state(tmp_path: Path, postgres_url: str) -> None:
    """The rules live in the code, not in an engine."""
    async with (
        rig_on(f"sqlite:///{tmp_path}/once.db", seed=3) as rig,
        mirrored(rig, postgres_url, 3) as other,
    ):
        await played(rig, 3, [Disorder(other, 33)])
        await compared(rig)


async def test_two_workers_and_two_processes_make_one_order(tmp_path: Path, postgres_url: str) -> None:
    """Whoever applies an event first has done it; the other finds it done."""
    async with rig_on(f"sqlite:///{tmp_path}/once.db", seed=5) as rig, mirrored(rig, postgres_url, 5) as one:
        url, count = postgres_url, iter(range(10**6, 10**9))
        second = await open_ledger(
            url, judge=judge(), clock=rig.clock, ids=lambda prefix: f"{prefix}_other{next(count)}"
        )
        async with second:
            deps = structs.replace(one.deps, ledger=second)
            workers = [one.worker, WebhookWorker(one.deps, rig.provider), WebhookWorker(deps, rig.provider)]
            sessions = [(await rig.checkout())[1] for _ in range(6)]
            for session in sessions:
                await rig.pay(session)
            for event in rig.sim.world.all("event"):
                await deliver(one, event)
            for _ in range(4):
                await asyncio.gather(*(worker.work_due() for worker in workers))
            await rig.work()
            assert len((await one.ledger.orders()).items) == len(sessions)
            assert await digest(one) == await digest(rig)
