"""From an event to its effect: one transaction, over the object as fetched, never as the event says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from ledger import captures, losses, revenue
from ledger.booking import Booking, Verdict, differs, snapshot_of
from ledger.engines.tx import Tx
from ledger.inbox import finish, open_event
from ledger.records_revenue import Shown
from ledger.times import to_us
from ledger.world import World
from policy.errors import MoneyError

_BOOKS: Final[Mapping[str, Callable[[Booking], Verdict]]] = {
    "checkout.session": revenue.session,
    "payment_intent": revenue.intent,
    "charge": revenue.charge,
    "refund": losses.refund,
    "dispute": losses.dispute,
    "issuing.card": captures.card,
    "issuing.authorization": captures.authorization,
    "issuing.transaction": captures.transaction,
    "v2.money_management.outbound_payment": captures.payout,
}
_UNFETCHED: Final[Mapping[str, Callable[[Booking], Verdict]]] = {
    "radar.early_fraud_warning.created": losses.warning,
}
_SETTLES: Final = frozenset(
    {"ignored", "quarantined"}
)  # What a look at its payment says of an event as well.
GONE: Final = Verdict("done")


def apply_event(
    tx: Tx, world: World, event_id: str, shown: Shown, at: datetime, *, looked: Verdict | None = None
) -> Verdict:
    """Book one event from the object as fetched, and write what became of it, in one transaction.

    A verdict with `more` wrote nothing: look at that object first, and then apply the event again with
    what came of the look. What that found to be nobody's of ours, or not as recorded, settles the event too.
    """
    row = open_event(tx, world.account_id, event_id)
    if row is None:
        return GONE
    booking = Booking(
        tx=tx,
        world=world,
        at=at,
        at_us=to_us(at),
        shown=shown,
        event_id=event_id,
        event_type=row["event_type"],
        snapshot=snapshot_of(bytes(row["body"])),
    )
    verdict = looked if looked is not None and looked.state in _SETTLES else _judged(booking)
    if verdict.more and looked is not None:
        verdict = Verdict("unmatched", "no_match", f"nothing of ours is known for {verdict.more} yet")
    if not verdict.more:
        finish(tx, world, row, verdict.state, code=verdict.code, why=verdict.why, at_us=booking.at_us)
    return verdict


def apply_seen(tx: Tx, world: World, shown: Shown, at: datetime) -> Verdict:
    """Book an object that was fetched because it was open for long, without an event."""
    booking = Booking(
        tx=tx, world=world, at=at, at_us=to_us(at), shown=shown, event_id=None, event_type="", snapshot={}
    )
    return _judged(booking)


def needs_no_object(event_type: str) -> bool:
    """Say whether an event is booked from what it carries, since there is nothing to fetch."""
    return event_type in _UNFETCHED


def _judged(booking: Booking) -> Verdict:
    unfetched = _UNFETCHED.get(booking.event_type)
    if unfetched is not None:
        return unfetched(booking)
    if not booking.shown.found:
        return Verdict("unmatched", "no_object", "the provider shows no such object")
    book = _BOOKS.get(str(booking.data.get("object")))
    if book is None:
        return Verdict("ignored", "not_booked", f"a {booking.data.get('object')} books nothing")
    try:
        return differs(booking) or book(booking)
    except MoneyError as error:
        return Verdict("quarantined", "wrong_amount", str(error))
