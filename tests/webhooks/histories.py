"""Histories of a shop: what buyers, banks and owners do at the simulator, and what the ledger must make of
it.
"""
# ruff: noqa: ANN401 -- Stripe's JSON, ASGI's messages and any column: values of any type

import random
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from ledger import schema as s
from ledger import schema_crm as c
from ledger import schema_house as h
from ledger import schema_revenue as r
from plugins.payments.simulator.resources import disputes, payments, refunds
from tests.webhooks.rig import Rig

DEBIT, DEBIT_FAILS, CARD = "000123456789", "000111111116", "4242424242424242"

# When and by which event something was learned depends on the deliveries; everything else may not.
LEARNED = {
    "booked_at_us",
    "event_id",
    "updated_at_us",
    "version",
    "opened_at_us",
    "created_at_us",
    "moved_at_us",
}
TABLES = (r.orders, r.revenue_events, r.deals, r.checkouts, r.disputes, s.earnings, h.runs, c.order_intakes)
KEPT = {("checkouts", "created_at_us"), ("disputes", "opened_at_us"), ("deals", "created_at_us")}


@dataclass
class Story:
    """One history, played step by step from its seed."""

    rig: Rig
    seed: int
    sessions: list[str] = field(default_factory=list)

    async def begin(self, checkouts: int = 4) -> None:
        """Make deals, checkouts and a link, before any event."""
        for _ in range(checkouts):
            self.sessions.append((await self.rig.checkout())[1])
        _, link = await self.rig.link()
        for _ in range(2):
            visit = await self.rig.web.get(f"/link/{link}")
            self.sessions.append(visit.headers["location"].rsplit("/", 1)[-1])
        # Somebody else's business on the same Stripe account.
        await self._foreign()

    async def _foreign(self) -> None:
        body: Any = {
            "mode": "payment",
            "line_items": [{"price": await self.rig.price(), "quantity": 1}],
            "success_url": "https://other.example/",
        }
        made = await self.rig.api.client("earn").v1.checkout.sessions.create_async(body)
        self.sessions.append(str(made.id))

    async def play(self, steps: int) -> Any:
        """Do one thing after the other; yields after each."""
        rand = random.Random(self.seed)
        for _ in range(steps):
            await self._step(rand)
            yield
        for session in self.sessions:
            self._settle(session, rand)
        yield

    async def _step(self, rand: random.Random) -> None:
        world = self.rig.sim.world
        doing = rand.choice(
            ["pay", "pay", "pay", "debit", "debit", "settle", "refund", "fail", "dispute", "close", "expire"]
        )
        charges = [row for row in world.all("charge") if row["status"] == "succeeded"]
        if doing in {"pay", "debit"}:
            card = CARD if doing == "pay" else rand.choice([DEBIT, DEBIT_FAILS])
            await self.rig.pay(rand.choice(self.sessions), card)
        elif doing == "settle":
            self._settle(rand.choice(self.sessions), rand)
        elif doing == "refund" and charges:
            await self._refund(rand.choice(charges), rand)
        elif doing == "dispute" and charges:
            _dispute(world, rand.choice(charges), rand)
        elif doing == "close":
            _close(world, rand)
        elif doing == "fail":
            _fail(world, rand)
        elif doing == "expire":
            await self._expire(rand.choice(self.sessions))

    def _settle(self, session: str, rand: random.Random) -> None:
        payments.settle(
            self.rig.sim.world,
            self.rig.sim.world.get("checkout.session", session),
            rand.choice(["succeeded", "succeeded", "failed"]),
        )

    async def _refund(self, charge: Any, rand: random.Random) -> None:
        left = charge["amount"] - charge["amount_refunded"]
        if left and not charge["disputed"]:
            body: Any = {"charge": charge["id"], "amount": rand.choice([left, max(1, left // 2)])}
            await self.rig.api.client("earn").v1.refunds.create_async(body)

    async def _expire(self, session: str) -> None:
        if self.rig.sim.world.get("checkout.session", session)["status"] == "open":
            await self.rig.api.client("earn").v1.checkout.sessions.expire_async(session)


def _dispute(world: Any, charge: Any, rand: random.Random) -> None:
    left = charge["amount"] - charge["amount_refunded"]
    if not charge["disputed"] and left:
        disputes.open_dispute(world, charge, amount=rand.choice([None, max(1, left // 2)]))


def _close(world: Any, rand: random.Random) -> None:
    open_ones = [row for row in world.all("dispute") if row["status"] == "needs_response"]
    if open_ones:
        disputes.end(world, rand.choice(open_ones), rand.choice(["won", "lost"]))


def _fail(world: Any, rand: random.Random) -> None:
    done = [row for row in world.all("refund") if row["status"] == "succeeded"]
    if done:
        refunds.fail(world, rand.choice(done))


async def digest(rig: Rig) -> dict[str, list[str]]:
    """Give the final state, table by table: every column that does not say when or by what it was learned."""

    def work(tx: Any) -> dict[str, list[str]]:
        out = {}
        for table in TABLES:
            names = [
                column.name
                for column in table.columns
                if column.name not in LEARNED or (table.name, column.name) in KEPT
            ]
            rows = tx.connection.execute(select(*(table.c[name] for name in names))).all()
            told = [repr(dict(zip(names, row, strict=True))) for row in rows]
            out[table.name] = sorted(row for row in told if "'standing': 1" not in row)
        return out

    found: dict[str, list[str]] = await rig.ledger._core.read(work)  # noqa: SLF001  what is stored is the claim
    return found


def balances(rig: Rig) -> dict[tuple[str, str], int]:
    """Give what the simulator's balance transactions of our sessions add up to, per mode and currency."""
    world = rig.sim.world
    ours = {
        row["payment_intent"]
        for row in world.all("checkout.session")
        if row["metadata"].get("bursar_account")
    }
    of_payment = {
        row["id"]: row["payment_intent"]
        for kind in ("charge", "refund", "dispute")
        for row in world.all(kind)
    }
    found: dict[tuple[str, str], int] = {}
    for row in world.all("balance_transaction"):
        if row["balance_type"] == "payments" and of_payment.get(row["source"]) in ours:
            place = ("simulated", row["currency"].upper())
            found[place] = found.get(place, 0) + row["net"]
    return {place: net for place, net in found.items() if net}
