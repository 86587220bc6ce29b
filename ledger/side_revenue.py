"""The revenue side of the facade: the inbox of events, offers, orders, purchases, authorizations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from ledger import authorizations, events, inbox, offers, purchase_ends, sale_lists
from ledger.authorizations import Answered, Question
from ledger.booking import Verdict
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.inbox import Arrival, Due
from ledger.offers import OfferSet
from ledger.rare_rows import Found
from ledger.records import Page
from ledger.records_revenue import InboxEvent, Offer, Order, Purchase, RevenueEvent, Shown
from ledger.sharing import Shared, together
from ledger.world import World

_MOST_STORED: Final = 256  # Events in one transaction; larger ones only make the next sender wait longer.
_MOST_BOOKED: Final = 16  # Objects in one transaction: a card's question in real time waits behind it.
ASKED: Final = "reconcile:asked"  # When a person last asked for a reconciliation.


class _Look(Struct, frozen=True):
    """An object as it was fetched, and the events that wait for it."""

    event_ids: Sequence[str]
    shown: Shown
    at: datetime
    looked: Verdict | None


class RevenueSide:
    """Everything that webhooks, the console and the command line need of money that comes and goes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._delivered = Shared(self._receive, most=_MOST_STORED)
        self._looks = Shared(self._apply, most=_MOST_BOOKED)

    # --- the inbox ---------------------------------------------------------------------------------------

    async def receive(self, arrival: Arrival, at: datetime) -> bool:
        """Store one event durably, once by its id; say whether it was new.

        Events that arrive while others are being written share the next commit.
        """
        return await self._delivered.put((arrival, at))

    async def _receive(self, delivered: Sequence[tuple[Arrival, datetime]]) -> list[bool]:
        return await self.receive_all([arrival for arrival, _ in delivered], delivered[0][1])

    async def receive_all(self, arrivals: Sequence[Arrival], at: datetime) -> list[bool]:
        """Store many events in one transaction; say of each whether it was new."""
        return await self._core.rare("receive", lambda tx, world: inbox.receive(tx, world, arrivals, at))

    async def take_events(self, at: datetime, limit: int = 50) -> list[Due]:
        """Lease events that are due to a worker, oldest first."""
        account = self._core.account_id
        if not await self._core.read(lambda tx: inbox.any_due(tx, account, at)):
            return []
        return await self._core.plain("take_events", lambda tx: inbox.take(tx, account, at, limit))

    async def apply_events(
        self, event_ids: Sequence[str], shown: Shown, at: datetime, *, looked: Verdict | None = None
    ) -> dict[str, Verdict]:
        """Book events of one object as it was fetched, in one transaction; return what came of each.

        `looked` is what came of the object that an earlier verdict named as `more`. Objects that were fetched
        while others were being booked share the next transaction.
        """
        return await self._looks.put(_Look(event_ids, shown, at, looked))

    async def _apply(self, looks: Sequence[_Look]) -> list[dict[str, Verdict]]:
        return await together(self._core, "apply_events", [_booking(look) for look in looks])

    async def apply_seen(self, shown: Shown, at: datetime) -> Verdict:
        """Book an object that a reconciler fetched, without an event."""
        return await self._core.rare("apply_seen", lambda tx, world: events.apply_seen(tx, world, shown, at))

    async def postpone_events(self, event_ids: Sequence[str], why: str, at: datetime) -> None:
        """Try events again later, since the provider gave no good answer."""
        account = self._core.account_id
        await self._core.plain("postpone_events", lambda tx: inbox.postpone(tx, account, event_ids, why, at))

    async def replay_event(self, event_id: str, *, by: str, at: datetime) -> InboxEvent:
        """Work an event once more. Raises RecordMissing."""
        return await self._core.rare(
            "replay_event", lambda tx, world: inbox.replay(tx, world, event_id, by, at)
        )

    async def webhook_event(self, event_id: str) -> InboxEvent:
        """Return one event. Raises RecordMissing."""
        return await self._core.read(lambda tx: inbox.need_event(tx, self._core.account_id, event_id))

    async def webhook_events(
        self, state: str | None = None, *, after: str | None = None, limit: int = 50
    ) -> Page[InboxEvent]:
        """Return events, newest first."""
        found = await self._core.read(
            lambda tx: inbox.events(tx, self._core.account_id, state, after, limit + 1)
        )
        page = found[:limit]
        return Page(tuple(page), page[-1].event_id if len(found) > limit else None)

    async def webhook_counts(self) -> dict[str, int]:
        """Return how many events wait, found no match, or are quarantined."""
        return await self._core.read(lambda tx: inbox.counts(tx, self._core.account_id))

    async def cursor(self, name: str) -> datetime | None:
        """Return how far a reconciler has read."""
        return await self._core.read(lambda tx: inbox.cursor(tx, self._core.account_id, name))

    async def set_cursor(self, name: str, at: datetime) -> None:
        """Note how far a reconciler has read."""
        account = self._core.account_id
        await self._core.plain("set_cursor", lambda tx: inbox.set_cursor(tx, account, name, at))

    async def ask_reconcile(self, at: datetime) -> None:
        """Ask the workers, in whichever process, to look for what no event told."""
        await self.set_cursor(ASKED, at)

    # --- offers and orders -------------------------------------------------------------------------------

    async def set_offer(self, wanted: OfferSet, *, by: str, at: datetime) -> Offer:
        """Put an offer on sale. Raises PolicyDenied for anybody but an owner."""
        return await self._core.rare(
            "set_offer", lambda tx, world: offers.set_offer(tx, world, wanted, by, at)
        )

    async def end_offer(self, offer: str, *, by: str, at: datetime) -> bool:
        """Take an offer off sale; say whether it was on sale."""
        return await self._core.rare(
            "end_offer", lambda tx, world: offers.end_offer(tx, world, offer, by, at)
        )

    async def offers(self) -> tuple[Offer, ...]:
        """Return the last version of every offer."""
        return await self._core.read(lambda tx: tuple(offers.listed(tx, self._core.account_id)))

    async def orders(
        self,
        *,
        project: str | None = None,
        deal_id: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[Order]:
        """Return orders, newest first."""
        return await self._core.read(
            lambda tx: sale_lists.orders_page(
                tx, self._core.account_id, project=project, deal_id=deal_id, after=after, limit=limit
            )
        )

    async def order(self, order_id: str) -> Order:
        """Return one order, by its id or its session's. Raises RecordMissing."""
        return await self._core.read(lambda tx: sale_lists.order(tx, self._core.account_id, order_id))

    async def order_of_run(self, run_id: str) -> Order | None:
        """Return the order that a run fulfils."""
        return await self._core.read(lambda tx: sale_lists.order_of_run(tx, self._core.account_id, run_id))

    async def revenue(self, *, order_id: str | None = None, limit: int = 200) -> tuple[RevenueEvent, ...]:
        """Return revenue events, newest first."""
        return await self._core.read(
            lambda tx: sale_lists.revenue(tx, self._core.account_id, order_id, limit)
        )

    async def revenue_sums(self) -> dict[tuple[str, str], int]:
        """Return what was booked in all, by mode and currency, in minor units."""
        return await self._core.read(lambda tx: sale_lists.sums(tx, self._core.account_id))

    async def disputes(self, *, order_id: str | None = None) -> tuple[dict[str, Any], ...]:
        """Return disputes, newest first."""
        return await self._core.read(lambda tx: sale_lists.disputes_of(tx, self._core.account_id, order_id))

    async def open_sales(self, before: datetime) -> tuple[str, ...]:
        """Return the provider's ids of sessions that are open since before an instant, for the reconciler."""
        return await self._core.read(lambda tx: sale_lists.open_sessions(tx, self._core.account_id, before))

    # --- purchases ---------------------------------------------------------------------------------------

    async def purchase(self, purchase_id: str) -> Purchase:
        """Return a purchase by its id or its call's. Raises RecordMissing."""
        return await self._core.read(lambda tx: sale_lists.purchase(tx, self._core.account_id, purchase_id))

    async def purchases(
        self, *, open_only: bool = False, after: str | None = None, limit: int = 50
    ) -> Page[Purchase]:
        """Return purchases, latest armed first."""
        return await self._core.read(
            lambda tx: sale_lists.purchases_page(
                tx, self._core.account_id, open_only=open_only, after=after, limit=limit
            )
        )

    async def open_instruments(self, before: datetime) -> tuple[str, ...]:
        """Return the provider's ids of instruments whose purchases are open and quiet since an instant."""
        return await self._core.read(
            lambda tx: purchase_ends.open_instruments(tx, self._core.account_id, before)
        )

    async def close_purchases(self, at: datetime) -> int:
        """Close every purchase on which nothing can move any more (M19); return how many."""
        due = await self._core.read(lambda tx: purchase_ends.due(tx, self._core.account_id, at))
        for purchase_id in due:

            def close(tx: Tx, world: World, each: str = purchase_id) -> bool:
                return purchase_ends.close_quiet(tx, world, each, at)

            await self._core.rare("close_purchase", close)
        return len(due)

    async def close_purchase(self, purchase_id: str, *, by: str, evidence: str, at: datetime) -> Purchase:
        """Close a purchase by an owner's evidence. Raises PolicyDenied, InvalidArguments, RecordMissing."""
        return await self._core.rare(
            "close_purchase",
            lambda tx, world: purchase_ends.close_by_hand(
                tx, world, purchase_id, by=by, evidence=evidence, at=at
            ),
        )

    async def decide_authorization(self, question: Question, at: datetime) -> Answered:
        """Answer a card network's question in one transaction; asked again, it gets the same answer (M20)."""
        return await self._core.rare(
            "decide_authorization", lambda tx, world: authorizations.decide(tx, world, question, at)
        )

    async def instruments_to_switch(self, *, live_spend: bool, at: datetime) -> tuple[tuple[str, bool], ...]:
        """Return cards that posture and LIVE_SPEND want switched: the provider's id, and whether on (M20)."""
        return await self._core.read_world(
            lambda tx, world: authorizations.to_switch(tx, world, live_spend=live_spend, at=at)
        )

    async def note_switched(self, instrument_ref: str, *, armed: bool, at: datetime) -> None:
        """Note that a card is now switched on or off at the provider."""
        await self._core.rare(
            "note_switched",
            lambda tx, world: authorizations.note_switched(tx, world, instrument_ref, armed=armed, at=at),
        )

    async def purchase_rows(self, call_id: str) -> tuple[Found, ...]:
        """Return a call's purchase with its authorizations and postings, for its page."""
        return await self._core.read(lambda tx: sale_lists.purchase_rows(tx, self._core.account_id, call_id))


def _booking(look: _Look) -> Callable[[Tx, World], dict[str, Verdict]]:
    """Return the work of one look: each of its events, booked from the one object."""

    def work(tx: Tx, world: World) -> dict[str, Verdict]:
        return {
            each: events.apply_event(tx, world, each, look.shown, look.at, looked=look.looked)
            for each in look.event_ids
        }

    return work
