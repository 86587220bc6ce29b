"""How a tool's questions are answered: one table from the kind of query to the function that reads it.

A loader sees one reader's records only and raises RecordMissing for what is absent or another project's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ledger.engines.tx import Tx
from ledger.records import Query, Reader, RecordRef
from policy.errors import BursarError

# A query's own type is narrower than Query, so the table cannot say it; `load_query` looks up by type.
Loader = Callable[[Tx, Any, Reader], tuple[RecordRef, ...]]


class QueryUnknown(BursarError):  # noqa: N818 -- it says what was met
    """A plugin asked a question that this ledger has no answer for."""


def loaders() -> dict[type[Query], Loader]:
    """Return every query this ledger can answer; rooms add their lines here."""
    from ledger import crm_reads, sale_reads
    from ledger import records_crm as c
    from ledger import records_revenue as r

    return {
        r.OfferByName: sale_reads.offer_by_name,
        r.DealById: sale_reads.deal_by_id,
        r.CheckoutById: sale_reads.checkout_by_id,
        r.PaymentLinkById: sale_reads.payment_link_by_id,
        r.OrderById: sale_reads.order_by_id,
        r.PurchaseById: sale_reads.purchase_by_id,
        r.DisputeById: sale_reads.dispute_by_id,
        r.Payments: sale_reads.payments,
        r.Disputes: sale_reads.disputes_of,
        c.LeadById: crm_reads.lead_by_id,
        c.LeadsFor: crm_reads.leads_for,
        c.DealFor: crm_reads.deal_for,
        c.RunById: crm_reads.run_by_id,
        c.RunsOf: crm_reads.runs_of,
    }


def load_query(
    tx: Tx, query: Query, reader: Reader, table: Mapping[type[Query], Loader]
) -> tuple[RecordRef, ...]:
    """Answer one query. Raises RecordMissing."""
    loader = table.get(type(query))
    if loader is None:
        raise QueryUnknown(f"nothing in ledger/queries.py answers {type(query).__name__}")
    return loader(tx, query, reader)
