"""What the judge promises about caps, live money and postures; M numbers are the money rules a test holds."""

from __future__ import annotations

import pytest

from policy.decide import decide, needs
from policy.model import (
    EarnedNeed,
    Kind,
    Limit,
    LiveSpend,
    Match,
    Mode,
    Posture,
    Scope,
    SumAbove,
    Usage,
    UsageNeed,
    Window,
    WindowKind,
)
from policy.money import Money
from tests.policy.build import (
    ALLOW,
    CALL,
    DAY,
    DENY,
    HOUR,
    MONTH,
    RUN,
    allow,
    at,
    cap,
    facts,
    ids,
    judge,
    of_kind,
    policy,
    purchase,
    usd,
)

# --- caps ------------------------------------------------------------------------------------------------


def test_every_cap_binds_by_itself_and_what_fits_exactly_fits() -> None:
    """M10: a rule names no cap, so none can be forgotten."""
    capped = policy(allow(), cap("day", "10.00"), cap("run", "5.00", per=Scope.RUN, window=RUN))
    full = {"day": Usage(posted=300, held=550)}
    decision = judge(capped, purchase("1.50"), usage=full)
    assert decision.answer is ALLOW
    assert [(line.id, line.left, line.asked, line.fits) for line in decision.caps] == [
        ("day", 150, 150, True),
        ("run", 500, 150, True),
    ]
    assert [(held.cap_id, held.scope_key, held.amount, held.limit) for held in decision.reserves] == [
        ("day", "acme", 150, 1_000),
        ("run", "run_1", 150, 500),
    ]
    decision = judge(capped, purchase("1.51"), usage=full)
    assert (decision.answer, decision.code, decision.cap) == (DENY, "cap_exceeded", "day")
    assert (decision.reserves, decision.asks, decision.rules) == ((), (), ())


def test_a_full_cap_says_what_is_left_and_what_to_do() -> None:
    """An error says what was met, what was expected and what to do."""
    capped = policy(allow(), cap("run-total", "25.00", per=Scope.RUN, window=RUN))
    decision = judge(capped, purchase("19.99"), usage={"run-total": Usage(posted=2_000)})
    assert decision.message == (
        "cap 'run-total' has 5.00 USD left of 25.00 USD, 19.99 USD were asked for; "
        "ask for less or raise it in policies.yaml:12"
    )
    assert (decision.retry, decision.retry_at) == ("with_changes", None)
    assert decision.would_change == (
        "at most 5.00 USD for cap 'run-total', or a higher one in policies.yaml:12",
    )


def test_a_cap_on_calls_counts_calls_and_speaks_of_calls() -> None:
    """M10: drafts and sales count too, in every currency."""
    capped = policy(allow(), cap("pace", 2, per=Scope.AGENT, window=HOUR))
    for kind in (Kind.DRAFT, Kind.EARN):
        assert judge(capped, of_kind(kind), usage={"pace": Usage(posted=1)}).answer is ALLOW
        decision = judge(capped, of_kind(kind), usage={"pace": Usage(posted=2)})
        assert decision.code == "cap_exceeded"
        assert decision.message == (
            "cap 'pace' has 0 calls left of 2 calls, 1 call was asked for; raise it in policies.yaml:12"
        )
        assert (decision.retry, decision.retry_at) == ("later", at("2026-11-20T11:01"))


@pytest.mark.parametrize("kind", [Kind.READ, Kind.WITHDRAW, Kind.HUMAN_ONLY])
def test_no_cap_counts_reads_withdrawals_and_human_only(kind: Kind) -> None:
    """M10: looking and taking back stay possible when everything is full."""
    capped = policy(allow(), cap("pace", 0), cap("day", "0.00"))
    assert judge(capped, of_kind(kind, amount=usd("5.00"))).answer is not DENY


def test_amount_caps_bind_spend_and_provision_in_their_own_currency() -> None:
    """M10: a sale is no expense, and dollars are no euros."""
    capped = policy(allow(), cap("day", "1.00"))
    assert judge(capped, of_kind(Kind.PROVISION, amount=usd("1.01"))).code == "cap_exceeded"
    assert judge(capped, of_kind(Kind.EARN, amount=usd("1.01"))).answer is ALLOW
    assert judge(capped, purchase(Money(101, "EUR"))).answer is ALLOW


def test_a_caps_match_narrows_it_and_binds_in_doubt() -> None:
    """A cap that cannot tell whether it applies must not stand aside."""
    domains = cap("domains", 0, match=Match(operation=("domain_register",)))
    assert judge(policy(allow(), domains), purchase()).answer is ALLOW
    assert judge(policy(allow(), domains), purchase(operation="domain_register")).answer is DENY
    euros = cap("euros", 0, match=Match(up_to=(Money(1, "EUR"),)))
    assert judge(policy(allow(), euros), purchase()).answer is DENY
    assert judge(policy(allow(), euros), purchase(Money(2, "EUR"))).answer is ALLOW
    sums = cap("sums", 0, match=Match(sum_above=SumAbove((usd("1.00"),), Scope.RUN, DAY)))
    assert judge(policy(allow(), sums), purchase()).answer is DENY


