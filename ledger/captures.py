"""What instruments did after their call: authorizations, captures, payouts, posted once (M13, M19, M22)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ledger.booking import DONE, Booking, Verdict, minor, part, ref, strange
from ledger.discrepancies import adjust, close_provider
from ledger.load import Wanted, load_calls, load_facts, readings_of, want_held, want_usage
from ledger.meters import CALLS
from ledger.purchases import move_purchase
from ledger.rare_rows import Found, move, one, put, some
from ledger.rows import CallRow
from ledger.schema_revenue import authorizations, purchase_postings, purchases
from ledger.strays import stray
from ledger.times import SECOND_US
from policy.money import written

_ENDED: Final = frozenset({"closed", "reversed", "expired"})
# A decision this young may not be in what was fetched, since the network tells Stripe before Stripe shows it.
_FRESH_US: Final = 5 * SECOND_US


# --- cards -----------------------------------------------------------------------------------------------


def card(booking: Booking) -> Verdict:
    """Note that a card was cancelled: from then on no payment can begin."""
    purchase = _purchase(booking, str(booking.data["id"]), booking.data)
    if isinstance(purchase, Verdict):
        return purchase
    _note_card(booking, purchase, booking.data)
    return DONE


def _note_card(booking: Booking, purchase: Found, shown: Any) -> None:  # noqa: ANN401 -- Stripe's JSON
    if shown.get("status") == "canceled" and purchase["cancelled_at_us"] is None:
        values = {"cancelled_at_us": booking.at_us, "armed": 0}
        move(booking.tx, purchases, booking.account, {"purchase_id": purchase["purchase_id"]}, **values)


def authorization(booking: Booking) -> Verdict:
    """Take over what an authorization holds now; one that ended stays ended."""
    data = booking.data
    purchase = _purchase(booking, ref(data.get("card")), part(data, "card"))
    if isinstance(purchase, Verdict):
        return purchase
    _note_card(booking, purchase, part(data, "card"))
    status, approved = str(data.get("status")), bool(data.get("approved"))
    if status not in _ENDED and not approved:
        return DONE  # Asked for, not decided yet.
    held = minor(data.get("amount"), data.get("currency")) if approved and status not in _ENDED else 0
    known = one(booking.tx, authorizations, booking.account, authorization_id=str(data["id"]))
    if known is None:
        row = {"amount_minor": held, "currency": purchase["currency"], "approved": int(approved)}
        where = {"merchant": str(part(data, "merchant_data").get("name") or ""), "decided_at_us": 0}
        put(
            booking.tx,
            authorizations,
            booking.account,
            authorization_id=str(data["id"]),
            purchase_id=purchase["purchase_id"],
            state=status if status in _ENDED else "pending",
            **row,
            **where,
        )
    elif known["state"] not in _ENDED:
        young = booking.shown.asked_at.timestamp() * SECOND_US < known["decided_at_us"] + _FRESH_US
        held = max(held, known["amount_minor"]) if young and status not in _ENDED else held
        values = {"amount_minor": held, "state": status if status in _ENDED else "pending"}
        move(booking.tx, authorizations, booking.account, {"authorization_id": str(data["id"])}, **values)
    resum(booking, purchase["purchase_id"])
    return DONE


def resum(booking: Booking, purchase_id: str) -> None:
    """Set what a purchase's open authorizations hold together, and its state."""
    purchase = one(booking.tx, purchases, booking.account, purchase_id=purchase_id)
    if purchase is None:
        return
    c = authorizations.c
    rows = some(
        booking.tx, authorizations, booking.account, c.purchase_id == purchase_id, c.state == "pending"
    )
    held = sum(int(row["amount_minor"]) for row in rows if row["approved"])
    state = purchase["state"]
    if state in {"armed", "authorized"}:
        state = "authorized" if held else "armed"
    move_purchase(booking.tx, booking.world, purchase, booking.at_us, state=state, authorized_minor=held)


