"""The CRM's tables: leads, their deals, activities and drafts; what tools may write, and what owners decide.

No tool releases a lead, assigns one or wins a deal. Approving a lead's review releases it and opens its deal;
an owner assigns it to one agent; a payment wins the deal.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from ledger.audit.house_kinds import RecordWritten
from ledger.changes import ChangeContext
from ledger.engines.tx import Tx
from ledger.house import need_agent, need_project
from ledger.people import need_operator
from ledger.rare_rows import Found, derived, move, one, put, some
from ledger.records import ReviewKind, ReviewRecord, ReviewState, Role
from ledger.records_crm import CreateLead, DraftOutreach, Lead, MoveDeal, UpdateLead
from ledger.reviews import open_review
from ledger.rows import ENCODER
from ledger.sales import set_stage
from ledger.schema_crm import activities, leads, outreach
from ledger.schema_revenue import deals
from ledger.selling import says
from ledger.times import to_us
from ledger.world import World
from policy.errors import InvalidArguments, PolicyDenied, RecordMissing

_COLUMNS: Final = ("name", "email", "company", "website")
_OWN_FIELDS: Final = 20  # Fields beside the columns; more is a document, not a lead.
_OVER: Final = frozenset({"won", "payment_pending"})


# --- what tools write ------------------------------------------------------------------------------------


def create_lead(tx: Tx, change: CreateLead, context: ChangeContext) -> None:
    """Write a lead that waits for the owner's review."""
    lead = change.lead
    if lead.project != context.call.project:
        raise RecordMissing("a lead belongs to the project of the call that makes it")
    _write_lead(
        tx,
        context.world,
        lead,
        change.review_id,
        agent=lead.created_by,
        call_id=context.call.call_id,
        at=context.at,
    )


def update_lead(tx: Tx, change: UpdateLead, context: ChangeContext) -> None:
    """Change fields of a lead and note something on it; never its review, release or assignment."""
    lead = _need_lead(tx, context.account_id, change.lead_id)
    _need_assigned(lead, change.actor)
    columns = {name: value for name, value in change.fields.items() if name in _COLUMNS}
    others = {name: value for name, value in change.fields.items() if name not in _COLUMNS}
    own = {**msgspec.json.decode(lead["fields"], type=dict[str, str]), **others}
    if len(own) > _OWN_FIELDS:
        raise InvalidArguments(f"a lead has at most {_OWN_FIELDS} fields of its own", field="fields")
    values = {**columns, "fields": msgspec.json.encode(own).decode(), "updated_at_us": context.at_us}
    version = lead["version"] + 1
    move(tx, leads, context.account_id, {"lead_id": lead["lead_id"]}, **values, version=version)
    state = "released" if lead["released"] else lead["review"]
    says(context)("lead", lead["lead_id"], version=version, state=state)
    if change.note:
        _note(tx, context, change.activity_id, lead["lead_id"], None, actor=change.actor, what=change.note)


def move_deal(tx: Tx, change: MoveDeal, context: ChangeContext) -> None:
    """Set a stage that an agent may set: never won, never payment_pending."""
    deal = one(tx, deals, context.account_id, deal_id=change.deal_id)
    if deal is None or deal["project"] != context.call.project:
        raise RecordMissing(f"there is no deal {change.deal_id!r} in this project", field="deal_id")
    _need_assigned(deal, change.actor)
    if change.stage.value in _OVER or deal["stage"] in _OVER:
        raise InvalidArguments("only a payment sets or leaves that stage", field="stage")
    set_stage(tx, context.account_id, deal, change.stage.value, context.at_us, say=says(context))
    what = f"moved to {change.stage.value}" + (f": {change.note}" if change.note else "")
    _note(
        tx, context, change.activity_id, deal["lead_id"] or "", deal["deal_id"], actor=change.actor, what=what
    )


def draft_outreach(tx: Tx, change: DraftOutreach, context: ChangeContext) -> None:
    """Write a draft and the review that waits on it."""
    draft = change.draft
    lead = _need_lead(tx, context.account_id, draft.lead_id)
    _need_assigned(lead, draft.agent)
    put(
        tx,
        outreach,
        context.account_id,
        draft_id=draft.draft_id,
        lead_id=draft.lead_id,
        deal_id=draft.deal_id,
        agent=draft.agent,
        subject=draft.subject,
        body=draft.body,
        review_id=change.review_id,
        review=ReviewState.WAITING.value,
        words="",
        sent_at_us=None,
        created_at_us=to_us(draft.created_at),
        recipient=lead["email"],
    )
    says(context)("outreach", draft.draft_id, version=1, state="waiting")
    open_review(
        context.world,
        change.review_id,
        kind=ReviewKind.OUTREACH,
        subject_type="outreach",
        subject_id=draft.draft_id,
        agent=draft.agent,
        # With the address: what an owner approves is who it goes to as much as what it says.
        body=ENCODER.encode(
            {"lead_id": draft.lead_id, "to": lead["email"], "subject": draft.subject, "body": draft.body}
        ),
        at=context.at,
        run_id=context.call.run_id,
        call_id=context.call.call_id,
    )


