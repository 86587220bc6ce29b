"""Records of selling and buying: offers, deals, checkouts, orders, revenue, purchases, and changes on them.

Money comes in by one road: a verified payment becomes Order, RevenueEvent and won Deal in one transaction.
Money goes out by `Purchase`: the life of a commitment after its call has settled (M19 to M22).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from ledger.records import Change, Proof, ProviderIdentity, Query
from policy.model import Mode
from policy.money import Money


class DealStage(StrEnum):
    """Where a deal stands; `won` is set by a payment and by nothing else."""

    OPEN = "open"
    CONTACTED = "contacted"
    OFFERED = "offered"
    PAYMENT_PENDING = "payment_pending"  # A delayed method was chosen; nothing is paid yet.
    WON = "won"
    LOST = "lost"


class CheckoutState(StrEnum):
    """Where a Checkout Session stands, as last fetched; `paid` never reverts."""

    DISPATCHING = "dispatching"  # Recorded before the call is made, so that no event can come too early.
    OPEN = "open"
    PENDING = "pending"  # Completed with a delayed method that has not paid yet.
    PAID = "paid"
    EXPIRED = "expired"
    FAILED = "failed"


class OrderState(StrEnum):
    """What became of a paid order."""

    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


class RevenueKind(StrEnum):
    """Why a revenue event was booked; amounts are signed, money that left is negative."""

    PAYMENT = "payment"
    FEE = "fee"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"  # A refund that came back.
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"


class PurchaseState(StrEnum):
    """The life of a commitment after its call (M19, M22)."""

    ARMED = "armed"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    CLOSED_UNUSED = "closed_unused"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    PROCESSING = "processing"  # Outbound payments: on its way.
    POSTED = "posted"
    FAILED = "failed"
    RETURNED = "returned"


class Offer(Struct, frozen=True, kw_only=True):
    """What the owner sells, with its one price and its stable ids at the provider."""

    offer: str
    name: str
    price: Money
    version: int
    active: bool
    product_ref: str
    price_ref: str


class Deal(Struct, frozen=True, kw_only=True):
    """One chance of a sale."""

    deal_id: str
    project: str
    stage: DealStage
    title: str
    lead_id: str | None = None
    agent: str | None = None  # The one agent it is assigned to.
    offer: str | None = None
    created_at: datetime
    updated_at: datetime


class Checkout(Struct, frozen=True, kw_only=True):
    """One Checkout Session, ours or one that a payment link of ours made (M23)."""

    checkout_id: str
    deal_id: str
    offer: str
    offer_version: int
    amount: Money
    mode: Mode
    provider_account: str
    state: CheckoutState
    call_id: str
    session_ref: str | None = None
    link_id: str | None = None
    url: str | None = None
    expires_at: datetime | None = None
    created_at: datetime


class PaymentLink(Struct, frozen=True, kw_only=True):
    """A link that makes a new session with every payment (M23)."""

    link_id: str
    deal_id: str
    offer: str
    offer_version: int
    amount: Money
    mode: Mode
    provider_account: str
    state: str  # "dispatching", "active" or "inactive".
    call_id: str
    link_ref: str | None = None
    url: str | None = None
    most_payments: int = 1
    created_at: datetime


class Order(Struct, frozen=True, kw_only=True):
    """A verified payment turned into work: one per Checkout Session, whatever arrives, however often."""

    order_id: str
    deal_id: str
    session_ref: str
    payment_ref: str
    offer: str
    amount: Money
    mode: Mode
    provider_account: str
    state: OrderState
    on_hold: bool  # A refund or a dispute holds its fulfilment.
    proof: Proof
    paid_at: datetime
    lead_id: str | None = None
    intake_id: str | None = None
    run_id: str | None = None


class RevenueEvent(Struct, frozen=True, kw_only=True):
    """Money earned or lost, once per source object and kind; `minor_units` is signed."""

    revenue_id: str
    order_id: str
    kind: RevenueKind
    minor_units: int
    currency: str
    mode: Mode
    proof: Proof
    source_ref: str  # The charge, balance transaction, refund or dispute it was read from.
    event_id: str | None
    booked_at: datetime
    own_card: bool = False  # Paid with a card of ours: left out of what was earned (M15).


class Purchase(Struct, frozen=True, kw_only=True):
    """A commitment after its call: what was approved, what was posted, what is still open."""

    purchase_id: str
    call_id: str
    instrument: str  # "card" or "outbound_payment".
    instrument_ref: str
    payee: str
    approved: Money
    posted: Money
    authorized: Money  # Open authorizations.
    mode: Mode
    provider_account: str
    state: PurchaseState
    last4: str = ""
    armed_at: datetime
    closed_at: datetime | None = None


class InboxEvent(Struct, frozen=True, kw_only=True):
    """One event as the provider signed it, and what became of it."""

    event_id: str
    route: str  # "stripe" or "issuing".
    source: str  # "webhook" or "reconciler".
    type: str
    object_ref: str
    provider_account: str | None
    livemode: bool
    api_version: str | None
    created_at: datetime
    received_at: datetime
    state: str  # received, processed, ignored, unmatched, quarantined, waiting.
    why: str = ""
    attempts: int = 0
    next_at: datetime | None = None
    deliveries: int = 1
    body: bytes = b""


# --- what tools may read -------------------------------------------------------------------------------


class OfferByName(Query, frozen=True):
    """The active offer of that name."""

    offer: str


class DealById(Query, frozen=True):
    """One deal."""

    deal_id: str


class CheckoutById(Query, frozen=True):
    """One checkout, by our id or the provider's."""

    checkout_id: str


