"""What people and providers do rarely: each end of each planner that no story passes through."""

import pytest

from ledger.records import Outcome, Role
from policy.errors import InvalidArguments, PolicyDenied, RecordChanged, RecordMissing
from policy.language import Kind
from policy.money import Money
from tests.ledger.till import ALLOW_ALL, ASK_ALL, Till, with_caps

DAY = with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}')


async def test_a_person_says_that_an_unknown_call_succeeded(till: Till) -> None:
    """With the amount that was seen, and the words the log keeps."""
    await till.law(DAY)
    ada = await till.person("ada")
    first = await till.unknown(amount="4.00 USD")
    done = await till.ledger.resolve(
        first.call.call_id, ada.name, Outcome.SUCCEEDED, evidence="the bank", at=till.now, actual_minor=350
    )
    assert (done.state, done.actual) == ("succeeded", Money(350, "USD"))
    assert done.proof is not None
    assert done.proof.by == "operator"
    assert await till.used("day") == (350, 0)


async def test_resolving_needs_an_unknown_call_evidence_an_outcome_and_an_approver(till: Till) -> None:
    """A guess is no resolution, and a viewer looks."""
    await till.law(DAY)
    ada, vera = await till.person("ada"), await till.person("vera", Role.VIEWER)
    first = await till.unknown()
    call_id, at = first.call.call_id, till.now
    with pytest.raises(PolicyDenied):
        await till.ledger.resolve(call_id, vera.name, Outcome.SUCCEEDED, evidence="x", at=at)
    with pytest.raises(InvalidArguments, match="guess"):
        await till.ledger.resolve(call_id, ada.name, Outcome.SUCCEEDED, evidence=" ", at=at)
    with pytest.raises(InvalidArguments, match="succeeded or that it failed"):
        await till.ledger.resolve(call_id, ada.name, Outcome.UNKNOWN, evidence="x", at=at)
    await till.ledger.resolve(call_id, ada.name, Outcome.SUCCEEDED, evidence="x", at=at)
    with pytest.raises(InvalidArguments, match="only an unknown"):
        await till.ledger.resolve(call_id, ada.name, Outcome.SUCCEEDED, evidence="x", at=at)
    with pytest.raises(RecordMissing):
        await till.ledger.resolve("call_nowhere", ada.name, Outcome.SUCCEEDED, evidence="x", at=at)


async def test_half_an_approval_can_be_taken_back(till: Till) -> None:
    """The call goes on waiting."""
    await till.law(ASK_ALL.replace("quorum: 1", "quorum: 2"))
    ada = await till.person("ada")
    admitted = await till.admit()
    assert admitted.approval is not None
    approval = admitted.approval.approval_id
    await till.approve(admitted, ada)
    request, call = await till.ledger.revoke(approval, ada.name, at=till.now)
    assert (request.state, call.state) == ("pending", "awaiting_approval")


async def test_an_approval_taken_back_after_the_time_to_ask_ends_the_call(till: Till) -> None:
    """There is nobody left to ask."""
    await till.law(ASK_ALL.replace("run_within: 1h", "run_within: 3h"))
    ada = await till.person("ada")
    admitted = await till.admit()
    assert admitted.approval is not None
    approval = admitted.approval.approval_id
    till.later(hours=23)
    await till.approve(admitted, ada)
    till.later(hours=2)
    _, call = await till.ledger.revoke(approval, ada.name, at=till.now)
    assert (call.state, call.code) == ("cancelled", "cancelled")


async def test_a_stricter_policy_after_the_time_to_ask_expires_the_call(till: Till) -> None:
    """M7: asking again never lengthens what was asked first."""
    await till.law(ASK_ALL.replace("run_within: 1h", "run_within: 3h"))
    ada = await till.person("ada")
    admitted = await till.admit()
    till.later(hours=23)
    await till.approve(admitted, ada)
    till.later(hours=2)
    await till.law(ASK_ALL.replace("role:approver", "role:owner"))
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("expired", "approval_expired")


async def test_only_a_waiting_request_can_be_edited_and_only_by_its_desk(till: Till) -> None:
    """And into a call that is new."""
    await till.law(ASK_ALL)
    ada, vera = await till.person("ada"), await till.person("vera", Role.VIEWER)
    old = await till.admit("4.00 USD", key="old", args={"n": 1})
    call_id, op_hash = old.call.call_id, old.call.op_hash
    with pytest.raises(PolicyDenied):
        await till.ledger.edit_and_approve(call_id, till.admission("3.00 USD"), vera.name, op_hash)
    other = await till.admit("2.00 USD", key="other", args={"n": 2})
    same = till.admission("2.00 USD", key="other", args={"n": 2})
    with pytest.raises(InvalidArguments, match="exists already"):
        await till.ledger.edit_and_approve(call_id, same, ada.name, op_hash)
    assert (await till.ledger.call(call_id)).state == "awaiting_approval"
    await till.ledger.cancel(call_id, by="agent:scout", at=till.now)
    with pytest.raises(RecordChanged):
        await till.ledger.edit_and_approve(call_id, till.admission(), ada.name, op_hash)
    assert other.call.state == "awaiting_approval"


