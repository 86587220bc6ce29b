"""The tables of selling and buying: offers, deals, checkouts, orders, revenue, purchases, events."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text

from ledger.schema import account_table, number, of_call, one_of, raw, words

MODES: Final = ("live", "test", "simulated")
PROOF_LEVELS: Final = ("recorded", "simulated", "test", "live")

# --- selling ---------------------------------------------------------------------------------------------

offers: Final = account_table(
    "offers",  # What the owner sells; another price or name is another version, and only the last is on sale.
    words("offer", key=True),
    number("version", key=True),
    words("name"),
    number("amount_minor"),
    words("currency"),
    words("state"),
    words("mode"),
    words("provider_account"),
    words("product_ref"),
    words("price_ref"),
    words("set_by"),
    number("set_at_us"),
    one_of("state", ("active", "retired")),
    one_of("mode", MODES),
    CheckConstraint("amount_minor > 0", name="amount"),
    rowid=False,
)

deals: Final = account_table(
    "deals",
    words("deal_id", key=True),
    words("project"),
    words("stage"),
    words("title"),
    words("lead_id", null=True),
    words("agent", null=True),  # The one agent it is assigned to.
    words("offer", null=True),
    number("version"),
    number("created_at_us"),
    number("updated_at_us"),
    one_of("stage", ("open", "contacted", "offered", "payment_pending", "won", "lost")),
)
Index("ix_deals_project", deals.c.account_id, deals.c.project, deals.c.created_at_us)
Index("ix_deals_lead", deals.c.account_id, deals.c.lead_id)

checkouts: Final = account_table(
    "checkouts",
    words("checkout_id", key=True),
    words("deal_id"),
    words("project"),
    words("agent"),
    words("offer"),
    number("offer_version"),
    number("amount_minor"),
    words("currency"),
    words("mode"),
    words("provider_account"),
    words("state"),
    words("call_id"),
    words("session_ref", null=True),
    words("link_id", null=True),
    words("url", null=True),
    number("expires_at_us", null=True),
    number("created_at_us"),
    one_of("state", ("dispatching", "open", "pending", "paid", "expired", "failed")),
    one_of("mode", MODES),
    UniqueConstraint("account_id", "session_ref", name="uq_checkouts_session"),
)
Index("ix_checkouts_deal", checkouts.c.account_id, checkouts.c.deal_id)
_UNPAID = text("state IN ('dispatching', 'open', 'pending')")
Index(
    "ix_checkouts_open",
    checkouts.c.account_id,
    checkouts.c.created_at_us,
    sqlite_where=_UNPAID,
    postgresql_where=_UNPAID,
)

payment_links: Final = account_table(
    "payment_links",
    words("link_id", key=True),
    words("deal_id"),
    words("project"),
    words("agent"),
    words("offer"),
    number("offer_version"),
    number("amount_minor"),
    words("currency"),
    words("mode"),
    words("provider_account"),
    words("state"),
    words("call_id"),
    words("link_ref", null=True),
    words("url", null=True),
    number("most_payments"),
    number("created_at_us"),
    one_of("state", ("dispatching", "active", "inactive")),
    one_of("mode", MODES),
    UniqueConstraint("account_id", "link_ref", name="uq_payment_links_ref"),
)

orders: Final = account_table(
    "orders",  # One per Checkout Session, whatever arrives, however often.
    words("order_id", key=True),
    words("session_ref"),
    words("payment_ref"),
    words("checkout_id"),
    words("deal_id"),
    words("project"),
    words("offer"),
    number("offer_version"),
    number("amount_minor"),
    words("currency"),
    words("mode"),
    words("provider_account"),
    words("state"),
    number("on_hold"),  # A refund or a dispute holds its fulfilment.
    number("refunded_minor"),
    number("disputed_minor"),
    number("own_card"),
    words("proof_level"),
    words("proof_by"),
    words("proof_provider"),
    number("paid_at_us"),
    number("booked_at_us"),
    words("lead_id", null=True),
    words("intake_id"),
    words("run_id"),
    words("event_id", null=True),
    words("buyer"),
    one_of("state", ("paid", "partially_refunded", "refunded", "disputed")),
    one_of("mode", MODES),
    one_of("proof_level", PROOF_LEVELS),
    UniqueConstraint("account_id", "session_ref", name="uq_orders_session"),
)
Index("ix_orders_payment", orders.c.account_id, orders.c.payment_ref)
Index("ix_orders_deal", orders.c.account_id, orders.c.deal_id)
Index("ix_orders_project", orders.c.account_id, orders.c.project, orders.c.booked_at_us, orders.c.order_id)
Index("ix_orders_run", orders.c.account_id, orders.c.run_id)

revenue_events: Final = account_table(
    "revenue_events",
    words("revenue_id", key=True),
    words("order_id"),
    words("project"),
    words("revenue_kind"),
    number("amount_minor"),  # Signed: money that left is negative.
    words("currency"),
    words("mode"),
    words("proof_level"),
    words("proof_by"),
    words("proof_provider"),
    words("source_ref"),
    words("event_id", null=True),
    number("booked_at_us"),
    number("own_card"),
    one_of("revenue_kind", ("payment", "fee", "refund", "refund_failed", "dispute", "dispute_won")),
    one_of("mode", MODES),
    one_of("proof_level", PROOF_LEVELS),
    UniqueConstraint("account_id", "source_ref", "revenue_kind", name="uq_revenue_events_source"),
)
Index("ix_revenue_events_order", revenue_events.c.account_id, revenue_events.c.order_id)

disputes: Final = account_table(
    "disputes",
    words("dispute_id", key=True),
    words("order_id"),
    words("project"),
    number("amount_minor"),
    words("currency"),
    words("mode"),
    words("status"),
    words("reason"),
    number("due_by_us", null=True),
    number("opened_at_us"),
)
Index("ix_disputes_order", disputes.c.account_id, disputes.c.order_id)
Index("ix_disputes_project", disputes.c.account_id, disputes.c.project, disputes.c.opened_at_us)

# --- buying ----------------------------------------------------------------------------------------------

purchases: Final = account_table(
    "purchases",
    words("purchase_id", key=True),
    words("call_id"),
    words("project"),
    words("agent"),
    words("provider"),
    words("provider_account"),
    words("instrument"),
    words("instrument_ref"),
    words("payee"),
    number("amount_minor"),  # As approved.
    words("currency"),
    number("captured_minor"),
    number("refunded_minor"),
    number("authorized_minor"),  # Held by open authorizations.
    words("mode"),
    words("state"),
    words("last4"),
    number("armed"),  # 1 while the card may be used; 0 once switched off or cancelled.
    number("armed_at_us"),
    number("moved_at_us"),  # When anything last happened to it.
    number(
        "cancelled_at_us", null=True
    ),  # When the instrument was seen cancelled: from then no payment can begin.
    number("closed_at_us", null=True),
    of_call(),
    one_of("instrument", ("card", "outbound_payment")),
    one_of(
        "state",
        (
            *("armed", "authorized", "captured", "closed_unused", "refunded", "disputed"),
            *("processing", "posted", "failed", "returned"),
        ),
    ),
    one_of("mode", MODES),
    UniqueConstraint("account_id", "provider", "instrument_ref", name="uq_purchases_instrument"),
)
_LIVES = text("closed_at_us IS NULL")
Index(
    "ix_purchases_open",
    purchases.c.account_id,
    purchases.c.moved_at_us,
    sqlite_where=_LIVES,
    postgresql_where=_LIVES,
)
Index("ix_purchases_call", purchases.c.account_id, purchases.c.call_id)

authorizations: Final = account_table(
    "authorizations",
    words("authorization_id", key=True),
    words("purchase_id"),
    number("amount_minor"),  # Held now.
    words("currency"),
    number("approved"),
    words("state"),
    words("merchant"),
    number("decided_at_us"),  # 0 where it was only seen, not asked for.
    one_of("state", ("pending", "closed", "reversed", "expired")),
    rowid=False,
)
Index("ix_authorizations_purchase", authorizations.c.account_id, authorizations.c.purchase_id)

authorization_requests: Final = account_table(
    "authorization_requests",  # Each question the network asked, with the one answer it got.
    words("event_id", key=True),
    words("authorization_id"),
    words("purchase_id", null=True),
    number("amount_minor"),
    words("currency"),
    number("approved"),
    words("code"),
    number("at_us"),
    rowid=False,
)
Index(
    "ix_authorization_requests_of",
    authorization_requests.c.account_id,
    authorization_requests.c.authorization_id,
)

purchase_postings: Final = account_table(
    "purchase_postings",  # Each transaction of an instrument, once.
    words("transaction_ref", key=True),
    words("posting_kind", key=True),
    words("purchase_id"),
    number("amount_minor"),  # Positive: money that left.
    words("currency"),
    words("authorization_id", null=True),
    number("at_us"),
    one_of("posting_kind", ("capture", "refund", "payout", "return")),
    rowid=False,
)
Index("ix_purchase_postings_of", purchase_postings.c.account_id, purchase_postings.c.purchase_id)

# --- events ----------------------------------------------------------------------------------------------

inbox: Final = account_table(
    "inbox",
    words("event_id", key=True),
    words("route"),
    words("source"),
    words("provider"),
    words("event_type"),
    words("object_ref"),
    words("provider_account", null=True),
    number("livemode"),
    words("mode", null=True),  # Of the secret that signed it.
    words("api_version", null=True),
    number("created_at_us"),
    number("received_at_us"),
    words("state"),
    words("code"),
    words("why"),
    number("attempts"),
    number("next_at_us", null=True),
    number("lease_until_us"),
    number("deliveries"),
    raw("body"),
    one_of("state", ("received", "processed", "ignored", "unmatched", "quarantined")),
    one_of("source", ("webhook", "reconciler")),
)
_DUE = text("next_at_us IS NOT NULL")
Index("ix_inbox_due", inbox.c.account_id, inbox.c.next_at_us, sqlite_where=_DUE, postgresql_where=_DUE)
Index("ix_inbox_received", inbox.c.account_id, inbox.c.received_at_us, inbox.c.event_id)

cursors: Final = account_table(
    "cursors",
    words("name", key=True),
    number("at_us"),
    rowid=False,  # How far a reconciler has read.
)
