"""Checkouts, links and deals as sold: finding the one a session is of, and their monotone states (M23)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ledger.booking import Booking, Verdict, minor, part, ref
from ledger.engines.tx import Tx
from ledger.rare_rows import Found, derived, move, one, put, some
from ledger.schema_revenue import checkouts, deals, offers, payment_links

Say = Callable[..., None]  # (record type, its id, version=, state=): writes that into the log.

# A checkout never goes back: what was paid stays paid, whatever arrives later.
RANK: Final = {"dispatching": 0, "open": 1, "pending": 2, "expired": 3, "failed": 3, "paid": 4}


def find_checkout(booking: Booking) -> Found | Verdict:
    """Return the checkout of a session that we created, or of one that a payment link of ours made."""
    data, account = booking.data, booking.account
    marks = part(data, "metadata")
    link_ref = ref(data.get("payment_link"))
    known = one(booking.tx, checkouts, account, session_ref=str(data["id"]))
    if known is not None:
        return known
    if link_ref:
        return _of_link(booking, link_ref, marks)
    marked = str(marks.get("bursar_checkout", ""))
    if not marked or marks.get("bursar_account") != account:
        return Verdict("ignored", "not_ours", "the session carries no mark of this account")
    found = one(booking.tx, checkouts, account, checkout_id=marked)
    if found is None:
        return Verdict("unmatched", "no_checkout", f"there is no checkout {marked}")
    if found["session_ref"] is not None:
        return Verdict("quarantined", "wrong_session", f"{marked} has another session already")
    return found


def _of_link(booking: Booking, link_ref: str, marks: Any) -> Found | Verdict:  # noqa: ANN401 -- JSON of a stranger
    link = one(booking.tx, payment_links, booking.account, link_ref=link_ref)
    if link is None:
        if marks.get("bursar_account") == booking.account:
            return Verdict("unmatched", "no_link", f"there is no payment link {link_ref} yet")
        return Verdict("ignored", "not_ours", "the payment link is none of this account's")
    session_ref = str(booking.data["id"])
    return {
        **{name: link[name] for name in _SHARED},
        "checkout_id": derived("chk", booking.account, session_ref),
        "state": "dispatching",
        "session_ref": session_ref,
        "url": None,
        "expires_at_us": None,
        "created_at_us": int(booking.data.get("created") or 0) * 1_000_000,
    }


_SHARED: Final = (
    *(
        "account_id",
        "deal_id",
        "project",
        "agent",
        "offer",
        "offer_version",
        "amount_minor",
        "currency",
        "mode",
    ),
    *("provider_account", "call_id", "link_id"),
)


def other_sale(booking: Booking, checkout: Found) -> Verdict | None:
    """Quarantine a session that sells something else than what was recorded."""
    data = booking.data
    wants = (checkout["amount_minor"], checkout["currency"])
    shows = (minor(data.get("amount_total"), data.get("currency")), str(data.get("currency", "")).upper())
    if shows[1] != wants[1]:
        return Verdict(
            "quarantined", "wrong_currency", f"the session is in {shows[1]}, the checkout in {wants[1]}"
        )
    if shows[0] != wants[0]:
        return Verdict(
            "quarantined", "wrong_amount", f"the session sells for {shows[0]}, the checkout for {wants[0]}"
        )
    if data.get("mode") != "payment":
        return Verdict("quarantined", "wrong_kind", f"the session is a {data.get('mode')}, not a payment")
    marks = part(data, "metadata")
    if marks.get("bursar_deal") != checkout["deal_id"] or marks.get("bursar_account") != booking.account:
        return Verdict("quarantined", "wrong_deal", "the session's marks are not those of its checkout")
    return _other_goods(booking, checkout)


def _other_goods(booking: Booking, checkout: Found) -> Verdict | None:
    """Compare the line items with the offer's price; what shows none proves nothing."""
    rows = part(booking.data, "line_items").get("data")
    offer = one(
        booking.tx, offers, booking.account, offer=checkout["offer"], version=checkout["offer_version"]
    )
    wanted = None if offer is None else [(offer["price_ref"], 1)]
    shown = [(ref(row.get("price")), row.get("quantity")) for row in rows] if isinstance(rows, list) else None
    if wanted is None or shown != wanted:
        return Verdict("quarantined", "wrong_goods", "the session's line items are not the offer's one price")
    return None


def advance(booking: Booking, checkout: Found, state: str) -> Found:
    """Move a checkout forward, make the row of a link's new session, and let its deal follow."""
    account, tx, checkout_id = booking.account, booking.tx, checkout["checkout_id"]
    stored = one(tx, checkouts, account, checkout_id=checkout_id)
    if stored is None:
        put(tx, checkouts, account, **{**checkout, "account_id": account, "state": state})
        booking.written("checkout", checkout_id, version=RANK[state], state=state)
    else:
        step(tx, account, stored, state, say=booking.written, session_ref=str(booking.data["id"]))
    follow(tx, account, checkout["deal_id"], booking.at_us, say=booking.written)
    return {**checkout, "state": state, "session_ref": str(booking.data["id"])}


def step(tx: Tx, account: str, stored: Found, state: str, *, say: Say, **values: object) -> None:
    """Write what is newly known of a checkout; its state only goes forward, what is known stays known."""
    forward = RANK[state] > RANK[stored["state"]]
    news = {name: value for name, value in values.items() if value is not None and stored[name] is None}
    if forward:
        news["state"] = state
    if news:
        move(tx, checkouts, account, {"checkout_id": stored["checkout_id"]}, **news)
    if forward:
        say("checkout", stored["checkout_id"], version=RANK[state], state=state)


def follow(tx: Tx, account: str, deal_id: str, at_us: int, *, say: Say) -> None:
    """Set a deal's stage to what its checkouts say; only a payment wins it, and a won deal stays won."""
    deal = one(tx, deals, account, deal_id=deal_id)
    if deal is None or deal["stage"] == "won":
        return
    rows = some(tx, checkouts, account, checkouts.c.deal_id == deal_id)
    stage = stage_of(deal["stage"], {str(row["state"]) for row in rows})
    if stage != deal["stage"]:
        set_stage(tx, account, deal, stage, at_us, say=say)


def stage_of(stage: str, states: set[str]) -> str:
    """Return the stage that follows from the states of a deal's checkouts."""
    if "paid" in states:
        return "won"
    if "pending" in states:
        return "payment_pending"
    # A page that exists was an offer, whatever became of it; so a missed event in between changes nothing.
    if stage == "payment_pending" or (stage in {"open", "contacted"} and states - {"dispatching"}):
        return "offered"
    return stage


def set_stage(tx: Tx, account: str, deal: Found, stage: str, at_us: int, *, say: Say) -> None:
    """Write a deal's stage."""
    version = deal["version"] + 1
    move(tx, deals, account, {"deal_id": deal["deal_id"]}, stage=stage, version=version, updated_at_us=at_us)
    say("deal", deal["deal_id"], version=version, state=stage)
