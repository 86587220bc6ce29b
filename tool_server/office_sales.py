"""The office's verbs about what is sold, and about the events a provider sends: offers and webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from ledger.offers import OfferSet
from ledger.records import OperatorRecord, Role
from ledger.records_revenue import InboxEvent
from policy.language import Mode
from policy.money import Money
from tool_server.office import Means, Refused, Verb
from tool_server.office_people import Nothing

OfferName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,59}$")]
_PAGE: Final = 100


class OfferWanted(Struct, frozen=True, kw_only=True):
    """An offer with the ids that the command found or made at the provider."""

    offer: OfferName
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    price: Money
    product_ref: str
    price_ref: str
    mode: Mode
    provider_account: str


class OfferEnded(Struct, frozen=True):
    """An offer to take off sale."""

    offer: OfferName


class EventsAsked(Struct, frozen=True, kw_only=True):
    """Which events."""

    state: str | None = None
    after: str | None = None


class EventAsked(Struct, frozen=True):
    """One event."""

    event_id: str


async def offers_list(means: Means, _params: Nothing, _who: OperatorRecord | None) -> object:
    """Return the last version of every offer."""
    return [msgspec.structs.asdict(offer) for offer in await means.ledger.offers()]


async def offers_set(means: Means, params: OfferWanted, who: OperatorRecord | None) -> object:
    """Put an offer on sale."""
    wanted = OfferSet(**msgspec.structs.asdict(params))
    offer = await means.ledger.set_offer(wanted, by=_signed(who), at=means.now())
    return msgspec.structs.asdict(offer)


async def offers_end(means: Means, params: OfferEnded, who: OperatorRecord | None) -> object:
    """Take an offer off sale."""
    ended = await means.ledger.end_offer(params.offer, by=_signed(who), at=means.now())
    if not ended:
        raise Refused(f"{params.offer!r} is not on sale; see `bursar offers list`")
    return {"offer": params.offer, "active": False}


async def webhooks_list(means: Means, params: EventsAsked, _who: OperatorRecord | None) -> object:
    """Return events, newest first."""
    page = await means.ledger.webhook_events(params.state, after=params.after, limit=_PAGE)
    return [_line(event) for event in page.items]


async def webhooks_show(means: Means, params: EventAsked, _who: OperatorRecord | None) -> object:
    """Return one event as it was signed."""
    event = await means.ledger.webhook_event(params.event_id)
    return _line(event) | {"body": event.body.decode("utf-8", "replace")}


async def webhooks_replay(means: Means, params: EventAsked, who: OperatorRecord | None) -> object:
    """Work one event once more; nothing is booked twice by it."""
    return _line(await means.ledger.replay_event(params.event_id, by=_signed(who), at=means.now()))


async def webhooks_reconcile(means: Means, _params: Nothing, _who: OperatorRecord | None) -> object:
    """Ask the worker, whichever process it is in, to look for what no event told, at once."""
    await means.ledger.ask_reconcile(means.now())
    return {"asked": True, **(await means.ledger.webhook_counts())}


def _signed(who: OperatorRecord | None) -> str:
    if who is None:
        raise Refused("this needs an operator's password")
    return who.operator_id


def _line(event: InboxEvent) -> dict[str, object]:
    names = ("event_id", "type", "state", "why", "source", "object_ref", "livemode", "deliveries", "attempts")
    return {
        **{name: getattr(event, name) for name in names},
        "created_at": event.created_at,
        "received_at": event.received_at,
        "next_at": event.next_at,
    }


def _owner(_params: object) -> Role:
    return Role.OWNER


def _approver(_params: object) -> Role:
    return Role.APPROVER


VERBS: Final[Mapping[str, Verb]] = {
    "offers.list": Verb(Nothing, offers_list),
    "offers.set": Verb(OfferWanted, offers_set, _owner),
    "offers.end": Verb(OfferEnded, offers_end, _owner),
    "webhooks.list": Verb(EventsAsked, webhooks_list),
    "webhooks.show": Verb(EventAsked, webhooks_show),
    "webhooks.replay": Verb(EventAsked, webhooks_replay, _approver),
    "webhooks.reconcile": Verb(Nothing, webhooks_reconcile),
}
