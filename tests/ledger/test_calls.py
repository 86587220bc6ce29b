"""The life of a call: M1 to M9."""

from datetime import timedelta

import msgspec
import pytest

from ledger.records import Outcome, ProviderIdentity, Role
from policy.errors import PolicyDenied, RecordMissing
from policy.language import Kind, Mode, Posture
from policy.money import Money
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


async def test_m2_a_refusal_after_a_doubt_is_not_a_refusal(till: Till) -> None:
    """The provider may refuse the replay of what it has already done."""
    await till.law(MONTH)
    first = await till.unknown(amount="2.00 USD")
    again = await till.claim(first.call.call_id, purpose="replay")
    settled = await till.settle(again, Outcome.FAILED, code="declined")
    assert (settled.call.state, settled.applied) == ("unknown", False)
    assert await till.used("month") == (0, 200)


async def test_m2_a_provider_s_stored_answer_is_a_refusal_even_after_a_doubt(till: Till) -> None:
    """It is the answer to the first attempt."""
    await till.law(MONTH)
    first = await till.unknown(amount="2.00 USD")
    again = await till.claim(first.call.call_id, purpose="replay")
    settled = await till.settle(again, Outcome.FAILED, code="declined", stored_answer=True)
    assert settled.call.state == "failed"
    assert await till.used("month") == (0, 0)


async def test_m2_a_definite_no_to_the_first_attempt_voids_the_hold(till: Till) -> None:
    """Nothing happened there, so nothing counts."""
    await till.law(MONTH)
    claimed = await till.claim((await till.admit("4.00 USD")).call.call_id)
    settled = await till.settle(claimed, Outcome.FAILED, code="declined", message="no", retry="new_key")
    assert (settled.call.state, settled.call.code, settled.call.retry) == ("failed", "declined", "new_key")
    assert await till.used("month") == (0, 0)


async def test_m3_absent_is_believed_only_after_the_last_lease_and_the_settle_delay(till: Till) -> None:
    """A lookup that comes too early finds nothing of what is still under way."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    early = await till.claim(first.call.call_id, purpose="lookup")
    settled = await till.settle(early, Outcome.FAILED, settle_after_s=60)
    assert settled.call.state == "unknown"
    till.later(seconds=91)
    late = await till.claim(first.call.call_id, purpose="lookup")
    assert (await till.settle(late, Outcome.FAILED, settle_after_s=60)).call.state == "failed"


async def test_m3_a_tool_without_a_settle_delay_is_never_found_absent_by_lookup(till: Till) -> None:
    """Nobody said when silence means no."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    till.later(days=30)
    looked = await till.claim(first.call.call_id, purpose="lookup")
    assert (await till.settle(looked, Outcome.FAILED)).call.state == "unknown"


async def test_m3_a_person_s_it_failed_waits_a_day_where_no_delay_is_declared(till: Till) -> None:
    """A person is as blind as a lookup to what is still under way."""
    owner = await till.person("olga", Role.OWNER)
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    call_id = first.call.call_id
    with pytest.raises(Exception, match="may still have happened") as early:
        await till.ledger.resolve(call_id, owner.operator_id, Outcome.FAILED, evidence="bank", at=till.now)
    assert early.value.code == "too_early"  # type: ignore[attr-defined]  # TooEarly
    till.later(days=1, seconds=31)
    done = await till.ledger.resolve(call_id, owner.operator_id, Outcome.FAILED, evidence="bank", at=till.now)
    assert done.state == "failed"


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
    assert await till.claim(admitted.call.call_id)


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
    assert await till.claim(admitted.call.call_id)


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
    found = await till.refused(admitted.call.call_id, expect=lambda _call, _records: "the price is another")
    assert (found.state, found.code, found.message) == ("cancelled", "record_changed", "the price is another")


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
    await till.ledger.answer(
        admitted.approval.approval_id, ada.operator_id, admitted.call.op_hash, "approve", at=till.now
    )
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
    await till.ledger.answer(first, ada.operator_id, admitted.call.op_hash, "approve", at=till.now)
    again, call = await till.ledger.revoke(first, ada.operator_id, at=till.now)
    assert (again.state, call.state) == ("revoked", "awaiting_approval")
    assert call.approval_id is not None
    assert (await till.ledger.approval(call.approval_id)).expires_at == admitted.approval.expires_at
    till.later(hours=1)
    assert (await till.ledger.sweep(till.now)).requests_expired == 1
    assert (await till.ledger.call(call.call_id)).state == "expired"


