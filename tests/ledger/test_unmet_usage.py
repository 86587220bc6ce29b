"""Usage that a World did not look up is added to what the table holds, on either engine."""

from __future__ import annotations

from ledger.records import Outcome
from tests.ledger.till import ALLOW_ALL, ASK_ALL, ASK_RULE, Till, with_caps

FAILED = ASK_ALL.replace(
    ASK_RULE,
    "  - {id: all, match: {kind: [spend]}, effect: allow}\n"
    "  - {id: bad, match: {kind: [spend],"
    " count_above: {count: 2, per: agent, window: 1h, outcome: failed}},"
    " effect: require_approval, approval: desk}",
)


async def beat(till: Till) -> None:
    """Let a rare command make the writer forget what it remembers, as a heartbeat does every few seconds."""
    await till.ledger.heartbeat("process-1", live_spend=False, policy_sha256=None, at=till.now)


async def test_outcomes_are_counted_by_a_writer_that_remembers_nothing(till: Till) -> None:
    """A settlement loads only what its call holds; the row it counts on may be there from before."""
    await till.law(FAILED)
    claimed = [await till.claim((await till.admit()).call.call_id) for _ in range(3)]
    for each in claimed:
        await beat(till)
        settled = await till.settle(each, Outcome.FAILED, code="declined")
        assert settled.applied
    assert (await till.admit()).call.state == "awaiting_approval"


async def test_late_evidence_posts_on_a_window_that_was_used_before(till: Till) -> None:
    """M9: an adjustment posts in the windows of the day it is known, which others have used already."""
    await till.law(with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "100.00 USD"}'))
    claimed = await till.claim((await till.admit("4.00 USD")).call.call_id)
    await till.settle(claimed, Outcome.FAILED, code="declined")
    till.later(days=1)
    await till.bought("6.00 USD")
    await beat(till)
    late = await till.settle(claimed, Outcome.SUCCEEDED)
    assert late.discrepancy is not None
    assert await till.used("day") == (1000, 0)
