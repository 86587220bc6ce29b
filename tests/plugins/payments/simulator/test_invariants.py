"""Random histories of intentions, faults and retries: one effect for each intention, and sums that hold."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.http import Response
from plugins.payments.simulator.idempotency import Replays
from plugins.payments.simulator.simulator import Simulator
from tests.plugins.payments.simulator.conftest import Shop

HISTORIES, DEEP_HISTORIES, STEPS = 12, 400, 40
FAULTS = [
    Fault("lost_before_commit", match="POST *"),
    Fault("lost_after_commit", match="POST *"),
    Fault("lost_after_commit", match="POST *", how="timeout"),
    Fault("reset", match="POST *"),
    Fault("reset", match="POST *", after_commit=True),
    Fault("rate_limited", match="POST *"),
    Fault("html_502", match="POST *"),
    Fault("html_502", match="POST *", after_commit=True),
]
Create = Callable[[Any, Any], Awaitable[Any]]


class Actor:
    """Somebody with intentions, who retries each under its key until there is an answer."""

    def __init__(self, sim: Simulator, shop: Shop, rng: random.Random) -> None:
        self.sim, self.shop, self.rng = sim, shop, rng
        self.refused: set[str] = set()
        self.answered: dict[str, str] = {}
        self.count = 0

    def key(self, intention: str, attempt: int) -> str:
        """Give the provider's key of an attempt: the same for all attempts of an intention."""
        return intention if attempt >= 0 else ""

    async def intend(self, create: Create, params: dict[str, Any]) -> str | None:
        """Do one thing once; give the id, or None when the answer was a definite no."""
        self.count += 1
        intention = f"call_{self.count}"
        for attempt in range(60):
            options = {"idempotency_key": self.key(intention, attempt)}
            try:
                made = await create({**params, "metadata": {"call": intention}}, options)
            except (stripe.APIConnectionError, stripe.RateLimitError):
                continue
            except stripe.InvalidRequestError:
                self.refused.add(intention)
                return None
            except stripe.APIError:
                continue
            self.answered[intention] = made.id
            return str(made.id)
        raise AssertionError("sixty attempts without an answer: the fault rate is not what it says")

    async def step(self) -> None:
        """Do one random thing."""
        await self.rng.choice([self.sell, self.refund, self.card, self.payout])()

    async def sell(self) -> None:
        """Make a session; a buyer pays it most of the time, with whichever card."""
        price = {"currency": "usd", "unit_amount": self.rng.randint(50, 5000), "product_data": {"name": "x"}}
        body = {"mode": "payment", "line_items": [{"price_data": price}], "success_url": "https://x.example/"}
        session = await self.intend(self.shop.client.v1.checkout.sessions.create_async, body)
        if self.rng.random() < 0.9:
            cards = ["4242424242424242", "4000000000000002", "000123456789", "4000000000000259"]
            await self.shop.pay(str(session), self.rng.choice(cards))

    async def refund(self) -> None:
        """Refund some of some charge, sometimes too much of it."""
        charges = self.sim.world.all("charge")
        if charges:
            charge = self.rng.choice(charges)
            body = {"charge": charge["id"], "amount": self.rng.randint(1, charge["amount"])}
            await self.intend(self.shop.client.v1.refunds.create_async, body)

    async def card(self) -> None:
        """Make a card and let merchants at it: authorize, increment, capture, reverse."""
        card = await self.shop_card()
        helper = self.shop.client.v1.test_helpers.issuing.authorizations
        for _ in range(self.rng.randint(0, 3)):
            made = await self.quiet(self.shop.authorize(card, self.rng.randint(1, 1500)))
            if made is None or not made.approved:
                continue
            if self.rng.random() < 0.3:
                await self.quiet(helper.increment_async(made.id, {"increment_amount": 50}))
            if self.rng.random() < 0.7:
                taken = self.rng.randint(1, 2000)
                close = self.rng.random() < 0.7
                body: Any = {"capture_amount": taken, "close_authorization": close}
                await self.quiet(helper.capture_async(made.id, body))
            elif self.rng.random() < 0.5:
                await self.quiet(helper.reverse_async(made.id))

    async def shop_card(self) -> str:
        """Give a new active card for one or two payments."""
        holders = self.sim.world.all("issuing.cardholder")
        params = {
            "cardholder": holders[0]["id"],
            "currency": "usd",
            "type": "virtual",
            "status": "active",
            "spending_controls": {"spending_limits": [{"amount": 1200, "interval": "all_time"}]},
            "lifecycle_controls": {"cancel_after": {"payment_count": self.rng.randint(1, 2)}},
        }
        return str(await self.intend(self.shop.client.v1.issuing.cards.create_async, params))

    async def payout(self) -> None:
        """Send some money to a recipient."""
        body = {
            "amount": {"value": self.rng.randint(1, 900), "currency": "usd"},
            "from": {"financial_account": self.sim.world.financial_account, "currency": "usd"},
            "to": {"recipient": self.sim.world.recipient},
        }
        await self.intend(self.shop.client.v2.money_management.outbound_payments.create_async, body)

    async def quiet(self, act: Awaitable[Any]) -> Any:  # noqa: ANN401  any object of the SDK
        """Do what the network does, which has no key of ours; a lost answer is simply lost."""
        try:
            return await act
        except stripe.StripeError:
            return None