async def test_m7_an_unknown_alerts_an_owner_after_a_quarter_of_an_hour_then_daily(till: Till) -> None:
    """Nobody may forget that money may have moved."""
    await till.law(ALLOW_ALL)
    await till.unknown()
    assert (await till.ledger.sweep(till.later(minutes=14))).alerts == 0
    assert (await till.ledger.sweep(till.later(minutes=1))).alerts == 1
    assert (await till.ledger.sweep(till.later(hours=23))).alerts == 0
    assert (await till.ledger.sweep(till.later(hours=1))).alerts == 1
    told = await till.ledger.outbox_take(till.now)
    assert [topic for _, topic, _ in told] == ["call.unknown", "call.unknown"]
    assert await till.ledger.outbox_take(till.now) == []
    await till.ledger.outbox_done(told[0][0], till.now)


async def test_m7_a_replay_is_tried_only_so_often(till: Till) -> None:
    """After that a person has to look."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    for _ in range(8):
        again = await till.claim(first.call.call_id, purpose="replay")
        await till.settle(again, Outcome.UNKNOWN, identity=None)
    found = await till.refused(first.call.call_id, purpose="replay")
    assert (found.state, found.code) == ("unknown", "attempts_exhausted")


async def test_m8_a_replay_needs_no_deny_now(till: Till) -> None:
    """It may start the effect, so whatever would stop it now does."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    await till.law(ALLOW_ALL + "  - {id: no, match: {kind: [spend]}, effect: deny}\n")
    found = await till.refused(first.call.call_id, purpose="replay")
    assert (found.state, found.code) == ("unknown", "denied_by_rule")
    assert (await till.claim(first.call.call_id, purpose="lookup")).call.state == "unknown"


async def test_m8_a_replay_needs_no_new_verdict_but_its_givers_must_stand(till: Till) -> None:
    """A consumed approval belongs to the call, not to the attempt."""
    await till.law(ASK_ALL)
    ada = await till.person("ada")
    await till.person("olga", Role.OWNER)
    admitted = await till.admit()
    assert admitted.approval is not None
    await till.ledger.answer(
        admitted.approval.approval_id, ada.operator_id, admitted.call.op_hash, "approve", at=till.now
    )
    claimed = await till.claim(admitted.call.call_id)
    await till.settle(claimed, Outcome.UNKNOWN, identity=None)
    again = await till.claim(admitted.call.call_id, purpose="replay")
    await till.settle(again, Outcome.UNKNOWN, identity=None)
    await till.ledger.disable_operator(ada.operator_id, by="opr", at=till.now)
    found = await till.refused(admitted.call.call_id, purpose="replay")
    assert found.code == "approval_needed"


async def test_m8_no_replay_once_the_provider_forgot_the_key(till: Till) -> None:
    """A forgotten key makes a replay a second purchase."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    till.later(days=1)
    found = await till.refused(first.call.call_id, purpose="replay")
    assert (found.state, found.code) == ("unknown", "key_expired")


async def test_m8_a_replay_is_an_attempt_with_its_own_lease(till: Till) -> None:
    """Two processes never settle the same unknown at once."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    again = await till.claim(first.call.call_id, purpose="replay")
    assert (again.attempt, again.call.state) == (2, "unknown")
    assert again.lease_token > first.lease_token
    found = await till.refused(first.call.call_id, purpose="lookup", holder="process-2")
    assert found.code == "leased"


async def test_m9_a_success_with_an_outdated_lease_is_evidence_while_the_call_is_unknown(till: Till) -> None:
    """The effect is there, whoever says so."""
    await till.law(MONTH)
    first = await till.unknown(amount="2.00 USD")
    await till.claim(first.call.call_id, purpose="lookup")
    settled = await till.settle(first)
    assert (settled.call.state, settled.applied) == ("succeeded", True)
    assert await till.used("month") == (200, 0)


async def test_m9_an_outdated_failure_is_discarded(till: Till) -> None:
    """It says nothing about the attempts after it."""
    await till.law(ALLOW_ALL)
    claimed = await till.claim((await till.admit()).call.call_id)
    till.later(seconds=31)
    assert (await till.ledger.sweep(till.now)).leases_ended == 1
    settled = await till.settle(claimed, Outcome.FAILED, code="declined")
    assert (settled.call.state, settled.applied) == ("unknown", False)