def transaction(booking: Booking) -> Verdict:
    """Post what a merchant took from a card, or gave back, once."""
    data = booking.data
    purchase = _purchase(booking, ref(data.get("card")), part(data, "card"))
    if isinstance(purchase, Verdict):
        return purchase
    amount, currency = minor(data.get("amount"), data.get("currency")), str(data.get("currency", "")).upper()
    if currency != purchase["currency"]:
        return Verdict(
            "quarantined", "wrong_currency", f"{currency} were taken from a card in {purchase['currency']}"
        )
    kind = "capture" if amount < 0 else "refund"
    new = _posting(booking, purchase, kind, -amount, authorization_id=ref(data.get("authorization")) or None)
    if new and kind == "capture":
        _spent(booking, purchase, -amount)
    elif new:
        _given_back(booking, purchase, amount)
    return DONE


# --- outbound payments -----------------------------------------------------------------------------------


def payout(booking: Booking) -> Verdict:
    """Follow a payout: posted at posted, voided at failed or canceled, returned is a credit (M22)."""
    data = booking.data
    purchase = _purchase(booking, str(data["id"]), data)
    if isinstance(purchase, Verdict):
        return purchase
    status, amount = str(data.get("status")), part(data, "amount")
    value = minor(amount.get("value"), amount.get("currency"))
    if str(amount.get("currency", "")).upper() != purchase["currency"]:
        return Verdict(
            "quarantined", "wrong_currency", "the payment is not in the currency that was approved"
        )
    if status in {"posted", "returned"} and _posting(booking, purchase, "payout", value):
        _spent(booking, purchase, value, state="posted")
    if status == "returned" and _posting(booking, purchase, "return", -value):
        _given_back(booking, _again(booking, purchase), value, state="returned")
    if status in {"failed", "canceled"} and purchase["state"] == "processing":
        release(booking, purchase)
        values = {"state": "failed", "closed_at_us": booking.at_us}
        move_purchase(booking.tx, booking.world, purchase, booking.at_us, **values)
        booking.tell("purchase.failed", purchase_id=purchase["purchase_id"], status=status)
    return DONE


# --- money -----------------------------------------------------------------------------------------------


def _purchase(booking: Booking, instrument_ref: str, instrument: Mapping[str, Any]) -> Found | Verdict:
    """Return the purchase of an instrument, checked against what shows it."""
    found = one(booking.tx, purchases, booking.account, instrument_ref=instrument_ref)
    if found is None:
        return stray(booking, instrument_ref, instrument, _call)
    return strange(booking, found) or found


def _again(booking: Booking, purchase: Found) -> Found:
    found = one(booking.tx, purchases, booking.account, purchase_id=purchase["purchase_id"])
    return found if found is not None else purchase


def _posting(
    booking: Booking, purchase: Found, kind: str, amount_minor: int, *, authorization_id: str | None = None
) -> bool:
    """Note a transaction once; say whether it is new."""
    source = str(booking.data["id"])
    known = one(booking.tx, purchase_postings, booking.account, transaction_ref=source, posting_kind=kind)
    if known is not None:
        return False
    put(
        booking.tx,
        purchase_postings,
        booking.account,
        transaction_ref=source,
        posting_kind=kind,
        purchase_id=purchase["purchase_id"],
        amount_minor=amount_minor,
        currency=purchase["currency"],
        authorization_id=authorization_id,
        at_us=booking.at_us,
    )
    return True


def _spent(booking: Booking, purchase: Found, amount_minor: int, *, state: str = "captured") -> None:
    """Post what was taken; beyond the commitment it is an overrun that closes the provider (M13, M19)."""
    row = _call(booking, purchase["call_id"])
    left = (
        0
        if purchase["closed_at_us"] is not None
        else max(0, purchase["amount_minor"] - purchase["captured_minor"])
    )
    within = min(left, amount_minor)
    _post(booking, row, within)
    if amount_minor > within:
        _overrun(booking, purchase, row, amount_minor - within)
    if row.payee is not None:
        _know_payee(booking, row, row.payee.casefold())
    captured = purchase["captured_minor"] + amount_minor
    values: dict[str, Any] = {"captured_minor": captured}
    values["state"] = _state(purchase, captured, purchase["refunded_minor"])
    if state == "posted":
        values["closed_at_us"] = booking.at_us
    move_purchase(booking.tx, booking.world, purchase, booking.at_us, **values)


