"""A shop in one process: the simulator, a ledger, the payments plugin's provider, the routes and their
worker.
"""
# ruff: noqa: ANN401 -- Stripe's JSON, ASGI's messages and any column: values of any type

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx
import respx
from litestar import Litestar
from msgspec import structs

from ledger.audit.house_kinds import RecordWritten
from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.offers import OfferSet
from ledger.rare_rows import put
from ledger.records import Role
from ledger.schema_revenue import checkouts, payment_links
from ledger.times import to_us
from plugins.hookspecs import PluginContext, Provider, Secret
from plugins.payments.plugin import bursar_plugin
from plugins.payments.simulator.delivery import AppDeliver
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.stripe_api import StripeApi
from plugins.tool import Binding
from policy.decide import decide, needs
from policy.language import Mode
from policy.load import load
from policy.money import Money
from policy.tools import TOOLS_FILE, load_tools
from webhooks.signatures import WebhookSecret, simulated_secrets
from webhooks.stripe_events import StripeDeps, stripe_routes
from webhooks.worker import WebhookWorker

URL = "http://bursar.example/webhooks/stripe"
ISSUING_URL = "http://bursar.example/webhooks/stripe/issuing"
BASE = "http://127.0.0.1:9999"  # Where the plugin believes the simulator to be; respx answers there.
ACCOUNT = "acc_1"
PRICE = Money(100, "USD")
PRICES = {"snapshot": PRICE, "schnappschuss": Money(90, "EUR"), "shashin": Money(150, "JPY")}


def judge() -> Judge:
    """Give the policy's three functions."""
    tools = load_tools(TOOLS_FILE)
    return Judge(needs, decide, lambda text, file: load(text, file, tools))


@dataclass
class Clock:
    """The house's clock, which stands still until it is moved."""

    at: datetime

    def __call__(self) -> datetime:
        """Give the instant."""
        return self.at

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.at += timedelta(seconds=seconds)


@dataclass
class Rig:
    """Everything, connected."""

    sim: Simulator
    ledger: Ledger
    provider: Provider
    deps: StripeDeps
    worker: WebhookWorker
    clock: Clock
    api: StripeApi
    app: Litestar
    account: str = ""
    count: int = 0
    ids: Callable[[str], str] = str
    mirrors: list["Rig"] = field(default_factory=list)  # Other ledgers of the same shop, told the same.
    web: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    async def deal(self) -> str:
        """Open a deal assigned to scout."""
        ledgers = [self.ledger, *(each.ledger for each in self.mirrors)]
        made = [
            await ledger.open_deal("shop", "Acme", by="system:test", at=self.clock(), agent="scout")
            for ledger in ledgers
        ]
        assert len(set(made)) == 1  # Ids are drawn alike, so that states can be compared to the byte.
        return made[0]

    async def checkout(
        self, *, deal_id: str | None = None, amount: int = 0, offer: str = "snapshot", **params: Any
    ) -> tuple[str, str]:
        """Record a checkout and create its session at the simulator, as the tool does; give both ids."""
        self.count += 1
        deal_id = deal_id or await self.deal()
        checkout_id = f"chk_{self.count}"
        marks = self.marks(deal_id, checkout=checkout_id) | {"bursar_offer": offer}
        row = self._row(deal_id, offer) | {"checkout_id": checkout_id, "url": None, "session_ref": None}
        row |= {"amount_minor": amount or row["amount_minor"]}
        await self._write(checkouts, {**row, "link_id": None, "expires_at_us": None})
        body: Any = {
            "mode": "payment",
            "line_items": [{"price": await self.price(offer), "quantity": 1}],
            "metadata": marks,
            "payment_intent_data": {"metadata": marks},
            "success_url": "https://bursar.example/paid",
            **params,
        }
        session = await self.api.client("earn").v1.checkout.sessions.create_async(body)
        return checkout_id, str(session.id)

    async def link(self, *, most: int = 3) -> tuple[str, str]:
        """Record a payment link and create it at the simulator; give both ids."""
        self.count += 1
        deal_id = await self.deal()
        link_id = f"lnk_{self.count}"
        marks = self.marks(deal_id, link=link_id)
        body: Any = {
            "line_items": [{"price": await self.price(), "quantity": 1}],
            "metadata": marks,
            "payment_intent_data": {"metadata": marks},
            "restrictions": {"completed_sessions": {"limit": most}},
        }
        made = await self.api.client("earn").v1.payment_links.create_async(body)
        row = self._row(deal_id, "snapshot") | {"link_id": link_id, "link_ref": str(made.id), "url": None}
        await self._write(payment_links, {**row, "state": "active", "most_payments": most})
        return link_id, str(made.id)

    def marks(self, deal_id: str, **more: str) -> dict[str, str]:
        """Give the metadata our tools write."""
        own = {"bursar_call": f"call_{self.count}", "bursar_account": ACCOUNT, "bursar_project": "shop"}
        extra = {f"bursar_{name}": value for name, value in more.items()}
        return own | {"bursar_deal": deal_id, "bursar_offer": "snapshot"} | extra

    async def price(self, offer: str = "snapshot") -> str:
        """Give an offer's price at the simulator."""
        return next(each.price_ref for each in await self.ledger.offers() if each.offer == offer)

    def _row(self, deal_id: str, offer: str) -> dict[str, Any]:
        return {
            "deal_id": deal_id,
            "project": "shop",
            "agent": "scout",
            "offer": offer,
            "offer_version": 1,
            "amount_minor": PRICES[offer].minor_units,
            "currency": PRICES[offer].currency,
            "mode": "simulated",
            "provider_account": self.account,
            "state": "dispatching",
            "call_id": f"call_{self.count}",
            "created_at_us": to_us(self.clock()),
        }

    async def _write(self, table: Any, row: dict[str, Any]) -> None:
        def work(tx: Any, world: Any) -> None:
            put(tx, table, ACCOUNT, **row)
            world.log(
                RecordWritten(record_type="sale", version=0, state="dispatching"), "x", "system:test", 1
            )

        for each in (self, *self.mirrors):
            await each.ledger._core.rare("test", work)  # noqa: SLF001  rows a tool's `prepare` writes

    async def pay(self, session: str, card: str = "4242424242424242") -> httpx.Response:
        """Pay on the hosted page."""
        return await self.web.post(f"/pay/{session}", data={"card": card, "email": "buyer@example.com"})

    async def work(self, rounds: int = 20) -> None:
        """Deliver what is due and work the inbox until nothing is due any more."""
        await self.sim.deliver_due()
        for _ in range(rounds):
            if not await self.worker.work_due():
                return

    async def settle_down(self) -> None:
        """Let time pass until every pause is over and nothing is unmatched that could match."""
        for _ in range(16):
            await self.sim.advance(600)
            self.clock.move(600)
            await self.work()


