"""The `match` and `unless` of a rule or a cap: from their form to `policy.language.Match`, if it can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from msgspec import UnsetType

from policy import notation
from policy.document import (
    AmountForm,
    ArgForm,
    CapMatchForm,
    CountForm,
    HoursForm,
    MatchForm,
    PayeeListForm,
    SumForm,
)
from policy.errors import MoneyError
from policy.language import ArgTest, CountAbove, Hours, Match, SumAbove
from policy.matching import names
from policy.money import NOTATION, Money
from policy.tools import OUTSIDE, ToolInfo, Tools
from policy.yaml_marks import Node, Problems, Table, did_you_mean, quoted

T = TypeVar("T")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TYPES: Final = {str: "string", int: "integer", bool: "boolean"}
_END_OF_DAY: Final = 1_440

Property = Mapping[str, object]


def several(value: T | list[T] | UnsetType) -> tuple[T, ...]:
    """Return one, many or none as a tuple."""
    if isinstance(value, UnsetType):
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def value_or(value: T | UnsetType, otherwise: T) -> T:
    """Return a field's value, or what holds where it is left out."""
    return otherwise if isinstance(value, UnsetType) else value


def value_at(node: Table, *path: str) -> Node:
    """Return what stands at a path of keys below a mapping that is known to have them."""
    current: Node = node
    for key in path:
        assert isinstance(current, Table)  # noqa: S101 - the form was read from this very node
        current = current.entries[key][1]
    return current


class MatchBuilder:
    """Builds matches of one file."""

    def __init__(self, problems: Problems, tools: Tools) -> None:
        self._problems = problems
        self._tools = list(tools.values())

    def match(self, node: Table, form: CapMatchForm, within: Match | None = None) -> Match:
        """Return what a `match` or, `within` it, an `unless` says."""
        payee = form.payee
        in_list = payee.in_list if isinstance(payee, PayeeListForm) else None
        amount = value_or(form.amount, AmountForm())
        built = Match(
            kind=several(form.kind),
            tool=several(form.tool),
            operation=several(form.operation),
            provider=several(form.provider),
            payee=() if isinstance(payee, PayeeListForm) else several(payee),
            payee_in=in_list,
            payee_basis=several(form.payee_basis),
            up_to=self.moneys(node, amount.up_to, "amount", "up_to"),
            above=self.moneys(node, amount.above, "amount", "above"),
            currency=several(form.currency),
            mode=several(form.mode),
            project=several(form.project),
            agent=several(form.agent),
            recurring=value_or(form.recurring, None),
            reversible=value_or(form.reversible, None),
            args=tuple((name, _arg_test(test)) for name, test in value_or(form.args, {}).items()),
            payee_known=value_or(form.payee_known, None),
            hours=self._hours(node, form.hours),
            **(self._asking(node, form) if isinstance(form, MatchForm) else {}),
        )
        self._note_bounds(node, built)
        self._note_arguments(node, built, within)
        return built

    def moneys(self, node: Table, value: str | list[str] | UnsetType, *path: str) -> tuple[Money, ...]:
        """Return amounts, at most one per currency."""
        amounts = tuple(Money.parse(text) for text in several(value))
        if len({amount.currency for amount in amounts}) < len(amounts):
            self._problems.at(value_at(node, *path), "two amounts of one currency", "give one per currency")
        return amounts

    def _asking(self, node: Table, form: MatchForm) -> dict[str, Any]:
        """Return the fields that only rules have, since their facts go by the rule's id."""
        return {
            "sum_above": self._sum(node, form.sum_above),
            "count_above": _count(form.count_above),
        }

    def _hours(self, node: Table, form: HoursForm | UnsetType) -> Hours | None:
        if isinstance(form, UnsetType):
            return None
        named = _DAYS if isinstance(form.days, UnsetType) else form.days
        days = tuple(sorted({_DAYS.index(day) for day in named}))
        begin = 0 if isinstance(form.from_, UnsetType) else notation.minute_of_day(form.from_)
        end = _END_OF_DAY if isinstance(form.to, UnsetType) else notation.minute_of_day(form.to)
        if begin in {end, _END_OF_DAY}:
            self._problems.at(
                value_at(node, "hours"), "these hours hold no time", "let 'from' differ from 'to'"
            )
        return Hours(days, begin, end)

    def _sum(self, node: Table, form: SumForm | UnsetType) -> SumAbove | None:
        if isinstance(form, UnsetType):
            return None
        amounts = self.moneys(node, form.amount, "sum_above", "amount")
        return SumAbove(amounts, form.per, notation.window(form.window))

    def _note_bounds(self, node: Table, match: Match) -> None:
        """Refuse bounds that leave no amount: the rule would never hold, and look as if it did."""
        least = {bound.currency: bound for bound in match.above}
        for bound in match.up_to:
            if bound.currency in least and bound <= least[bound.currency]:
                where = value_at(node, "amount")
                self._problems.at(where, f"no amount is above {least[bound.currency]} and up to {bound}")
        for name, test in match.args:
            if _leaves_nothing(test):
                self._problems.at(
                    value_at(node, "args", name), "no value is above the one bound and up to the other"
                )

    def _note_arguments(self, node: Table, match: Match, within: Match | None) -> None:
        """Refuse arguments that no tool in question has, and tests that none of them could pass."""
        if not match.args:
            return
        spoken_of = [
            tool for tool in self._tools if speaks_of(match, tool) and (not within or speaks_of(within, tool))
        ]
        if not spoken_of or any(tool.plugin == OUTSIDE for tool in spoken_of):
            return  # The arguments of outside tools are not known here.
        arguments = value_at(node, "args")
        assert isinstance(arguments, Table)  # noqa: S101 - the form was read from this very node
        for name, test in match.args:
            having = [tool.properties[name] for tool in spoken_of if name in tool.properties]
            if having:
                self._note_misfit(arguments.entries[name][1], name, test, having)
            else:
                known = {key for tool in spoken_of for key in tool.properties}
                hint = did_you_mean(name, known) or f"there are {', '.join(sorted(known)[:12]) or 'none'}"
                self._problems.at(
                    arguments.entries[name][0], f"no tool in question has an argument {quoted(name)}", hint
                )

    def _note_misfit(self, node: Node, name: str, test: ArgTest, having: list[Property]) -> None:
        """Refuse a test that no value of the argument could ever pass."""
        values = [*test.one_of, *([] if test.equals is None else [test.equals])]
        for value in values:
            if not any(_may_equal(value, spec) for spec in having):
                self._problems.at(node, f"argument {name!r} is never {value!r}", _is_instead(having))
        for bound in (test.up_to, test.above):
            if bound is not None and not any(_may_compare(bound, spec) for spec in having):
                shown = f"{str(bound)!r}" if isinstance(bound, Money) else str(bound)
                self._problems.at(
                    node, f"argument {name!r} cannot be compared with {shown}", _is_instead(having)
                )


