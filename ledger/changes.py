"""How a plugin's changes become rows: one table from the kind of change to the function that writes it.

An applier runs in the transaction of its call's admission or settlement, under the account's lock, and may
raise CallRefused: then nothing of the command is written. Settlements alone go on without their changes,
since what happened at a provider must be recorded whatever else is wrong; people are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from ledger.audit.fact import Fact
from ledger.engines.tx import Tx
from ledger.records import CallRecord, Change
from ledger.world import World
from policy.errors import BursarError


class ChangeContext(Struct, frozen=True):
    """Where a change comes from, and how it is written to the log and told to people."""

    account_id: str
    call: CallRecord
    at: datetime
    at_us: int
    log: Callable[[Fact, str, Mapping[str, object] | None], None]  # Fact, subject's id, payload.
    tell: Callable[[str, bytes], None]  # Topic, JSON payload.
    new_id: Callable[[str], str]
    world: World


# A change's own type is narrower than Change, so the table cannot say it; `apply_change` looks up by type.
Applier = Callable[[Tx, Any, ChangeContext], None]


class ChangeUnknown(BursarError):  # noqa: N818 -- it says what was met
    """A plugin asked for a change that this ledger has no table for."""


def appliers() -> dict[type[Change], Applier]:
    """Return every change this ledger can make; rooms add their lines here.

    Imported here and not above: appliers are written in terms of `ChangeContext`.
    """
    from ledger import crm, fulfilment, purchases, selling
    from ledger import records_crm as c
    from ledger import records_revenue as r

    return {
        r.RecordCheckout: selling.record_checkout,
        r.UpdateCheckout: selling.update_checkout,
        r.RecordPaymentLink: selling.record_link,
        r.UpdatePaymentLink: selling.update_link,
        r.RecordPurchase: purchases.record,
        r.ClosePurchase: purchases.close,
        c.CreateLead: crm.create_lead,
        c.UpdateLead: crm.update_lead,
        c.MoveDeal: crm.move_deal,
        c.DraftOutreach: crm.draft_outreach,
        c.StoreArtifact: fulfilment.store_artifact,
        c.Submit: fulfilment.submit,
        c.RecordModelDecision: fulfilment.record_decision,
    }


def apply_change(
    tx: Tx, change: Change, context: ChangeContext, table: Mapping[type[Change], Applier]
) -> None:
    """Write one change."""
    applier = table.get(type(change))
    if applier is None:
        raise ChangeUnknown(f"nothing in ledger/changes.py applies {type(change).__name__}")
    applier(tx, change, context)
