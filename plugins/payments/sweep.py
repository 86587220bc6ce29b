"""What Stripe shows with our marks on it: every effect since an instant, for a ledger that lost its end.

What was refused, failed or expired without an effect is left out (M33). A card counts with its whole limit:
that much may be spent, or have been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ledger.records import Seen
from plugins.payments.common import CALL_MARK, was_used
from plugins.payments.stripe_api import PROVIDER, StripeApi
from policy.language import Kind
from policy.money import Money, from_stripe

MOST: Final = 10_000  # Objects of one sort; a sweep that would leave some out is none.

Shown = Mapping[str, Any]


class Sort(NamedTuple):
    """One sort of object that our calls make, and how it is read."""

    purpose: str  # Whose key lists it.
    kind: Kind
    operation: str
    list: Callable[[Any, dict[str, Any]], Any]  # (client, filter) -> a page of the SDK's.
    amount: Callable[[Shown], Money | None]
    over: frozenset[str]  # States in which nothing came of it.
    filtered: bool = True  # Whether Stripe lists it by its time.


def _limit(card: Shown) -> Money | None:
    limits = (card.get("spending_controls") or {}).get("spending_limits") or ()
    return from_stripe(limits[0]["amount"], card["currency"]) if limits else None


def _plain(thing: Shown) -> Money | None:
    return from_stripe(thing["amount"], thing["currency"])


def _total(session: Shown) -> Money | None:
    return (
        None
        if session.get("amount_total") is None
        else from_stripe(session["amount_total"], session["currency"])
    )


def _paid_out(payment: Shown) -> Money | None:
    return from_stripe(payment["amount"]["value"], payment["amount"]["currency"])


SORTS: Final = (
    Sort(
        "spend",
        Kind.SPEND,
        "card_purchase",
        lambda client, by: client.v1.issuing.cards.list_async(by),
        _limit,
        frozenset(),
    ),
    Sort(
        "spend",
        Kind.SPEND,
        "vendor_payment",
        lambda client, by: client.v2.money_management.outbound_payments.list_async(by),
        _paid_out,
        frozenset({"failed", "canceled"}),
        filtered=False,
    ),
    Sort(
        "earn",
        Kind.HUMAN_ONLY,
        "refund",
        lambda client, by: client.v1.refunds.list_async(by),
        _plain,
        frozenset({"failed", "canceled"}),
    ),
    Sort(
        "earn",
        Kind.HUMAN_ONLY,
        "dispute_answer",
        lambda client, by: client.v1.disputes.list_async(by),
        _plain,
        frozenset({"needs_response", "warning_needs_response"}),
        filtered=False,  # An old dispute may have been answered yesterday.
    ),
    Sort(
        "earn",
        Kind.EARN,
        "checkout_create",
        lambda client, by: client.v1.checkout.sessions.list_async(by),
        _total,
        frozenset({"expired"}),
    ),
    Sort(
        "earn",
        Kind.EARN,
        "payment_link_create",
        lambda client, by: client.v1.payment_links.list_async(by),
        lambda _link: None,
        frozenset(),
        filtered=False,
    ),
)


async def seen(api: StripeApi, since: datetime) -> tuple[Seen, ...]:
    """Return every effect since an instant that carries the mark of a call.

    Raises stripe.StripeError where Stripe cannot be asked, LookupError past what a sweep looks through.
    """
    found: list[Seen] = []
    for sort in SORTS:
        if getattr(api.keys, sort.purpose) is None:
            continue  # Without the key nothing of this sort was made from here.
        found += await _seen_of(api, sort, since)
    return tuple(found)


async def _seen_of(api: StripeApi, sort: Sort, since: datetime) -> list[Seen]:
    client = api.client(sort.purpose)
    identity = await api.identity(sort.purpose)
    by: dict[str, Any] = {"limit": 100}
    if sort.filtered:
        by["created"] = {"gte": int(since.timestamp())}
    found: list[Seen] = []
    looked_at = 0
    page = await sort.list(client, by)
    async for thing in page.auto_paging_iter():
        looked_at += 1
        if looked_at > MOST:
            raise LookupError(f"Stripe lists more than {MOST:,} objects for {sort.operation}")
        data: Shown = thing.to_dict(for_json=True)
        marked = data.get("metadata") or {}
        if CALL_MARK not in marked or not await _counts(api, sort, data, since):
            continue
        found.append(
            Seen(
                call_id=str(marked[CALL_MARK]),
                provider_ref=str(data["id"]),
                provider=PROVIDER,
                kind=sort.kind,
                operation=sort.operation,
                mode=identity.mode,
                account_id=str(marked.get("bursar_account", "")),
                project=str(marked.get("bursar_project", "")),
                run_id=str(marked.get("bursar_run", "")),
                amount=sort.amount(data),
                armed=sort.operation == "card_purchase" and data.get("status") == "active",
            )
        )
    return found


async def _counts(api: StripeApi, sort: Sort, data: Shown, since: datetime) -> bool:
    """Say whether something came of an object, and not before the instant."""
    if data.get("status") in sort.over or data.get("active") is False:
        return False
    made = _made(data)
    if made is not None and made < since and sort.operation != "dispute_answer":
        return False
    if sort.operation == "card_purchase" and data.get("status") != "active":
        return await was_used(api, str(data["id"]))
    return True


def _made(data: Shown) -> datetime | None:
    """Return when an object was made: v1 says seconds, v2 an instant, a link nothing."""
    made = data.get("created")
    if isinstance(made, int):
        return datetime.fromtimestamp(made, tz=UTC)
    return datetime.fromisoformat(made) if isinstance(made, str) else None
