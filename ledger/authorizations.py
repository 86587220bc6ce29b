"""Real-time authorizations: one answer for each question, decided under the account's lock (M20).

In doubt it is no: a card that belongs to no open purchase, another currency, more than is left of what was
approved, a second payment, a posture that stopped spending, LIVE_SPEND off.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger.audit.house_kinds import AuthorizationDecided
from ledger.engines.tx import Tx
from ledger.gather import STRICTNESS, all_live
from ledger.purchases import move_purchase
from ledger.rare_rows import Found, move, one, put, some
from ledger.schema_revenue import authorization_requests, authorizations, purchases
from ledger.times import to_us
from ledger.world import World
from policy.language import Mode, Posture

_OVER: Final = frozenset({"reversed", "expired"})


class Question(Struct, frozen=True, kw_only=True):
    """A card network's question: may this card pay so much more, for this authorization."""

    event_id: str
    authorization_id: str
    instrument_ref: str
    provider: str
    provider_account: str | None  # None where the event names none.
    mode: Mode  # As the signature's secret and the event's livemode say, which agree.
    amount_minor: int  # Of this question: for an increment what is asked on top.
    currency: str
    merchant: str
    live_spend: bool  # Of this process (M6).


class Answered(Struct, frozen=True):
    """The answer, and why."""

    approved: bool
    code: str
    purchase_id: str | None = None


def decide(tx: Tx, world: World, question: Question, at: datetime) -> Answered:
    """Answer one question, or repeat the answer it got."""
    known = one(tx, authorization_requests, world.account_id, event_id=question.event_id)
    if known is not None:
        return Answered(bool(known["approved"]), known["code"], known["purchase_id"])
    found = one(tx, purchases, world.account_id, instrument_ref=question.instrument_ref)
    code = _refusal(tx, world, question, found, to_us(at))
    answered = Answered(not code, code or "within_approval", None if found is None else found["purchase_id"])
    _keep(tx, world, question, answered, to_us(at))
    if answered.approved and found is not None:
        _hold(tx, world, question, found, to_us(at))
    return answered


def _refusal(tx: Tx, world: World, question: Question, purchase: Found | None, at_us: int) -> str:
    """Return why not, or nothing."""
    if purchase is None:
        return "no_purchase"
    if question.mode != purchase["mode"]:
        return "wrong_mode"
    if question.provider_account not in {None, purchase["provider_account"]}:
        return "wrong_account"
    if purchase["state"] not in {"armed", "authorized"} or purchase["closed_at_us"] is not None:
        return "not_open"
    if question.currency != purchase["currency"]:
        return "wrong_currency"
    stopped = stopped_by(world, purchase, at_us, live_spend=question.live_spend)
    return stopped or _too_much(tx, world, question, purchase)


def stopped_by(world: World, purchase: Found, at_us: int, *, live_spend: bool) -> str:
    """Return what stops this purchase's spending now: a posture on its way, or LIVE_SPEND for a live card."""
    scopes = (
        ("account", world.account_id),
        ("project", purchase["project"]),
        ("agent", purchase["agent"]),
        ("provider", purchase["provider"]),
    )
    postures = (world.house.postures.get(scope, Posture.NORMAL) for scope in scopes)
    if any(STRICTNESS[posture] >= STRICTNESS[Posture.NO_SPEND] for posture in postures):
        return "posture_closed"
    if purchase["mode"] == Mode.LIVE and not (live_spend and all_live(world, at_us)):
        return "live_spend_off"
    return ""


def _too_much(tx: Tx, world: World, question: Question, purchase: Found) -> str:
    c = authorizations.c
    others = some(tx, authorizations, world.account_id, c.purchase_id == purchase["purchase_id"])
    mine = [row for row in others if row["authorization_id"] == question.authorization_id]
    if any(row["state"] != "pending" for row in mine):
        return "authorization_ended"
    if any(row["approved"] and row["state"] not in _OVER for row in others if row not in mine):
        return "second_payment"  # M18: a single-use card takes one payment.
    if purchase["cancelled_at_us"] is not None and not mine:
        return "card_cancelled"
    held = sum(int(row["amount_minor"]) for row in others if row["approved"] and row["state"] == "pending")
    left = purchase["amount_minor"] - purchase["captured_minor"] - held
    return "" if 0 <= question.amount_minor <= left else "above_approval"


def _keep(tx: Tx, world: World, question: Question, answered: Answered, at_us: int) -> None:
    put(
        tx,
        authorization_requests,
        world.account_id,
        event_id=question.event_id,
        authorization_id=question.authorization_id,
        purchase_id=answered.purchase_id,
        amount_minor=question.amount_minor,
        currency=question.currency,
        approved=int(answered.approved),
        code=answered.code,
        at_us=at_us,
    )
    fact = AuthorizationDecided(
        authorization_id=question.authorization_id,
        approved=int(answered.approved),
        amount_minor=question.amount_minor,
        currency=question.currency,
        code=answered.code,
        purchase_id=answered.purchase_id,
    )
    actor = f"provider:{question.provider}"
    world.log(fact, question.event_id, actor, at_us, {"merchant": question.merchant[:200]})


def _hold(tx: Tx, world: World, question: Question, purchase: Found, at_us: int) -> None:
    known = one(tx, authorizations, world.account_id, authorization_id=question.authorization_id)
    if known is None:
        put(
            tx,
            authorizations,
            world.account_id,
            authorization_id=question.authorization_id,
            purchase_id=purchase["purchase_id"],
            amount_minor=question.amount_minor,
            currency=question.currency,
            approved=1,
            state="pending",
            merchant=question.merchant[:200],
            decided_at_us=at_us,
        )
    else:
        keys = {"authorization_id": question.authorization_id}
        amount = known["amount_minor"] + question.amount_minor
        move(tx, authorizations, world.account_id, keys, amount_minor=amount, approved=1, decided_at_us=at_us)
    held = purchase["authorized_minor"] + question.amount_minor
    move_purchase(tx, world, purchase, at_us, state="authorized", authorized_minor=held)


# --- switching cards -------------------------------------------------------------------------------------


def to_switch(tx: Tx, world: World, *, live_spend: bool, at: datetime) -> tuple[tuple[str, bool], ...]:
    """Return cards not switched as posture and LIVE_SPEND want them: the provider's id, and whether on."""
    c = purchases.c
    open_cards = some(
        tx,
        purchases,
        world.account_id,
        c.instrument == "card",
        c.closed_at_us.is_(None),
        c.cancelled_at_us.is_(None),
        c.state.in_(("armed", "authorized")),
    )
    wanted = [(row, not stopped_by(world, row, to_us(at), live_spend=live_spend)) for row in open_cards]
    return tuple((row["instrument_ref"], on) for row, on in wanted if bool(row["armed"]) != on)


def note_switched(tx: Tx, world: World, instrument_ref: str, *, armed: bool, at: datetime) -> None:
    """Note where a card's switch is now."""
    purchase = one(tx, purchases, world.account_id, instrument_ref=instrument_ref)
    if purchase is not None:
        keys = {"purchase_id": purchase["purchase_id"]}
        move(tx, purchases, world.account_id, keys, armed=int(armed), moved_at_us=to_us(at))
        topic = "purchase.rearmed" if armed else "purchase.disarmed"
        world.tell(topic, f'{{"purchase_id":"{purchase["purchase_id"]}"}}'.encode(), to_us(at))
