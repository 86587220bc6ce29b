"""The past judged again: the same policy finds nothing, another one exactly what it would have changed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from datetime import datetime

from ledger.audit.stored import StoredSource, read_ledger
from ledger.commands import Claimed
from ledger.judging_again import JudgedAgain, judge_again
from ledger.records import Outcome, ProofLevel, Role
from ledger.times import to_us
from policy.language import Posture
from policy.load import load
from policy.model import Mode
from policy.money import Money
from tests.ledger.till import ACCOUNT, JUDGE, NOON, TOOLS, Till

POLICY = """
version: 1
timezone: Europe/Berlin
approvals:
  - {id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h}
limits: {open_requests: 4, held_share: "100%"}
caps:
  - {id: month, per: account, window: month, limit: "60.00 USD"}
  - {id: day, per: agent, window: day, limit: "25.00 USD"}
  - {id: pace, per: agent, window: 2h, limit: "9 calls"}
  - {id: run, per: run, window: run, limit: "90.00 USD"}
rules:
  - {id: small, match: {kind: spend, amount: {up_to: "6.00 USD"}}, effect: allow}
  - {id: large, match: {kind: spend, amount: {above: "6.00 USD"}}, effect: require_approval, approval: desk}
  - id: often
    match: {kind: spend, sum_above: {amount: "20.00 USD", window: 6h, per: agent}}
    effect: require_approval
    approval: desk
  - id: unlucky
    match: {kind: spend, count_above: {count: 2, window: 3h, per: agent, outcome: failed}}
    effect: deny
"""
CALLS = 60
SEED = int(os.environ.get("BURSAR_SEED", "7"))


async def again(url: str, policy: str, since: datetime = NOON) -> JudgedAgain:
    """Judge the past by a policy; reading a ledger wants a thread of its own."""
    candidate = load(policy, "new.yaml", TOOLS)

    def work(source: StoredSource) -> JudgedAgain:
        return judge_again(source, ACCOUNT, JUDGE, candidate, since_us=to_us(since))

    return await asyncio.to_thread(read_ledger, url, work)


async def lived(till: Till, calls: int, dice: random.Random) -> None:
    """Let days of business go by: purchases approved, refused, failed and lost, between stops."""
    person, owner = await till.person("anton"), await till.person("olga", Role.OWNER)
    ends: tuple[Callable[[], Outcome], ...] = (
        lambda: Outcome.SUCCEEDED, lambda: Outcome.SUCCEEDED, lambda: Outcome.FAILED, lambda: Outcome.UNKNOWN,
        lambda: Outcome.NOT_SENT,
    )  # fmt: skip
    for _ in range(calls):
        at = till.later(minutes=dice.choice((1, 10, 45, 200)))
        if dice.random() < 0.08:
            posture = dice.choice((Posture.NO_SPEND, Posture.NORMAL, Posture.NORMAL))
            await till.ledger.set_posture(
                "account", "", posture, because="the button", by=owner.operator_id, at=at
            )
        amount = dice.choice(("1.00 USD", "2.50 USD", "5.00 USD", "7.00 USD", "11.00 USD"))
        payee = f"shop-{dice.randrange(4)}-{dice.randrange(50)}.example"
        admitted = await till.admit(amount, payee=payee)
        if admitted.approval is not None and admitted.call.similar_to is None and dice.random() < 0.7:
            verdict = dice.choice(("approve", "approve", "deny"))
            await till.ledger.answer(
                admitted.approval.approval_id, person.operator_id, admitted.call.op_hash, verdict,
                at=till.later(minutes=1), confirmed_by="password",
            )  # fmt: skip
        elif admitted.call.state != "queued":
            continue
        claimed = await till.ledger.claim(till.claiming(admitted.call.call_id))
        if isinstance(claimed, Claimed):
            await till.settle(claimed, dice.choice(ends)(), code="said", message="so")


async def test_the_policy_of_then_finds_nothing_to_answer_otherwise(till: Till, ledger_url: str) -> None:
    """Caps, rolling windows, sums, outcomes, open requests, stops: each call meets the facts of then."""
    await till.law(POLICY)
    await lived(till, CALLS, random.Random(SEED))
    codes = {call.code for call in (await till.ledger.calls(limit=CALLS)).items if call.state == "denied"}
    assert len(codes) > 1, codes
    found = await again(ledger_url, POLICY)
    assert found.otherwise == ()
    assert (found.judged, found.unclear) == (CALLS, 0)


async def test_a_lower_cap_would_have_stopped_what_came_after_it_was_full(
    till: Till, ledger_url: str
) -> None:
    """What was spent counts for the candidate as it was spent, in windows of its own."""
    await till.law(POLICY)
    bought = [await till.bought("5.00 USD") for _ in range(3)]
    failed = await till.admit("5.00 USD")
    await till.settle(await till.claim(failed.call.call_id), Outcome.FAILED, code="no", message="no")
    till.later(days=1)
    bought.append(await till.bought("5.00 USD"))
    lower = POLICY.replace('window: day, limit: "25.00 USD"', 'window: day, limit: "10.00 USD"')
    found = await again(ledger_url, lower)
    stopped = [(each.call_id, each.was.answer, each.would.code) for each in found.otherwise]
    # The failed one would have been refused as well, and on the next day there is room again.
    assert stopped == [
        (each, "allow", "cap_exceeded") for each in (bought[2].call.call_id, failed.call.call_id)
    ]
    assert (await again(ledger_url, lower, till.now)).judged == 1


async def test_what_rests_on_earnings_is_judged_by_those_of_then(till: Till, ledger_url: str) -> None:
    """M15: a share grows by what had been earned by then, and by nothing that came later."""
    share = POLICY.replace('month, limit: "60.00 USD"', 'month, limit: "50% of earned", after: 1h')
    await till.law(share)
    await till.ledger.book_earning(
        "ear_1", project="shop", amount=Money(800, "USD"), mode=Mode.SIMULATED,
        proof_level=ProofLevel.SIMULATED, at=till.now,
    )  # fmt: skip
    await till.admit("4.00 USD")  # Too early.
    till.later(hours=2)
    await till.bought("4.00 USD")
    await till.ledger.book_earning(
        "ear_2", project="shop", amount=Money(-100, "USD"), mode=Mode.SIMULATED,
        proof_level=ProofLevel.SIMULATED, at=till.later(hours=1),
    )  # fmt: skip
    await till.admit("1.00 USD")
    found = await again(ledger_url, share)
    assert (found.judged, found.unclear, found.otherwise) == (3, 0, ())
    found = await again(ledger_url, share.replace("50%", "100%"))
    assert [(each.was.code, each.would.answer) for each in found.otherwise] == [("cap_exceeded", "allow")]


async def test_a_call_whose_words_were_erased_is_counted_and_left_out(till: Till, ledger_url: str) -> None:
    """M35: nobody can say what another policy makes of words that are gone."""
    await till.law(POLICY)
    gone, stays = await till.bought(), await till.bought()
    owner = await till.person("olga", Role.OWNER)
    await till.ledger.erase_call(
        gone.call.call_id, because="asked", by=owner.operator_id, at=till.later(days=1)
    )
    found = await again(ledger_url, POLICY.replace("effect: allow", "effect: deny"))
    assert [each.call_id for each in found.otherwise] == [stays.call.call_id]
    assert (found.judged, found.unclear) == (1, 1)
