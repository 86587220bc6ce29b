"""A simulator in process, the real SDK in front of it, and a receiver of its webhooks."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
import respx
import stripe

from plugins.payments.simulator.delivery import AppDeliver
from plugins.payments.simulator.http import Receive, Response, Scope, Send, read, write
from plugins.payments.simulator.simulator import Simulator

Obj = dict[str, Any]


@dataclass
class Receiver:
    """An ASGI app that keeps what is delivered and answers as told."""

    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    approve: Callable[[Obj], Response] | None = None

    @property
    def events(self) -> list[Obj]:
        """Give what arrived, decoded."""
        return [orjson.loads(body) for body in self.bodies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an authorization by `approve`, anything else by the next of `statuses`, or 200."""
        request = await read(scope, receive)
        self.bodies.append(request.body)
        self.signatures.append(request.headers["stripe-signature"])
        if self.approve is not None and b"issuing_authorization.request" in request.body:
            await write(send, self.approve(orjson.loads(request.body)))
            return
        await write(send, Response(self.statuses.pop(0) if self.statuses else 200, b""))


@pytest.fixture
def receiver() -> Receiver:
    """Give a receiver that accepts everything."""
    return Receiver()


@pytest.fixture
def sim(receiver: Receiver) -> Simulator:
    """Give a simulator whose clock stands still at the present until it is advanced."""
    start = time.time()
    return Simulator(7, lambda: start, deliver=AppDeliver(receiver))


@pytest.fixture
async def sdk(sim: Simulator) -> AsyncIterator[Callable[[str], stripe.StripeClient]]:
    """Give real SDK clients by key, their requests to api.stripe.com answered by the simulator."""
    logged = stripe.enable_telemetry
    stripe.enable_telemetry = (
        False  # Else the SDK writes a telemetry id into the home of whoever runs the tests.
    )
    http = stripe.HTTPXClient()
    handler = respx.handlers.ASGIHandler(sim.app())
    with respx.mock(assert_all_called=False) as router:
        router.route(host="api.stripe.com").mock(side_effect=handler)
        yield lambda key: stripe.StripeClient(key, http_client=http, max_network_retries=0)
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it open
    stripe.enable_telemetry = logged


@pytest.fixture
def client(sim: Simulator, sdk: Callable[[str], stripe.StripeClient]) -> stripe.StripeClient:
    """Give the SDK's client with the secret key."""
    return sdk(sim.secret_key)


@pytest.fixture
async def web(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    """Give a browser's view: the pages and the controls."""
    transport = httpx.ASGITransport(app=sim.app())
    async with httpx.AsyncClient(transport=transport, base_url=sim.world.settings.base_url) as browser:
        yield browser


@dataclass(frozen=True)
class Shop:
    """Shortcuts through the real SDK for what most tests need first."""

    client: stripe.StripeClient
    web: httpx.AsyncClient

    async def session(self, amount: int = 1900, **params: Any) -> stripe.checkout.Session:  # noqa: ANN401  params
        """Create an open session for one item."""
        price = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Snapshot"}}
        body: Any = {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "success_url": "https://shop.example/paid?cs={CHECKOUT_SESSION_ID}",
            "cancel_url": "https://shop.example/cancel",
            "metadata": {"deal": "deal_1"},
            "payment_intent_data": {"metadata": {"deal": "deal_1"}},
            **params,
        }
        return await self.client.v1.checkout.sessions.create_async(body)

    async def pay(self, session_id: str, card: str = "4242424242424242") -> httpx.Response:
        """Pay on the hosted page."""
        return await self.web.post(f"/pay/{session_id}", data={"card": card, "email": "buyer@example.com"})

    async def charge(self, amount: int = 1900, card: str = "4242424242424242") -> Obj:
        """Sell something and give the charge, as JSON."""
        session = await self.session(amount)
        await self.pay(session.id, card)
        expand: Any = {"expand": ["payment_intent.latest_charge"]}
        full = await self.client.v1.checkout.sessions.retrieve_async(session.id, expand)
        found: Obj = full.to_dict(for_json=True)["payment_intent"]["latest_charge"]
        return found

    async def card(self, limit: int = 1106, **params: Any) -> stripe.issuing.Card:  # noqa: ANN401  params
        """Make a cardholder and an active single-use card."""
        address = {"line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE"}
        holder: Any = {"name": "Bursar", "type": "company", "billing": {"address": address}}
        made = await self.client.v1.issuing.cardholders.create_async(holder)
        body: Any = {
            "cardholder": made.id,
            "currency": "usd",
            "type": "virtual",
            "status": "active",
            "spending_controls": {"spending_limits": [{"amount": limit, "interval": "all_time"}]},
            "lifecycle_controls": {"cancel_after": {"payment_count": 1}},
            "metadata": {"call": "call_1"},
            **params,
        }
        return await self.client.v1.issuing.cards.create_async(body)

    async def authorize(self, card_id: str, amount: int) -> stripe.issuing.Authorization:
        """Attempt an authorization through Stripe's test helper."""
        body: Any = {"card": card_id, "amount": amount, "merchant_data": {"name": "porkbun.com"}}
        return await self.client.v1.test_helpers.issuing.authorizations.create_async(body)


@pytest.fixture
def shop(client: stripe.StripeClient, web: httpx.AsyncClient) -> Shop:
    """Give the shortcuts."""
    return Shop(client, web)