@asynccontextmanager
async def ledger_on(url: str, clock: Clock, seed: int) -> AsyncIterator[tuple[Ledger, Callable[[str], str]]]:
    """Make and open a ledger on a new database, with a project and an owner; its ids follow from the seed."""
    rand = random.Random(seed)
    count = iter(range(1, 10**9))

    def new_id(prefix: str) -> str:
        return f"{prefix}_{next(count):08d}{rand.randbytes(4).hex()}"

    at, broken = clock(), list[Exception]()
    await make_ledger(
        url, account_id=ACCOUNT, name="Shop", instance_id="ins_1", judge=judge(), ids=new_id, at=at
    )
    ledger = await open_ledger(
        url, judge=judge(), clock=clock, ids=new_id, failed=lambda _what, error: broken.append(error)
    )
    async with ledger:
        await ledger.add_project("shop", by="system:test", at=at)
        await ledger.add_operator(name="olga", role=Role.OWNER, by="system:test", at=at)
        yield ledger, new_id
    assert not broken, broken


@asynccontextmanager
async def rig_on(
    url: str, *, seed: int = 7, start: datetime | None = None, **options: Any
) -> AsyncIterator[Rig]:
    """Open a shop on a new database; `options` are of StripeDeps."""
    clock = Clock(start or datetime(2026, 11, 20, 10, tzinfo=UTC))
    begin = clock()
    sim = Simulator(seed, begin.timestamp)
    apps: list[Litestar] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await apps[0](scope, receive, send)

    sim.hooks._deliver = AppDeliver(app)  # noqa: SLF001  the app needs the simulator's secrets first
    async with (
        ledger_on(url, clock, seed) as (ledger, new_id),
        connected(sim, clock, new_id) as (provider, api),
    ):
        rig = await assembled(sim, ledger, provider, api, clock, options)
        rig.ids = new_id
        apps.append(rig.app)
        transport = httpx.ASGITransport(app=sim.app())
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as web:
            rig.web = web
            await put_on_sale(rig)
            yield rig


