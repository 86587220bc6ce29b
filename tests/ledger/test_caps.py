"""Caps: M10 to M18, as far as the ledger holds them."""

from datetime import UTC, datetime

import msgspec
import pytest

from ledger.records import Outcome, ProviderIdentity, Role
from policy.language import Kind, Mode, Posture
from policy.money import Money
from tests.ledger.till import ALLOW_ALL, ASK_ALL, ASK_RULE, Till, with_caps

DAY = with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}')


def refusal(admitted: object) -> tuple[str, str]:
    """Return the state and code of an admission."""
    call = admitted.call  # type: ignore[attr-defined]  # an Admitted
    return call.state, call.code


async def test_m10_every_cap_binds_by_itself(till: Till) -> None:
    """No rule names a cap: each that fits must have room."""
    await till.law(
        with_caps(
            ALLOW_ALL,
            '{id: wide, per: account, window: month, limit: "100.00 USD"}',
            '{id: tight, per: agent, window: day, limit: "5.00 USD"}',
        )
    )
    assert refusal(await till.admit("5.00 USD")) == ("queued", "")
    refused = await till.admit("0.01 USD")
    assert refusal(refused) == ("denied", "cap_exceeded")
    assert await till.used("wide") == (0, 500)


async def test_m10_test_money_never_uses_a_live_cap_and_each_currency_has_its_own(till: Till) -> None:
    """Usage is kept per currency and per mode."""
    await till.law(DAY)
    await till.admit("10.00 USD")
    test = ProviderIdentity("acct_sim", Mode.TEST)
    other = msgspec.structs.replace(till.process, identities={"stripe": test})
    assert refusal(await till.admit("10.00 USD", mode=Mode.TEST, process=other)) == ("queued", "")
    assert refusal(await till.admit("0.01 USD")) == ("denied", "cap_exceeded")


async def test_m10_a_calls_cap_counts_drafts_and_earning_too_and_an_amount_cap_does_not(till: Till) -> None:
    """`calls` caps count draft, earn, spend and provision; amounts only what leaves."""
    await till.law(
        with_caps(
            ALLOW_ALL,
            '{id: pace, per: agent, window: 1h, limit: "2 calls"}',
            '{id: money, per: agent, window: 1h, limit: "1.00 USD"}',
        )
    )
    assert refusal(await till.admit("50.00 USD", kind=Kind.EARN)) == ("queued", "")
    assert refusal(await till.admit(None, kind=Kind.DRAFT, key=None)) == ("queued", "")
    assert refusal(await till.admit(None, kind=Kind.DRAFT, key=None)) == ("denied", "cap_exceeded")
    assert refusal(await till.admit(None, kind=Kind.WITHDRAW, key=None)) == ("queued", "")


async def test_m11_three_claims_after_midnight_cannot_spend_two_days_caps_in_one(till: Till) -> None:
    """An open hold counts in the current window until its claim fixes it there."""
    await till.law(DAY)
    till.now = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    yesterday = await till.admit("8.00 USD")
    till.later(minutes=13)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    assert await till.used("day") == (0, 800)
    assert refusal(await till.admit("3.00 USD")) == ("denied", "cap_exceeded")
    await till.settle(await till.claim(yesterday.call.call_id))
    assert await till.used("day") == (800, 0)
    assert refusal(await till.admit("2.00 USD")) == ("queued", "")


async def test_m11_what_was_claimed_before_midnight_counts_in_the_day_of_its_claim(till: Till) -> None:
    """The claim fixes the hold: settling it tomorrow takes nothing from tomorrow."""
    await till.law(DAY)
    till.now = datetime(2026, 11, 20, 23, 59, tzinfo=UTC)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    claimed = await till.claim((await till.admit("8.00 USD")).call.call_id, lease_s=600)
    till.later(minutes=2)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    assert refusal(await till.admit("10.00 USD")) == ("queued", "")
    await till.settle(claimed)
    assert await till.used("day") == (0, 1_000)


async def test_m12_first_admitted_first_served_under_a_lowered_limit(till: Till) -> None:
    """Of two holds a lowered limit lets through the older, neither both nor none."""
    await till.law(DAY)
    first, second = await till.admit("5.00 USD"), await till.admit("5.00 USD")
    await till.law(DAY.replace("10.00 USD", "6.00 USD"))
    found = await till.refused(second.call.call_id)
    assert (found.state, found.code) == ("queued", "cap_exceeded")
    await till.claim(first.call.call_id)
    assert (await till.refused(second.call.call_id)).code == "cap_exceeded"
    await till.law(DAY)
    await till.claim(second.call.call_id)


