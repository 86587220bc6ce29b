"""What an owner does with leads, through the ledger itself: the pages' guards are not the only ones."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.records import ReviewState, Role
from policy.errors import InvalidArguments, PolicyDenied, RecordChanged, RecordMissing
from tests.journeys.conftest import KITS, Front
from tool_server.cli.demo_place import OWNER, PROJECT


async def _house(front: Front) -> None:
    """Add people of every role, agents that must not be assigned, and another project."""
    ledger, now = front.ledger, front.house.now()
    await ledger.add_project("attic", by=OWNER, at=now)
    for name, role in (("anton", Role.APPROVER), ("vera", Role.VIEWER), ("gone", Role.OWNER)):
        await ledger.add_operator(name=name, role=role, by=OWNER, at=now)
    await ledger.disable_operator("gone", by=OWNER, at=now)
    for number, (name, project) in enumerate((("stray", "attic"), ("retired", PROJECT), ("rival", PROJECT))):
        await ledger.add_agent(
            name=name, project=project, kits=KITS, token_sha256=f"{number}" * 64, by=OWNER, at=now
        )
    await ledger.revoke_agent("retired", by=OWNER, at=now)


async def test_only_an_active_owner_releases_a_lead_and_only_once(front: Front) -> None:
    """Approvers spend, owners decide what agents may read; a demoted or disabled one decides nothing."""
    await _house(front)
    ledger, now = front.ledger, front.house.now()
    lead_id, review_id = await front.stranger()
    for who in ("anton", "vera", "gone"):
        with pytest.raises(PolicyDenied):
            await ledger.answer_review(review_id, who, ReviewState.APPROVED, at=now)
    with pytest.raises(RecordMissing):
        await ledger.answer_review(review_id, "scout", ReviewState.APPROVED, at=now)
    assert not (await ledger.lead(lead_id)).released
    await ledger.answer_review(review_id, OWNER, ReviewState.APPROVED, at=now)
    with pytest.raises(RecordChanged):
        await ledger.answer_review(review_id, OWNER, ReviewState.REJECTED, at=now)
    assert (await ledger.lead(lead_id)).released
    assert len((await ledger.deals(lead_id=lead_id)).items) == 1


@pytest.mark.parametrize("answer", [ReviewState.REJECTED, ReviewState.CHANGES_ASKED])
async def test_a_lead_that_was_not_approved_stays_unseen_and_has_no_deal(
    front: Front, answer: ReviewState
) -> None:
    """No is no, and so is not yet."""
    lead_id, review_id = await front.stranger()
    await front.ledger.answer_review(review_id, OWNER, answer, words="who are they?", at=front.house.now())
    assert (await front.ledger.deals(lead_id=lead_id)).items == ()
    answered = await front.call("scout", "crm_find_leads", {"lead_id": lead_id})
    assert answered.envelope.status == "invalid"
    with pytest.raises(InvalidArguments):
        await front.ledger.assign_lead(lead_id, "scout", by=OWNER, at=front.house.now())


async def test_a_lead_goes_to_one_active_agent_of_its_project_and_its_deal_with_it(front: Front) -> None:
    """Whoever had it before may neither draft for it, nor move it, nor sell to it any more."""
    await _house(front)
    ledger, now = front.ledger, front.house.now()
    lead_id, review_id = await front.stranger()
    await ledger.answer_review(review_id, OWNER, ReviewState.APPROVED, at=now)
    for who in ("anton", "vera", "gone"):
        with pytest.raises(PolicyDenied):
            await ledger.assign_lead(lead_id, "scout", by=who, at=now)
    for agent in ("stray", "retired"):
        with pytest.raises(InvalidArguments):
            await ledger.assign_lead(lead_id, agent, by=OWNER, at=now)
    with pytest.raises(RecordMissing):
        await ledger.assign_lead(lead_id, "nobody", by=OWNER, at=now)
    with pytest.raises(RecordMissing):
        await ledger.assign_lead("lead_none", "scout", by=OWNER, at=now)
    (deal,) = (await ledger.deals(lead_id=lead_id)).items
    await ledger.assign_lead(lead_id, "scout", by=OWNER, at=now)
    assert (await ledger.deal(deal.deal_id)).agent == "scout"
    await ledger.assign_lead(lead_id, "rival", by=OWNER, at=now)
    for tool, arguments in _work(lead_id, deal.deal_id).items():
        said = await front.call("scout", tool, arguments)
        assert said.envelope.status == "invalid", (tool, said.text)
        done = await front.call("rival", tool, arguments)
        assert done.envelope.status == "succeeded", (tool, done.text)


def _work(lead_id: str, deal_id: str) -> dict[str, dict[str, Any]]:
    return {
        "crm_update_lead": {"lead_id": lead_id, "note": "called"},
        "crm_draft_outreach": {"lead_id": lead_id, "subject": "hello", "body": "we can do that"},
        "crm_move_deal": {"deal_id": deal_id, "stage": "contacted"},
        "stripe_create_checkout": {"deal_id": deal_id, "offer": "snapshot", "idempotency_key": "k1"},
    }


async def test_a_draft_is_sent_once_by_somebody_who_may_and_only_when_approved(front: Front) -> None:
    """Bursar sends nothing; that a person did is written by that person, and only for what was approved."""
    await _house(front)
    ledger, now = front.ledger, front.house.now()
    (lead,) = (await ledger.leads()).items
    made = await front.call("scout", "crm_draft_outreach", _work(lead.lead_id, "")["crm_draft_outreach"])
    told: Any = made.envelope.data
    draft_id = str(told["draft_id"])
    with pytest.raises(InvalidArguments):
        await ledger.mark_sent(draft_id, by="anton", at=now)
    review = (await ledger.reviews(kind="outreach")).items[0]
    await ledger.answer_review(review.review_id, OWNER, ReviewState.APPROVED, at=now)
    for who in ("vera", "gone"):
        with pytest.raises(PolicyDenied):
            await ledger.mark_sent(draft_id, by=who, at=now)
    for _ in range(2):
        await ledger.mark_sent(draft_id, by="anton", at=now)
    assert sum(each.what.startswith("sent") for each in await ledger.activities(lead.lead_id)) == 1
    with pytest.raises(RecordMissing):
        await ledger.mark_sent("draft_none", by="anton", at=now)


async def test_a_lead_of_no_project_is_refused(front: Front) -> None:
    """What belongs nowhere would be seen by nobody, or by everybody."""
    with pytest.raises(RecordMissing):
        await front.stranger("cellar")