def test_a_cap_per_call_keeps_no_usage() -> None:
    """A bound on each call needs neither a question to the ledger nor a hold."""
    capped = policy(allow(), cap("each", "2.00", window=CALL))
    assert needs(capped, purchase()).usage == ()
    assert judge(capped, purchase("2.00")).reserves == ()
    decision = judge(capped, purchase("2.01"))
    assert (decision.code, decision.retry_at) == ("cap_exceeded", None)


def test_usage_that_could_not_be_looked_up_denies() -> None:
    """A missing fact is a denial, and says which."""
    capped = policy(allow(), cap("day", "9.00"), cap("share", Limit(percent_of_earned=50), window=MONTH))
    decision = decide(capped, purchase(), facts(usage={"day": Usage(), "share": Usage()}))
    assert (decision.code, decision.cap, decision.retry) == ("fact_missing", "share", "later")
    assert ids(decision.caps) == ["day"]
    assert decide(capped, purchase(), facts(earned={"share": 500, "day": 0})).cap == "day"


def test_a_share_of_what_was_earned_is_rounded_down() -> None:
    """M15: floor(share x max(0, earned)), in the call's currency."""
    half = policy(allow(), cap("share", Limit(percent_of_earned=50), per=Scope.PROJECT, window=MONTH))
    assert judge(half, purchase("1.50"), earned={"share": 301}).answer is ALLOW
    assert judge(half, purchase("1.50"), earned={"share": 299}).code == "cap_exceeded"
    assert needs(half, purchase()).earned == (
        EarnedNeed("share", Scope.PROJECT, "shop", "USD", Mode.TEST, 604_800),
    )
    euros = policy(allow(), cap("share", Limit(percent_of_earned=50, currency="EUR"), window=MONTH))
    assert needs(euros, purchase()).earned == ()


def test_more_lost_than_earned_denies_even_what_costs_nothing() -> None:
    """M15: below zero, new calls are denied."""
    half = policy(allow(), cap("share", Limit(percent_of_earned=50), window=MONTH))
    decision = judge(half, purchase("0.00"), earned={"share": -1})
    assert (decision.code, decision.cap, decision.retry) == ("earned_below_zero", "share", "later")
    assert judge(half, purchase("0.00"), earned={"share": 0}).answer is ALLOW


def test_a_share_above_everything_is_everything() -> None:
    """M15: share <= 100 %; the loader refuses more, the judge does not trust it."""
    greedy = policy(allow(), cap("share", Limit(percent_of_earned=900), window=MONTH))
    assert judge(greedy, purchase("1.51"), earned={"share": 150}).code == "cap_exceeded"


@pytest.mark.parametrize(
    ("per", "key"),
    [
        (Scope.ACCOUNT, "acme"),
        (Scope.PROJECT, "shop"),
        (Scope.RUN, "run_1"),
        (Scope.AGENT, "scout"),
        (Scope.PROVIDER, "stripe"),
        (Scope.PAYEE, "example.com"),
        (Scope.TOOL, "request_card_purchase"),
    ],
)
def test_usage_is_asked_for_by_scope(per: Scope, key: str) -> None:
    """M10: kept per currency and per mode; a payee's name is folded to one case."""
    asked = needs(policy(allow(), cap("c", "9.00", per=per)), purchase(payee="EXAMPLE.com"))
    assert asked.usage == (UsageNeed("c", per, key, "USD", Mode.TEST, DAY, 150),)


def test_all_that_name_no_payee_share_one_cap_per_payee() -> None:
    """Naming nobody must not be a way around a cap per payee."""
    asked = needs(policy(allow(), cap("c", 5, per=Scope.PAYEE)), of_kind(Kind.EARN))
    assert asked.usage[0].scope_key == ""


def test_room_comes_back_at_the_end_of_the_window_unless_it_is_held() -> None:
    """M11: what is held moves with its calls into the next window."""
    capped = policy(allow(), cap("day", "2.00"), timezone="Europe/Berlin")
    decision = judge(capped, purchase(), usage={"day": Usage(posted=200)})
    assert (decision.retry, decision.retry_at) == ("later", at("2026-11-20T23:00"))
    assert judge(capped, purchase(), usage={"day": Usage(posted=100, held=100)}).retry_at is None
    assert judge(capped, purchase("2.01")).retry_at is None
    two = policy(allow(), cap("day", "2.00"), cap("month", "2.00", window=MONTH))
    used = {"day": Usage(posted=200), "month": Usage(posted=200)}
    assert judge(two, purchase(), usage=used).retry_at == at("2026-12-01T00:00")
    used = {"day": Usage(posted=200), "month": Usage(held=200)}
    assert judge(two, purchase(), usage=used).retry_at is None
    nowhere = policy(allow(), cap("day", "2.00"), timezone="No/Where")
    assert judge(nowhere, purchase(), usage={"day": Usage(posted=200)}).retry == "never"


