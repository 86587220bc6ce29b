"""Steps 2 and 4 in one commit: nothing that either would have said alone is lost."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine

from ledger import statements as sql
from ledger.commands import Claimed, NotClaimed
from ledger.schema import METADATA
from ledger.side_calls import due_calls
from policy.errors import KeyConflict
from tests.ledger.till import ALLOW_ALL, ASK_ALL, Till, with_caps

CAPPED = with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}')


async def test_both_edges_are_taken_and_the_hold_is_fixed(till: Till) -> None:
    """M11: the claim fixes the hold to its window, also where the admission is not yet written."""
    await till.law(CAPPED)
    admission = till.admission("4.00 USD")
    admitted, claimed = await till.ledger.admit_and_claim(admission, till.claiming(admission.call_id))
    assert (admitted.call.state, admitted.replayed) == ("queued", False)
    assert isinstance(claimed, Claimed)
    assert (claimed.call.state, claimed.attempt) == ("executing", 1)
    assert await till.used("day") == (0, 400)
    settled = await till.settle(claimed)
    assert (settled.applied, settled.call.state) == (True, "succeeded")
    assert await till.used("day") == (400, 0)
    assert (await till.ledger.checked()).bad is None


async def test_the_next_one_sees_what_the_first_holds(till: Till) -> None:
    """M12: a cap that is full denies at the admission, and the claim beside it finds nothing to claim."""
    await till.law(CAPPED)
    first, second = till.admission("8.00 USD"), till.admission("4.00 USD")
    _, claimed = await till.ledger.admit_and_claim(first, till.claiming(first.call_id))
    assert isinstance(claimed, Claimed)
    admitted, claimed = await till.ledger.admit_and_claim(second, till.claiming(second.call_id))
    assert isinstance(claimed, NotClaimed)
    assert (admitted.call.state, admitted.call.code) == ("denied", "cap_exceeded")
    assert await till.used("day") == (0, 800)


async def test_a_person_is_asked_before_anything_is_claimed(till: Till) -> None:
    """An approval stands between the two steps, and the claim does not jump it."""
    await till.law(ASK_ALL)
    admission = till.admission()
    admitted, claimed = await till.ledger.admit_and_claim(admission, till.claiming(admission.call_id))
    assert admitted.call.state == "awaiting_approval"
    assert isinstance(claimed, NotClaimed)
    assert (claimed.state, claimed.code) == ("awaiting_approval", "not_queued")


async def test_m24_a_replay_claims_nothing_and_a_conflict_is_raised(till: Till) -> None:
    """M24: the stored answer and the refusal are those of an admission alone."""
    await till.law(CAPPED)
    first = await till.admit(key="mine", args={"n": 1}, payee="a.example")
    again = till.admission(key="mine", args={"n": 1}, payee="a.example")
    admitted, claimed = await till.ledger.admit_and_claim(again, till.claiming(again.call_id))
    assert (admitted.replayed, admitted.call.call_id, claimed) == (True, first.call.call_id, None)
    other = till.admission(key="mine", args={"n": 2})
    with pytest.raises(KeyConflict):
        await till.ledger.admit_and_claim(other, till.claiming(other.call_id))


async def test_a_claim_that_breaks_leaves_the_call_queued(till: Till) -> None:
    """Whatever a plugin's description raises: the admission stands alone, to be claimed later."""
    await till.law(CAPPED)
    admission = till.admission()

    def broken(*_anything: object) -> None:
        raise RuntimeError("the plugin broke")

    claim = till.claiming(admission.call_id, expect=broken)
    admitted, claimed = await till.ledger.admit_and_claim(admission, claim)
    assert (admitted.call.state, claimed) == ("queued", None)
    assert (await till.claim(admission.call_id)).attempt == 1


@pytest.mark.parametrize("which", ["queued or unknown", "due"])
def test_looking_for_open_calls_does_not_walk_through_all_there_ever_were(which: str) -> None:
    """The dispatcher looks many times a second; a look that walks the history grows with its age."""
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    due = due_calls("acc", 5).compile(dialect=engine.dialect, compile_kwargs={"literal_binds": True})
    text = sql.OURS.text(engine.dialect)[0] if which != "due" else str(due)
    with engine.connect() as connection:
        given = ("acc", "queued", 10, 0) if which != "due" else ()
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given).all())
    engine.dispose()
    assert "ix_tool_calls_open (account_id=? AND state=?)" in plan, plan
