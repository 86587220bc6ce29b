"""What tools may read of leads, deals and runs: released ones of their project, their own or nobody's."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from sqlalchemy import func, or_, select

from ledger import schema as s
from ledger import schema_house as h
from ledger.engines.tx import Tx
from ledger.rare_rows import Found, one, some
from ledger.records import Reader, RecordRef
from ledger.records_crm import DealFor, LeadById, LeadsFor, RunById, RunsOf
from ledger.refs import missing, newest, older, paged, record_ref, shown_at
from ledger.sale_reads import deal_data, order_data
from ledger.schema_crm import activities, leads, model_decisions, order_intakes, outreach, submissions
from ledger.schema_revenue import deals, orders, purchases, revenue_events
from policy.money import written

Refs = tuple[RecordRef, ...]

_NOTES: Final = 50  # The latest of a lead that a tool is shown.


def deal_for(tx: Tx, query: DealFor, reader: Reader) -> Refs:
    """Return a deal with its lead's data beside it."""
    deal = one(tx, deals, reader.account_id, deal_id=query.deal_id)
    if deal is None or deal["project"] != reader.project:
        raise missing("deal", query.deal_id, "deal_id")
    lead = one(tx, leads, reader.account_id, lead_id=deal["lead_id"]) if deal["lead_id"] else None
    data = deal_data(deal)
    if lead is not None and lead["released"]:
        data["lead"] = {name: lead[name] for name in ("lead_id", "name", "email", "company", "origin")}
    return record_ref("deal", query.deal_id, data)


def lead_by_id(tx: Tx, query: LeadById, reader: Reader) -> Refs:
    """Return one released lead with its notes, and the reader's own drafts."""
    lead = one(tx, leads, reader.account_id, lead_id=query.lead_id)
    if lead is None or not _visible(lead, reader):
        raise missing("lead", query.lead_id, "lead_id")
    account = reader.account_id
    of_lead = activities.c.lead_id == query.lead_id
    notes = some(tx, activities, account, of_lead, order=(activities.c.at_us.desc(),), limit=_NOTES)
    c = outreach.c
    mine = (c.lead_id == query.lead_id, c.agent == reader.agent)
    drafts = some(tx, outreach, account, *mine, order=(c.created_at_us.desc(),), limit=_NOTES)
    data = {
        **_lead(tx, lead),
        "fields": msgspec.json.decode(lead["fields"]),
        "notes": [{"at": shown_at(row["at_us"]), "by": row["actor"], "what": row["what"]} for row in notes],
        "drafts": [_draft(row) for row in drafts],
    }
    return record_ref("lead", query.lead_id, data)


def leads_for(tx: Tx, query: LeadsFor, reader: Reader) -> Refs:
    """Return released leads, newest first."""
    c = leads.c
    mine = or_(c.agent == reader.agent, c.agent.is_(None))
    conditions: list[Any] = [c.project == reader.project, c.released == 1, mine]
    if query.text:
        text = query.text.casefold()
        conditions.append(
            or_(
                *(func.lower(c[name]).contains(text, autoescape=True) for name in ("name", "company", "wish"))
            )
        )
    if query.stage:
        staged = select(deals.c.lead_id).where(
            deals.c.account_id == reader.account_id,
            deals.c.stage == query.stage,
            deals.c.lead_id.is_not(None),
        )
        conditions.append(c.lead_id.in_(staged))
    page, after = newest(
        tx, leads, reader.account_id, *conditions, by=("created_at_us", "lead_id"),
        after=query.after, limit=query.limit,
    )  # fmt: skip
    data = {"leads": [_lead(tx, row) for row in page], "after": after}
    return record_ref("leads", reader.project, data)


def _visible(lead: Found, reader: Reader) -> bool:
    ours = lead["project"] == reader.project and bool(lead["released"])
    return ours and lead["agent"] in {None, reader.agent}


def _lead(tx: Tx, lead: Found) -> dict[str, object]:
    deal = some(tx, deals, lead["account_id"], deals.c.lead_id == lead["lead_id"], limit=1)
    names = ("lead_id", "name", "email", "company", "website", "wish", "origin", "agent")
    data = {name: lead[name] for name in names}
    if deal:
        data |= {"deal_id": deal[0]["deal_id"], "stage": deal[0]["stage"]}
    return {name: value for name, value in data.items() if value is not None}


def _draft(row: Found) -> dict[str, object]:
    names = ("draft_id", "recipient", "subject", "body", "review", "words")
    sent = shown_at(row["sent_at_us"])
    return {**{name: row[name] for name in names}, **({} if sent is None else {"sent_at": sent})}


