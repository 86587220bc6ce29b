"""Purchases: the life of a commitment after its call, from armed to closed (M19 to M22)."""

from __future__ import annotations

from ledger.audit.call_kinds import PurchaseMoved, PurchaseOpened
from ledger.changes import ChangeContext
from ledger.engines.tx import Tx
from ledger.inbox import hurry
from ledger.rare_rows import Found, move, one, put
from ledger.records_revenue import ClosePurchase, Purchase, PurchaseState, RecordPurchase
from ledger.schema_revenue import purchases
from ledger.times import from_us, to_us
from ledger.world import World
from policy.errors import RecordMissing
from policy.language import Mode
from policy.money import Money


def record(tx: Tx, change: RecordPurchase, context: ChangeContext) -> None:
    """Open the purchase that a succeeded call armed; once per instrument, however the success was learned."""
    purchase, call = change.purchase, context.call
    known = one(tx, purchases, context.account_id, purchase_id=purchase.purchase_id)
    if known is not None:
        return
    put(
        tx,
        purchases,
        context.account_id,
        purchase_id=purchase.purchase_id,
        call_id=purchase.call_id,
        project=call.project,
        agent=call.agent,
        provider=call.provider,
        provider_account=purchase.provider_account,
        instrument=purchase.instrument,
        instrument_ref=purchase.instrument_ref,
        payee=purchase.payee,
        amount_minor=purchase.approved.minor_units,
        currency=purchase.approved.currency,
        captured_minor=purchase.posted.minor_units,
        refunded_minor=0,
        authorized_minor=purchase.authorized.minor_units,
        mode=purchase.mode.value,
        state=purchase.state.value,
        last4=purchase.last4,
        armed=int(purchase.instrument == "card"),
        armed_at_us=to_us(purchase.armed_at),
        moved_at_us=context.at_us,
        cancelled_at_us=None,
        closed_at_us=None,
    )
    fact = PurchaseOpened(
        call_id=purchase.call_id,
        provider=call.provider,
        mode=purchase.mode.value,
        amount_minor=purchase.approved.minor_units,
        currency=purchase.approved.currency,
        state=purchase.state.value,
    )
    context.log(fact, purchase.purchase_id, {"payee": purchase.payee, "reference": purchase.instrument_ref})
    if purchase.instrument == "card":
        context.tell("purchase.armed", f'{{"purchase_id":"{purchase.purchase_id}"}}'.encode())
    hurry(tx, context.account_id, context.at_us)


def close(tx: Tx, change: ClosePurchase, context: ChangeContext) -> None:
    """Note that the instrument is cancelled; what may still be captured stays committed (M19)."""
    purchase = need(tx, context.account_id, change.purchase_id)
    if purchase["cancelled_at_us"] is None:
        values = {"cancelled_at_us": context.at_us, "armed": 0}
        move(tx, purchases, context.account_id, {"purchase_id": change.purchase_id}, **values)


def need(tx: Tx, account: str, purchase_id: str) -> Found:
    """Return a purchase by its id or its call's. Raises RecordMissing."""
    found = one(tx, purchases, account, purchase_id=purchase_id) or one(
        tx, purchases, account, call_id=purchase_id
    )
    if found is None:
        raise RecordMissing(f"there is no purchase {purchase_id!r}", field="purchase_id")
    return found


def move_purchase(tx: Tx, world: World, purchase: Found, at_us: int, **values: object) -> None:
    """Write what changed of a purchase, and say so in the log."""
    news = {name: value for name, value in values.items() if purchase[name] != value}
    if not news:
        return
    keys = {"purchase_id": purchase["purchase_id"]}
    move(tx, purchases, world.account_id, keys, **news, moved_at_us=at_us)
    purchase.update(news)
    fact = PurchaseMoved(
        state=purchase["state"],
        captured_minor=purchase["captured_minor"],
        authorized_minor=purchase["authorized_minor"],
    )
    world.log(fact, purchase["purchase_id"], "system:worker", at_us)


def purchase_record(row: Found) -> Purchase:
    """Return a purchase as everybody may know it."""
    return Purchase(
        purchase_id=row["purchase_id"],
        call_id=row["call_id"],
        instrument=row["instrument"],
        instrument_ref=row["instrument_ref"],
        payee=row["payee"],
        approved=Money(row["amount_minor"], row["currency"]),
        posted=Money(row["captured_minor"], row["currency"]),
        authorized=Money(row["authorized_minor"], row["currency"]),
        mode=Mode(row["mode"]),
        provider_account=row["provider_account"],
        state=PurchaseState(row["state"]),
        last4=row["last4"],
        armed_at=from_us(row["armed_at_us"]),
        closed_at=from_us(row["closed_at_us"]),
    )
