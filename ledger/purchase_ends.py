"""How purchases end: quietly, 31 days after their card was cancelled, or by an owner with evidence (M19)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select

from ledger.booking import Booking
from ledger.captures import release
from ledger.crm import owner
from ledger.engines.tx import Tx
from ledger.purchases import move_purchase, need, purchase_record
from ledger.rare_rows import Found
from ledger.records_revenue import Purchase, Shown
from ledger.schema_revenue import purchases
from ledger.times import SECOND_US, to_us
from ledger.world import World
from policy.errors import InvalidArguments

QUIET_US: Final = 31 * 86_400 * SECOND_US  # Networks may still capture a month after a card's last payment.
_LOOKED_AT: Final = 200  # Instruments asked for in one round.


def due(tx: Tx, account: str, at: datetime) -> list[str]:
    """Return purchases whose card is cancelled, without an open authorization, and quiet for 31 days."""
    c = purchases.c
    since = to_us(at) - QUIET_US
    asked = select(c.purchase_id).where(
        c.account_id == account,
        c.instrument == "card",
        c.closed_at_us.is_(None),
        c.authorized_minor == 0,
        c.cancelled_at_us <= since,
        c.moved_at_us <= since,
    )
    return [str(each) for each in tx.connection.scalars(asked)]


def close_quiet(tx: Tx, world: World, purchase_id: str, at: datetime) -> bool:
    """Close one such purchase; say whether it still was one."""
    if purchase_id not in due(tx, world.account_id, at):
        return False
    _close(tx, world, need(tx, world.account_id, purchase_id), at)
    return True


def close_by_hand(
    tx: Tx, world: World, purchase_id: str, *, by: str, evidence: str, at: datetime
) -> Purchase:
    """Close a purchase by an owner's evidence. Raises PolicyDenied, InvalidArguments, RecordMissing."""
    actor = owner(world, by)
    if not evidence.strip():
        raise InvalidArguments("say how you know that nothing more can be captured", field="evidence")
    purchase = need(tx, world.account_id, purchase_id)
    if purchase["closed_at_us"] is not None:
        return purchase_record(purchase)
    if purchase["authorized_minor"]:
        raise InvalidArguments("an authorization is open; it may still be captured", field="purchase_id")
    payload = {"purchase_id": purchase["purchase_id"], "by": actor, "evidence": evidence}
    _booking(tx, world, at).tell("purchase.closed_by_hand", **payload)
    _close(tx, world, purchase, at)
    return purchase_record(purchase)


def _close(tx: Tx, world: World, purchase: Found, at: datetime) -> None:
    release(_booking(tx, world, at), purchase)
    unused = purchase["state"] in {"armed", "authorized"}
    state = "closed_unused" if unused else purchase["state"]
    move_purchase(tx, world, purchase, to_us(at), state=state, closed_at_us=to_us(at))


def _booking(tx: Tx, world: World, at: datetime) -> Booking:
    shown = Shown(ref="", found=False, asked_at=at)
    return Booking(
        tx=tx, world=world, at=at, at_us=to_us(at), shown=shown, event_id=None, event_type="", snapshot={}
    )


def open_instruments(tx: Tx, account: str, before: datetime) -> tuple[str, ...]:
    """Return the provider's ids of instruments whose purchases are open, longest untouched first."""
    c = purchases.c
    asked = (
        select(c.instrument_ref)
        .where(c.account_id == account, c.closed_at_us.is_(None), c.moved_at_us <= to_us(before))
        .order_by(c.moved_at_us)
        .limit(_LOOKED_AT)
    )
    return tuple(str(each) for each in tx.connection.scalars(asked))
