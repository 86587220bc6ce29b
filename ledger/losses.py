"""Money that goes back: refunds, disputes and fraud warnings, and what becomes of their order (M14, M15)."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import func, select

from ledger.audit.house_kinds import OrderMoved
from ledger.booking import DONE, WORKER, Booking, Verdict, minor, part, ref, strange
from ledger.rare_rows import Found, move, one, put, some
from ledger.revenue import book
from ledger.schema_revenue import disputes, orders, revenue_events
from policy.money import written

_WON: Final = frozenset({"won", "warning_closed", "prevented", "charge_refunded"})


def refund(booking: Booking) -> Verdict:
    """Book a refund, and its return where it failed afterwards."""
    order = _order_of(booking)
    if isinstance(order, Verdict):
        return order
    data = booking.data
    amount, currency = minor(data.get("amount"), data.get("currency")), str(data.get("currency")).upper()
    status = data.get("status")
    moved = bool(ref(data.get("balance_transaction"))) or status in {"succeeded", "pending"}
    if moved:
        # A refund that is only pending has left the balance already, as far as caps are concerned.
        book(booking, order, "refund", -amount, currency, source=str(data["id"]))
    if moved and status in {"failed", "canceled"}:
        book(booking, order, "refund_failed", amount, currency, source=str(data["id"]))
        booking.tell("refund.failed", order_id=order["order_id"], refund=str(data["id"]))
    settle(booking, order["order_id"], "refund")
    return DONE


def dispute(booking: Booking) -> Verdict:
    """Book what a dispute took and gave back, one balance transaction at a time."""
    order = _order_of(booking)
    if isinstance(order, Verdict):
        return order
    data = booking.data
    for transaction in data.get("balance_transactions") or ():
        _withdrawn(booking, order, transaction)
    _keep(booking, order)
    settle(booking, order["order_id"], f"dispute {data.get('status')}")
    return DONE


def _withdrawn(booking: Booking, order: Found, transaction: Any) -> None:  # noqa: ANN401 -- Stripe's JSON
    currency = str(transaction.get("currency", ""))
    amount, fee = minor(transaction.get("amount"), currency), minor(transaction.get("fee"), currency)
    source, code = str(transaction["id"]), currency.upper()
    if amount:
        book(booking, order, "dispute" if amount < 0 else "dispute_won", amount, code, source=source)
    if fee:
        book(booking, order, "fee", -fee, code, source=source)


def _keep(booking: Booking, order: Found) -> None:
    """Keep the dispute as it is now; a person is told when it opens."""
    data = booking.data
    dispute_id = str(data["id"])
    amount, currency = minor(data.get("amount"), data.get("currency")), str(data.get("currency")).upper()
    due = part(data, "evidence_details").get("due_by")
    now = {
        "amount_minor": amount,
        "status": str(data.get("status")),
        "reason": str(data.get("reason") or ""),
        "due_by_us": int(due) * 1_000_000 if isinstance(due, int) else None,
    }
    known = one(booking.tx, disputes, booking.account, dispute_id=dispute_id)
    if known is None:
        place = {"order_id": order["order_id"], "project": order["project"], "mode": order["mode"]}
        opened = int(data.get("created") or 0) * 1_000_000
        row = {**now, **place, "currency": currency, "opened_at_us": opened}
        put(booking.tx, disputes, booking.account, dispute_id=dispute_id, **row)
        booking.written("dispute", dispute_id, version=1, state=str(now["status"]))
        shown = written(amount, currency)
        booking.tell("dispute.opened", order_id=order["order_id"], dispute_id=dispute_id, amount=shown)
    elif any(known[name] != value for name, value in now.items()):
        move(booking.tx, disputes, booking.account, {"dispute_id": dispute_id}, **now)
        booking.written("dispute", dispute_id, version=2, state=str(now["status"]))


def warning(booking: Booking) -> Verdict:
    """Tell people of an early fraud warning; nothing moved yet."""
    payment_ref = ref(booking.snapshot.get("payment_intent"))
    order = one(booking.tx, orders, booking.account, payment_ref=payment_ref) if payment_ref else None
    if order is None:
        return Verdict("unmatched", "no_order", "there is no order for this payment yet")
    booking.tell("payment.fraud_warning", order_id=order["order_id"])
    return DONE


def _order_of(booking: Booking) -> Found | Verdict:
    """Return the order that a refund or a dispute is of, checked against what shows it."""
    payment_ref = ref(booking.data.get("payment_intent"))
    order = one(booking.tx, orders, booking.account, payment_ref=payment_ref) if payment_ref else None
    if order is None:
        # Its charge carries our marks, or nobody's; and may lead to a session that no event told of yet.
        source = ref(booking.data.get("charge"))
        return Verdict("unmatched", "no_order", "there is no order for this payment yet", more=source)
    if str(booking.data.get("currency", "")).upper() != order["currency"]:
        return Verdict("quarantined", "wrong_currency", "it is not in the currency of its order")
    return strange(booking, order) or order


# --- what becomes of the order ---------------------------------------------------------------------------


def settle(booking: Booking, order_id: str, why: str) -> None:
    """Compute an order's state from everything booked on it, so that no order of events matters."""
    order = one(booking.tx, orders, booking.account, order_id=order_id)
    if order is None:
        return
    refunded = -_sum(booking, order, ("refund", "refund_failed"))
    disputed = -_sum(booking, order, ("dispute", "dispute_won"))
    rows = some(booking.tx, disputes, booking.account, disputes.c.order_id == order_id)
    state, on_hold = _state(order, refunded, [str(row["status"]) for row in rows])
    fact = OrderMoved(state=state, on_hold=int(on_hold), refunded_minor=refunded, disputed_minor=disputed)
    now = msgspec.structs.asdict(fact)
    if all(order[name] == value for name, value in now.items()):
        return
    move(booking.tx, orders, booking.account, {"order_id": order_id}, **now)
    booking.world.log(fact, order_id, WORKER, booking.at_us, {"reason": why})
    if on_hold and not order["on_hold"]:
        booking.tell("order.on_hold", order_id=order_id, state=state)


def _state(order: Found, refunded: int, statuses: list[str]) -> tuple[str, bool]:
    """Return an order's state, and whether its fulfilment waits for a person."""
    open_or_lost = any(status not in _WON for status in statuses)
    if open_or_lost:
        return "disputed", True
    if refunded >= order["amount_minor"]:
        return "refunded", True
    return ("partially_refunded", True) if refunded > 0 else ("paid", False)


def _sum(booking: Booking, order: Found, kinds: tuple[str, ...]) -> int:
    c = revenue_events.c
    asked = select(func.coalesce(func.sum(c.amount_minor), 0)).where(
        c.account_id == booking.account,
        c.order_id == order["order_id"],
        c.currency == order["currency"],
        c.revenue_kind.in_(kinds),
    )
    return int(booking.tx.connection.scalar(asked) or 0)