class FreshKeys(Actor):
    """The broken twin of a caller: every attempt has a key of its own, so a retry is a second purchase."""

    def key(self, intention: str, attempt: int) -> str:
        """Give another key for each attempt."""
        return f"{intention}:{attempt}"


class Forgetful(Replays):
    """The broken twin of the simulator: it forgets the answers it gave."""

    def store(self, family: str, key: str, answer: Response) -> None:
        """Drop the answer and the key with it."""
        del answer
        self.release(family, key)


def check(actor: Actor) -> None:
    """Hold the truth against what the actor intended and was told."""
    rows = actor.sim.effects()
    made = Counter(row["metadata"].get("call") for row in rows if row["kind"] != "authorization")
    # A charge inherits no metadata here; what buyers and networks do has no intention of ours.
    made.pop(None, None)
    assert dict(made) == dict.fromkeys(actor.answered, 1)
    ids = {row["id"] for row in rows}
    assert set(actor.answered.values()) <= ids
    check_refunds(actor.sim)
    check_cards(actor.sim)
    check_balance(actor.sim)


def check_refunds(sim: Simulator) -> None:
    """No charge gave back more than it took."""
    returned = Counter({row["charge"]: 0 for row in sim.world.all("refund")})
    for row in sim.world.all("refund"):
        returned[row["charge"]] += row["amount"]
    for charge in sim.world.all("charge"):
        assert charge["amount_refunded"] == returned[charge["id"]] <= charge["amount"]


def check_cards(sim: Simulator) -> None:
    """What cards took of the funds is what is held and what was captured; no card was paid with too often."""
    rows = sim.world.all("issuing.authorization")
    held = sum(row["amount"] for row in rows if row["approved"] and row["status"] == "pending")
    taken = -sum(row["amount"] for row in sim.world.all("issuing.transaction"))
    assert sum(sim.world.issuing_spent.values()) == held + taken
    approved = Counter(row["card"]["id"] for row in rows if row["approved"])
    for card in sim.world.all("issuing.card"):
        assert approved[card["id"]] <= card["lifecycle_controls"]["cancel_after"]["payment_count"]


def check_balance(sim: Simulator) -> None:
    """The balance is what came, less fees, refunds and disputes, to the cent."""
    rows = [row for row in sim.world.all("balance_transaction") if row["balance_type"] == "payments"]
    paid = sum(row["amount"] for row in sim.world.all("charge") if row["status"] == "succeeded")
    back = sum(row["amount"] for row in sim.world.all("refund"))
    disputed = sum(row["amount"] for row in sim.world.all("dispute"))
    assert sum(row["net"] for row in rows) == paid - back - disputed - sum(row["fee"] for row in rows)


async def live(
    seed: int, sdk: Callable[[Simulator], Shop], kind: type[Actor] = Actor, *, broken: bool = False
) -> None:
    """Live one history and check it."""
    sim = Simulator(seed)
    if broken:
        sim.account.replays = Forgetful(sim.clock)
    shop = sdk(sim)
    address = {"line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE"}
    holder: Any = {"name": "Bursar", "type": "company", "billing": {"address": address}}
    await shop.client.v1.issuing.cardholders.create_async(holder)
    sim.faults.by_seed(seed, rate=0.3, faults=FAULTS)
    actor = kind(sim, shop, random.Random(seed))
    for _ in range(STEPS):
        await actor.step()
    sim.faults.clear()
    check(actor)


async def live_all(
    count: int, sdk: Callable[[Simulator], Shop], kind: type[Actor] = Actor, *, broken: bool = False
) -> None:
    """Live and check that many histories."""
    for seed in range(count):
        await live(seed, sdk, kind, broken=broken)


@pytest.fixture
def shops() -> Callable[[Simulator], Shop]:
    """Give a shop for a simulator without respx: its own transport, so that many can follow each other."""
    stripe.enable_telemetry = (
        False  # Else the SDK writes a telemetry id into the home of whoever runs the tests.
    )

    def make(sim: Simulator) -> Shop:
        transport = httpx.ASGITransport(app=sim.app())
        web = httpx.AsyncClient(transport=transport, base_url=sim.world.settings.base_url)
        http = stripe.HTTPXClient()
        http._client_async = httpx.AsyncClient(transport=transport)  # noqa: SLF001  the SDK takes no transport
        return Shop(stripe.StripeClient(sim.secret_key, http_client=http, max_network_retries=0), web)

    return make


async def test_every_intention_has_one_effect(shops: Callable[[Simulator], Shop], deep: bool) -> None:  # noqa: FBT001  the suite's switch
    """The law all harnesses above rely on: effects equal intentions, whatever was lost on the way."""
    await live_all(DEEP_HISTORIES if deep else HISTORIES, shops)


async def test_a_caller_with_fresh_keys_is_caught(shops: Callable[[Simulator], Shop]) -> None:
    """The broken twin: if this passed, the harness could not see a second purchase."""
    with pytest.raises(AssertionError):
        await live_all(HISTORIES, shops, FreshKeys)


async def test_a_simulator_that_forgets_is_caught(shops: Callable[[Simulator], Shop]) -> None:
    """The other broken twin: idempotency that does not hold is seen by counting."""
    with pytest.raises(AssertionError):
        await live_all(HISTORIES, shops, broken=True)
