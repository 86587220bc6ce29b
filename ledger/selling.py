"""What the payments plugin may write of sales: checkouts and links, before their call and after it."""

from __future__ import annotations

from collections.abc import Callable

from ledger.audit.house_kinds import RecordWritten
from ledger.changes import ChangeContext
from ledger.engines.tx import Tx
from ledger.inbox import hurry
from ledger.rare_rows import move, one, put
from ledger.records_revenue import (
    RecordCheckout,
    RecordPaymentLink,
    UpdateCheckout,
    UpdatePaymentLink,
)
from ledger.sales import follow, step
from ledger.schema_revenue import checkouts, deals, payment_links
from ledger.times import to_us
from policy.errors import RecordMissing


def says(context: ChangeContext) -> Callable[..., None]:
    """Return how an applier says that a record was written."""

    def say(record_type: str, record_id: str, *, version: int, state: str) -> None:
        fact = RecordWritten(
            record_type=record_type, version=version, state=state, call_id=context.call.call_id
        )
        context.log(fact, record_id, None)

    return say


def record_checkout(tx: Tx, change: RecordCheckout, context: ChangeContext) -> None:
    """Write a checkout before its call is made, so that no event can come too early."""
    checkout = change.checkout
    _need_deal(tx, context, checkout.deal_id)
    put(
        tx,
        checkouts,
        context.account_id,
        checkout_id=checkout.checkout_id,
        deal_id=checkout.deal_id,
        project=context.call.project,
        agent=context.call.agent,
        offer=checkout.offer,
        offer_version=checkout.offer_version,
        amount_minor=checkout.amount.minor_units,
        currency=checkout.amount.currency,
        mode=checkout.mode.value,
        provider_account=checkout.provider_account,
        state=checkout.state.value,
        call_id=checkout.call_id,
        session_ref=checkout.session_ref,
        link_id=checkout.link_id,
        url=checkout.url,
        expires_at_us=None if checkout.expires_at is None else to_us(checkout.expires_at),
        created_at_us=to_us(checkout.created_at),
    )
    says(context)("checkout", checkout.checkout_id, version=0, state=checkout.state.value)


def update_checkout(tx: Tx, change: UpdateCheckout, context: ChangeContext) -> None:
    """Write what the provider answered; a state never goes back."""
    stored = one(tx, checkouts, context.account_id, checkout_id=change.checkout_id)
    if stored is None:
        raise RecordMissing(f"there is no checkout {change.checkout_id!r}")
    news = {
        "session_ref": change.session_ref,
        "url": change.url,
        "expires_at_us": None if change.expires_at is None else to_us(change.expires_at),
    }
    step(tx, context.account_id, stored, change.state.value, say=says(context), **news)
    follow(tx, context.account_id, stored["deal_id"], context.at_us, say=says(context))
    hurry(tx, context.account_id, context.at_us)


def record_link(tx: Tx, change: RecordPaymentLink, context: ChangeContext) -> None:
    """Write a payment link before its call is made."""
    link = change.link
    _need_deal(tx, context, link.deal_id)
    put(
        tx,
        payment_links,
        context.account_id,
        link_id=link.link_id,
        deal_id=link.deal_id,
        project=context.call.project,
        agent=context.call.agent,
        offer=link.offer,
        offer_version=link.offer_version,
        amount_minor=link.amount.minor_units,
        currency=link.amount.currency,
        mode=link.mode.value,
        provider_account=link.provider_account,
        state=link.state,
        call_id=link.call_id,
        link_ref=link.link_ref,
        url=link.url,
        most_payments=link.most_payments,
        created_at_us=to_us(link.created_at),
    )
    says(context)("payment_link", link.link_id, version=0, state=link.state)


_LINK_RANK = {"dispatching": 0, "active": 1, "inactive": 2}


def update_link(tx: Tx, change: UpdatePaymentLink, context: ChangeContext) -> None:
    """Write what the provider answered; an ended link stays ended."""
    stored = one(tx, payment_links, context.account_id, link_id=change.link_id)
    if stored is None:
        raise RecordMissing(f"there is no payment link {change.link_id!r}")
    forward = _LINK_RANK[change.state] > _LINK_RANK[stored["state"]]
    values = {
        "state": change.state if forward else stored["state"],
        "link_ref": stored["link_ref"] or change.link_ref,
        "url": stored["url"] or change.url,
    }
    move(tx, payment_links, context.account_id, {"link_id": change.link_id}, **values)
    say = says(context)
    say("payment_link", change.link_id, version=_LINK_RANK[change.state], state=str(values["state"]))
    hurry(tx, context.account_id, context.at_us)


def _need_deal(tx: Tx, context: ChangeContext, deal_id: str) -> None:
    deal = one(tx, deals, context.account_id, deal_id=deal_id)
    if deal is None or deal["project"] != context.call.project:
        raise RecordMissing(f"there is no deal {deal_id!r} in this project", field="deal_id")