# --- runs ------------------------------------------------------------------------------------------------


def run_by_id(tx: Tx, query: RunById, reader: Reader) -> Refs:
    """Return one run with its order, submissions, and what it spent and earned."""
    run = one(tx, h.runs, reader.account_id, run_id=query.run_id)
    if run is None or run["project"] != reader.project:
        raise missing("run", query.run_id, "run_id")
    return record_ref("run", query.run_id, run_data(tx, run))


def run_data(tx: Tx, run: Found) -> dict[str, object]:
    """Return everything of a run that its agent may know."""
    account, run_id = run["account_id"], run["run_id"]
    intake = one(tx, order_intakes, account, run_id=run_id)
    order = one(tx, orders, account, run_id=run_id)
    work = some(tx, submissions, account, submissions.c.run_id == run_id, order=(submissions.c.at_us,))
    said = some(tx, model_decisions, account, model_decisions.c.run_id == run_id)
    data: dict[str, object] = {
        **_run(run),
        "brief": None if intake is None else intake["brief"],
        "submissions": [_submission(row) for row in work],
        "model_decisions": len(said),
        "spent": spent(tx, account, run_id),
        "earned": earned(tx, account, run_id),
    }
    if order is not None:
        data["order"] = {name: value for name, value in order_data(order).items() if value is not None}
    return data


def runs_of(tx: Tx, query: RunsOf, reader: Reader) -> Refs:
    """Return the runs of the reader's project, open ones first, newest first."""
    c = h.runs.c
    last = one(tx, h.runs, reader.account_id, run_id=query.after) if query.after else None
    conditions: list[Any] = [c.project == reader.project]
    if last is not None:
        page_after = older(h.runs, "opened_at_us", "run_id", last)[0]
        conditions.append(or_(c.state < last["state"], (c.state == last["state"]) & page_after))
    order = (c.state.desc(), c.opened_at_us.desc(), c.run_id.desc())  # "open" sorts behind "closed".
    found = some(tx, h.runs, reader.account_id, *conditions, order=order, limit=query.limit + 1)
    page, after = paged(found, "run_id", query.limit)
    return record_ref("runs", reader.project, {"runs": [_run(row) for row in page], "after": after})


def _run(run: Found) -> dict[str, object]:
    closed = shown_at(run["closed_at_us"])
    data = {name: run[name] for name in ("run_id", "title", "state")}
    data |= {"standing": bool(run["standing"]), "opened_at": shown_at(run["opened_at_us"])}
    return data if closed is None else {**data, "closed_at": closed}


def _submission(row: Found) -> dict[str, object]:
    names = ("submission_id", "kind", "agent", "title", "review", "words")
    files = msgspec.json.decode(row["artifacts"])
    return {**{name: row[name] for name in names}, "artifacts": files, "at": shown_at(row["at_us"])}


def spent(tx: Tx, account: str, run_id: str) -> list[str]:
    """Return what a run's calls took, per currency: posted by cards and payouts, or paid at once."""
    c, p = s.tool_calls.c, purchases.c
    at_once = select(c.currency, func.sum(c.actual_minor)).where(
        c.account_id == account,
        c.run_id == run_id,
        c.state == "succeeded",
        c.kind.in_(("spend", "provision")),
        c.actual_minor.is_not(None),
        ~select(p.purchase_id).where(p.account_id == account, p.call_id == c.call_id).exists(),
    )
    by_purchase = (
        select(p.currency, func.sum(p.captured_minor - p.refunded_minor))
        .select_from(purchases.join(s.tool_calls, (p.account_id == c.account_id) & (p.call_id == c.call_id)))
        .where(p.account_id == account, c.run_id == run_id)
    )
    return _sums(tx, at_once.group_by(c.currency), by_purchase.group_by(p.currency))


def earned(tx: Tx, account: str, run_id: str) -> list[str]:
    """Return what a run's order brought, less what went back and what was kept as fees, per currency."""
    e, o = revenue_events.c, orders.c
    asked = (
        select(e.currency, func.sum(e.amount_minor))
        .select_from(revenue_events.join(orders, (e.account_id == o.account_id) & (e.order_id == o.order_id)))
        .where(e.account_id == account, o.run_id == run_id)
    )
    return _sums(tx, asked.group_by(e.currency))


def _sums(tx: Tx, *asked: Any) -> list[str]:  # noqa: ANN401 -- selects of two columns
    total: dict[str, int] = {}
    for each in asked:
        for currency, minor in tx.connection.execute(each):
            total[currency] = total.get(currency, 0) + int(minor)
    return [written(minor, currency) for currency, minor in sorted(total.items())]