async def test_an_enforcer_s_call_is_logged_as_its_own_and_not_dispatched(till: Till) -> None:
    """Outside tools claim their calls themselves."""
    await till.law(ALLOW_ALL)
    made = await till.ledger.add_enforcer(
        name="outside", project="shop", token_sha256="token-enf", by="opr", at=till.now
    )
    admitted = await till.admit(enforcer_id=made.enforcer_id, reason="because")
    assert await till.ledger.runnable() == ()
    entries = (await till.ledger.timeline(admitted.call.call_id)).entries
    assert entries[0].actor == f"enforcer:{made.enforcer_id}"


async def test_a_call_requeued_after_its_run_by_fails(till: Till) -> None:
    """It was not sent, and it is too late to try again."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit()).call.call_id, lease_s=3_600.0)
    till.later(minutes=20)
    settled = await till.settle(claimed, Outcome.NOT_SENT, code="refused", identity=None)
    assert settled.call.state == "failed"
    assert await till.used("day") == (0, 0)


async def test_a_late_word_of_an_earlier_attempt_succeeds_while_another_runs(till: Till) -> None:
    """The effect is there; the running attempt's lease is outdated from then on."""
    await till.law(DAY)
    call_id = (await till.admit("2.00 USD")).call.call_id
    first = await till.claim(call_id)
    await till.settle(first, Outcome.NOT_SENT, identity=None)
    second = await till.claim(call_id)
    assert (await till.settle(first)).call.state == "succeeded"
    late = await till.settle(second, Outcome.FAILED, code="declined")
    assert (late.call.state, late.applied) == ("succeeded", False)
    assert await till.used("day") == (200, 0)


async def test_a_success_without_a_claim_is_a_discrepancy(till: Till) -> None:
    """Somebody else did it, or a backup was restored: no edge leads from the queue to the end."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit("2.00 USD")).call.call_id)
    await till.settle(claimed, Outcome.NOT_SENT, identity=None)
    settled = await till.settle(claimed, evidence="evt")
    assert (settled.call.state, settled.applied) == ("queued", False)
    assert settled.discrepancy is not None


async def test_an_earning_call_in_any_currency_settles_without_one(till: Till) -> None:
    """A call that named no money is not measured against any."""
    await till.law(ALLOW_ALL)
    claimed = await till.claim((await till.admit(None, kind=Kind.EARN, key=None)).call.call_id)
    settled = await till.settle(claimed, result=b"{}")
    assert (settled.call.state, settled.call.actual) == ("succeeded", None)


async def test_counts_of_outcomes_begin_with_what_the_window_saw(till: Till) -> None:
    """Also where an older policy had counted a part of them."""
    rule = (
        "{id: bad, match: {kind: [spend], count_above: {count: 2, per: agent, window: day, outcome: failed}},"
        " effect: deny}"
    )
    counting = ALLOW_ALL + f"  - {rule}\n"

    async def fail() -> None:
        claimed = await till.claim((await till.admit()).call.call_id)
        await till.settle(claimed, Outcome.FAILED, code="declined")

    await till.law(counting)
    await fail()
    await till.law(ALLOW_ALL)
    await fail()
    await till.law(counting)
    assert (await till.admit()).call.state == "queued"
    await fail()
    assert (await till.admit()).call.code == "denied_by_rule"


async def test_a_new_cap_counts_commitments_as_commitments(till: Till) -> None:
    """Armed before the cap came, and armed still."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit("4.00 USD")).call.call_id)
    await till.settle(claimed, committed=True)
    await till.law(
        with_caps(
            ALLOW_ALL,
            '{id: day, per: account, window: day, limit: "10.00 USD"}',
            '{id: project, per: project, window: day, limit: "10.00 USD"}',
            '{id: pace, per: agent, window: day, limit: "5 calls"}',
            '{id: run, per: run, window: run, limit: "10.00 USD"}',
            '{id: each, per: account, window: call, limit: "9.00 USD"}',
        )
    )
    assert [await till.used(cap) for cap in ("day", "project", "pace", "run")] == [
        (0, 400),
        (0, 400),
        (1, 0),
        (0, 400),
    ]


async def test_a_new_cap_leaves_out_what_its_window_forgot(till: Till) -> None:
    """Yesterday's unknown holds nothing of today's cap; what waits does."""
    await till.law(ALLOW_ALL)
    await till.unknown(amount="4.00 USD")
    till.later(days=1)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    await till.admit("1.00 USD")
    await till.law(DAY)
    assert await till.used("day") == (0, 100)


async def test_an_adjustment_in_another_currency_touches_no_cap_of_this_one(till: Till) -> None:
    """It is recorded all the same."""
    await till.law(DAY)
    settled = await till.bought("4.00 USD")
    await till.ledger.adjust(
        settled.call.call_id, amount_minor=100, currency="EUR", reason="fee", at=till.now, evidence="evt"
    )
    assert await till.used("day") == (400, 0)
    assert len(await till.ledger.adjustments(settled.call.call_id)) == 1
    with pytest.raises(RecordMissing):
        await till.ledger.adjust("call_nowhere", amount_minor=1, currency="EUR", reason="fee", at=till.now)