async def test_m13_actual_above_approved_is_posted_whole_and_closes_the_provider(till: Till) -> None:
    """An overrun is money that left; clipping it would hide it."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit("8.00 USD")).call.call_id)
    await till.settle(claimed, actual=Money(1_250, "USD"))
    assert await till.used("day") == (1_250, 0)
    assert [(each.scope, each.posture) for each in await till.ledger.postures()] == [
        ("provider", Posture.NO_SPEND)
    ]
    assert [topic for _, topic, _ in await till.ledger.outbox_take(till.now)] == ["call.overrun"]
    assert refusal(await till.admit("0.01 USD"))[1] in {"posture_closed", "cap_exceeded"}
    owner = await till.person("olga", Role.OWNER)
    await till.ledger.set_posture(
        "provider", "stripe", Posture.NORMAL, because="looked", by=owner.operator_id, at=till.now
    )
    assert await till.ledger.postures()


async def test_less_than_approved_is_posted_as_it_was(till: Till) -> None:
    """What was not spent can be spent."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit("8.00 USD")).call.call_id)
    await till.settle(claimed, actual=Money(300, "USD"))
    assert await till.used("day") == (300, 0)


@pytest.mark.parametrize(("restores", "left"), [("", 800), (", restores: true", 500)])
async def test_m14_refunds_make_room_only_where_the_cap_says_so(till: Till, restores: str, left: int) -> None:
    """An adjustment counts in the window it arrives in."""
    await till.law(DAY.replace('"10.00 USD"', f'"10.00 USD"{restores}'))
    settled = await till.bought("8.00 USD")
    await till.ledger.adjust(
        settled.call.call_id, amount_minor=-300, currency="USD", reason="refund", at=till.now
    )
    assert await till.used("day") == (left, 0)


async def test_m19_a_commitment_counts_until_its_purchase_ends(till: Till) -> None:
    """Armed is not bought, and not free either."""
    await till.law(DAY)
    claimed = await till.claim((await till.admit("8.00 USD", payee="card.example")).call.call_id)
    settled = await till.settle(claimed, committed=True)
    assert settled.call.state == "succeeded"
    assert await till.used("day") == (0, 800)
    assert refusal(await till.admit("3.00 USD")) == ("denied", "cap_exceeded")


async def test_a_rolling_window_lets_go_of_what_is_old(till: Till) -> None:
    """The oldest bucket counts whole, and then no more."""
    await till.law(with_caps(ALLOW_ALL, '{id: hour, per: agent, window: 1h, limit: "5.00 USD"}'))
    await till.bought("5.00 USD")
    till.later(minutes=59)
    assert refusal(await till.admit("1.00 USD")) == ("denied", "cap_exceeded")
    till.later(minutes=10)
    assert refusal(await till.admit("1.00 USD")) == ("queued", "")


async def test_caps_per_run_project_tool_provider_and_payee_are_kept_apart(till: Till) -> None:
    """Each scope has its own meter."""
    await till.law(
        with_caps(
            ALLOW_ALL,
            '{id: run, per: run, window: run, limit: "3.00 USD"}',
            '{id: payee, per: payee, window: day, limit: "2.00 USD"}',
            '{id: provider, per: provider, window: day, limit: "100.00 USD"}',
            '{id: tool, per: tool, window: day, limit: "100.00 USD"}',
        )
    )
    assert refusal(await till.admit("2.00 USD", payee="Ada.example")) == ("queued", "")
    assert refusal(await till.admit("0.50 USD", payee="ada.EXAMPLE")) == ("denied", "cap_exceeded")
    assert refusal(await till.admit("1.00 USD", payee="bob.example")) == ("queued", "")
    run = await till.ledger.open_run("shop", "another", by="opr", at=till.now)
    assert refusal(await till.admit("1.00 USD", run=run.run_id)) == ("queued", "")
    assert refusal(await till.admit("0.50 USD")) == ("denied", "cap_exceeded")


async def test_a_sum_rule_sees_every_hold_and_everything_posted(till: Till) -> None:
    """`sum_above` includes this call and every hold."""
    await till.law(
        ASK_ALL.replace(
            ASK_RULE,
            "  - {id: all, match: {kind: [spend]}, effect: allow}\n"
            "  - {id: many, match: {kind: [spend],"
            " sum_above: {amount: '10.00 USD', per: project, window: 24h}},"
            " effect: require_approval, approval: desk}",
        )
    )
    await till.bought("6.00 USD")
    assert (await till.admit("4.00 USD")).call.state == "queued"
    assert (await till.admit("0.01 USD")).call.state == "awaiting_approval"


async def test_a_count_rule_by_outcome_counts_only_what_ended_so(till: Till) -> None:
    """Three failures in a row ask a person."""
    await till.law(
        ASK_ALL.replace(
            ASK_RULE,
            "  - {id: all, match: {kind: [spend]}, effect: allow}\n"
            "  - {id: bad, match: {kind: [spend],"
            " count_above: {count: 1, per: agent, window: 1h, outcome: failed}},"
            " effect: require_approval, approval: desk}",
        )
    )
    for _ in range(2):
        claimed = await till.claim((await till.admit()).call.call_id)
        await till.settle(claimed, Outcome.FAILED, code="declined")
    assert (await till.admit()).call.state == "awaiting_approval"