# --- what people do --------------------------------------------------------------------------------------


def add_lead(tx: Tx, world: World, lead: Lead, at: datetime) -> str:
    """Write a lead that a stranger or the owner brought; return its review's id."""
    need_project(tx, world, lead.project)
    review_id = world.new_id("rev")
    _write_lead(tx, world, lead, review_id, agent="", call_id=None, at=at)
    return review_id


def assign_lead(tx: Tx, world: World, lead_id: str, agent: str, *, by: str, at: datetime) -> None:
    """Give a released lead and its deals to one agent. Raises PolicyDenied for anybody but an owner."""
    actor = owner(world, by)
    lead = _need_lead(tx, world.account_id, lead_id)
    person = need_agent(world, agent)
    if not person.active or person.project != lead["project"]:
        raise InvalidArguments(f"{agent} is no active agent of project {lead['project']}", field="agent")
    if not lead["released"]:
        raise InvalidArguments("approve the lead's review first; that releases it", field="lead_id")
    version = lead["version"] + 1
    move(
        tx,
        leads,
        world.account_id,
        {"lead_id": lead_id},
        agent=agent,
        version=version,
        updated_at_us=to_us(at),
    )
    _log(world, "lead", lead_id, version, "assigned", actor=actor, at=at)
    for deal in some(tx, deals, world.account_id, deals.c.lead_id == lead_id):
        values = {"agent": agent, "version": deal["version"] + 1, "updated_at_us": to_us(at)}
        move(tx, deals, world.account_id, {"deal_id": deal["deal_id"]}, **values)
        _log(world, "deal", deal["deal_id"], deal["version"] + 1, deal["stage"], actor=actor, at=at)


def open_deal(  # noqa: PLR0913 -- what a deal is: whose, about what, with whom
    tx: Tx,
    world: World,
    *,
    deal_id: str,
    project: str,
    title: str,
    by: str,
    at: datetime,
    lead_id: str | None = None,
    agent: str | None = None,
) -> None:
    """Open a deal."""
    row = {
        "deal_id": deal_id,
        "project": project,
        "stage": "open",
        "title": title,
        "lead_id": lead_id,
        "agent": agent,
        "offer": None,
        "version": 1,
        "created_at_us": to_us(at),
        "updated_at_us": to_us(at),
    }
    put(tx, deals, world.account_id, **row)
    fact = RecordWritten(record_type="deal", version=1, state="open", lead_id=lead_id)
    world.log(fact, deal_id, by if ":" in by else f"operator:{by}", to_us(at))


def judged_lead(tx: Tx, world: World, review: ReviewRecord, at: datetime) -> None:
    """Release a lead whose review was approved, and open its deal; any other answer only says so."""
    lead = _need_lead(tx, world.account_id, review.subject_id)
    approved = review.state is ReviewState.APPROVED
    version = lead["version"] + 1
    values = {"review": review.state.value, "released": int(approved or bool(lead["released"]))}
    keys = {"lead_id": lead["lead_id"]}
    move(tx, leads, world.account_id, keys, **values, version=version, updated_at_us=to_us(at))
    actor = f"operator:{review.answered_by}"
    _log(
        world,
        "lead",
        lead["lead_id"],
        version,
        "released" if approved else review.state.value,
        actor=actor,
        at=at,
    )
    deal_id = derived("deal", world.account_id, lead["lead_id"])
    if approved and one(tx, deals, world.account_id, deal_id=deal_id) is None:
        title = (lead["company"] or lead["name"])[:200]
        whose = {"lead_id": lead["lead_id"], "agent": lead["agent"]}
        open_deal(tx, world, deal_id=deal_id, project=lead["project"], title=title, by=actor, at=at, **whose)