@asynccontextmanager
async def mirrored(rig: Rig, url: str, seed: int = 7) -> AsyncIterator[Rig]:
    """Open another ledger of the same shop, which hears of the same events in its own way."""
    async with ledger_on(url, rig.clock, seed) as (ledger, new_id):
        deps = structs.replace(rig.deps, ledger=ledger)
        app = Litestar(stripe_routes(deps), openapi_config=None, logging_config=None)
        worker = WebhookWorker(deps, rig.provider)
        other = replace(rig, ledger=ledger, deps=deps, worker=worker, app=app, ids=new_id, mirrors=[])
        offer = (await rig.ledger.offers())[0]
        await ledger.set_offer(
            _wanted(rig, offer.product_ref, offer.price_ref), by="system:test", at=rig.clock()
        )
        rig.mirrors.append(other)
        yield other


@asynccontextmanager
async def connected(
    sim: Simulator, clock: Clock, new_id: Callable[[str], str]
) -> AsyncIterator[tuple[Provider, StripeApi]]:
    """Give the payments plugin's provider and its client, both talking to the simulator."""
    handler = respx.handlers.ASGIHandler(sim.app())
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=handler)
        secrets = {"STRIPE_EARN_KEY": sim.earn_key, "STRIPE_SPEND_KEY": sim.spend_key}
        context = PluginContext(
            name="payments",
            settings={},
            secrets={name: Secret(name, key) for name, key in secrets.items()},
            now=clock,
            new_id=new_id,
            api_base=BASE,
        )
        plugin = bursar_plugin(context)
        provider = plugin.providers[0]
        from plugins.payments.keys import read_keys

        api = StripeApi(read_keys(context), monotonic=lambda: 0.0)
        yield provider, api
        await provider.close()
        await api.close()


async def assembled(
    sim: Simulator, ledger: Ledger, provider: Provider, api: StripeApi, clock: Clock, options: dict[str, Any]
) -> Rig:
    """Put a rig together around an open ledger."""
    readiness = await provider.check()
    assert readiness.identity is not None
    identity = readiness.identity
    binding = Binding(
        provider="stripe", account=identity.account, mode=identity.mode, instance=identity.instance
    )
    secrets = simulated_secrets("SIM", [sim.subscribe(URL)])
    issuing = simulated_secrets(
        "SIM_ISSUING", [sim.subscribe(ISSUING_URL, ["issuing_authorization.request"])]
    )
    thin = [
        f"v2.money_management.outbound_payment.{what}"
        for what in ("posted", "failed", "canceled", "returned")
    ]
    v2 = simulated_secrets("SIM_V2", [sim.subscribe(URL, thin, thin=True)])
    deps = StripeDeps(
        ledger=ledger,
        binding=lambda: binding,
        now=clock,
        secrets=(*secrets, *v2),
        issuing_secrets=issuing,
        **options,
    )
    worker = WebhookWorker(deps, provider)
    app = Litestar(stripe_routes(deps), openapi_config=None, logging_config=None)
    return Rig(sim, ledger, provider, deps, worker, clock, api, app, account=identity.account)


async def put_on_sale(rig: Rig, offer: str = "snapshot") -> OfferSet:
    """Put something on sale, as `bursar offers set` does."""
    client, cost = rig.api.client("earn"), PRICES[offer]
    product: Any = {"id": f"offer_{offer}", "name": offer.title()}
    made = await client.v1.products.create_async(product)
    body: Any = {"product": made.id, "currency": cost.currency.lower(), "unit_amount": cost.minor_units}
    price = await client.v1.prices.create_async(body)
    wanted = _wanted(rig, str(made.id), str(price.id), offer)
    await rig.ledger.set_offer(wanted, by="system:test", at=rig.clock())
    return wanted


def _wanted(rig: Rig, product_ref: str, price_ref: str, offer: str = "snapshot") -> OfferSet:
    return OfferSet(
        offer=offer,
        name=offer.title(),
        price=PRICES[offer],
        product_ref=product_ref,
        price_ref=price_ref,
        mode=Mode.SIMULATED,
        provider_account=rig.account,
    )


def delivery(app: Litestar) -> AppDeliver:
    """Give the way into an app that the simulator itself takes."""
    return AppDeliver(cast("Any", app))


def secret_of(secrets: tuple[WebhookSecret, ...], number: int = 0) -> str:
    """Give a secret's text, to sign with."""
    return secrets[number].secret.reveal()
