"""The life of a call up to its end: what sends it back, what the claim asks again (M1, M4 to M7)."""

from datetime import timedelta

import msgspec
import pytest

from ledger.records import Outcome, ProviderIdentity, Role
from policy.errors import RecordMissing
from policy.language import Mode, Posture
from tests.ledger.till import ALLOW_ALL, ASK_ALL, SIMULATOR, Till, with_caps

MONTH = with_caps(ALLOW_ALL, '{id: month, per: account, window: month, limit: "10.00 USD"}')


async def test_m1_a_call_goes_back_to_the_queue_only_while_nothing_may_have_been_sent(till: Till) -> None:
    """A provably unsent attempt costs nothing to repeat."""
    await till.law(MONTH)
    admitted = await till.admit("3.00 USD")
    claimed = await till.claim(admitted.call.call_id)
    settled = await till.settle(claimed, Outcome.NOT_SENT, code="refused", identity=None)
    assert settled.call.state == "queued"
    assert await till.used("month") == (0, 300)
    assert (await till.settle(await till.claim(admitted.call.call_id))).call.state == "succeeded"


async def test_m1_a_call_that_was_ever_unknown_never_returns_to_the_queue(till: Till) -> None:
    """A later attempt that sent nothing says nothing about the first."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    again = await till.claim(first.call.call_id, purpose="replay")
    settled = await till.settle(again, Outcome.NOT_SENT, identity=None)
    assert (settled.call.state, settled.applied) == ("unknown", False)


async def test_m4_another_account_at_the_key_holds_a_queued_call(till: Till) -> None:
    """The card the approver saw named an account; another one is another operation."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    other = msgspec.structs.replace(
        till.process, identities={"stripe": ProviderIdentity("acct_other", Mode.SIMULATED, "one")}
    )
    found = await till.refused(admitted.call.call_id, process=other)
    assert (found.state, found.code) == ("queued", "provider_account_changed")
    assert (await till.ledger.call(admitted.call.call_id)).held_reason == "provider_account_changed"
    await till.claim(admitted.call.call_id)


async def test_m4_a_simulator_that_was_restarted_empty_answers_no_lookup(till: Till) -> None:
    """It would say "absent" of everything it has forgotten."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    fresh = ProviderIdentity(SIMULATOR.account, SIMULATOR.mode, "two")
    other = msgspec.structs.replace(till.process, identities={"stripe": fresh})
    found = await till.refused(first.call.call_id, purpose="lookup", process=other)
    assert (found.state, found.code) == ("unknown", "provider_account_changed")


async def test_m4_an_answer_from_another_account_settles_nothing_and_closes_the_provider(till: Till) -> None:
    """Whatever that account did, it was not this call."""
    await till.law(ALLOW_ALL)
    claimed = await till.claim((await till.admit()).call.call_id)
    stranger = ProviderIdentity("acct_other", Mode.LIVE)
    settled = await till.settle(claimed, identity=stranger)
    assert (settled.call.state, settled.call.code) == ("unknown", "provider_account_changed")
    assert [(each.scope_key, each.posture) for each in await till.ledger.postures()] == [
        ("stripe", Posture.NO_SPEND)
    ]


async def test_m5_a_posture_closed_since_denies_at_the_claim(till: Till) -> None:
    """The stop button stops what is queued, not only what is still to come."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    await till.ledger.set_posture(
        "account", till.ledger.account_id, Posture.NO_SPEND, because="stop", by="opr", at=till.now
    )
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("denied", "posture_closed")


async def test_m5_a_deny_rule_of_now_denies_at_the_claim(till: Till) -> None:
    """The policy that counts is the one in force when money would move."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    await till.law(ALLOW_ALL + "  - {id: no, match: {kind: [spend]}, effect: deny}\n")
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("denied", "denied_by_rule")


async def test_m5_a_revoked_agent_s_queued_call_is_cancelled(till: Till) -> None:
    """What it asked for, it asks for no more."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    await till.ledger.revoke_agent("scout", by="opr", at=till.now)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("cancelled", "agent_revoked")


async def test_m5_an_agent_without_the_tool_s_kit_is_cancelled_at_the_claim(till: Till) -> None:
    """Taking a kit away takes what was asked with it."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    found = await till.refused(admitted.call.call_id, allowed=lambda _agent: False)
    assert (found.state, found.code) == ("cancelled", "agent_revoked")


async def test_m5_a_closed_run_cancels_at_the_claim(till: Till) -> None:
    """Its work is over."""
    await till.law(ALLOW_ALL)
    run = await till.ledger.open_run("shop", "work", by="opr", at=till.now)
    admitted = await till.admit(run=run.run_id)
    await till.ledger.close_run(run.run_id, by="opr", at=till.now)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("cancelled", "run_closed")


async def test_a_call_admitted_before_midnight_keeps_its_standing_run(till: Till) -> None:
    """The run's end is the calendar's doing, not anybody's wish."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit(run_by_s=100_000)
    till.later(hours=13)
    swept = await till.ledger.sweep(till.now)
    assert swept.runs_turned == 1
    assert (await till.ledger.standing_run("shop", till.now)).run_id != till.run
    await till.claim(admitted.call.call_id)