async def test_m17_one_agent_keeps_at_most_so_many_requests_before_people(till: Till) -> None:
    """A flood of questions is an attack on attention."""
    await till.law(ASK_ALL + "limits: {open_requests: 2, held_share: '100%'}\n")
    for _ in range(2):
        assert (await till.admit()).call.state == "awaiting_approval"
    assert refusal(await till.admit()) == ("denied", "too_many_requests")


async def test_m17_the_requests_of_one_agent_hold_at_most_a_share_of_a_cap(till: Till) -> None:
    """Others must be able to work while a person thinks; a lone request may exceed the quarter."""
    await till.law(with_caps(ASK_ALL, '{id: month, per: account, window: month, limit: "100.00 USD"}'))
    assert (await till.admit("60.00 USD")).call.state == "awaiting_approval"
    assert refusal(await till.admit("1.00 USD")) == ("denied", "held_share_exceeded")


async def test_m15_a_share_of_earnings_counts_only_what_is_old_enough(till: Till) -> None:
    """A payment can be refunded for days; a loss counts at once."""
    await till.law(
        with_caps(ALLOW_ALL, '{id: share, per: account, window: month, limit: "50% of earned USD"}')
    )
    await till.ledger.book_earning(
        "rev_1",
        project="shop",
        amount=Money(1_000, "USD"),
        mode=Mode.SIMULATED,
        proof_level="simulated",
        at=till.now,
    )
    assert refusal(await till.admit("1.00 USD"))[0] == "denied"
    till.later(days=7)
    till.run = (await till.ledger.standing_run("shop", till.now)).run_id
    assert refusal(await till.admit("5.00 USD")) == ("queued", "")
    assert refusal(await till.admit("0.01 USD")) == ("denied", "cap_exceeded")
    await till.ledger.book_earning(
        "rev_2",
        project="shop",
        amount=Money(-1_200, "USD"),
        mode=Mode.SIMULATED,
        proof_level="simulated",
        at=till.now,
    )
    assert refusal(await till.admit("0.01 USD")) == ("denied", "earned_below_zero")


async def test_a_cap_that_is_new_counts_what_its_window_already_saw(till: Till) -> None:
    """Otherwise renaming a cap would fill it up again."""
    await till.law(ALLOW_ALL)
    await till.bought("6.00 USD")
    held = await till.admit("1.00 USD")
    await till.law(DAY)
    assert await till.used("day") == (600, 100)
    assert refusal(await till.admit("4.00 USD")) == ("denied", "cap_exceeded")
    await till.settle(await till.claim(held.call.call_id))
    assert await till.used("day") == (700, 0)


async def test_m9_a_cap_that_is_new_counts_late_money_too(till: Till) -> None:
    """An adjustment belongs to its day, whichever cap looks at that day, and is counted once."""
    await till.law(ALLOW_ALL)
    call = (await till.bought("2.00 USD")).call
    await till.ledger.adjust(
        call.call_id, amount_minor=300, currency="USD", reason="late_capture", at=till.now
    )
    await till.ledger.adjust(call.call_id, amount_minor=-100, currency="USD", reason="refund", at=till.now)
    await till.law(DAY)
    assert await till.used("day") == (500, 0)
    await till.law(ALLOW_ALL)
    await till.ledger.adjust(
        call.call_id, amount_minor=50, currency="USD", reason="late_capture", at=till.now
    )
    await till.law(DAY)
    assert await till.used("day") == (550, 0)
    restoring = DAY.replace("id: day,", "id: back, restores: true,")
    await till.law(restoring)
    assert await till.used("back") == (450, 0)
    asked = [each["amount_minor"] for each in await till.ledger.adjustments() if each["amount_minor"]]
    assert sorted(asked) == [-100, 50, 300]


async def test_a_cap_that_is_gone_lets_go_at_the_claim(till: Till) -> None:
    """The policy of now says what binds."""
    await till.law(DAY)
    admitted = await till.admit("6.00 USD")
    await till.law(ALLOW_ALL)
    await till.settle(await till.claim(admitted.call.call_id))
    await till.law(DAY)
    assert await till.used("day") == (600, 0)


async def test_a_failed_call_on_a_cap_that_came_later_holds_nothing(till: Till) -> None:
    """What a claim reserved anew is let go like anything else."""
    await till.law(ALLOW_ALL)
    admitted = await till.admit("6.00 USD")
    await till.law(DAY)
    claimed = await till.claim(admitted.call.call_id)
    assert await till.used("day") == (0, 600)
    await till.settle(claimed, Outcome.FAILED, code="declined")
    assert await till.used("day") == (0, 0)
