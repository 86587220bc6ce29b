"""Make the tables of selling, buying and events."""

from __future__ import annotations

from alembic import op

from ledger.guards import create_guards
from ledger.migrations.tables import check, index, refers, table, unique

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of selling, buying and events."""
    _part_1()
    _part_2()
    _part_3()
    _part_4()
    _part_5()
    create_guards(op.get_bind())


def _part_1() -> None:
    table(
        "offers",
        "account_id:text offer:text version:int name:text amount_minor:int currency:text state:text "
        "mode:text provider_account:text product_ref:text price_ref:text set_by:text set_at_us:int",
        key="account_id offer version",
        parts=(
            check("ck_offers_amount", "amount_minor > 0"),
            check("ck_offers_mode", "mode IN ('live', 'test', 'simulated')"),
            check("ck_offers_state", "state IN ('active', 'retired')"),
        ),
        rowid=False,
    )
    table(
        "deals",
        "account_id:text deal_id:text project:text stage:text title:text lead_id:text? agent:text? "
        "offer:text? version:int created_at_us:int updated_at_us:int",
        key="account_id deal_id",
        parts=(
            check(
                "ck_deals_stage",
                "stage IN ('open', 'contacted', 'offered', 'payment_pending', 'won', 'lost')",
            ),
        ),
    )
    index("ix_deals_lead", "deals", "account_id lead_id")
    index("ix_deals_project", "deals", "account_id project created_at_us")
    table(
        "checkouts",
        "account_id:text checkout_id:text deal_id:text project:text agent:text offer:text "
        "offer_version:int amount_minor:int currency:text mode:text provider_account:text state:text "
        "call_id:text session_ref:text? link_id:text? url:text? expires_at_us:int? created_at_us:int",
        key="account_id checkout_id",
        parts=(
            check("ck_checkouts_mode", "mode IN ('live', 'test', 'simulated')"),
            check(
                "ck_checkouts_state",
                "state IN ('dispatching', 'open', 'pending', 'paid', 'expired', 'failed')",
            ),
            unique("uq_checkouts_session", "account_id session_ref"),
        ),
    )
    index("ix_checkouts_deal", "checkouts", "account_id deal_id")
    index(
        "ix_checkouts_open",
        "checkouts",
        "account_id created_at_us",
        where="state IN ('dispatching', 'open', 'pending')",
    )


def _part_2() -> None:
    table(
        "payment_links",
        "account_id:text link_id:text deal_id:text project:text agent:text offer:text "
        "offer_version:int amount_minor:int currency:text mode:text provider_account:text state:text "
        "call_id:text link_ref:text? url:text? most_payments:int created_at_us:int",
        key="account_id link_id",
        parts=(
            check("ck_payment_links_mode", "mode IN ('live', 'test', 'simulated')"),
            check("ck_payment_links_state", "state IN ('dispatching', 'active', 'inactive')"),
            unique("uq_payment_links_ref", "account_id link_ref"),
        ),
    )
    table(
        "orders",
        "account_id:text order_id:text session_ref:text payment_ref:text checkout_id:text "
        "deal_id:text project:text offer:text offer_version:int amount_minor:int currency:text "
        "mode:text provider_account:text state:text on_hold:int refunded_minor:int disputed_minor:int "
        "own_card:int proof_level:text proof_by:text proof_provider:text paid_at_us:int "
        "booked_at_us:int lead_id:text? intake_id:text run_id:text event_id:text? buyer:text",
        key="account_id order_id",
        parts=(
            check("ck_orders_mode", "mode IN ('live', 'test', 'simulated')"),
            check("ck_orders_proof_level", "proof_level IN ('recorded', 'simulated', 'test', 'live')"),
            check("ck_orders_state", "state IN ('paid', 'partially_refunded', 'refunded', 'disputed')"),
            unique("uq_orders_session", "account_id session_ref"),
        ),
    )
    index("ix_orders_deal", "orders", "account_id deal_id")
    index("ix_orders_payment", "orders", "account_id payment_ref")
    index("ix_orders_project", "orders", "account_id project booked_at_us order_id")
    index("ix_orders_run", "orders", "account_id run_id")
    table(
        "revenue_events",
        "account_id:text revenue_id:text order_id:text project:text revenue_kind:text "
        "amount_minor:int currency:text mode:text proof_level:text proof_by:text proof_provider:text "
        "source_ref:text event_id:text? booked_at_us:int own_card:int",
        key="account_id revenue_id",
        parts=(
            check("ck_revenue_events_mode", "mode IN ('live', 'test', 'simulated')"),
            check(
                "ck_revenue_events_proof_level",
                "proof_level IN ('recorded', 'simulated', 'test', 'live')",
            ),
            check(
                "ck_revenue_events_revenue_kind",
                "revenue_kind IN ('payment', 'fee', 'refund', 'refund_failed', 'dispute', 'dispute_won')",
            ),
            unique("uq_revenue_events_source", "account_id source_ref revenue_kind"),
        ),
    )
    index("ix_revenue_events_order", "revenue_events", "account_id order_id")


def _part_3() -> None:
    table(
        "disputes",
        "account_id:text dispute_id:text order_id:text project:text amount_minor:int currency:text "
        "mode:text status:text reason:text due_by_us:int? opened_at_us:int",
        key="account_id dispute_id",
    )
    index("ix_disputes_order", "disputes", "account_id order_id")
    index("ix_disputes_project", "disputes", "account_id project opened_at_us")
    table(
        "purchases",
        "account_id:text purchase_id:text call_id:text project:text agent:text provider:text "
        "provider_account:text instrument:text instrument_ref:text payee:text amount_minor:int "
        "currency:text captured_minor:int refunded_minor:int authorized_minor:int mode:text "
        "state:text last4:text armed:int armed_at_us:int moved_at_us:int cancelled_at_us:int? "
        "closed_at_us:int?",
        key="account_id purchase_id",
        parts=(
            check("ck_purchases_instrument", "instrument IN ('card', 'outbound_payment')"),
            check("ck_purchases_mode", "mode IN ('live', 'test', 'simulated')"),
            check(
                "ck_purchases_state",
                "state IN ('armed', 'authorized', 'captured', 'closed_unused', 'refunded', "
                "'disputed', 'processing', 'posted', 'failed', 'returned')",
            ),
            refers("fk_purchases_account_id", "account_id call_id", "tool_calls", "account_id call_id"),
            unique("uq_purchases_instrument", "account_id provider instrument_ref"),
        ),
    )
    index("ix_purchases_call", "purchases", "account_id call_id")
    index("ix_purchases_open", "purchases", "account_id moved_at_us", where="closed_at_us IS NULL")
    table(
        "authorizations",
        "account_id:text authorization_id:text purchase_id:text amount_minor:int currency:text "
        "approved:int state:text merchant:text decided_at_us:int",
        key="account_id authorization_id",
        parts=(check("ck_authorizations_state", "state IN ('pending', 'closed', 'reversed', 'expired')"),),
        rowid=False,
    )
    index("ix_authorizations_purchase", "authorizations", "account_id purchase_id")


def _part_4() -> None:
    table(
        "authorization_requests",
        "account_id:text event_id:text authorization_id:text purchase_id:text? amount_minor:int "
        "currency:text approved:int code:text at_us:int",
        key="account_id event_id",
        rowid=False,
    )
    index("ix_authorization_requests_of", "authorization_requests", "account_id authorization_id")
    table(
        "purchase_postings",
        "account_id:text transaction_ref:text posting_kind:text purchase_id:text amount_minor:int "
        "currency:text authorization_id:text? at_us:int",
        key="account_id transaction_ref posting_kind",
        parts=(
            check(
                "ck_purchase_postings_posting_kind",
                "posting_kind IN ('capture', 'refund', 'payout', 'return')",
            ),
        ),
        rowid=False,
    )
    index("ix_purchase_postings_of", "purchase_postings", "account_id purchase_id")
    table(
        "inbox",
        "account_id:text event_id:text route:text source:text provider:text event_type:text "
        "object_ref:text provider_account:text? livemode:int mode:text? api_version:text? "
        "created_at_us:int received_at_us:int state:text code:text why:text attempts:int "
        "next_at_us:int? lease_until_us:int deliveries:int body:bytes",
        key="account_id event_id",
        parts=(
            check("ck_inbox_source", "source IN ('webhook', 'reconciler')"),
            check(
                "ck_inbox_state",
                "state IN ('received', 'processed', 'ignored', 'unmatched', 'quarantined')",
            ),
        ),
    )
    index("ix_inbox_due", "inbox", "account_id next_at_us", where="next_at_us IS NOT NULL")
    index("ix_inbox_received", "inbox", "account_id received_at_us event_id")


def _part_5() -> None:
    table(
        "cursors",
        "account_id:text name:text at_us:int",
        key="account_id name",
        rowid=False,
    )