async def test_m5_a_tool_defined_otherwise_cancels_at_the_claim(till: Till) -> None:
    """The approver answered for another program."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    found = await till.refused(admitted.call.call_id, tool_hash="another definition")
    assert (found.state, found.code) == ("cancelled", "tool_changed")


async def test_m5_an_operation_that_describes_itself_otherwise_is_cancelled(till: Till) -> None:
    """A price that moved is another operation."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    late = ("quote_expired", "the price no longer holds")
    found = await till.refused(admitted.call.call_id, expect=lambda _call, _records: late)
    assert (found.state, found.code, found.message) == ("cancelled", *late)


async def test_m5_a_provider_not_ready_leaves_the_call_queued_until_its_run_by(till: Till) -> None:
    """Tomorrow's key may fix it; a quarter of an hour later nobody waits any more."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    down = msgspec.structs.replace(till.process, ready={}, missing={"stripe": ("STRIPE_SPEND_KEY",)})
    found = await till.refused(admitted.call.call_id, process=down)
    assert (found.state, found.code) == ("queued", "not_ready")
    assert "STRIPE_SPEND_KEY" in found.message
    till.later(minutes=15)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("expired", "run_by_passed")


async def test_m5_a_verdict_giver_disabled_since_sends_the_call_back_to_approval(till: Till) -> None:
    """A verdict counts only while its giver may give it."""
    await till.law(ASK_ALL)
    ada = await till.person("ada")
    await till.person("olga", Role.OWNER)
    admitted = await till.admit()
    assert admitted.approval is not None
    await till.approve(admitted, ada)
    await till.ledger.disable_operator(ada.operator_id, by="opr", at=till.now)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("awaiting_approval", "approval_needed")
    old = await till.ledger.approval(admitted.approval.approval_id)
    assert old.state == "superseded"


async def test_m6_live_money_moves_only_while_every_live_process_says_so(till: Till) -> None:
    """One process started without LIVE_SPEND is enough to keep real money still."""
    live = ProviderIdentity("acct_live", Mode.LIVE)
    till.process = msgspec.structs.replace(till.process, live_spend=True, identities={"stripe": live})
    await till.law(
        with_caps(ALLOW_ALL, '{id: month, per: account, window: month, limit: "10.00 USD"}')
        + "live_spend: {enabled: true, providers: [stripe]}\n"
    )
    await till.ledger.heartbeat("other", live_spend=False, policy_sha256=None, at=till.now)
    refused = await till.admit(mode=Mode.LIVE, provider_account="acct_live")
    assert (refused.call.state, refused.call.code) == ("denied", "live_spend_off")
    till.later(seconds=31)
    admitted = await till.admit(mode=Mode.LIVE, provider_account="acct_live")
    assert admitted.call.state == "queued"
    await till.ledger.heartbeat("other", live_spend=False, policy_sha256=None, at=till.now)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("denied", "live_spend_off")


async def test_m7_every_queued_call_has_a_run_by(till: Till) -> None:
    """What cannot run in a quarter of an hour is not run by surprise at night."""
    await till.law(MONTH)
    admitted = await till.admit()
    assert admitted.call.run_by == till.now + timedelta(minutes=15)
    till.later(minutes=15)
    assert (await till.ledger.sweep(till.now)).calls_expired == 1
    assert (await till.ledger.call(admitted.call.call_id)).code == "run_by_passed"
    assert await till.used("month") == (0, 0)


async def test_m7_asking_again_does_not_lengthen_the_hold(till: Till) -> None:
    """`expires_in` counts once per call."""
    await till.law(ASK_ALL)
    ada = await till.person("ada")
    admitted = await till.admit()
    assert admitted.approval is not None
    till.later(hours=23)
    first = admitted.approval.approval_id
    await till.approve(admitted, ada)
    again, call = await till.ledger.revoke(first, ada.operator_id, at=till.now)
    assert (again.state, call.state) == ("revoked", "awaiting_approval")
    assert call.approval_id is not None
    assert (await till.ledger.approval(call.approval_id)).expires_at == admitted.approval.expires_at
    till.later(hours=1)
    assert (await till.ledger.sweep(till.now)).requests_expired == 1
    assert (await till.ledger.call(call.call_id)).state == "expired"


async def test_a_call_is_claimed_once(till: Till) -> None:
    """Two dispatchers see the same queue."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit()
    assert await till.ledger.runnable() == (admitted.call.call_id,)
    await till.claim(admitted.call.call_id)
    assert (await till.refused(admitted.call.call_id)).code == "not_queued"
    assert (await till.refused(admitted.call.call_id, purpose="replay")).code == "not_unknown"
    assert await till.ledger.runnable() == ()


async def test_a_call_can_be_taken_back_until_it_starts(till: Till) -> None:
    """Withdrawing never costs."""
    await till.law(MONTH)
    admitted = await till.admit("2.00 USD")
    call = await till.ledger.cancel(admitted.call.call_id, by="agent:scout", at=till.now)
    assert (call.state, call.code) == ("cancelled", "cancelled")
    assert (
        await till.ledger.cancel(admitted.call.call_id, by="agent:scout", at=till.now)
    ).state == "cancelled"
    assert await till.used("month") == (0, 0)
    other = await till.admit("2.00 USD")
    await till.claim(other.call.call_id)
    with pytest.raises(Exception, match="only what has not started"):
        await till.ledger.cancel(other.call.call_id, by="agent:scout", at=till.now)


async def test_what_is_not_there_is_missing(till: Till) -> None:
    """A wrong id is the caller's mistake, said as such."""
    await till.law(ALLOW_ALL)
    with pytest.raises(RecordMissing):
        await till.ledger.claim(till.claiming("call_nowhere"))
    with pytest.raises(RecordMissing):
        await till.ledger.call("call_nowhere")
