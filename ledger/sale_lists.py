"""Pages of orders, revenue, disputes and purchases, for people; and what a reconciler has to look at."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select

from ledger.engines.tx import Tx
from ledger.purchases import need, purchase_record
from ledger.rare_rows import Found, one, some
from ledger.records import Page, Proof, ProofBy, ProofLevel
from ledger.records_revenue import Order, OrderState, Purchase, RevenueEvent, RevenueKind
from ledger.refs import newest
from ledger.schema_revenue import (
    authorization_requests,
    authorizations,
    checkouts,
    disputes,
    orders,
    purchase_postings,
    purchases,
    revenue_events,
)
from ledger.times import from_us, to_us
from policy.errors import RecordMissing
from policy.language import Mode
from policy.money import Money

_LOOKED_AT: Final = 200  # Sessions asked for in one round.


def orders_page(
    tx: Tx, account: str, *, project: str | None, deal_id: str | None, after: str | None, limit: int
) -> Page[Order]:
    """Return orders, newest first."""
    page, next_ = newest(
        tx, orders, account, by=("booked_at_us", "order_id"), after=after, limit=limit,
        project=project, deal_id=deal_id,
    )  # fmt: skip
    return Page(tuple(order_record(row) for row in page), next_)


def order(tx: Tx, account: str, order_id: str) -> Order:
    """Return one order, by its id or its session's. Raises RecordMissing."""
    row = one(tx, orders, account, order_id=order_id) or one(tx, orders, account, session_ref=order_id)
    if row is None:
        raise RecordMissing(f"there is no order {order_id!r}", field="order_id")
    return order_record(row)


def order_of_run(tx: Tx, account: str, run_id: str) -> Order | None:
    """Return the order that a run fulfils."""
    row = one(tx, orders, account, run_id=run_id)
    return None if row is None else order_record(row)


def order_record(row: Found) -> Order:
    """Return an order as everybody may know it."""
    same = ("order_id", "deal_id", "session_ref", "payment_ref", "offer", "provider_account")
    return Order(
        **{name: row[name] for name in (*same, "lead_id", "intake_id", "run_id")},
        amount=Money(row["amount_minor"], row["currency"]),
        mode=Mode(row["mode"]),
        state=OrderState(row["state"]),
        on_hold=bool(row["on_hold"]),
        proof=proof_record(row),
        paid_at=from_us(row["paid_at_us"]),
    )


def proof_record(row: Found) -> Proof:
    """Return what a row proves."""
    return Proof(ProofLevel(row["proof_level"]), ProofBy(row["proof_by"]), row["proof_provider"])


def revenue(tx: Tx, account: str, order_id: str | None, limit: int) -> tuple[RevenueEvent, ...]:
    """Return revenue events, newest first."""
    c = revenue_events.c
    conditions = [] if order_id is None else [c.order_id == order_id]
    rows = some(
        tx, revenue_events, account, *conditions, order=(c.booked_at_us.desc(), c.revenue_id), limit=limit
    )
    return tuple(
        RevenueEvent(
            revenue_id=row["revenue_id"],
            order_id=row["order_id"],
            kind=RevenueKind(row["revenue_kind"]),
            minor_units=row["amount_minor"],
            currency=row["currency"],
            mode=Mode(row["mode"]),
            proof=proof_record(row),
            source_ref=row["source_ref"],
            event_id=row["event_id"],
            booked_at=from_us(row["booked_at_us"]),
            own_card=bool(row["own_card"]),
        )
        for row in rows
    )


def sums(tx: Tx, account: str) -> dict[tuple[str, str], int]:
    """Return what was booked in all, by mode and currency."""
    c = revenue_events.c
    asked = select(c.mode, c.currency, func.sum(c.amount_minor)).where(c.account_id == account)
    rows = tx.connection.execute(asked.group_by(c.mode, c.currency))
    return {(mode, currency): int(minor) for mode, currency, minor in rows}


def disputes_of(tx: Tx, account: str, order_id: str | None) -> tuple[dict[str, Any], ...]:
    """Return disputes, newest first."""
    conditions = [] if order_id is None else [disputes.c.order_id == order_id]
    return tuple(some(tx, disputes, account, *conditions, order=(disputes.c.opened_at_us.desc(),)))


def open_sessions(tx: Tx, account: str, before: datetime) -> tuple[str, ...]:
    """Return the provider's ids of sessions that are neither paid nor over."""
    c = checkouts.c
    asked = (
        select(c.session_ref)
        .where(
            c.account_id == account,
            c.state.in_(("dispatching", "open", "pending")),
            c.session_ref.is_not(None),
            c.created_at_us <= to_us(before),
        )
        .order_by(c.created_at_us)
        .limit(_LOOKED_AT)
    )
    return tuple(str(each) for each in tx.connection.scalars(asked))


# --- purchases -------------------------------------------------------------------------------------------


def purchase(tx: Tx, account: str, purchase_id: str) -> Purchase:
    """Return a purchase by its id or its call's. Raises RecordMissing."""
    return purchase_record(need(tx, account, purchase_id))


def purchases_page(tx: Tx, account: str, *, open_only: bool, after: str | None, limit: int) -> Page[Purchase]:
    """Return purchases, latest armed first."""
    conditions = (purchases.c.closed_at_us.is_(None),) if open_only else ()
    page, next_ = newest(
        tx, purchases, account, *conditions, by=("armed_at_us", "purchase_id"), after=after, limit=limit
    )
    return Page(tuple(purchase_record(row) for row in page), next_)


def purchase_rows(tx: Tx, account: str, call_id: str) -> tuple[Found, ...]:
    """Return a call's purchase, its authorizations, the questions asked about it and its postings."""
    row = one(tx, purchases, account, call_id=call_id)
    if row is None:
        return ()
    purchase_id = row["purchase_id"]
    tables = (authorizations, authorization_requests, purchase_postings)
    parts = [some(tx, table, account, table.c.purchase_id == purchase_id) for table in tables]
    return (row, *(each for part in parts for each in part))
