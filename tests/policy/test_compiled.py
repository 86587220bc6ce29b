"""What is made of a policy once is small, bounded, and worded as the file words it."""

from __future__ import annotations

import pytest

from policy import compiled, explain
from policy.compiled import Compiled, compile_policy
from policy.decide import decide, needs
from policy.language import ArgTest, CountAbove, Hours, Match, PayeeBasis, SumAbove, Window, WindowKind
from policy.model import Kind, Mode, Scope
from policy.money import Money
from tests.policy.build import DAY, allow, ask, deny, facts, policy, purchase, usd


def test_a_policy_is_compiled_once_and_recognised_by_identity() -> None:
    """Two files of one hash exist in tests and replays; neither may be judged by the other's rules."""
    one, other = policy(allow()), policy(deny())
    assert one.sha256 == other.sha256
    assert compile_policy(one) is compile_policy(one)
    assert decide(one, purchase(), facts()).answer == "allow"
    assert decide(other, purchase(), facts()).answer == "deny"


def test_only_a_few_policies_are_kept() -> None:
    """A replay over thousands of candidates must not keep them all alive."""
    first = policy(allow())
    kept = compile_policy(first)
    for _ in range(20):
        compile_policy(policy(allow()))
    assert compile_policy(first) is not kept


def test_the_index_is_bounded_whatever_names_are_asked_about() -> None:
    """Another tool server may ask about any name; that must not become a way to fill the memory."""
    made = Compiled(policy(allow()))
    for number in range(compiled._SORTS_KEPT + 10):  # noqa: SLF001 - the bound under test
        made.candidates(f"tool_{number}", purchase().effect, "USD")
    assert len(made._index) <= compiled._SORTS_KEPT  # noqa: SLF001 - the same


def test_the_sets_of_rules_that_ask_together_are_bounded_too() -> None:
    """Eleven rules make two thousand sets; a set that was forgotten is put together again, and the same."""
    names = [f"p{number:02}" for number in range(11)]
    rules = policy(*(ask(name, Match(args=((name, ArgTest(equals=1)),))) for name in names))

    def rules_asking(number: int) -> list[str]:
        args = {name: int(bool(number >> place & 1)) for place, name in enumerate(names)}
        decision = decide(rules, purchase(args=args), facts())
        return [rule for asked in decision.asks for rule in asked.rules]

    for number in (*range(1, 1_200), 1, 2, 3):
        assert rules_asking(number) == [name for place, name in enumerate(names) if number >> place & 1]
    sort = compile_policy(rules).candidates(purchase().tool, purchase().effect, "USD")
    assert 0 < len(sort.asked) <= 1_024


def test_the_sets_are_bounded_over_all_sorts_of_calls_together() -> None:
    """A bound for each of four thousand sorts would be no bound on the memory that names can fill."""
    rules = policy(ask(unless=Match(tool=("other",))))
    for number in range(1_100):
        assert decide(rules, purchase(tool=f"tool_{number}"), facts()).asks
    kept = compile_policy(rules)._asked  # noqa: SLF001 - the bound under test
    assert 0 < sum(map(len, kept)) <= 1_024


def test_what_the_index_finds_does_not_depend_on_who_asked_first() -> None:
    """Two sorts of call of one tool share a slot of the index and nothing else."""
    rules = policy(
        allow("test", Match(mode=(Mode.TEST,))),
        deny("earn", Match(kind=(Kind.EARN,))),
        deny("x", Match(provider=("x",))),
    )
    calls = [purchase(), purchase(mode=Mode.SIMULATED), purchase(kind=Kind.EARN), purchase(provider="x")]
    expected = ["allow", "deny", "deny", "deny"]
    assert [decide(rules, call, facts()).answer for call in calls] == expected
    assert [decide(rules, call, facts()).answer for call in reversed(calls)] == expected[::-1]
    assert needs(rules, calls[0]).twin


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (Match(), ()),
        (Match(kind=(Kind.SPEND, Kind.PROVISION)), ("kind: spend or provision",)),
        (Match(payee=("*.com",), payee_in="vendors"), ("payee: *.com", "payee in_list: vendors")),
        (Match(payee_known=True, recurring=False), ("payee_known: true", "recurring: false")),
        (Match(payee_basis=(PayeeBasis.CLAIMED,)), ("payee_basis: claimed",)),
        (Match(up_to=(usd("2.00"), Money(300, "JPY"))), ("amount up_to: 2.00 USD or 300 JPY",)),
        (Match(args=(("n", ArgTest(equals=True, one_of=("a", 1))),)), ("args n equals true and in a or 1",)),
        (Match(args=(("n", ArgTest(up_to=3, above=usd("1.00"))),)), ("args n up_to 3 and above 1.00 USD",)),
        (Match(hours=Hours(days=(5, 6))), ("hours: sat or sun",)),
        (Match(hours=Hours(from_minute=540, to_minute=1_020)), ("hours: every day, 09:00 to 17:00",)),
        (
            Match(sum_above=SumAbove((usd("10.00"),), Scope.PROJECT, Window(WindowKind.ROLLING, 90))),
            ("sum_above: 10.00 USD per project in 90s",),
        ),
        (
            Match(count_above=CountAbove(3, Scope.AGENT, DAY, "failed")),
            ("count_above: 3 calls that ended failed per agent in day",),
        ),
        (Match(count_above=CountAbove(3, Scope.AGENT, DAY)), ("count_above: 3 calls per agent in day",)),
    ],
)
def test_rules_are_worded_as_the_file_words_them(match: Match, words: tuple[str, ...]) -> None:
    """A reader of an explanation must find its words in policies.yaml."""
    assert explain.words(match) == words
