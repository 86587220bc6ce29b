"""How one `match` or `unless` is compared with a call: field by field, to yes, no, or doubt.

A field becomes one test when the policy is compiled. Doubt (None) is an answer of its own: what cannot be
evaluated must be able to deny or to ask, and never to allow. Of a match's tests one no decides, else one
doubt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import tzinfo
from enum import Enum
from functools import lru_cache
from typing import Final

from policy import windows
from policy.errors import MoneyError
from policy.language import ArgTest, CountAbove, Hours, Kind, Match, SumAbove
from policy.model import Call, Effect, Facts
from policy.money import Money

Truth = bool | None
_HOST: Final = re.compile(r"[\w.-]+")  # Letters of any script, so that a domain may be written in its own.
MONEY_OUT: Final = (Kind.SPEND, Kind.PROVISION)
COUNTED: Final = (Kind.DRAFT, Kind.EARN, Kind.SPEND, Kind.PROVISION)
HUMAN_ONLY_OPERATIONS: Final = frozenset(
    {"refund", "dispute_answer", "account_delete", "legal_incident", "credential_change"}
)
KNOWN_PAYEES: Final = "vendors"  # The list whose members count as known payees (M21).
# The provider of tools that touch nothing but the ledger: always ready, and nobody else's name.
HOUSE_PROVIDER: Final = "bursar"
NAMES_A_PAYEE: Final = (*MONEY_OUT, Kind.HUMAN_ONLY)
NAMES_A_PRICE: Final = (*NAMES_A_PAYEE, Kind.EARN)


class Question:
    """One call with its facts, and what every test would otherwise work out again."""

    __slots__ = ("call", "currency", "effect", "facts", "name", "payee", "tz", "units")

    def __init__(self, call: Call, facts: Facts, tz: tzinfo | None) -> None:
        effect = call.effect
        self.call = call
        self.effect = effect
        self.facts = facts
        self.tz = tz
        money = reserved_amount(effect)
        self.units = 0 if money is None else money.minor_units
        self.currency = None if money is None else money.currency
        # `name` tells "straße" from "strasse"; `payee`, which caps and known payees go by, does not.
        self.name = None if effect.payee is None else effect.payee.lower()
        self.payee = None if effect.payee is None else effect.payee.casefold()

    # Money that moves to nobody, or in no amount, is in doubt; a read simply has neither.

    @property
    def no_amount(self) -> Truth:
        """Answer for a field that asks about the amount where there is none."""
        effect = self.effect
        return None if effect.kind in NAMES_A_PRICE or effect.amount is not None else False

    @property
    def no_payee(self) -> Truth:
        """Answer for a field that asks about the payee where there is none."""
        return None if self.effect.kind in NAMES_A_PAYEE else False


Test = Callable[[Question], Truth]


class Tests:
    """A compiled match: its tests with their names; `early` are those that need no facts."""

    __slots__ = ("count_key", "early", "every", "late", "match", "names", "sum_key")

    def __init__(
        self,
        match: Match,
        early: Mapping[str, Test],
        late: Mapping[str, Test],
        *,
        sum_key: str,
        count_key: str,
    ) -> None:
        self.match = match
        self.sum_key = sum_key
        self.count_key = count_key
        self.early = tuple(early.values())
        self.late = tuple(late.values())
        self.every = self.early + self.late
        self.names = (*early, *late)

    def truth(self, question: Question) -> Truth:
        """Say whether the match holds."""
        return _all_hold(self.every, question)

    def truth_so_far(self, question: Question) -> Truth:
        """Say what is sure before any fact is known; doubt where facts will decide."""
        truth = _all_hold(self.early, question) if self.early else True
        return None if truth and self.late else truth

    def doubts(self, question: Question) -> tuple[str, ...]:
        """Name the fields that cannot be evaluated."""
        return tuple(
            name for name, test in zip(self.names, self.every, strict=True) if test(question) is None
        )


def reserved_amount(effect: Effect) -> Money | None:
    """Return what the call would reserve; None where it names none that can be relied on.

    A negative amount would make room under a cap, and a recurring one must show its first year (M18).
    """
    money = effect.amount
    if money is None or money.minor_units < 0:
        return None
    if effect.recurring is not None and effect.recurring.first_year != money:
        return None
    return money


def is_human_only(effect: Effect) -> bool:
    """Say whether only a person's verdict runs it, by its kind or by its operation."""
    return effect.kind is Kind.HUMAN_ONLY or effect.operation in HUMAN_ONLY_OPERATIONS


