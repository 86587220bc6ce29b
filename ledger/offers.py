"""Offers: what the owner sells, each at one price; setting one makes a version, only the last is on sale."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ledger.audit.house_kinds import RecordWritten
from ledger.engines.tx import Tx
from ledger.people import need_operator
from ledger.rare_rows import Found, move, put, some
from ledger.records import Role
from ledger.records_revenue import Offer
from ledger.schema_revenue import offers
from ledger.times import to_us
from ledger.world import World
from policy.errors import PolicyDenied
from policy.language import Mode
from policy.money import Money


class OfferSet(Struct, frozen=True, kw_only=True):
    """An offer as the owner set it, with the ids it has at the provider."""

    offer: str
    name: str
    price: Money
    product_ref: str
    price_ref: str
    mode: Mode
    provider_account: str


def set_offer(tx: Tx, world: World, wanted: OfferSet, by: str, at: datetime) -> Offer:
    """Put an offer on sale; an equal one stays the version it is. Raises PolicyDenied but for owners."""
    actor = _owner(world, by)
    known = versions(tx, world.account_id, wanted.offer)
    last = known[0] if known else None
    row = {
        "name": wanted.name,
        "amount_minor": wanted.price.minor_units,
        "currency": wanted.price.currency,
        "state": "active",
        "mode": wanted.mode.value,
        "provider_account": wanted.provider_account,
        "product_ref": wanted.product_ref,
        "price_ref": wanted.price_ref,
    }
    if last is not None and all(last[name] == value for name, value in row.items()):
        return offer_record(last)
    version = 1 if last is None else last["version"] + 1
    retire(tx, world, wanted.offer)
    made = {**row, "offer": wanted.offer, "version": version, "set_by": actor, "set_at_us": to_us(at)}
    put(tx, offers, world.account_id, **made)
    _log(world, wanted.offer, version, "active", actor=actor, at=at)
    return offer_record(made)


def end_offer(tx: Tx, world: World, offer: str, by: str, at: datetime) -> bool:
    """Take an offer off sale; what was created for it stays what it was."""
    actor = _owner(world, by)
    known = versions(tx, world.account_id, offer)
    if not known or known[0]["state"] != "active":
        return False
    retire(tx, world, offer)
    _log(world, offer, known[0]["version"], "retired", actor=actor, at=at)
    return True


def retire(tx: Tx, world: World, offer: str) -> None:
    """Take every version of an offer off sale."""
    move(tx, offers, world.account_id, {"offer": offer, "state": "active"}, state="retired")


def versions(tx: Tx, account: str, offer: str) -> list[Found]:
    """Return an offer's versions, newest first."""
    return some(tx, offers, account, offers.c.offer == offer, order=(offers.c.version.desc(),))


def listed(tx: Tx, account: str) -> list[Offer]:
    """Return the last version of every offer, by name."""
    rows = some(tx, offers, account, order=(offers.c.offer, offers.c.version))
    return [offer_record(row) for row in {row["offer"]: row for row in rows}.values()]


def offer_record(row: Found) -> Offer:
    """Return an offer as everybody may know it."""
    return Offer(
        offer=row["offer"],
        name=row["name"],
        price=Money(row["amount_minor"], row["currency"]),
        version=row["version"],
        active=row["state"] == "active",
        product_ref=row["product_ref"],
        price_ref=row["price_ref"],
    )


def _owner(world: World, by: str) -> str:
    """Return the actor to log. Setting what is sold is an owner's; `system:` is the house making its demo."""
    if by.startswith("system:"):
        return by
    person = need_operator(world, by)
    if not person.active or person.role is not Role.OWNER:
        raise PolicyDenied("an owner sets what is sold, and for how much")
    return f"operator:{person.operator_id}"


def _log(world: World, offer: str, version: int, state: str, *, actor: str, at: datetime) -> None:
    fact = RecordWritten(record_type="offer", version=version, state=state)
    world.log(fact, offer, actor, to_us(at))
