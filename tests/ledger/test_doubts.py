"""Where nobody knows what happened: doubts, replays, late evidence (M2, M3, M7 to M9)."""

from datetime import timedelta

import pytest
from msgspec import structs

from ledger.commands import Settlement
from ledger.records import Outcome, Role
from policy.errors import PolicyDenied
from policy.language import Kind, Posture
from policy.money import Money
from tests.ledger.till import ALLOW_ALL, ASK_ALL, Till, with_caps

MONTH = with_caps(ALLOW_ALL, '{id: month, per: account, window: month, limit: "10.00 USD"}')


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
    await till.approve(admitted, ada)
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
    ada = await till.person("ada")
    with pytest.raises(PolicyDenied):
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


async def test_m29_what_only_a_person_may_run_has_one_attempt(till: Till) -> None:
    """A refund that was not sent is asked for again, not tried again."""
    await till.law(ALLOW_ALL)
    olga = await till.person("olga", Role.OWNER)
    admitted = await till.admit(kind=Kind.HUMAN_ONLY, operation="refund")
    assert admitted.call.state == "awaiting_approval"
    assert admitted.approval is not None
    assert admitted.approval.expires_at == till.now + timedelta(days=7)
    await till.approve(admitted, olga, confirmed_by="password")
    claimed = await till.claim(admitted.call.call_id)
    settled = await till.settle(claimed, Outcome.NOT_SENT, identity=None)
    assert settled.call.state == "failed"


async def test_m29_no_replay_of_what_only_a_person_may_run(till: Till) -> None:
    """A person tries it again, or nobody."""
    await till.law(ALLOW_ALL)
    olga = await till.person("olga", Role.OWNER)
    admitted = await till.admit(kind=Kind.HUMAN_ONLY, operation="refund")
    await till.approve(admitted, olga, confirmed_by="password")
    claimed = await till.claim(admitted.call.call_id)
    await till.settle(claimed, Outcome.UNKNOWN, identity=None)
    assert (await till.refused(admitted.call.call_id, purpose="replay")).code == "human_only"


@pytest.mark.parametrize(("early_s", "state"), [(1, "queued"), (0, "failed")])
async def test_m1_what_was_not_sent_goes_back_only_until_its_run_by(
    till: Till, early_s: int, state: str
) -> None:
    """What waits no longer would run when nobody expects it."""
    await till.law(MONTH)
    admitted = await till.admit("2.00 USD")
    assert admitted.call.run_by is not None
    claimed = await till.claim(admitted.call.call_id)
    at = admitted.call.run_by - timedelta(seconds=early_s)
    settled = await till.settle(claimed, Outcome.NOT_SENT, at=at, code="send_too_late", provider_ref="ref")
    assert settled.call.state == state
    assert await till.used("month") == (0, 200 if early_s else 0)


async def test_m3_absent_is_believed_at_the_very_instant_it_may_be(till: Till) -> None:
    """The last lease of 30 s and the delay of 60 s; a microsecond before nobody knows."""
    await till.law(ALLOW_ALL)
    first = await till.unknown()
    told = till.now + timedelta(seconds=90)
    for at, state in ((told - timedelta(microseconds=1), "unknown"), (told, "failed")):
        till.later(seconds=1)
        looking = await till.claim(first.call.call_id, purpose="lookup", lease_s=1.0)
        settled = await till.settle(looking, Outcome.FAILED, at=at, settle_after_s=60)
        assert settled.call.state == state


async def test_m9_an_effect_that_nobody_claimed_is_a_discrepancy(till: Till) -> None:
    """Somebody else did it, or a backup was restored; what waits must not run on as if it knew of nothing."""
    await till.law(ALLOW_ALL)
    queued = (await till.admit("2.00 USD")).call
    evidence = Settlement(
        call_id=queued.call_id,
        at=till.now,
        attempt=0,
        lease_token=0,
        outcome=Outcome.FAILED,
        evidence="evt_1",
    )
    assert (await till.ledger.settle(evidence)).discrepancy is None
    done = await till.ledger.settle(structs.replace(evidence, outcome=Outcome.SUCCEEDED))
    assert (done.call.state, done.applied) == ("queued", False)
    assert [each["code"] for each in await till.ledger.discrepancies()] == ["effect_without_claim"]


async def test_a_doubt_keeps_what_the_provider_called_it(till: Till) -> None:
    """A lookup finds it by that name; what was never sent has none."""
    await till.law(ALLOW_ALL)
    claimed = await till.claim((await till.admit()).call.call_id)
    settled = await till.settle(claimed, Outcome.UNKNOWN, provider_ref="ref_1")
    assert settled.call.provider_ref == "ref_1"
    again = await till.claim(claimed.call.call_id, purpose="replay")
    settled = await till.settle(again, Outcome.NOT_SENT, provider_ref="ref_2")
    assert (settled.call.state, settled.call.provider_ref) == ("unknown", "ref_1")
