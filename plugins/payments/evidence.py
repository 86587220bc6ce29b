"""What Stripe shows now: readiness, single objects, and the events since an instant.

Webhooks say that something happened; what happened is read here, from the object as it is now, so that order
and repetition of events do not matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ledger.records import ProofBy
from plugins.payments.stripe_api import Answer, StripeApi
from plugins.tool import Evidence, Readiness

if TYPE_CHECKING:
    import stripe

_GONE: Final = 404
_MOST_EVENTS: Final = 5_000  # In one round; the next round goes on where this one ended.


async def check(api: StripeApi) -> Readiness:
    """Ask Stripe who the keys belong to and whether they may charge and issue."""
    import stripe

    missing: list[str] = []
    if api.keys.earn is None:
        missing.append("STRIPE_EARN_KEY is not set")
        return Readiness(ready=False, missing=tuple(missing))
    try:
        account = await api.account("earn")
        identity = api.remember("earn", account)
        missing += _account_gaps(account)
        missing += await _spend_gaps(api, identity.account)
    except stripe.StripeError as error:
        return Readiness(ready=False, missing=(f"Stripe gives no good answer: {_told(error)}",))
    return Readiness(ready=not missing, missing=tuple(missing), identity=identity)


def _account_gaps(account: Answer) -> list[str]:
    wants = {"charges_enabled": "charges are off", "payouts_enabled": "payouts are off"}
    return [
        f"{words} for {account.data['id']}" for name, words in wants.items() if not account.data.get(name)
    ]


async def _spend_gaps(api: StripeApi, earner: str) -> list[str]:
    """Say what keeps the spending key from being used; a missing one is no gap, its tools say so."""
    if api.keys.spend is None:
        return []
    account = await api.account("spend")
    identity = api.remember("spend", account)
    if identity.account != earner:
        return [f"the spending key is of {identity.account}, the earning one of {earner}"]
    if (account.data.get("capabilities") or {}).get("card_issuing") not in {"active", None}:
        return [f"card issuing is not active for {identity.account}"]
    return []


def _told(error: stripe.StripeError) -> str:
    words = {401: "the key is refused", 403: "the key may not read the account"}
    return words.get(error.http_status or 0, f"{type(error).__name__} {error.http_status or ''}".strip())


async def fetch(api: StripeApi, reference: str) -> Evidence:
    """Return one object as it is now. Raises stripe.StripeError unless it is there or absent."""
    import stripe

    reader = _reader(api, reference)
    if reader is None:
        return Evidence(ref=reference, found=False)
    try:
        answer = await api.ask(reader())
    except stripe.InvalidRequestError as error:
        if error.http_status == _GONE:
            return Evidence(ref=reference, found=False)
        raise
    purpose = "spend" if _spends(reference) else "earn"
    return Evidence(
        ref=reference,
        found=True,
        identity=await api.identity(purpose),
        proof=api.proof(answer, ProofBy.LOOKUP),
        data=answer.data,
    )


def _spends(reference: str) -> bool:
    return reference.startswith(("ic_", "iauth_", "ipi_", "obp_"))


def _reader(api: StripeApi, reference: str) -> Callable[[], Awaitable[Any]] | None:
    """Return how an object of this id is read, or None for kinds we never ask for."""
    prefix = reference.split("_", 1)[0]
    if _spends(reference):
        return _spend_reader(api, prefix, reference)
    v1 = api.client("earn").v1
    readers: dict[str, Callable[[], Awaitable[Any]]] = {
        "cs": lambda: v1.checkout.sessions.retrieve_async(
            reference, {"expand": ["payment_intent.latest_charge.balance_transaction", "line_items"]}
        ),
        "pi": lambda: v1.payment_intents.retrieve_async(
            reference, {"expand": ["latest_charge.balance_transaction"]}
        ),
        "ch": lambda: v1.charges.retrieve_async(reference, {"expand": ["balance_transaction"]}),
        "re": lambda: v1.refunds.retrieve_async(reference, {"expand": ["balance_transaction"]}),
        "pyr": lambda: v1.refunds.retrieve_async(reference, {"expand": ["balance_transaction"]}),
        "dp": lambda: v1.disputes.retrieve_async(reference),
        "du": lambda: v1.disputes.retrieve_async(reference),
        "plink": lambda: v1.payment_links.retrieve_async(reference),
    }
    return readers.get(prefix)


def _spend_reader(api: StripeApi, prefix: str, reference: str) -> Callable[[], Awaitable[Any]]:
    client = api.client("spend")
    readers: dict[str, Callable[[], Awaitable[Any]]] = {
        "ic": lambda: client.v1.issuing.cards.retrieve_async(reference),
        "iauth": lambda: client.v1.issuing.authorizations.retrieve_async(reference),
        "ipi": lambda: client.v1.issuing.transactions.retrieve_async(reference),
        "obp": lambda: client.v2.money_management.outbound_payments.retrieve_async(reference),
    }
    return readers[prefix]


async def events(api: StripeApi, since: datetime) -> tuple[Evidence, ...]:
    """Return the events since an instant, oldest first, at most some thousands; each as Stripe stored it."""
    client = api.client("earn")
    page = await client.v1.events.list_async({"created": {"gte": int(since.timestamp())}, "limit": 100})
    found: list[Evidence] = []
    async for thing in page.auto_paging_iter():
        found.append(Evidence(ref=str(thing.id), found=True, data=thing.to_dict(for_json=True)))
        if len(found) >= _MOST_EVENTS:
            break
    return tuple(reversed(found))


async def set_armed(api: StripeApi, card: str, *, armed: bool) -> bool:
    """Switch a card on or off (M20); return whether Stripe now shows it so. A cancelled card stays cancelled.

    Status changes need no key: setting the same status twice is the same.
    """
    import stripe

    cards = api.client("spend").v1.issuing.cards
    wanted = "active" if armed else "inactive"
    try:
        answer = await api.ask(
            cards.update_async(card, {"status": "active"} if armed else {"status": "inactive"})
        )
    except stripe.InvalidRequestError:
        answer = await api.ask(cards.retrieve_async(card))
    return answer.data.get("status") in {wanted, "canceled"}