async def test_m9_a_success_after_the_end_changes_no_state_and_books_the_money(till: Till) -> None:
    """A record that was final stays; the money is counted where it surfaced, even beyond the limit."""
    await till.law(MONTH)
    claimed = await till.claim((await till.admit("8.00 USD")).call.call_id)
    await till.settle(claimed, Outcome.FAILED, code="declined")
    await till.bought("7.00 USD")
    settled = await till.settle(claimed, actual=Money(800, "USD"), evidence="evt_1")
    assert (settled.call.state, settled.applied) == ("failed", False)
    assert settled.discrepancy is not None
    assert await till.used("month") == (1_500, 0)
    assert [each.posture for each in await till.ledger.postures()] == [Posture.NO_SPEND]
    owner = await till.person("olga", Role.OWNER)
    found = await till.ledger.discrepancies()
    assert [each["code"] for each in found] == ["succeeded_after_failed"]
    with pytest.raises(PolicyDenied):
        ada = await till.person("ada")
        await till.ledger.resolve_discrepancy(settled.discrepancy, ada.name, words="seen", at=till.now)
    await till.ledger.resolve_discrepancy(settled.discrepancy, owner.name, words="seen", at=till.now)
    assert await till.ledger.discrepancies() == ()


async def test_a_settlement_told_twice_changes_nothing(till: Till) -> None:
    """Webhooks come twice."""
    await till.law(MONTH)
    claimed = await till.claim((await till.admit("2.00 USD")).call.call_id)
    assert (await till.settle(claimed)).applied
    again = await till.settle(claimed)
    assert (again.call.state, again.applied, again.discrepancy) == ("succeeded", False, None)
    assert await till.used("month") == (200, 0)


async def test_evidence_without_an_attempt_settles_an_unknown_call(till: Till) -> None:
    """A webhook knows the call and no attempt."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    settled = await till.settle(first, attempt=0, lease_token=0, provider_ref="ch_1")
    assert (settled.call.state, settled.call.provider_ref) == ("succeeded", "ch_1")


async def test_an_answer_in_another_currency_leaves_the_call_unknown(till: Till) -> None:
    """Nobody approved that money."""
    await till.law(ALLOW_ALL)
    claimed = await till.claim((await till.admit()).call.call_id)
    settled = await till.settle(claimed, actual=Money(100, "EUR"))
    assert (settled.call.state, settled.call.code) == ("unknown", "currency_changed")


async def test_a_lease_that_ends_makes_the_call_unknown_and_keeps_its_hold(till: Till) -> None:
    """A silent process may have spent the money."""
    await till.law(MONTH)
    await till.claim((await till.admit("2.00 USD")).call.call_id)
    assert (await till.ledger.sweep(till.later(seconds=30))).leases_ended == 1
    assert await till.used("month") == (0, 200)
    assert len(await till.ledger.unknowns()) == 1


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


async def test_m29_what_only_a_person_may_run_has_one_attempt(till: Till) -> None:
    """A refund that was not sent is asked for again, not tried again."""
    await till.law(ALLOW_ALL)
    olga = await till.person("olga", Role.OWNER)
    admitted = await till.admit(kind=Kind.HUMAN_ONLY, operation="refund")
    assert admitted.call.state == "awaiting_approval"
    assert admitted.approval is not None
    assert admitted.approval.expires_at == till.now + timedelta(days=7)
    await till.ledger.answer(
        admitted.approval.approval_id, olga.operator_id, admitted.call.op_hash, "approve", at=till.now
    )
    claimed = await till.claim(admitted.call.call_id)
    settled = await till.settle(claimed, Outcome.NOT_SENT, identity=None)
    assert settled.call.state == "failed"


async def test_m29_no_replay_of_what_only_a_person_may_run(till: Till) -> None:
    """A person tries it again, or nobody."""
    await till.law(ALLOW_ALL)
    olga = await till.person("olga", Role.OWNER)
    admitted = await till.admit(kind=Kind.HUMAN_ONLY, operation="refund")
    assert admitted.approval is not None
    await till.ledger.answer(
        admitted.approval.approval_id, olga.operator_id, admitted.call.op_hash, "approve", at=till.now
    )
    claimed = await till.claim(admitted.call.call_id)
    await till.settle(claimed, Outcome.UNKNOWN, identity=None)
    assert (await till.refused(admitted.call.call_id, purpose="replay")).code == "human_only"


async def test_what_is_not_there_is_missing(till: Till) -> None:
    """A wrong id is the caller's mistake, said as such."""
    await till.law(ALLOW_ALL)
    with pytest.raises(RecordMissing):
        await till.ledger.claim(till.claiming("call_nowhere"))
    with pytest.raises(RecordMissing):
        await till.ledger.call("call_nowhere")