def speaks_of(match: Match, tool: ToolInfo) -> bool:
    """Say whether a match can hold for calls of a tool, by its kind and names alone."""
    return (
        (not match.kind or tool.kind in match.kind)
        and names(match.tool, tool.name)
        and names(match.operation, tool.operation)
        and names(match.provider, tool.provider)
    )


def _arg_test(form: ArgForm) -> ArgTest:
    return ArgTest(
        equals=value_or(form.equals, None),
        one_of=several(form.in_),
        up_to=_bound(form.up_to),
        above=_bound(form.above),
    )


def _bound(value: str | int | UnsetType) -> Money | int | None:
    if isinstance(value, str):
        return Money.parse(value)
    return None if isinstance(value, UnsetType) else value


def _count(form: CountForm | UnsetType) -> CountAbove | None:
    if isinstance(form, UnsetType):
        return None
    return CountAbove(form.count, form.per, notation.window(form.window), value_or(form.outcome, None))


def _leaves_nothing(test: ArgTest) -> bool:
    low, high = test.above, test.up_to
    if isinstance(low, Money) and isinstance(high, Money):
        return low.currency != high.currency or high <= low
    return isinstance(low, int) and isinstance(high, int) and high <= low


def _is_money(spec: Property) -> bool:
    return spec.get("pattern") == NOTATION


def _may_equal(value: str | int | bool, spec: Property) -> bool:  # noqa: FBT001 - the value of an argument, no switch
    if spec.get("type") != _TYPES[type(value)]:
        return False
    if _is_money(spec):
        try:
            Money.parse(str(value))
        except MoneyError:
            return False
    allowed = spec.get("enum")
    return not isinstance(allowed, list) or value in allowed


def _may_compare(bound: Money | int, spec: Property) -> bool:
    return _is_money(spec) if isinstance(bound, Money) else spec.get("type") == "integer"


def _is_instead(having: list[Property]) -> str:
    """Say what the argument is."""
    spec = having[0]
    allowed = spec.get("enum")
    if isinstance(allowed, list):
        return f"it is one of {', '.join(str(word) for word in allowed)}"
    return 'it is money such as "19.99 USD"' if _is_money(spec) else f"it is of type {spec.get('type')}"
