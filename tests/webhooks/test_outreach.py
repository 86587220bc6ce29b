"""A draft goes to whom the owner approved it for."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from ledger.records import ReviewState
from tests.plugins.payments.desk import StripeDesk, desk_on
from webhooks.console.leads import _mail


async def _drafted(desk: StripeDesk) -> str:
    result = await desk.call("crm_draft_outreach", lead_id=desk.lead_id, subject="Your snapshot", body="Hi")
    assert result.envelope.status == "succeeded", result.text
    return (await desk.ledger.drafts(lead_id=desk.lead_id))[0].draft_id


async def test_an_address_that_changes_after_the_approval_changes_nothing_of_it(tmp_path: Path) -> None:
    """The agent may correct a lead's address; a message already read and approved must not follow it."""
    async with desk_on(tmp_path) as desk:
        draft_id = await _drafted(desk)
        review = (await desk.ledger.reviews(kind="outreach")).items[0]
        assert json.loads(review.body)["to"] == "ada@example.com"
        await desk.ledger.answer_review(
            review.review_id, desk.owner, ReviewState.APPROVED, at=desk.house.now()
        )
        changed = await desk.call("crm_update_lead", lead_id=desk.lead_id, email="thief@example.org")
        assert changed.envelope.status == "succeeded", changed.text
        draft = await desk.ledger.draft(draft_id)
        assert httpx.URL(_mail(draft)).path == "ada@example.com"
        await desk.ledger.mark_sent(draft_id, by=desk.owner, at=desk.house.now())
        done = [each.what for each in await desk.ledger.activities(desk.lead_id)]
        assert "sent to ada@example.com: Your snapshot" in done


async def test_the_next_draft_shows_the_owner_the_new_address(tmp_path: Path) -> None:
    """A correction is not lost: whoever approves the next one reads where it goes."""
    async with desk_on(tmp_path) as desk:
        await desk.call("crm_update_lead", lead_id=desk.lead_id, email="ada@new.example")
        await _drafted(desk)
        review = (await desk.ledger.reviews(kind="outreach")).items[0]
        assert json.loads(review.body)["to"] == "ada@new.example"


async def test_a_draft_that_names_nobody_opens_no_mail(tmp_path: Path) -> None:
    """Drafts from before their recipient was kept are drafted anew; a waiting one is not sent either."""
    async with desk_on(tmp_path) as desk:
        draft = await desk.ledger.draft(await _drafted(desk))
        assert _mail(draft) == ""
