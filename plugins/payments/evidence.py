"""What Stripe shows now: readiness, single objects, and the events since an instant.

Webhooks say that something happened; what happened is read here, from the object as it is now, so that order
and repetition of events do not matter.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog

from ledger.records import ProofBy
from plugins.payments.stripe_api import Answer, StripeApi
from plugins.tool import Evidence, Readiness

if TYPE_CHECKING:
    import stripe

_log = structlog.get_logger("bursar.payments")
_GONE: Final = 404
_V2_TYPES: Final = tuple(
    f"v2.money_management.outbound_payment.{what}"
    for what in ("created", "posted", "failed", "canceled", "returned")
)
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

    prefix = reference.split("_", 1)[0]
    path = _PATHS.get(prefix)
    if path is None:
        return Evidence(ref=reference, found=False)
    purpose = "spend" if prefix in _SPENDS else "earn"
    expand = {"expand": list(_EXPANDED[prefix])} if prefix in _EXPANDED else {}
    try:
        answer = await api.read(purpose, f"{path}/{quote(reference, safe='')}", **expand)
    except stripe.InvalidRequestError as error:
        if error.http_status == _GONE:
            return Evidence(ref=reference, found=False)
        raise
    return Evidence(
        ref=reference,
        found=True,
        identity=await api.identity(purpose),
        proof=api.proof(answer, ProofBy.LOOKUP),
        data=answer.data,
    )


# Where objects of an id's kind are read, and what is read with them. Kinds we never ask for are not here.
_PATHS: Final = {
    "cs": "/v1/checkout/sessions",
    "pi": "/v1/payment_intents",
    "ch": "/v1/charges",
    "py": "/v1/charges",
    "re": "/v1/refunds",
    "pyr": "/v1/refunds",
    "dp": "/v1/disputes",
    "du": "/v1/disputes",
    "plink": "/v1/payment_links",
    "ic": "/v1/issuing/cards",
    "iauth": "/v1/issuing/authorizations",
    "ipi": "/v1/issuing/transactions",
    "obp": "/v2/money_management/outbound_payments",
}
_SPENDS: Final = frozenset({"ic", "iauth", "ipi", "obp"})
_EXPANDED: Final = {
    "cs": ("payment_intent.latest_charge.balance_transaction", "line_items"),
    "pi": ("latest_charge.balance_transaction",),
    "ch": ("balance_transaction",),
    "py": ("balance_transaction",),
    "re": ("balance_transaction",),
    "pyr": ("balance_transaction",),
    "ipi": ("card",),  # Its marks say whether the card is ours.
}


async def events(api: StripeApi, since: datetime) -> tuple[Evidence, ...]:
    """Return the events since an instant, oldest first, at most some thousands; each as Stripe stored it.

    Both kinds: v1's snapshots, and v2's, which only name what happened to outbound payments.
    """
    return (*await _v1_events(api, since), *await _v2_events(api, since))


async def _v2_events(api: StripeApi, since: datetime) -> tuple[Evidence, ...]:
    """Return v2's events; none where the spending key is not there or may not list them."""
    import stripe

    if api.keys.spend is None:
        return ()
    asked: dict[str, Any] = {"created": {"gte": since.isoformat()}, "types": list(_V2_TYPES), "limit": 100}
    path, found = "/v2/core/events", list[Evidence]()
    while path and len(found) < _MOST_EVENTS:
        try:
            answer = await api.read("spend", path, **asked)
        except (stripe.InvalidRequestError, stripe.PermissionError) as refused:
            # An account without outbound payments: no such events, and none is missed.
            _log.info("v2 events are not listed", status=refused.http_status, code=refused.code)
            break
        rows = answer.data.get("data") or []
        found += [Evidence(ref=str(row["id"]), found=True, data=row) for row in rows]
        path, asked = str(answer.data.get("next_page_url") or ""), {}  # It carries the whole question.
    return tuple(reversed(found))


async def _v1_events(api: StripeApi, since: datetime) -> tuple[Evidence, ...]:
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
