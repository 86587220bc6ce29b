"""What is left for a person to do after a call: complete the checkout with a card that was armed."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ledger.records import CallRecord
from ledger.records_revenue import Purchase, PurchaseState
from policy.errors import RecordMissing
from policy.language import Kind, Mode
from webhooks.deps import Deps

_DASHBOARD: Final = {
    Mode.LIVE: "https://dashboard.stripe.com/issuing/cards/",
    Mode.TEST: "https://dashboard.stripe.com/test/issuing/cards/",
}
_USABLE: Final = frozenset({PurchaseState.ARMED, PurchaseState.AUTHORIZED})


class Task(Struct, frozen=True):
    """A purchase, and where a person finds its card; no page is named where nothing is left to do."""

    purchase: Purchase
    page: str


async def task_of(deps: Deps, call: CallRecord) -> Task | None:
    """Return the purchase of a call, with where its card is shown while it may still be used."""
    if call.kind is not Kind.SPEND:
        return None
    try:
        purchase = await deps.ledger.purchase(call.call_id)
    except RecordMissing:
        return None
    usable = purchase.instrument == "card" and purchase.state in _USABLE and purchase.closed_at is None
    return Task(purchase, card_page(deps, purchase) if usable else "")


def card_page(deps: Deps, purchase: Purchase) -> str:
    """Return where a card's number is shown: at Stripe's Dashboard, or at the simulator."""
    if purchase.mode is Mode.SIMULATED:
        return f"{deps.simulator}/cards/{purchase.instrument_ref}" if deps.simulator else ""
    return _DASHBOARD[purchase.mode] + purchase.instrument_ref
