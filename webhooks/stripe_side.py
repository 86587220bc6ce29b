"""Stripe's side of one house: the routes its events arrive on, and the worker that books them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from litestar.handlers import HTTPRouteHandler
from msgspec import Struct, structs

from plugins.hookspecs import Provider
from policy.language import Mode
from tool_server.bootstrap import House
from webhooks.signatures import WebhookSecret, read_secrets, simulated_secrets
from webhooks.stripe_events import StripeDeps, stripe_routes
from webhooks.worker import RECONCILE_S, WebhookWorker

PROVIDER: Final = "stripe"
EVENTS: Final = "STRIPE_WEBHOOK_SECRETS"
ISSUING: Final = "STRIPE_ISSUING_WEBHOOK_SECRETS"
PATHS: Final = (
    "/webhooks/stripe",
    "/webhooks/stripe/issuing",
)  # Programs post here and prove it by signature.


class Simulated(Struct, frozen=True):
    """The secrets that a simulator made for itself."""

    events: tuple[str, ...] = ()
    issuing: tuple[str, ...] = ()


class StripeSide:
    """What one process does with Stripe's events."""

    def __init__(self, deps: StripeDeps, provider: Provider | None, *, reconcile_s: float) -> None:
        self.deps = structs.replace(deps, wake=self._wake)
        self.worker = (
            None if provider is None else WebhookWorker(self.deps, provider, reconcile_s=reconcile_s)
        )

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers of the routes whose secrets are set."""
        return stripe_routes(self.deps)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work the inbox for as long as the block runs."""
        if self.worker is None:
            yield
            return
        task = asyncio.create_task(self.worker.run(), name="webhook-worker")
        try:
            yield
        finally:
            await self.worker.close()
            await task

    def _wake(self) -> None:
        if self.worker is not None:
            self.worker.wake()


def stripe_side(
    house: House, simulated: Simulated | None = None, *, reconcile_s: float = RECONCILE_S
) -> StripeSide:
    """Build Stripe's side of a house. Raises ConfigurationError for secrets that are not tagged."""
    made = simulated or Simulated()
    deps = StripeDeps(
        ledger=house.ledger,
        binding=lambda: house.providers.binding(PROVIDER),
        now=house.now,
        secrets=(*_environment(house, EVENTS), *simulated_secrets(EVENTS, made.events)),
        issuing_secrets=(*_environment(house, ISSUING), *simulated_secrets(ISSUING, made.issuing)),
        live_spend=house.live_spend,
        seen=house.dispatcher.reconciler.hurry,
        provider=PROVIDER,
    )
    return StripeSide(deps, house.registry.providers.get(PROVIDER), reconcile_s=reconcile_s)


def _environment(house: House, name: str) -> Sequence[WebhookSecret]:
    """Return the secrets of the environment.

    In a house that is bound to a simulator, what is tagged `test` was made by a simulator: `bursar simulate
    stripe` prints such a line. Nothing else could be booked there, since objects are fetched from it.
    """
    found = house.settings.secret(name)
    secrets = () if found is None else read_secrets(name, found.reveal())
    if house.modes.get(PROVIDER) is not Mode.SIMULATED:
        return secrets
    return [structs.replace(each, mode=Mode.SIMULATED) for each in secrets if each.mode is Mode.TEST]
