"""The inbox: every event a provider signed, stored once by its id before the answer, then worked until done.

An event leaves the inbox in one of four ways: `processed`, `ignored` (its type means nothing here),
`quarantined` (wrong mode, account, amount or currency; a person looks), or it stays `unmatched` and is tried
again, ever more rarely. Nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct
from sqlalchemy import bindparam, func, literal_column, select, update

from ledger.audit.house_kinds import EventProcessed, EventReceived
from ledger.engines.tx import Listed, Statement, Tx
from ledger.rare_rows import Found, move, one, put, some
from ledger.records_revenue import InboxEvent
from ledger.rows import ENCODER
from ledger.schema_revenue import cursors, inbox
from ledger.times import SECOND_US, from_us, to_us
from ledger.world import World
from policy.errors import RecordMissing

LEASE_S: Final = 60  # A worker that took events and died gives them up after so long.
FIRST_PAUSE_S: Final = 1
LONGEST_PAUSE_S: Final = 3_600
SHOWN: Final = 300  # Characters of a reason that are kept.

# What is worked; everything else is stored and ignored. `v1.` is taken off thin events' types before.
HANDLED: Final = frozenset(
    {
        *(f"checkout.session.{what}" for what in ("completed", "expired")),
        *(f"checkout.session.async_payment_{what}" for what in ("succeeded", "failed")),
        *(f"payment_intent.{what}" for what in ("succeeded", "payment_failed", "canceled")),
        *(f"charge.{what}" for what in ("succeeded", "updated", "refunded", "refund.updated")),
        *(f"refund.{what}" for what in ("created", "updated", "failed")),
        *(f"charge.dispute.{what}" for what in ("created", "updated", "closed")),
        *(f"charge.dispute.funds_{what}" for what in ("withdrawn", "reinstated")),
        "radar.early_fraud_warning.created",
        *(f"issuing_authorization.{what}" for what in ("created", "updated")),
        *(f"issuing_transaction.{what}" for what in ("created", "updated")),
        *(f"issuing_card.{what}" for what in ("created", "updated")),
        *(
            f"v2.money_management.outbound_payment.{what}"
            for what in ("created", "posted", "failed", "canceled", "returned")
        ),
    }
)


class Arrival(Struct, frozen=True, kw_only=True):
    """One event on its way in, its signature checked. A `code` says why it is quarantined at once."""

    event_id: str
    route: str
    source: str  # "webhook" or "reconciler".
    provider: str
    event_type: str
    object_ref: str
    livemode: bool
    mode: str | None  # Of the secret that signed it.
    created_at: datetime
    body: bytes
    provider_account: str | None = None
    api_version: str | None = None
    code: str = ""
    why: str = ""


class Due(Struct, frozen=True, kw_only=True):
    """One event a worker has taken."""

    event_id: str
    event_type: str
    object_ref: str
    attempts: int
    body: bytes


def receive(tx: Tx, world: World, arrivals: Sequence[Arrival], at: datetime) -> list[bool]:
    """Store events that are new and count the deliveries of those that are not; say which were new."""
    known = _known(tx, world.account_id, [each.event_id for each in arrivals])
    fresh = []
    for arrival in arrivals:
        new = arrival.event_id not in known
        fresh.append(new)
        if new:
            known.add(arrival.event_id)
            _store(tx, world, arrival, at)
        elif arrival.source == "webhook":
            tx.run(_COUNT, account=world.account_id, event_id=arrival.event_id)
    return fresh


_KNOWN: Final = Listed(
    lambda values: select(inbox.c.event_id).where(
        inbox.c.account_id == bindparam("account"), inbox.c.event_id.in_(values)
    )
)
_COUNT: Final = Statement(
    update(inbox)
    .where(inbox.c.account_id == bindparam("account"), inbox.c.event_id == bindparam("event_id"))
    .values(deliveries=inbox.c.deliveries + literal_column("1"))
)


def _known(tx: Tx, account: str, event_ids: Sequence[str]) -> set[str]:
    return {row[0] for row in tx.listed(_KNOWN, event_ids, account=account)}


def _store(tx: Tx, world: World, arrival: Arrival, at: datetime) -> None:
    state = "received" if arrival.event_type in HANDLED else "ignored"
    state = "quarantined" if arrival.code else state
    at_us = to_us(at)
    put(
        tx,
        inbox,
        world.account_id,
        event_id=arrival.event_id,
        route=arrival.route,
        source=arrival.source,
        provider=arrival.provider,
        event_type=arrival.event_type,
        object_ref=arrival.object_ref,
        provider_account=arrival.provider_account,
        livemode=int(arrival.livemode),
        mode=arrival.mode,
        api_version=arrival.api_version,
        created_at_us=to_us(arrival.created_at),
        received_at_us=at_us,
        state=state,
        code=arrival.code,
        why=arrival.why[:SHOWN],
        attempts=0,
        next_at_us=at_us if state == "received" else None,
        lease_until_us=0,
        deliveries=1 if arrival.source == "webhook" else 0,
        body=arrival.body,
    )
    actor = f"provider:{arrival.provider}" if arrival.source == "webhook" else "system:reconciler"
    fact = EventReceived(
        provider=arrival.provider,
        event_type=arrival.event_type,
        state=state,
        mode=arrival.mode,
        object_ref=arrival.object_ref or None,
    )
    world.log(fact, arrival.event_id, actor, at_us)
    if arrival.code:
        told = ENCODER.encode(
            {"event_id": arrival.event_id, "code": arrival.code, "why": arrival.why[:SHOWN]}
        )
        world.tell("event.quarantined", told, at_us)


# --- working ---------------------------------------------------------------------------------------------


def take(tx: Tx, account: str, at: datetime, limit: int) -> list[Due]:
    """Lease events that are due, oldest first. Two workers may meet; whoever applies first has done it."""
    at_us = to_us(at)
    c = inbox.c
    asked = (
        select(c.event_id, c.event_type, c.object_ref, c.attempts, c.body)
        .where(
            c.account_id == account,
            c.next_at_us.is_not(None),
            c.next_at_us <= at_us,
            c.lease_until_us <= at_us,
        )
        .order_by(c.next_at_us, c.received_at_us)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = [
        Due(event_id=row[0], event_type=row[1], object_ref=row[2], attempts=row[3], body=bytes(row[4]))
        for row in tx.connection.execute(asked)
    ]
    if found:
        ids = [each.event_id for each in found]
        leased = update(inbox).where(c.account_id == account, c.event_id.in_(ids))
        tx.connection.execute(leased.values(lease_until_us=at_us + LEASE_S * SECOND_US))
    return found


def open_event(tx: Tx, account: str, event_id: str) -> Found | None:
    """Return an event that still waits to be worked, or None where somebody has done it."""
    row = one(tx, inbox, account, event_id=event_id)
    return row if row is not None and row["state"] in {"received", "unmatched"} else None


def finish(
    tx: Tx, world: World, row: Found, state: str, *, code: str = "", why: str = "", at_us: int
) -> None:
    """Write what became of an event, in the transaction of its effect."""
    next_at = None
    if state == "unmatched":
        next_at = at_us + pause_s(row["attempts"]) * SECOND_US
    values = {
        "state": state,
        "code": code,
        "why": why[:SHOWN],
        "attempts": row["attempts"] + 1,
        "next_at_us": next_at,
        "lease_until_us": 0,
    }
    move(tx, inbox, world.account_id, {"event_id": row["event_id"]}, **values)
    if (row["state"], row["code"]) == (state, code):
        return
    payload = {"reason": why[:SHOWN]} if why else None
    world.log(EventProcessed(state=state, code=code), row["event_id"], "system:worker", at_us, payload)
    if state == "quarantined":
        told = ENCODER.encode({"event_id": row["event_id"], "code": code, "why": why[:SHOWN]})
        world.tell("event.quarantined", told, at_us)


def postpone(tx: Tx, account: str, event_ids: Sequence[str], why: str, at: datetime) -> None:
    """Try events again later: the provider gave no good answer."""
    for event_id in event_ids:
        row = open_event(tx, account, event_id)
        if row is not None:
            next_at = to_us(at) + pause_s(row["attempts"]) * SECOND_US
            values = {"attempts": row["attempts"] + 1, "next_at_us": next_at, "lease_until_us": 0}
            move(tx, inbox, account, {"event_id": event_id}, why=why[:SHOWN], **values)


def hurry(tx: Tx, account: str, at_us: int) -> None:
    """Look at what found no match once more, now that there is a new order or purchase."""
    tx.run(_HURRY, account=account, at_us=at_us)


_HURRY: Final = Statement(
    update(inbox)
    .where(
        inbox.c.account_id == bindparam("account"),
        inbox.c.next_at_us.is_not(None),
        inbox.c.next_at_us > bindparam("at_us"),
        inbox.c.state == literal_column("'unmatched'"),
    )
    .values(next_at_us=bindparam("at_us"))
)


def pause_s(attempts: int) -> int:
    """Return how long to wait after so many tries: 1, 2, 4 ... seconds, at most an hour."""
    return int(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts, 12)))


def replay(tx: Tx, world: World, event_id: str, by: str, at: datetime) -> InboxEvent:
    """Work an event once more, as if it had just arrived. Raises RecordMissing."""
    row = one(tx, inbox, world.account_id, event_id=event_id)
    if row is None:
        raise RecordMissing(f"there is no event {event_id!r}")
    at_us = to_us(at)
    again = {"state": "received", "code": "", "why": "", "next_at_us": at_us, "lease_until_us": 0}
    move(tx, inbox, world.account_id, {"event_id": event_id}, **again)
    actor = by if ":" in by else f"operator:{by}"
    world.log(EventProcessed(state="received", code=""), event_id, actor, at_us, {"reason": "replayed"})
    return event_record({**row, **again})


# --- reading ---------------------------------------------------------------------------------------------


def event_record(row: Found) -> InboxEvent:
    """Return an event as people see it."""
    return InboxEvent(
        event_id=row["event_id"],
        route=row["route"],
        source=row["source"],
        type=row["event_type"],
        object_ref=row["object_ref"],
        provider_account=row["provider_account"],
        livemode=bool(row["livemode"]),
        api_version=row["api_version"],
        created_at=from_us(row["created_at_us"]),
        received_at=from_us(row["received_at_us"]),
        state=row["state"],
        why=f"{row['code']}: {row['why']}" if row["code"] else row["why"],
        attempts=row["attempts"],
        next_at=from_us(row["next_at_us"]),
        deliveries=row["deliveries"],
        body=bytes(row["body"]),
    )


def events(tx: Tx, account: str, state: str | None, after: str | None, limit: int) -> list[InboxEvent]:
    """Return events, newest first; `after` is the id of the last one seen."""
    c = inbox.c
    conditions = [] if state is None else [c.state == state]
    last = None if after is None else one(tx, inbox, account, event_id=after)
    if last is not None:
        older = (c.received_at_us < last["received_at_us"]) | (
            (c.received_at_us == last["received_at_us"]) & (c.event_id < last["event_id"])
        )
        conditions.append(older)
    order = (c.received_at_us.desc(), c.event_id.desc())
    return [event_record(row) for row in some(tx, inbox, account, *conditions, order=order, limit=limit)]


def counts(tx: Tx, account: str) -> dict[str, int]:
    """Return how many events wait, found no match, or are quarantined."""
    c = inbox.c
    asked = (
        select(c.state, func.count())
        .where(c.account_id == account, c.state.in_(("received", "unmatched", "quarantined")))
        .group_by(c.state)
    )
    return {str(state): int(count) for state, count in tx.connection.execute(asked)}


def cursor(tx: Tx, account: str, name: str) -> datetime | None:
    """Return how far a reconciler has read."""
    row = one(tx, cursors, account, name=name)
    return None if row is None else from_us(row["at_us"])


def set_cursor(tx: Tx, account: str, name: str, at: datetime) -> None:
    """Note how far a reconciler has read; it never goes back."""
    row = one(tx, cursors, account, name=name)
    if row is None:
        put(tx, cursors, account, name=name, at_us=to_us(at))
    elif row["at_us"] < to_us(at):
        move(tx, cursors, account, {"name": name}, at_us=to_us(at))


def any_due(tx: Tx, account: str, at: datetime) -> bool:
    """Say whether a worker would find something, without asking the writer."""
    c, at_us = inbox.c, to_us(at)
    asked = select(c.event_id).where(
        c.account_id == account, c.next_at_us.is_not(None), c.next_at_us <= at_us, c.lease_until_us <= at_us
    )
    return tx.connection.execute(asked.limit(1)).first() is not None


def need_event(tx: Tx, account: str, event_id: str) -> InboxEvent:
    """Return one event. Raises RecordMissing."""
    row = one(tx, inbox, account, event_id=event_id)
    if row is None:
        raise RecordMissing(f"there is no event {event_id!r}")
    return event_record(row)