def names(patterns: tuple[str, ...], text: str) -> bool:
    """Say whether one of the globs is this name; nothing asked for is everything."""
    return not patterns or globs(patterns)(text)


@lru_cache(maxsize=512)
def globs(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Compile globs: `*` is any run of characters, `?` any one, everything else is itself."""
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern and "?" not in pattern)
    wild = [_glob(pattern) for pattern in patterns if pattern not in exact]
    if not wild:
        return exact.__contains__
    # One alternative after the other: a joined expression would be no faster and hard to read in a debugger.
    return lambda text: text in exact or any(one.fullmatch(text) for one in wild)


def compile_match(
    match: Match, *, lists: Mapping[str, tuple[str, ...]], sum_key: str, count_key: str
) -> Tests:
    """Compile what depends on more than kind, tool, operation, provider and mode, which the index settles.

    `sum_key` and `count_key` name the facts to read; empty where nobody will have asked (a cap's match).
    """
    early: dict[str, Test] = {}
    late: dict[str, Test] = {}
    _add_scope(early, match)
    _add_payee(early, late, match, lists)
    _add_money(early, match)
    for name, wanted in match.args:
        early[f"args.{name}"] = _argument(name, wanted)
    if match.hours is not None:
        late["hours"] = _hours(match.hours)
    if match.sum_above is not None:
        late["sum_above"] = _sum_above(match.sum_above, match.kind or MONEY_OUT, sum_key)
    if match.count_above is not None:
        late["count_above"] = _count_above(match.count_above, match.kind or COUNTED, count_key)
    return Tests(match, early, late, sum_key=sum_key, count_key=count_key)


def _all_hold(tests: tuple[Test, ...], question: Question) -> Truth:
    doubt = False
    for test in tests:
        truth = test(question)
        if not truth:
            if truth is False:
                return False
            doubt = True
    return None if doubt else True


def _add_scope(early: dict[str, Test], match: Match) -> None:
    if match.project:
        projects = frozenset(match.project)
        early["project"] = lambda q: q.call.project in projects
    if match.agent:
        agents = frozenset(match.agent)
        early["agent"] = lambda q: q.call.agent in agents
    if match.recurring is not None:
        recurring = match.recurring
        early["recurring"] = lambda q: (q.effect.recurring is not None) is recurring
    if match.reversible is not None:
        reversible = match.reversible
        early["reversible"] = lambda q: q.effect.reversible is reversible


def _add_payee(
    early: dict[str, Test], late: dict[str, Test], match: Match, lists: Mapping[str, tuple[str, ...]]
) -> None:
    if match.payee:
        early["payee"] = payee_among(match.payee)
    if match.payee_in is not None:
        listed = lists.get(match.payee_in)
        early["payee.in_list"] = _payee_in_doubt if listed is None else payee_among(listed)
    if match.payee_basis:
        bases = match.payee_basis
        early["payee_basis"] = lambda q: (
            q.no_payee if q.effect.payee_basis is None else q.effect.payee_basis in bases
        )
    if match.payee_known is not None:
        late["payee_known"] = _payee_known(lists.get(KNOWN_PAYEES, ()), wanted=match.payee_known)


def _payee_in_doubt(q: Question) -> Truth:
    return q.no_payee if q.payee is None else None


def payee_among(patterns: tuple[str, ...]) -> Test:
    """Compile names and globs of payees, which are compared without regard to case.

    In doubt are names that only fold alike ("straße" and "strasse" are two domains), and what is no host's
    name where a glob of one fits: `*.shop.example` must not be met by "evil.example/.shop.example".
    """
    exact = frozenset(pattern.lower() for pattern in patterns)
    alike = frozenset(pattern.casefold() for pattern in patterns)
    if not any("*" in pattern or "?" in pattern for pattern in exact):
        return lambda q: q.no_payee if q.payee is None else q.name in exact or _doubt_if(q.payee in alike)
    of_hosts = frozenset(pattern for pattern in exact if "*" in pattern and "." in pattern)
    hosts, others = globs(tuple(sorted(of_hosts))), globs(tuple(sorted(exact - of_hosts)))
    any_like = globs(tuple(sorted(alike)))

    def test(q: Question) -> Truth:
        if q.name is None or q.payee is None:
            return q.no_payee
        if others(q.name):
            return True
        if hosts(q.name):
            return True if _HOST.fullmatch(q.name) else None
        return _doubt_if(any_like(q.payee))

    return test


def _doubt_if(alike: bool) -> Truth:  # noqa: FBT001 - the one thing it turns into another
    return None if alike else False


def _payee_known(vendors: tuple[str, ...], *, wanted: bool) -> Test:
    among = payee_among(vendors)

    def test(q: Question) -> Truth:
        if q.payee is None:
            return q.no_payee
        listed = among(q)
        known = True if listed else q.facts.payee_known
        # The ledger looks names up folded, so one that folds to another may not be the one that is known.
        if not listed and (q.name != q.payee if known else listed is None):
            return None
        return None if known is None else known is wanted

    return test


def _add_money(early: dict[str, Test], match: Match) -> None:
    if match.currency:
        currencies = frozenset(match.currency)
        early["currency"] = lambda q: q.no_amount if q.currency is None else q.currency in currencies
    if match.up_to:
        up_to = {bound.currency: bound.minor_units for bound in match.up_to}
        early["amount.up_to"] = _against(up_to, over=False)
    if match.above:
        above = {bound.currency: bound.minor_units for bound in match.above}
        early["amount.above"] = _against(above, over=True)


def _against(bounds: Mapping[str, int], *, over: bool) -> Test:
    """Compare the amount with the bound of its currency; a currency nobody named is in doubt (M16)."""

    def test(q: Question) -> Truth:
        if q.currency is None:
            return q.no_amount
        bound = bounds.get(q.currency)
        if bound is None:
            return None
        return q.units > bound if over else q.units <= bound

    return test


def _hours(hours: Hours) -> Test:
    return lambda q: None if q.tz is None else windows.within(hours, q.facts.now, q.tz)


def _sum_above(wanted: SumAbove, kinds: tuple[Kind, ...], key: str) -> Test:
    bounds = {amount.currency: amount.minor_units for amount in wanted.amounts}

    def test(q: Question) -> Truth:
        if q.effect.kind not in kinds:
            return False
        so_far = q.facts.sums.get(key)
        bound = bounds.get(q.currency or "")
        return None if so_far is None or bound is None else so_far + q.units > bound

    return test


def _count_above(wanted: CountAbove, kinds: tuple[Kind, ...], key: str) -> Test:
    this_call = 0 if wanted.outcome else 1

    def test(q: Question) -> Truth:
        if q.effect.kind not in kinds:
            return False
        so_far = q.facts.counts.get(key)
        return None if so_far is None else so_far + this_call > wanted.count

    return test


def _argument(name: str, wanted: ArgTest) -> Test:
    """Test one argument; what is absent, or of another type than the test's, is in doubt."""
    parts: list[Callable[[object], Truth]] = []
    if wanted.equals is not None:
        parts.append(_one_of((wanted.equals,)))
    if wanted.one_of:
        parts.append(_one_of(wanted.one_of))
    if wanted.up_to is not None:
        parts.append(_bounded(wanted.up_to, over=False))
    if wanted.above is not None:
        parts.append(_bounded(wanted.above, over=True))

    def test(q: Question) -> Truth:
        value = q.call.args.get(name)
        if isinstance(value, Enum):
            value = value.value
        truths = [part(value) for part in parts]
        return False if False in truths else None if None in truths else True

    return test


def _one_of(wanted: tuple[str | int | bool, ...]) -> Callable[[object], Truth]:
    # By type first: in Python True == 1, in a policy it is not.
    by_type: dict[type, set[object]] = {}
    for each in wanted:
        by_type.setdefault(type(each), set()).add(each)

    def test(value: object) -> Truth:
        plain = str(value) if type(value) is Money else value
        alike = by_type.get(type(plain))
        return None if alike is None else plain in alike

    return test


def _bounded(bound: Money | int, *, over: bool) -> Callable[[object], Truth]:
    def test(value: object) -> Truth:
        units = _whole(value) if isinstance(bound, int) else _minor_units(value, bound.currency)
        if units is None:
            return None
        limit = bound if isinstance(bound, int) else bound.minor_units
        return units > limit if over else units <= limit

    return test


def _whole(value: object) -> int | None:
    return value if type(value) is int else None


def _minor_units(value: object, currency: str) -> int | None:
    if isinstance(value, str):
        try:
            value = Money.parse(value)
        except MoneyError:
            return None
    if type(value) is not Money or value.currency != currency:
        return None
    return value.minor_units


def _glob(pattern: str) -> re.Pattern[str]:
    """Translate a glob; atomic groups keep a pattern of many stars from ever backtracking."""
    first, *rest = [_literal(part) for part in re.split(r"\*+", pattern)]
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _literal(part: str) -> str:
    return re.escape(part).replace(r"\?", ".")