def _know_payee(booking: Booking, row: CallRow, payee: str) -> None:
    """Know a payee from its first posted purchase in this mode (M21)."""
    world = booking.world
    if (row.mode, payee) not in world.known_payees:
        world.known_payees.add((row.mode, payee))
        world.new_payees.append((row.account_id, row.mode, payee, row.call_id, booking.at_us))


def _overrun(booking: Booking, purchase: Found, row: CallRow, beyond: int) -> None:
    late = "late_capture" if purchase["closed_at_us"] is not None else "overrun"
    adjust(
        booking.world,
        row,
        amount_minor=beyond,
        currency=purchase["currency"],
        reason=late,
        at_us=booking.at_us,
        purchase_id=purchase["purchase_id"],
        evidence=str(booking.data["id"]),
    )
    because = f"purchase {purchase['purchase_id']} took more than was approved"
    close_provider(booking.world, purchase["provider"], because, booking.at_us)
    shown = written(beyond, purchase["currency"])
    booking.tell("purchase.overrun", purchase_id=purchase["purchase_id"], call_id=row.call_id, beyond=shown)


def _given_back(booking: Booking, purchase: Found, amount_minor: int, *, state: str = "refunded") -> None:
    """Book a credit in today's windows; room comes back only under caps that say so (M14)."""
    row = _call(booking, purchase["call_id"])
    adjust(
        booking.world,
        row,
        amount_minor=-amount_minor,
        currency=purchase["currency"],
        reason=state,
        at_us=booking.at_us,
        purchase_id=purchase["purchase_id"],
        evidence=str(booking.data["id"]),
    )
    back = purchase["refunded_minor"] + amount_minor
    values: dict[str, Any] = {"refunded_minor": back}
    values["state"] = _state(purchase, purchase["captured_minor"], back)
    move_purchase(booking.tx, booking.world, purchase, booking.at_us, **values)
    shown = written(amount_minor, purchase["currency"])
    booking.tell(f"purchase.{state}", purchase_id=purchase["purchase_id"], amount=shown)


def _state(purchase: Found, captured: int, back: int) -> str:
    """Return the state that follows from what was taken and given back, in whatever order it was told."""
    if not captured:
        return str(purchase["state"])
    if purchase["instrument"] == "card":
        return "refunded" if back >= captured else "captured"
    return "returned" if back else "posted"


def _call(booking: Booking, call_id: str) -> CallRow:
    """Load a purchase's call with its reservations and every meter that an adjustment may touch."""
    world = booking.world
    load_calls(booking.tx, world, [call_id], deep=True)
    row = world.calls[call_id]
    want = Wanted()
    want_held(world, want, [call_id])
    if world.law is not None:
        call = world.policy_call(row)
        want_usage(world, want, readings_of(world, call, world.needs(call_id, call)), booking.at_us)
    if row.payee is not None:
        want.payees.add(row.payee.casefold())
    load_facts(booking.tx, world, want)
    return row


def _post(booking: Booking, row: CallRow, amount_minor: int) -> None:
    """Turn a part of a commitment into spending; the rest stays committed."""
    world = booking.world
    for held in world.reservations[row.call_id].values():
        usage = world.usage[held.meter][held.window_start_us]
        if held.state != "committed" or usage.unit == CALLS:
            continue
        part_ = min(amount_minor, held.amount - held.posted)
        world.book(usage, committed=-part_, posted=part_)
        held.posted += part_
        if held.posted == held.amount:
            held.state = "posted"
        world.change_reservation(held)


def release(booking: Booking, purchase: Found) -> None:
    """Let go of what is still committed: no more money can move on this instrument."""
    row = _call(booking, purchase["call_id"])
    release_commitment(booking, row)


def release_commitment(booking: Booking, row: CallRow) -> None:
    """Void the rest of each reservation that is still committed."""
    world = booking.world
    for held in world.reservations[row.call_id].values():
        if held.state == "committed":
            usage = world.usage[held.meter][held.window_start_us]
            world.book(usage, committed=-(held.amount - held.posted))
            held.state = "posted" if held.posted else "void"
            world.change_reservation(held)
