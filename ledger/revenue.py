"""Revenue: the one transaction that turns a paid session into Order, RevenueEvents, won Deal, Intake and Run.

Once per Checkout Session, whatever arrives in whatever order: the row of an order is unique by its session,
that of a revenue event by its source and kind, and ids follow from what they are of. Only the object as
fetched now is booked, and only where it is what we created (M23, M31).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from ledger import schema_house as h
from ledger.audit.house_kinds import OrderBooked, RecordWritten, RevenueBooked, RunChanged
from ledger.booking import DONE, WORKER, Booking, Verdict, minor, part, ref, strange
from ledger.earnings import book_earning
from ledger.inbox import hurry
from ledger.rare_rows import Found, derived, one, put
from ledger.sales import advance, find_checkout, other_sale
from ledger.schema_crm import leads, order_intakes
from ledger.schema_revenue import checkouts, deals, offers, orders, purchases, revenue_events
from ledger.times import SECOND_US
from policy.money import written

_CLOCKS_DIFFER_US: Final = 300 * SECOND_US  # Stripe's instant of a payment and ours of an armed card.
_BRIEF: Final = 4_000  # Characters of an intake's brief.


def session(booking: Booking) -> Verdict:
    """Book a Checkout Session as it is now."""
    checkout = find_checkout(booking)
    if isinstance(checkout, Verdict):
        return checkout
    wrong = strange(booking, checkout) or other_sale(booking, checkout)
    if wrong is not None:
        return wrong
    data = booking.data
    if data.get("payment_status") == "paid":
        return _paid(booking, checkout)
    if data.get("status") == "expired":
        advance(booking, checkout, "expired")
    elif data.get("status") == "complete":
        # Only the intent tells a delayed method on its way from one that has failed.
        processing = part(data, "payment_intent").get("status") == "processing"
        advance(booking, checkout, "pending" if processing else "failed")
    else:
        advance(booking, checkout, "open")
    return DONE


def _paid(booking: Booking, checkout: Found) -> Verdict:
    order = one(booking.tx, orders, booking.account, session_ref=str(booking.data["id"]))
    if order is None:
        charge = part(booking.data, "payment_intent", "latest_charge")
        taken = minor(charge.get("amount_captured", charge.get("amount")), charge.get("currency"))
        if taken != checkout["amount_minor"]:
            return Verdict("quarantined", "wrong_amount", f"{taken} were taken of {checkout['amount_minor']}")
        order = _book(booking, advance(booking, checkout, "paid"), charge)
    book_fee(booking, order, part(booking.data, "payment_intent", "latest_charge"))
    return DONE


def _book(booking: Booking, checkout: Found, charge: Any) -> Found:  # noqa: ANN401 -- Stripe's JSON
    """Make the order and everything that hangs on it."""
    deal = one(booking.tx, deals, booking.account, deal_id=checkout["deal_id"]) or {}
    order = _order(booking, checkout, charge, deal)
    put(booking.tx, orders, booking.account, **order)
    fact = OrderBooked(
        state="paid",
        amount_minor=order["amount_minor"],
        currency=order["currency"],
        mode=order["mode"],
        proof_level=order["proof_level"],
        project=order["project"],
        run_id=order["run_id"],
        deal_id=order["deal_id"],
    )
    payload = {
        "buyer": order["buyer"],
        "reference": order["session_ref"],
        "payment": order["payment_ref"],
    }
    booking.world.log(fact, order["order_id"], WORKER, booking.at_us, payload)
    book(booking, order, "payment", order["amount_minor"], order["currency"], source=ref(charge))
    _open_run(booking, order, checkout)
    amount = written(order["amount_minor"], order["currency"])
    booking.tell("order.booked", order_id=order["order_id"], amount=amount, mode=order["mode"])
    hurry(booking.tx, booking.account, booking.at_us)
    return order


def _order(booking: Booking, checkout: Found, charge: Any, deal: Found) -> Found:  # noqa: ANN401 -- Stripe's JSON
    data, proof = booking.data, booking.shown.proof
    if proof is None:
        raise AssertionError("what proves nothing was quarantined before")
    session_ref = str(data["id"])
    same = ("checkout_id", "deal_id", "project", "offer", "offer_version", "amount_minor", "currency", "mode")
    return {
        **{name: checkout[name] for name in (*same, "provider_account")},
        "order_id": derived("ord", booking.account, session_ref),
        "session_ref": session_ref,
        "payment_ref": ref(data.get("payment_intent")),
        "state": "paid",
        "on_hold": 0,
        "refunded_minor": 0,
        "disputed_minor": 0,
        "own_card": int(_is_own_card(booking, charge)),
        "proof_level": proof.level.value,
        "proof_by": proof.by.value,
        "proof_provider": proof.provider,
        "paid_at_us": int(charge.get("created") or data.get("created") or 0) * 1_000_000,
        "booked_at_us": booking.at_us,
        "lead_id": deal.get("lead_id"),
        "intake_id": derived("itk", booking.account, session_ref),
        "run_id": derived("run", booking.account, session_ref),
        "event_id": booking.event_id,
        "buyer": str(part(data, "customer_details").get("email") or ""),
    }


def _is_own_card(booking: Booking, charge: Any) -> bool:  # noqa: ANN401 -- Stripe's JSON
    """Say whether a card of ours may have paid: such a payment earns nothing (M15).

    Of its number the last four digits are all that Stripe shows on both sides; beside them a card of ours can
    only have paid once it was armed, and never more than was approved. In doubt it is ours: that only
    shrinks a cap.
    """
    last4 = str(part(charge, "payment_method_details", "card").get("last4") or "")
    if not last4:
        return False
    c, paid_at_us = purchases.c, int(charge.get("created") or 0) * SECOND_US
    known = select(c.currency, c.amount_minor).where(
        c.account_id == booking.account,
        c.instrument == "card",
        c.last4 == last4,
        c.armed_at_us <= paid_at_us + _CLOCKS_DIFFER_US,
    )
    currency = str(charge.get("currency", "")).upper()
    taken = minor(charge.get("amount"), currency)
    return any(
        row.currency != currency or taken <= row.amount_minor for row in booking.tx.connection.execute(known)
    )


def _open_run(booking: Booking, order: Found, checkout: Found) -> None:
    """Open the run that fulfils the order, with its intake; work is owed even by a closed project."""
    lead = one(booking.tx, leads, booking.account, lead_id=order["lead_id"]) if order["lead_id"] else None
    offer = one(
        booking.tx, offers, booking.account, offer=checkout["offer"], version=checkout["offer_version"]
    )
    name = str(offer["name"]) if offer is not None else str(checkout["offer"])
    title = f"{name} for order {order['order_id']}"
    put(
        booking.tx,
        h.runs,
        booking.account,
        run_id=order["run_id"],
        project=order["project"],
        title=title,
        state="open",
        standing=0,
        opened_at_us=booking.at_us,
        closed_at_us=None,
        order_id=order["order_id"],
    )
    fact = RunChanged(state="open", project=order["project"], order_id=order["order_id"])
    booking.world.log(fact, order["run_id"], WORKER, booking.at_us, {"title": title})
    wish = "" if lead is None else str(lead["wish"])
    put(
        booking.tx,
        order_intakes,
        booking.account,
        intake_id=order["intake_id"],
        order_id=order["order_id"],
        run_id=order["run_id"],
        brief=f"{name}. {wish}".strip()[:_BRIEF],
        created_at_us=booking.at_us,
    )
    made = RecordWritten(record_type="intake", version=1, state="open", order_id=order["order_id"])
    booking.world.log(made, order["intake_id"], WORKER, booking.at_us)


def book_fee(booking: Booking, order: Found, charge: Any) -> None:  # noqa: ANN401 -- Stripe's JSON
    """Book what Stripe kept of a payment, once its balance transaction is known."""
    transaction = part(charge, "balance_transaction")
    fee = minor(transaction.get("fee"), transaction.get("currency"))
    if fee:
        currency = str(transaction["currency"]).upper()
        book(booking, order, "fee", -fee, currency, source=str(transaction["id"]))


def book(booking: Booking, order: Found, kind: str, amount_minor: int, currency: str, *, source: str) -> bool:
    """Book money earned or lost, once per source and kind; say whether it was new."""
    known = one(booking.tx, revenue_events, booking.account, source_ref=source, revenue_kind=kind)
    if known is not None:
        return False
    proof = booking.shown.proof
    if proof is None:
        raise AssertionError("what proves nothing was quarantined before")
    revenue_id = derived("rvn", booking.account, source, kind)
    put(
        booking.tx,
        revenue_events,
        booking.account,
        revenue_id=revenue_id,
        order_id=order["order_id"],
        project=order["project"],
        revenue_kind=kind,
        amount_minor=amount_minor,
        currency=currency,
        mode=order["mode"],
        proof_level=proof.level.value,
        proof_by=proof.by.value,
        proof_provider=proof.provider,
        source_ref=source,
        event_id=booking.event_id,
        booked_at_us=booking.at_us,
        own_card=order["own_card"],
    )
    fact = RevenueBooked(
        revenue_kind=kind,
        amount_minor=amount_minor,
        currency=currency,
        mode=order["mode"],
        proof_level=proof.level.value,
        order_id=order["order_id"],
        project=order["project"],
    )
    booking.world.log(fact, revenue_id, WORKER, booking.at_us, {"reference": source})
    # A payment with a card of ours earns nothing (M15); what Stripe kept of it is a loss all the same.
    if kind == "fee" or not order["own_card"]:
        book_earning(
            booking.world,
            revenue_id,
            project=order["project"],
            amount_minor=amount_minor,
            currency=currency,
            mode=order["mode"],
            proof_level=proof.level.value,
            at_us=booking.at_us,
        )
    return True


# --- what leads to a session -----------------------------------------------------------------------------


def intent(booking: Booking) -> Verdict:
    """Look at a payment intent's session: the intent itself books nothing."""
    return _by_payment(booking, str(booking.data["id"]))


def charge(booking: Booking) -> Verdict:
    """Book a charge's fee where its order is there, else look at its session first."""
    payment_ref = ref(booking.data.get("payment_intent"))
    order = one(booking.tx, orders, booking.account, payment_ref=payment_ref) if payment_ref else None
    if order is None:
        return _by_payment(booking, payment_ref)
    wrong = strange(booking, order)
    if wrong is None:
        book_fee(booking, order, booking.data)
    return wrong or DONE


def _by_payment(booking: Booking, payment_ref: str) -> Verdict:
    if payment_ref and one(booking.tx, orders, booking.account, payment_ref=payment_ref) is not None:
        return DONE
    marks = part(booking.data, "metadata")
    if marks.get("bursar_account") != booking.account:
        return Verdict("ignored", "not_ours", "the payment carries no mark of this account")
    checkout = one(booking.tx, checkouts, booking.account, checkout_id=str(marks.get("bursar_checkout", "")))
    session_ref = None if checkout is None else checkout["session_ref"]
    if session_ref is None:
        return Verdict("unmatched", "no_session", "no session of ours is known for this payment yet")
    if checkout is not None and booking.data.get("status") != "succeeded":
        return DONE  # The session's own events say what became of it.
    return Verdict("received", more=str(session_ref))