class PaymentLinkById(Query, frozen=True):
    """One payment link, by our id or the provider's."""

    link_id: str


class OrderById(Query, frozen=True):
    """One order with what is left of its payment."""

    order_id: str


class PurchaseById(Query, frozen=True):
    """One purchase, by its id or its call's."""

    purchase_id: str


class DisputeById(Query, frozen=True):
    """One dispute, as last fetched."""

    dispute_id: str


class Payments(Query, frozen=True):
    """The latest payments of the reader's project, newest first; `after` pages."""

    deal_id: str | None = None
    after: str | None = None
    limit: int = 20


class Disputes(Query, frozen=True):
    """The open and latest disputes of the reader's project, newest first."""

    after: str | None = None
    limit: int = 20


# --- what tools may change -----------------------------------------------------------------------------


class RecordCheckout(Change, frozen=True, kw_only=True):
    """Write a checkout before its call is made."""

    checkout: Checkout


class UpdateCheckout(Change, frozen=True, kw_only=True):
    """What the provider answered; a state never goes back."""

    checkout_id: str
    state: CheckoutState
    session_ref: str | None = None
    url: str | None = None
    expires_at: datetime | None = None


class RecordPaymentLink(Change, frozen=True, kw_only=True):
    """Write a payment link before its call is made."""

    link: PaymentLink


class UpdatePaymentLink(Change, frozen=True, kw_only=True):
    """What the provider answered."""

    link_id: str
    state: str
    link_ref: str | None = None
    url: str | None = None


class RecordPurchase(Change, frozen=True, kw_only=True):
    """Open the purchase that a succeeded call armed."""

    purchase: Purchase


class ClosePurchase(Change, frozen=True, kw_only=True):
    """The instrument is cancelled at the provider; M19 says when the rest is let go."""

    purchase_id: str
    state: PurchaseState


# --- what a provider shows -----------------------------------------------------------------------------


class Shown(Struct, frozen=True, kw_only=True):
    """One object of a provider as it was fetched, with the identity that answered (M4)."""

    ref: str
    found: bool
    asked_at: datetime  # When it was asked for: what was decided later is not in it yet.
    identity: ProviderIdentity | None = None
    proof: Proof | None = None
    data: Mapping[str, Any] = {}
