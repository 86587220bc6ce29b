"""Late evidence and money that moves after a call has ended: what webhooks, reconcilers and owners bring."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from ledger.audit.call_kinds import DiscrepancyResolved
from ledger.engines.tx import Tx
from ledger.schema import discrepancies, outbox
from ledger.times import SECOND_US, to_us
from ledger.world import World
from policy.errors import InvalidArguments, RecordMissing

OUTBOX_LEASE_S = 60  # How long a sender has before another one tries the same message.


def resolve_discrepancy(
    tx: Tx, world: World, discrepancy_id: str, operator_id: str, *, words: str, at: datetime
) -> None:
    """Close a discrepancy.

    An owner looked at it and says what it was. Raises RecordMissing, InvalidArguments.
    """
    if not words.strip():
        raise InvalidArguments("say what you found: a discrepancy is not closed in silence", field="words")
    d = discrepancies.c
    done = tx.connection.execute(
        update(discrepancies)
        .where(d.account_id == world.account_id, d.discrepancy_id == discrepancy_id, d.state == "open")
        .values(state="resolved", operator=operator_id, resolved_at_us=to_us(at), words=words)
    )
    if done.rowcount != 1:
        raise RecordMissing(f"there is no open discrepancy {discrepancy_id!r}")
    fact = DiscrepancyResolved(operator=operator_id)
    world.log(fact, discrepancy_id, f"operator:{operator_id}", to_us(at), {"reason": words})


def take_outbox(tx: Tx, account: str, at: datetime, limit: int) -> list[tuple[str, str, bytes]]:
    """Lease messages that are due.

    Id, topic, JSON payload. Whoever crashes before `done` leaves them to the next.
    """
    o = outbox.c
    at_us = to_us(at)
    asked = (
        select(o.outbox_id, o.topic, o.payload)
        .where(
            o.account_id == account, o.done_at_us.is_(None), o.due_at_us <= at_us, o.lease_until_us <= at_us
        )
        .order_by(o.due_at_us)
        .limit(limit)
    )
    found = [(row[0], row[1], bytes(row[2])) for row in tx.connection.execute(asked)]
    if found:
        tx.connection.execute(
            update(outbox)
            .where(o.account_id == account, o.outbox_id.in_([row[0] for row in found]))
            .values(lease_until_us=at_us + OUTBOX_LEASE_S * SECOND_US, tries=o.tries + 1)
        )
    return found


def done_outbox(tx: Tx, account: str, outbox_id: str, at: datetime) -> None:
    """Note that a message was delivered."""
    o = outbox.c
    tx.connection.execute(
        update(outbox).where(o.account_id == account, o.outbox_id == outbox_id).values(done_at_us=to_us(at))
    )
