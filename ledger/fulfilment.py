"""Fulfilment: artifacts by hash, submissions with their reviews, model decisions; runs that end by review."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec

from ledger.audit.house_kinds import RecordWritten
from ledger.changes import ChangeContext
from ledger.engines.tx import Tx
from ledger.house import close_run, need_run
from ledger.rare_rows import move, one, put
from ledger.records import ReviewKind, ReviewRecord, ReviewState
from ledger.records_crm import Artifact, RecordModelDecision, StoreArtifact, Submit
from ledger.reviews import open_review
from ledger.rows import ENCODER
from ledger.schema_crm import artifacts, model_decisions, run_artifacts, submissions
from ledger.schema_revenue import orders
from ledger.selling import says
from ledger.times import to_us
from ledger.world import World
from policy.errors import InvalidArguments, RecordMissing, RunClosed

LARGEST_BYTES: Final = 1_000_000  # Of one artifact, whatever a plugin allows.


def store_artifact(tx: Tx, change: StoreArtifact, context: ChangeContext) -> None:
    """Keep a file once per hash, named in its run. Raises InvalidArguments where it is not what it says."""
    artifact, content = change.artifact, change.content
    _need_work(tx, context, artifact.run_id)
    if len(content) > LARGEST_BYTES:
        raise InvalidArguments(f"an artifact has at most {LARGEST_BYTES} bytes", field="artifacts")
    if sha256(content).hexdigest() != artifact.sha256 or len(content) != artifact.size:
        raise InvalidArguments("the bytes are not those that were named", field="artifacts")
    if one(tx, artifacts, context.account_id, sha256=artifact.sha256) is None:
        put(tx, artifacts, context.account_id, sha256=artifact.sha256, size=artifact.size, content=content)
    place = {"run_id": artifact.run_id, "sha256": artifact.sha256, "name": artifact.name}
    if one(tx, run_artifacts, context.account_id, **place) is None:
        row = {"media_type": artifact.media_type, "size": artifact.size, "created_at_us": context.at_us}
        put(tx, run_artifacts, context.account_id, **place, **row)
        says(context)("artifact", artifact.sha256, version=1, state="stored")


def submit(tx: Tx, change: Submit, context: ChangeContext) -> None:
    """Put a plan, draft or delivery before the owner."""
    work = change.submission
    _need_work(tx, context, work.run_id)
    files = [_named(file) for file in work.artifacts]
    put(
        tx,
        submissions,
        context.account_id,
        submission_id=work.submission_id,
        run_id=work.run_id,
        kind=work.kind,
        agent=work.agent,
        title=work.title,
        text=work.text,
        artifacts=msgspec.json.encode(files).decode(),
        review_id=work.review_id,
        review=ReviewState.WAITING.value,
        words="",
        at_us=to_us(work.at),
    )
    says(context)("submission", work.submission_id, version=1, state="waiting")
    body = {"run_id": work.run_id, "title": work.title, "text": work.text, "artifacts": files}
    open_review(
        context.world,
        work.review_id,
        kind=ReviewKind(work.kind),
        subject_type="submission",
        subject_id=work.submission_id,
        agent=work.agent,
        body=ENCODER.encode(body),
        at=context.at,
        run_id=work.run_id,
        call_id=context.call.call_id,
    )


def record_decision(tx: Tx, change: RecordModelDecision, context: ChangeContext) -> None:
    """Keep what an agent says it asked which model, as declared."""
    decision = change.decision
    _need_run(tx, context, decision.run_id)
    put(
        tx,
        model_decisions,
        context.account_id,
        decision_id=decision.decision_id,
        run_id=decision.run_id,
        agent=decision.agent,
        model=decision.model,
        purpose=decision.purpose,
        summary=decision.summary,
        refs=msgspec.json.encode(list(decision.references)).decode(),
        at_us=to_us(decision.at),
    )
    says(context)("model_decision", decision.decision_id, version=1, state="declared")


def judged(tx: Tx, world: World, review: ReviewRecord, at: datetime) -> None:
    """Say on the submission what the owner thinks; an approved delivery closes its run."""
    values = {"review": review.state.value, "words": review.words}
    move(tx, submissions, world.account_id, {"submission_id": review.subject_id}, **values)
    actor = f"operator:{review.answered_by}"
    fact = RecordWritten(record_type="submission", version=2, state=review.state.value)
    world.log(fact, review.subject_id, actor, to_us(at))
    delivered = review.kind is ReviewKind.DELIVERY and review.state is ReviewState.APPROVED
    if delivered and review.run_id is not None:
        close_run(tx, world, review.run_id, actor, at, reason="its delivery was approved")


def _named(artifact: Artifact) -> dict[str, object]:
    return {name: getattr(artifact, name) for name in ("sha256", "name", "media_type", "size")}


def _need_run(tx: Tx, context: ChangeContext, run_id: str) -> None:
    run = need_run(tx, context.world, run_id)
    if run.project != context.call.project:
        raise RecordMissing(f"there is no run {run_id!r} in this project", field="run_id")
    if run.state != "open":
        raise RunClosed(f"{run_id} is closed; nothing more is recorded in it")


def _need_work(tx: Tx, context: ChangeContext, run_id: str) -> None:
    """Refuse work for an order on hold: a refund or a dispute came first."""
    _need_run(tx, context, run_id)
    order = one(tx, orders, context.account_id, run_id=run_id)
    if order is not None and order["on_hold"]:
        raise InvalidArguments(
            f"the order of {run_id} is {order['state']}; its work waits for the owner", field="run_id"
        )