def test_the_cap_named_is_the_first_by_name_whatever_the_files_order() -> None:
    """An answer that depends on the order of the file cannot be repeated after sorting it."""
    caps = (cap("b", "1.00"), cap("a", "1.00"))
    for order in (caps, caps[::-1]):
        assert judge(policy(allow(), *order), purchase()).cap == "a"


# --- live money, postures --------------------------------------------------------------------------------


LIVE = {"mode": Mode.LIVE}


def test_live_money_leaves_only_with_every_yes() -> None:
    """LIVE_SPEND in the environment, live_spend in the policy, the provider in its list."""
    month = cap("month", "500.00", window=MONTH)
    assert judge(policy(allow(), month), purchase(**LIVE)).answer is ALLOW
    for live_spend in (False, None):
        decision = judge(policy(allow(), month), purchase(**LIVE), live_spend=live_spend)
        assert (decision.code, len(decision.would_change)) == ("live_spend_off", 1)
    for setting in (LiveSpend(enabled=False, providers=("stripe",)), LiveSpend(enabled=True, providers=())):
        decision = judge(policy(allow(), month, live_spend=setting), purchase(**LIVE))
        assert (decision.code, len(decision.would_change)) == ("live_spend_off", 1)
    off = judge(policy(allow(), month, live_spend=LiveSpend()), purchase(**LIVE), live_spend=False)
    assert len(off.would_change) == 3


def test_live_spend_governs_neither_test_money_nor_sales() -> None:
    """The same policy runs in test mode, and selling costs nothing."""
    off = policy(allow(), live_spend=LiveSpend())
    assert judge(off, purchase(), live_spend=False).answer is ALLOW
    assert judge(off, of_kind(Kind.EARN, **LIVE), live_spend=False).answer is ALLOW


@pytest.mark.parametrize(
    ("cover", "covered"),
    [
        (cap("c", "500.00", window=MONTH), True),
        (cap("c", "500.00", window=Window(WindowKind.ROLLING, 86_400)), True),
        (cap("c", "500.00", window=Window(WindowKind.ROLLING, 86_399)), False),
        (cap("c", "500.00", window=Window(WindowKind.ROLLING, 1)), False),
        (cap("c", "500.00", window=CALL), False),
        (cap("c", "500.00", window=RUN), False),
        (cap("c", "500.00", per=Scope.PROJECT), False),
        (cap("c", 500), False),
        (cap("c", Limit(money=Money(50_000, "EUR"))), False),
        (cap("c", "500.00", match=Match(agent=("maker",))), False),
    ],
)
def test_live_money_needs_an_account_wide_cap_over_time(cover: object, covered: bool) -> None:  # noqa: FBT001 - expected
    """Without one a rule that allows a dollar allows it for ever; a second's cap allows 86,400 a day."""
    decision = judge(policy(allow(), cover), purchase(**LIVE))  # type: ignore[arg-type]  # A Cap each time.
    assert decision.code == ("" if covered else "live_spend_uncovered")


OPEN = {
    Posture.NORMAL: set(Kind),
    Posture.NO_SPEND: {Kind.READ, Kind.WITHDRAW, Kind.DRAFT, Kind.EARN, Kind.HUMAN_ONLY},
    Posture.DRAFT_ONLY: {Kind.READ, Kind.WITHDRAW, Kind.DRAFT},
    Posture.READ_ONLY: {Kind.READ, Kind.WITHDRAW},
}


@pytest.mark.parametrize("posture", list(Posture))
@pytest.mark.parametrize("kind", list(Kind))
def test_each_posture_closes_what_the_page_says(posture: Posture, kind: Kind) -> None:
    """Withdrawals always run: what is stopped must be able to be taken back."""
    call = of_kind(kind, amount=usd("1.00"), payee="example.com")
    decision = judge(policy(allow()), call, posture=posture, posture_scope="agent")
    assert (decision.code == "posture_closed") is (kind not in OPEN[posture])
    if decision.answer is DENY:
        assert decision.message.startswith(f"the posture of this agent is {posture}")
        assert decision.retry == "later"


def test_a_posture_that_could_not_be_read_closes() -> None:
    """A missing fact is a denial, where a posture could matter."""
    assert judge(policy(allow()), purchase(), posture=None).code == "fact_missing"
    assert judge(policy(allow()), of_kind(Kind.READ), posture=None).answer is ALLOW
