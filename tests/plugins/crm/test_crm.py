"""The CRM's tools: what an agent may do with leads and deals, and the two things no argument can do."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.records import RecordRef
from ledger.records_crm import CreateLead, DraftOutreach, MoveDeal, UpdateLead
from ledger.records_revenue import DealStage
from plugins.crm.arguments import Stage
from plugins.crm.plugin import bursar_plugin
from plugins.tool import Applied
from policy.errors import InvalidArguments
from policy.language import Kind
from tests.plugins.house_plugins import caller, record, tools_of, who
from tool_server.decode import into

TOOLS = tools_of(bursar_plugin, "crm")
MINE = record("lead", "lead_1", agent="scout", deal_id="deal_1")
DEAL = record("deal", "deal_1", agent="scout", stage="open")


def apply(
    tool_name: str,
    records: tuple[RecordRef, ...],
    caller_name: str = "scout",
    /,
    **given: Any,  # noqa: ANN401 -- any JSON values
) -> Applied:
    """Decode, describe and apply one call as the gate does."""
    tool = TOOLS[tool_name]
    args = into(given, tool.arguments)
    tool.describe(args, records, who(caller_name))
    assert tool.apply is not None
    return tool.apply(args, records, caller(caller_name))


def test_a_lead_an_agent_brings_waits_for_the_owner() -> None:
    """Issue of trust: an agent must not talk to people it invented by itself."""
    done = apply("crm_create_lead", (), name="Ada", email="ada@example.com", wish="a snapshot")
    (change,) = done.changes
    assert isinstance(change, CreateLead)
    assert (change.lead.origin, change.lead.released, change.lead.review.value) == ("agent", False, "waiting")
    assert done.data["review"] == "waiting"


@pytest.mark.parametrize(
    ("name", "given", "records"),
    [
        ("crm_update_lead", {"lead_id": "lead_1", "note": "called"}, (MINE,)),
        ("crm_move_deal", {"deal_id": "deal_1", "stage": "contacted"}, (DEAL,)),
        ("crm_draft_outreach", {"lead_id": "lead_1", "subject": "Hi", "body": "Hello"}, (MINE,)),
    ],
)
def test_only_the_one_agent_it_is_assigned_to_may_touch_it(
    name: str, given: dict[str, str], records: tuple[RecordRef, ...]
) -> None:
    """Another agent of the same project, or nobody assigned at all: invalid, and nothing changes."""
    assert apply(name, records, **given).changes
    with pytest.raises(InvalidArguments, match="not assigned to you"):
        apply(name, records, "maker", **given)
    nobody = tuple(record(each.kind, each.record_id, **{**each.data, "agent": None}) for each in records)
    with pytest.raises(InvalidArguments, match="not assigned to you"):
        apply(name, nobody, **given)


@pytest.mark.parametrize("stage", ["won", "payment_pending", "WON", "Won", ""])
def test_no_stage_an_agent_can_say_wins_a_deal(stage: str) -> None:
    """A deal is won by a payment and by nothing else."""
    with pytest.raises(InvalidArguments):
        apply("crm_move_deal", (DEAL,), deal_id="deal_1", stage=stage)
    with pytest.raises(InvalidArguments):
        apply("crm_update_lead", (MINE,), lead_id="lead_1", stage=stage)
    assert {DealStage(each.value) for each in Stage}.isdisjoint({DealStage.WON, DealStage.PAYMENT_PENDING})


@pytest.mark.parametrize("stage", ["won", "payment_pending"])
def test_a_deal_that_money_moved_is_no_longer_the_agents_to_move(stage: str) -> None:
    """A won deal set back to open could be sold a second time."""
    paid = record("deal", "deal_1", agent="scout", stage=stage)
    with pytest.raises(InvalidArguments, match="only payments change"):
        apply("crm_move_deal", (paid,), deal_id="deal_1", stage="lost")


@pytest.mark.parametrize("field", ["released", "review", "agent", "approved", "won", "origin"])
def test_no_field_of_review_or_assignment_can_be_named(field: str) -> None:
    """What is the owner's is not among the arguments, whatever an agent calls it."""
    with pytest.raises(InvalidArguments, match="unknown field"):
        apply("crm_update_lead", (MINE,), lead_id="lead_1", **{field: "yes"})


def test_an_update_says_what_it_changes_and_moves_the_deal_too() -> None:
    """One call, one transaction: contact fields, a note, and the stage of the lead's deal."""
    done = apply(
        "crm_update_lead", (MINE,), lead_id="lead_1", email="a@b.example", note="spoke", stage="offered"
    )
    update, move = done.changes
    assert isinstance(update, UpdateLead)
    assert (update.fields, update.note, update.actor) == ({"email": "a@b.example"}, "spoke", "scout")
    assert isinstance(move, MoveDeal)
    assert (move.deal_id, move.stage) == ("deal_1", DealStage.OFFERED)


def test_an_update_of_nothing_is_refused_and_so_is_a_stage_without_a_deal() -> None:
    """A call that changes nothing is a mistake its agent should hear of."""
    with pytest.raises(InvalidArguments, match="nothing to change"):
        apply("crm_update_lead", (MINE,), lead_id="lead_1")
    with pytest.raises(InvalidArguments, match="no deal yet"):
        apply("crm_update_lead", (record("lead", "lead_1", agent="scout"),), lead_id="lead_1", stage="open")


def test_a_draft_waits_for_the_owner_and_sends_nothing() -> None:
    """Bursar sends no mail; the draft is a review."""
    done = apply("crm_draft_outreach", (MINE,), lead_id="lead_1", subject="Hi", body="Hello\nAda")
    (change,) = done.changes
    assert isinstance(change, DraftOutreach)
    assert (change.draft.deal_id, change.draft.body, change.draft.sent_at) == ("deal_1", "Hello\nAda", None)


async def test_finding_leads_shows_what_the_ledger_read_for_this_reader() -> None:
    """The query carries no project and no agent: the ledger answers for the token's."""
    tool = TOOLS["crm_find_leads"]
    args = into({"text": "ada"}, tool.arguments)
    (query,) = tool.references(args)
    assert not {"project", "agent"} & set(type(query).__struct_fields__)
    assert tool.read is not None
    page = record("leads", "leads", items=[{"lead_id": "lead_1"}], after=None)
    assert (await tool.read(args, (page,), caller())).data["items"] == [{"lead_id": "lead_1"}]
    one = into({"lead_id": "lead_1"}, tool.arguments)
    assert (await tool.read(one, (MINE,), caller())).data["lead"] == MINE.data


def test_every_tool_stays_in_the_house_and_says_so() -> None:
    """Local tools name no payee and no money, so no cap and no rule on money can be dodged through them."""
    for tool in TOOLS.values():
        assert (tool.provider, tool.execute) == ("bursar", None)
        assert tool.kind in {Kind.READ, Kind.DRAFT}