def judged_outreach(tx: Tx, world: World, review: ReviewRecord, at: datetime) -> None:
    """Say on the draft what the owner thinks of it."""
    values = {"review": review.state.value, "words": review.words}
    move(tx, outreach, world.account_id, {"draft_id": review.subject_id}, **values)
    _log(
        world,
        "outreach",
        review.subject_id,
        2,
        review.state.value,
        actor=f"operator:{review.answered_by}",
        at=at,
    )


def mark_sent(tx: Tx, world: World, draft_id: str, by: str, at: datetime) -> None:
    """Note that a person sent an approved draft.

    Raises InvalidArguments for one that is not approved, and PolicyDenied for who may only look.
    """
    person = need_operator(world, by)
    if not person.active or person.role is Role.VIEWER:
        raise PolicyDenied("an approver or an owner sends drafts")
    draft = one(tx, outreach, world.account_id, draft_id=draft_id)
    if draft is None:
        raise RecordMissing(f"there is no draft {draft_id!r}")
    if draft["review"] != ReviewState.APPROVED.value:
        raise InvalidArguments("only an approved draft is sent")
    if draft["sent_at_us"] is not None:
        return
    move(tx, outreach, world.account_id, {"draft_id": draft_id}, sent_at_us=to_us(at))
    actor = f"operator:{person.operator_id}"
    _log(world, "outreach", draft_id, 3, "sent", actor=actor, at=at)
    row = {"lead_id": draft["lead_id"], "deal_id": draft["deal_id"], "actor": actor}
    what = f"sent to {draft['recipient']}: {draft['subject']}"[:500]
    put(tx, activities, world.account_id, activity_id=world.new_id("act"), **row, what=what, at_us=to_us(at))


def owner(world: World, by: str) -> str:
    """Return an owner's actor; `system:` is the house making its demo. Raises PolicyDenied for others."""
    if by.startswith("system:"):
        return by
    person = need_operator(world, by)
    if not person.active or person.role is not Role.OWNER:
        raise PolicyDenied("this is an owner's to do")
    return f"operator:{person.operator_id}"


# --- parts -----------------------------------------------------------------------------------------------


def _write_lead(
    tx: Tx, world: World, lead: Lead, review_id: str, *, agent: str, call_id: str | None, at: datetime
) -> None:
    row: dict[str, Any] = {
        name: getattr(lead, name) for name in ("lead_id", "project", "origin", *_COLUMNS, "wish")
    }
    put(
        tx,
        leads,
        world.account_id,
        **row,
        fields=msgspec.json.encode(dict(lead.fields)).decode(),
        review=ReviewState.WAITING.value,
        released=0,
        agent=None,
        created_by=lead.created_by,
        created_at_us=to_us(lead.created_at),
        updated_at_us=to_us(lead.updated_at),
        version=1,
    )
    actor = (
        f"agent:{agent}" if agent else "system:intake" if lead.origin == "public_form" else lead.created_by
    )
    _log(world, "lead", lead.lead_id, 1, "waiting", actor=actor, at=at, call_id=call_id)
    open_review(
        world,
        review_id,
        kind=ReviewKind.LEAD,
        subject_type="lead",
        subject_id=lead.lead_id,
        agent=agent,
        body=ENCODER.encode({**row, "fields": dict(lead.fields)}),
        at=at,
        call_id=call_id,
    )


def _need_lead(tx: Tx, account: str, lead_id: str) -> Found:
    found = one(tx, leads, account, lead_id=lead_id)
    if found is None:
        raise RecordMissing(f"there is no lead {lead_id!r}", field="lead_id")
    return found


def _need_assigned(record: Found, agent: str) -> None:
    """Refuse whoever is not the one agent; the plugin says it too, and this holds whatever a plugin does."""
    if record["agent"] != agent:
        raise InvalidArguments("this is not assigned to you; the owner assigns leads")


def _note(
    tx: Tx,
    context: ChangeContext,
    activity_id: str,
    lead_id: str,
    deal_id: str | None,
    *,
    actor: str,
    what: str,
) -> None:
    row = {
        "lead_id": lead_id,
        "deal_id": deal_id,
        "actor": f"agent:{actor}",
        "what": what,
        "at_us": context.at_us,
    }
    put(tx, activities, context.account_id, activity_id=activity_id, **row)


def _log(
    world: World,
    kind: str,
    record_id: str,
    version: int,
    state: str,
    *,
    actor: str,
    at: datetime,
    call_id: str | None = None,
) -> None:
    fact = RecordWritten(record_type=kind, version=version, state=state, call_id=call_id)
    world.log(fact, record_id, actor if ":" in actor else f"operator:{actor}", to_us(at))
