"""What tools may read of selling and buying; each record of the reader's project only."""

from __future__ import annotations

from ledger.engines.tx import Tx
from ledger.rare_rows import Found, one, some
from ledger.records import Reader, RecordRef
from ledger.records_revenue import (
    CheckoutById,
    DealById,
    DisputeById,
    Disputes,
    OfferByName,
    OrderById,
    PaymentLinkById,
    Payments,
    PurchaseById,
)
from ledger.refs import amount, missing, newest, proof, record_ref, shown_at
from ledger.schema_revenue import checkouts, deals, disputes, offers, orders, payment_links, purchases
from policy.money import written

Refs = tuple[RecordRef, ...]


def offer_by_name(tx: Tx, query: OfferByName, reader: Reader) -> Refs:
    """Return the version of an offer that is on sale."""
    c = offers.c
    rows = some(tx, offers, reader.account_id, c.offer == query.offer, order=(c.version.desc(),), limit=1)
    if not rows:
        raise missing("offer", query.offer, "offer")
    row = rows[0]
    data = {
        "offer": row["offer"],
        "name": row["name"],
        "price": amount(row),
        "version": row["version"],
        "active": row["state"] == "active",
        "product_ref": row["product_ref"],
        "price_ref": row["price_ref"],
        "mode": row["mode"],
    }
    return record_ref("offer", query.offer, data)


def deal_by_id(tx: Tx, query: DealById, reader: Reader) -> Refs:
    """Return a deal."""
    deal = one(tx, deals, reader.account_id, deal_id=query.deal_id)
    if deal is None or deal["project"] != reader.project:
        raise missing("deal", query.deal_id, "deal_id")
    return record_ref("deal", query.deal_id, deal_data(deal))


def deal_data(deal: Found) -> dict[str, object]:
    """Return what tools read of a deal; no instants, since they would change what an approver answers for."""
    return {name: deal[name] for name in ("deal_id", "stage", "title", "lead_id", "agent", "offer")}


def checkout_by_id(tx: Tx, query: CheckoutById, reader: Reader) -> Refs:
    """Return a checkout, by our id or the provider's."""
    wanted = query.checkout_id
    row = one(tx, checkouts, reader.account_id, checkout_id=wanted) or one(
        tx, checkouts, reader.account_id, session_ref=wanted
    )
    if row is None or row["project"] != reader.project:
        raise missing("checkout", wanted, "sale_id")
    return record_ref("checkout", row["checkout_id"], {**_sale(row), "session_ref": row["session_ref"]})


def payment_link_by_id(tx: Tx, query: PaymentLinkById, reader: Reader) -> Refs:
    """Return a payment link, by our id or the provider's."""
    wanted = query.link_id
    row = one(tx, payment_links, reader.account_id, link_id=wanted) or one(
        tx, payment_links, reader.account_id, link_ref=wanted
    )
    if row is None or row["project"] != reader.project:
        raise missing("payment link", wanted, "sale_id")
    return record_ref("payment_link", row["link_id"], {**_sale(row), "link_ref": row["link_ref"]})


def _sale(row: Found) -> dict[str, object]:
    same = {name: row[name] for name in ("deal_id", "agent", "offer", "state", "url")}
    return {**same, "amount": amount(row)}


def purchase_by_id(tx: Tx, query: PurchaseById, reader: Reader) -> Refs:
    """Return a purchase, by its id or its call's."""
    wanted = query.purchase_id
    row = one(tx, purchases, reader.account_id, purchase_id=wanted) or one(
        tx, purchases, reader.account_id, call_id=wanted
    )
    if row is None or row["project"] != reader.project:
        raise missing("purchase", wanted, "purchase_id")
    return record_ref("purchase", row["purchase_id"], purchase_data(row))


def purchase_data(row: Found) -> dict[str, object]:
    """Return what tools read of a purchase."""
    names = ("purchase_id", "call_id", "agent", "instrument", "instrument_ref", "payee", "state", "mode")
    posted = written(row["captured_minor"], row["currency"])
    return {**{name: row[name] for name in names}, "approved": amount(row), "posted": posted}


def order_by_id(tx: Tx, query: OrderById, reader: Reader) -> Refs:
    """Return an order with what is left of its payment."""
    row = one(tx, orders, reader.account_id, order_id=query.order_id)
    if row is None or row["project"] != reader.project:
        raise missing("order", query.order_id, "order_id")
    left = max(0, row["amount_minor"] - row["refunded_minor"] - row["disputed_minor"])
    data = {
        **order_data(row),
        "payment_ref": row["payment_ref"],
        "refundable": written(left, row["currency"]),
    }
    return record_ref("order", row["order_id"], data)


def order_data(row: Found) -> dict[str, object]:
    """Return what tools read of an order."""
    names = ("order_id", "deal_id", "run_id", "offer", "state", "mode")
    return {
        **{name: row[name] for name in names},
        "amount": amount(row),
        "on_hold": bool(row["on_hold"]),
        "refunded": written(row["refunded_minor"], row["currency"]) if row["refunded_minor"] else None,
        "disputed": written(row["disputed_minor"], row["currency"]) if row["disputed_minor"] else None,
        "paid_at": shown_at(row["paid_at_us"]),
        "proof": proof(row),
    }


def payments(tx: Tx, query: Payments, reader: Reader) -> Refs:
    """Return the latest payments of the reader's project."""
    mine = orders.c.project == reader.project
    page, after = newest(
        tx, orders, reader.account_id, mine, by=("booked_at_us", "order_id"),
        after=query.after, limit=query.limit, deal_id=query.deal_id or None,
    )  # fmt: skip
    data = {"payments": [_compact(order_data(row)) for row in page], "after": after}
    return record_ref("payments", reader.project, data)


def dispute_by_id(tx: Tx, query: DisputeById, reader: Reader) -> Refs:
    """Return one dispute, as last fetched."""
    row = one(tx, disputes, reader.account_id, dispute_id=query.dispute_id)
    if row is None or row["project"] != reader.project:
        raise missing("dispute", query.dispute_id, "dispute_id")
    return record_ref("dispute", row["dispute_id"], _dispute(row))


def disputes_of(tx: Tx, query: Disputes, reader: Reader) -> Refs:
    """Return the latest disputes of the reader's project."""
    mine = disputes.c.project == reader.project
    page, after = newest(
        tx, disputes, reader.account_id, mine, by=("opened_at_us", "dispute_id"),
        after=query.after, limit=query.limit,
    )  # fmt: skip
    data = {"disputes": [_compact(_dispute(row)) for row in page], "after": after}
    return record_ref("disputes", reader.project, data)


def _dispute(row: Found) -> dict[str, object]:
    names = ("dispute_id", "order_id", "status", "reason", "mode")
    answer_by, opened = shown_at(row["due_by_us"]), shown_at(row["opened_at_us"])
    return {
        **{name: row[name] for name in names},
        "amount": amount(row),
        "answer_by": answer_by,
        "opened_at": opened,
    }


def _compact(data: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in data.items() if value is not None}
