"""A provider is ready only while it has been measured to be what it is bound to (M4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec import structs

from ledger.records import ProviderIdentity
from plugins.hookspecs import Provider
from plugins.tool import Binding, Readiness
from policy.model import Mode
from tool_server.providers import Providers

GOOD = ProviderIdentity("acct_1", Mode.TEST, "one")


class Shop:
    """A provider whose answers a test chooses."""

    def __init__(self) -> None:
        self.answer: Readiness | Exception | None = Readiness(ready=True, identity=GOOD)
        self.asked = 0
        self.heard = asyncio.Event()
        self.then: Callable[[], None] | None = None  # Called as it answers.
        self.closed = False

    async def check(self) -> Readiness:
        """Answer as told; None never answers."""
        self.asked += 1
        self.heard.set()
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        await asyncio.sleep(0)  # The other task takes its turn.
        assert self.answer is not None
        if self.then is not None:
            self.then()
        return self.answer

    async def close(self) -> None:
        """Close, badly."""
        self.closed = True
        raise OSError("gone already")


class House:
    """Providers with a clock of their own."""

    def __init__(self, account: str = "acct_1") -> None:
        self.shop = Shop()
        self.clock = 100.0
        binding = Binding(provider="shop", account=account, mode=Mode.TEST)
        self.providers = Providers(
            {
                "shop": Provider(
                    binding=binding, check=self.shop.check, close=self.shop.close, check_timeout_s=0.05
                )
            },
            monotonic=lambda: self.clock,
            now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
        )


async def test_a_provider_nobody_asked_is_not_ready() -> None:
    """What is not known denies."""
    house = House()
    assert not house.providers.readiness("shop").ready
    facts = house.providers.facts(live_spend=False)
    assert facts.ready == {"shop": False, "bursar": True}
    assert facts.missing["shop"] == ("it has not been checked yet",)


async def test_a_measured_identity_makes_it_ready_for_a_while() -> None:
    """A measurement serves for seconds, not for ever."""
    house = House()
    assert (await house.providers.fresh("shop")).ready
    assert (await house.providers.fresh("shop")).ready
    assert house.shop.asked == 1
    house.clock += 6
    await house.providers.fresh("shop")
    assert house.shop.asked == 2
    facts = house.providers.facts(live_spend=True)
    assert facts.identities == {"shop": GOOD}
    assert set(house.providers.last_checks()) == {"shop"}


async def test_the_house_itself_is_always_ready() -> None:
    """Local tools speak to nobody."""
    assert (await House().providers.check("bursar")).ready
    assert House().providers.binding("bursar") is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Readiness(ready=True), "measured no account"),
        (Readiness(ready=False, missing=("set the key",)), "set the key"),
        (Readiness(ready=True, identity=structs.replace(GOOD, account="acct_2")), "answers as acct_2"),
        (Readiness(ready=True, identity=structs.replace(GOOD, mode=Mode.LIVE)), "live"),
        (ZeroDivisionError(), "broke with ZeroDivisionError"),
        (None, "did not answer within 0.05 s"),
    ],
)
async def test_m4_whatever_else_it_says_is_not_ready_with_the_reason(
    answer: Readiness | Exception | None, said: str
) -> None:
    """M4: no identity, another account, another mode, a broken check or silence."""
    house = House()
    house.shop.answer = answer
    readiness = await house.providers.check("shop")
    assert not readiness.ready
    assert said in " ".join(readiness.missing)


async def test_m4_an_open_binding_takes_the_first_account_and_keeps_it() -> None:
    """M4: Stripe's account is known only by asking; after that it is as fixed as a written one."""
    house = House(account="")
    assert (await house.providers.check("shop")).ready
    binding = house.providers.binding("shop")
    assert binding is not None
    assert (binding.account, binding.instance) == ("acct_1", "one")
    for other in (structs.replace(GOOD, account="acct_2"), structs.replace(GOOD, instance="two")):
        house.shop.answer = Readiness(ready=True, identity=other)
        assert not (await house.providers.check("shop")).ready


async def test_callers_that_come_together_share_one_question() -> None:
    """A hundred claims must not ask a provider a hundred times."""
    house = House()
    await asyncio.gather(*(house.providers.check("shop") for _ in range(20)))
    assert house.shop.asked == 1


async def test_m4_a_question_begun_long_ago_answers_nobody_who_comes_now() -> None:
    """M4: a slow answer tells of the account that was there when it was asked for."""
    house = House()
    slow = asyncio.create_task(house.providers.check("shop"))
    await house.shop.heard.wait()
    house.clock += 6
    await house.providers.fresh("shop")
    await slow
    assert house.shop.asked == 2


async def test_m4_a_question_that_ended_in_this_very_turn_answers_nobody_who_comes_after_it() -> None:
    """M4: the account may have been changed since, and nothing has run in between that could have told."""
    house = House()
    later: list[asyncio.Task[Readiness]] = []

    def come() -> None:
        house.shop.then = None
        house.clock += 6
        later.append(asyncio.create_task(house.providers.fresh("shop")))

    house.shop.then = come
    await house.providers.check("shop")
    await later[0]
    assert house.shop.asked == 2


async def test_m30_a_contradiction_is_not_forgotten() -> None:
    """M30: evidence against the binding stops the provider until somebody has looked and started anew."""
    house = House()
    await house.providers.check_all()
    house.providers.distrust("shop", "it answered as live")
    assert "it answered as live" in house.providers.readiness("shop").missing
    assert not (await house.providers.check("shop")).ready


async def test_a_provider_that_closes_badly_keeps_nobody() -> None:
    """The rest of the house still has to close."""
    house = House()
    house.shop.answer = None
    task = asyncio.create_task(house.providers.check("shop"))
    await asyncio.sleep(0)  # The other task takes its turn.
    await house.providers.close()
    assert house.shop.closed
    with pytest.raises(asyncio.CancelledError):
        await task
