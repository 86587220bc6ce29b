"""Reviews: an owner's judgement of a lead, a plan, a draft or a delivery. No money waits on one."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from ledger.audit.call_kinds import ReviewAnswered, ReviewOpened
from ledger.engines.tx import Tx
from ledger.people import need_operator
from ledger.reads import review_record
from ledger.records import ReviewKind, ReviewRecord, ReviewState, Role
from ledger.schema import reviews
from ledger.times import to_us
from ledger.world import World
from policy.errors import PolicyDenied, RecordChanged, RecordMissing


def open_review(  # noqa: PLR0913 -- all of them are what it is, by name
    world: World,
    review_id: str,
    *,
    kind: ReviewKind,
    subject_type: str,
    subject_id: str,
    agent: str,
    body: bytes,
    at: datetime,
    run_id: str | None = None,
    call_id: str | None = None,
) -> None:
    """Put something before an owner; appliers of a plugin's changes call this."""
    world.insert(
        "reviews",
        review_id=review_id,
        kind=kind.value,
        subject_type=subject_type,
        subject_id=subject_id,
        run_id=run_id,
        agent=agent,
        call_id=call_id,
        state=ReviewState.WAITING.value,
        body=body,
        words="",
        operator=None,
        answered_at_us=None,
        submitted_at_us=to_us(at),
    )
    fact = ReviewOpened(
        kind=kind.value, subject_type=subject_type, subject_id=subject_id, run_id=run_id, call_id=call_id
    )
    actor = f"agent:{agent}" if agent else "system:ledger"
    world.log(fact, review_id, actor, to_us(at), {"content": body.decode()})


def answer_review(
    tx: Tx, world: World, review_id: str, operator: str, state: ReviewState, *, words: str, at: datetime
) -> ReviewRecord:
    """Give an owner's judgement, once.

    Raises RecordMissing, RecordChanged where it was given already, PolicyDenied for anybody but an active
    owner.
    """
    person = need_operator(world, operator)
    if not person.active or person.role is not Role.OWNER:
        raise PolicyDenied("an owner judges leads, plans, drafts and deliveries")
    mine = (reviews.c.account_id == world.account_id) & (reviews.c.review_id == review_id)
    if tx.connection.execute(select(reviews.c.state).where(mine)).first() is None:
        raise RecordMissing(f"there is no review {review_id!r}")
    done = tx.connection.execute(
        update(reviews)
        .where(mine, reviews.c.state == ReviewState.WAITING.value)
        .values(state=state.value, words=words, operator=person.operator_id, answered_at_us=to_us(at))
    )
    if done.rowcount != 1:
        raise RecordChanged("this review was answered already; read it again")
    fact = ReviewAnswered(operator=person.operator_id, state=state.value)
    actor = f"operator:{person.operator_id}"
    world.log(fact, review_id, actor, to_us(at), {"comment": words} if words else None)
    review = review_record(tx.connection.execute(select(reviews).where(mine)).one())
    _effect(tx, world, review, at)
    return review


def _effect(tx: Tx, world: World, review: ReviewRecord, at: datetime) -> None:
    """Let a judgement take effect on what was judged, in the same transaction."""
    # Imported here: what is judged opens its reviews through this module.
    from ledger import crm, fulfilment

    effects = {
        "lead": crm.judged_lead,
        "outreach": crm.judged_outreach,
        "submission": fulfilment.judged,
    }
    effect = effects.get(review.subject_type)
    if effect is not None:
        effect(tx, world, review, at)
