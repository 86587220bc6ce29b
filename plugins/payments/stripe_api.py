"""The one way to Stripe: the SDK's async client, its retries off, each answer read with its evidence.

Every request carries a key of ours that outlives the process, or is a plain read. What comes back is plain
data, so that nothing of the SDK leaves this folder. Source: the SDK's own behaviour, version 16.1.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from ledger.records import Proof, ProofBy, ProofLevel, ProviderIdentity
from plugins.payments.keys import Keys
from policy.errors import NotReady
from policy.language import Mode

if TYPE_CHECKING:
    import stripe

PROVIDER: Final = "stripe"
API_VERSION: Final = "2026-10-28.endive"  # What the pinned SDK was generated from.
_CONNECT_S: Final = 5.0  # A host that does not answer a connection in this time is not there.
_READ_S: Final = 20.0  # Stripe answers within seconds; later, the outcome is settled by reconciling.
_SIMULATOR_HEADER: Final = "bursar-simulator"
_IDENTITY_FRESH_S: Final = 60.0  # How long a measured account stands before an effect measures again.
_LEVELS: Final = {
    Mode.LIVE: ProofLevel.LIVE,
    Mode.TEST: ProofLevel.TEST,
    Mode.SIMULATED: ProofLevel.SIMULATED,
}


class Answer(Struct, frozen=True, kw_only=True):
    """One object as Stripe answered it, and what the answer proves about itself."""

    data: Mapping[str, Any]
    mode: Mode
    instance: str = ""
    replayed: bool = False  # Stripe's stored answer to a key it had seen (M2).
    request_id: str = ""


class StripeApi:
    """Speak to Stripe with the earning or the spending key. One instance per process and event loop."""

    def __init__(self, keys: Keys, *, monotonic: Callable[[], float]) -> None:
        self.keys = keys
        self._monotonic = monotonic
        self._clients: dict[str, stripe.StripeClient] = {}
        self._http: stripe.HTTPXClient | None = None
        self._identities: dict[str, tuple[float, ProviderIdentity]] = {}

    def client(self, purpose: str) -> stripe.StripeClient:
        """Return the SDK's client for "earn" or "spend". Raises NotReady where that key is not set."""
        if purpose not in self._clients:
            self._clients[purpose] = self._made(purpose)
        return self._clients[purpose]

    async def ask(self, request: Awaitable[Any]) -> Answer:
        """Await one SDK request and return plain data with its evidence. Raises stripe.StripeError."""
        return self._answer(await request)

    async def read(self, purpose: str, path: str, **params: object) -> Answer:
        """Return what a GET answers, without the SDK's typed objects around it. Raises stripe.StripeError.

        Building those of one Checkout Session takes longer than all the rest of fetching it.
        """
        response = await self.client(purpose).raw_request_async("get", path, **params)
        return self._read(response.data, response.headers)

    async def identity(self, purpose: str, *, fresh: bool = False) -> ProviderIdentity:
        """Return which account the key belongs to, as Stripe says now or said within the last minute (M4)."""
        known = self._identities.get(purpose)
        if known and not fresh and self._monotonic() - known[0] < _IDENTITY_FRESH_S:
            return known[1]
        answer = await self.account(purpose)
        return self.remember(purpose, answer)

    def answered_by(self, purpose: str) -> ProviderIdentity | None:
        """Return whose the key is as last measured, asking nobody.

        For what was just done: a refusal of the question would pass for a refusal of the deed.
        """
        known = self._identities.get(purpose)
        return None if known is None else known[1]

    async def account(self, purpose: str) -> Answer:
        """Return the account of one key as it is now."""
        return await self.ask(self.client(purpose).v1.accounts.retrieve_current_async())

    def remember(self, purpose: str, account: Answer) -> ProviderIdentity:
        """Keep a measured account for a minute, and return it as an identity."""
        identity = ProviderIdentity(str(account.data["id"]), self.measured(account), account.instance)
        self._identities[purpose] = (self._monotonic(), identity)
        return identity

    def measured(self, answer: Answer) -> Mode:
        """Return the mode an answer shows. An account says no livemode: then the key's letters speak."""
        return answer.mode if "livemode" in answer.data or answer.instance else self.keys.mode

    def proof(self, answer: Answer, by: ProofBy) -> Proof:
        """Return what an answer proves."""
        return Proof(_LEVELS[self.measured(answer)], by, PROVIDER)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close_async()  # type: ignore[no-untyped-call]  # the SDK left it untyped
        self._clients.clear()
        self._http = None

    def _made(self, purpose: str) -> stripe.StripeClient:
        key = self.keys.earn if purpose == "earn" else self.keys.spend
        if key is None:
            name = "STRIPE_EARN_KEY" if purpose == "earn" else "STRIPE_SPEND_KEY"
            raise NotReady(f"{name} is not set, so Stripe cannot be asked to {purpose}; tell the owner")
        import httpx
        import stripe

        stripe.enable_telemetry = False  # It would write a file to the home directory and tell Stripe of it.
        # At INFO the SDK logs every address, at DEBUG bodies with people's data.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        if self._http is None:
            self._http = stripe.HTTPXClient(timeout=httpx.Timeout(_READ_S, connect=_CONNECT_S))
        base: Any = {"api": self.keys.api_base} if self.keys.api_base else {}
        return stripe.StripeClient(
            key.reveal(),
            http_client=self._http,
            max_network_retries=0,  # A retry is an attempt of the call's, and the ledger has to know of it.
            stripe_version=API_VERSION,
            base_addresses=base,
        )

    def _answer(self, thing: Any) -> Answer:  # noqa: ANN401 -- the SDK's objects share no useful type
        last = getattr(thing, "last_response", None)
        return self._read(thing.to_dict(for_json=True), last.headers if last else {})

    def _read(self, data: Mapping[str, Any], told: Mapping[str, str]) -> Answer:
        headers = {key.lower(): value for key, value in told.items()}
        return Answer(
            data=data,
            mode=self._mode(data, headers),
            instance=headers.get(_SIMULATOR_HEADER, ""),
            replayed=headers.get("idempotent-replayed") == "true",
            request_id=headers.get("request-id", ""),
        )

    def _mode(self, data: Mapping[str, Any], headers: Mapping[str, str]) -> Mode:
        """Read the mode from evidence: the simulator's header, ids or address, then `livemode` (M30)."""
        if _SIMULATOR_HEADER in headers or "_sim_" in str(data.get("id", "")) or self.keys.api_base:
            return Mode.SIMULATED
        return Mode.TEST if data.get("livemode") is False else Mode.LIVE
