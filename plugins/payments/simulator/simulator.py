"""The simulator itself: accounts, keys, faults, the clock, and the ASGI app over them."""

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from plugins.payments.simulator import control, effects, site
from plugins.payments.simulator.api import Account, Api, Sleep
from plugins.payments.simulator.clock import SimClock
from plugins.payments.simulator.delivery import HttpDeliver
from plugins.payments.simulator.faults import FaultPlan
from plugins.payments.simulator.http import (
    App,
    BodyTooLargeError,
    BrokenError,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    break_connection,
    json_response,
    read,
    write,
)
from plugins.payments.simulator.idempotency import Replays
from plugins.payments.simulator.ids import Ids
from plugins.payments.simulator.keys import EARN_SCOPES, SPEND_SCOPES, KeyRing
from plugins.payments.simulator.resources import issuing_cards, outbound
from plugins.payments.simulator.resources.table import ROUTES
from plugins.payments.simulator.webhooks import Deliver, Target, Webhooks
from plugins.payments.simulator.world import Obj, World, WorldSettings

_IDLE_S = 0.5  # The worker looks at the clock this often when nothing wakes it.


class Simulator:
    """A stateful stand-in for Stripe; the same seed, clock and calls give the same world."""

    def __init__(
        self,
        seed: int = 0,
        clock: Callable[[], float] = time.time,
        *,
        settings: WorldSettings | None = None,
        deliver: Deliver | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rng = random.Random(seed)  # noqa: S311  repeats on purpose; its keys open nothing but this simulator
        self._ids = Ids(self._rng)
        self._settings = settings or WorldSettings()
        self._deliver: Deliver = HttpDeliver() if deliver is None else deliver
        self._api = Api(self, ROUTES, sleep)
        self._running: set[asyncio.Task[Response | BrokenError]] = set()
        self._wake = asyncio.Event()
        self.clock = SimClock(clock)
        self.instance = self._ids.new("inst")
        self.faults = FaultPlan()
        self.keys = KeyRing(self._ids)
        self.secret_key = self.keys.make().secret
        self.earn_key = self.keys.make(EARN_SCOPES).secret
        self.spend_key = self.keys.make(SPEND_SCOPES).secret
        self.account = self._new_account()
        self._home = self.account

    def _new_account(self) -> Account:
        world = World(self.clock, self._rng, self._settings)
        outbound.found(world)
        issuing_cards.found(world)
        hooks = Webhooks(world, self.faults, self._deliver)
        hooks.wake = self._wake.set
        return Account(world, hooks, Replays(self.clock))

    @property
    def world(self) -> World:
        """Give the account's objects, for tests that look directly."""
        return self.account.world

    @property
    def hooks(self) -> Webhooks:
        """Give the account's deliveries."""
        return self.account.hooks

    def configure(self, **changes: Any) -> None:  # noqa: ANN401  fields of WorldSettings
        """Change settings of the world as it runs, for instance base_url once the port is known."""
        self._settings = dataclasses.replace(self._settings, **changes)
        self.world.settings = self._settings

    def swap_account(self) -> None:
        """Let the keys belong to another, empty account; `restore_account` undoes it."""
        self.account = self._new_account()

    def restore_account(self) -> None:
        """Give the keys back to the account the simulator began with."""
        self.account = self._home

    def rotate_key(self, secret: str) -> str:
        """Replace a key by a new one of the same scopes; the old one answers 401."""
        fresh = self.keys.rotate(secret)
        for name in ("secret_key", "earn_key", "spend_key"):
            if getattr(self, name) == secret:
                setattr(self, name, fresh)
        return fresh

    def subscribe(
        self, url: str, events: Iterable[str] = ("*",), *, thin: bool = False, secret: str | None = None
    ) -> str:
        """Let a URL receive events; give the signing secret."""
        chosen = secret or self.world.ids.new("whsec")
        target = Target(self.world.ids.new("we"), url, frozenset(events), [(chosen, None)], is_thin=thin)
        self.hooks.add_target(target)
        return chosen

    def subscribe_as(self, name: str, url: str, events: Iterable[str], *, thin: bool = False) -> str:
        """Let a URL receive events under a name that outlives a restart: its secret stays."""
        known = self.hooks.targets.get(f"we_sim_{name}")
        secret = self.world.ids.new("whsec") if known is None else known.secrets[0][0]
        target = Target(f"we_sim_{name}", url, frozenset(events), [(secret, None)], is_thin=thin)
        self.hooks.add_target(target)
        return secret

    def mark(self) -> object:
        """Give something that differs whenever there may be more to save."""
        return self._rng.getstate(), len(self.hooks.log), self.clock.offset_s

    def effects(self) -> list[Obj]:
        """Give the truth: every object through which money moved or may move."""
        return effects.of(self.world)

    async def deliver_due(self) -> int:
        """Run timers and make the deliveries that are due; give their number."""
        self.world.run_due()
        return await self.hooks.pump()

    async def advance(self, seconds: float) -> int:
        """Move the clock and do what became due; give the number of deliveries."""
        self.clock.advance(seconds)
        return await self.deliver_due()

    async def run(self) -> None:
        """Deliver in the background until cancelled; a child process runs this beside its server."""
        while True:
            self._wake.clear()
            await self.deliver_due()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _IDLE_S)

    def app(self) -> App:
        """Give the ASGI app: the API, the pages, and the controls under /_sim."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            # A plain function: servers tell ASGI 3 from ASGI 2 by looking at what they are given.
            await self._handle(scope, receive, send)

        return app

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        try:
            request = await read(scope, receive)
        except BodyTooLargeError:
            await write(
                send, json_response(413, {"error": {"type": "invalid_request_error", "message": "too large"}})
            )
            return
        # Its own task: a client that hangs up does not undo what the server is committing.
        task = asyncio.ensure_future(self._answer(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        outcome = await asyncio.shield(task)
        if isinstance(outcome, BrokenError):
            await break_connection(outcome.how, receive, send)
        else:
            await write(send, outcome)

    async def _answer(self, request: Request) -> Response | BrokenError:
        if request.path.startswith(("/v1/", "/v2/")):
            try:
                return await self._api.answer(request)
            except BrokenError as broken:
                return broken
        if request.path == "/_sim" or request.path.startswith("/_sim/"):
            return await control.answer(self, request)
        return await site.answer(self.account, request)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
