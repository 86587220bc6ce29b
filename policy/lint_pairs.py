"""Rules that another rule always speaks over, found without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policy.language import Answer, Mark, Match, Rule
from policy.matching import globs

Finding = tuple[Mark, str]

STRICTNESS: Final = {Answer.ALLOW: 0, Answer.REQUIRE_APPROVAL: 1, Answer.DENY: 2}
_GLOBS: Final = ("tool", "operation", "provider", "payee")
_SETS: Final = ("kind", "payee_basis", "currency", "mode", "project", "agent")
_SAME: Final = (
    "payee_in", "payee_known", "recurring", "reversible", "args", "hours", "sum_above", "count_above",
)  # fmt: skip
# Every field of a Match; a test holds that none is forgotten.
COMPARED: Final = frozenset((*_GLOBS, *_SETS, *_SAME, "up_to", "above"))


def overridden(rules: tuple[Rule, ...]) -> Iterator[Finding]:
    """Yield each rule that never matters, once, with the first rule that speaks wherever it does."""
    acting = [rule for rule in rules if not rule.shadow]
    index = Index(acting)
    for position, rule in enumerate(acting):
        for other in index.maybe_wider(rule):
            over = acting[other]
            if other == position or not speaks_wherever(over, rule):
                continue
            if STRICTNESS[over.effect] > STRICTNESS[rule.effect]:
                where = f"'{over.id}' in line {over.at.line}"
                yield rule.at, f"rule '{rule.id}' can never matter: {where} overrides it"
                break
            # Of two that say the same, the first is the one that says it.
            if _says_the_same(over, rule) and (other < position or not speaks_wherever(rule, over)):
                yield rule.at, f"rule '{rule.id}' adds nothing to '{over.id}' in line {over.at.line}"
                break


def _says_the_same(one: Rule, other: Rule) -> bool:
    return (one.effect, one.approval) == (other.effect, other.approval)


def speaks_wherever(over: Rule, rule: Rule) -> bool:
    """Say whether a rule surely speaks to every call that another speaks to; in doubt no."""
    if over.unless is not None and over.unless != rule.unless:
        return False
    return covers(over.match, rule.match)


def covers(wide: Match, narrow: Match) -> bool:
    """Say whether the wide match surely holds wherever the narrow one does; in doubt no."""
    return (
        _covers_bounds(wide, narrow)  # Rules that are alike differ here, mostly.
        and all(_covers_set(getattr(wide, field), getattr(narrow, field)) for field in _SETS)
        and all(_covers_globs(getattr(wide, field), getattr(narrow, field)) for field in _GLOBS)
        and all(getattr(wide, field) in {None, (), getattr(narrow, field)} for field in _SAME)
    )


class Index:
    """Which rules leave a field open and which name a value, a bit for each rule.

    Sets of rules then meet in one step, and a thousand rules are compared with the few that could cover them.
    """

    def __init__(self, rules: list[Rule]) -> None:
        self._open = dict.fromkeys((*_GLOBS, *_SETS, *_SAME), 0)
        self._naming: dict[tuple[str, object], int] = {}
        self._everyone = (1 << len(rules)) - 1
        for position, rule in enumerate(rules):
            for field in self._open:
                self._add(field, getattr(rule.match, field), 1 << position)

    def _add(self, field: str, value: object, bit: int) -> None:
        for each in _values(field, value):
            self._naming[field, each] = self._naming.get((field, each), 0) | bit
        if value in (None, ()) or (field in _GLOBS and any(_is_wild(text) for text in _values(field, value))):
            self._open[field] |= bit  # A glob may cover any name.

    def maybe_wider(self, rule: Rule) -> Iterator[int]:
        """Yield the positions of all rules whose match could cover this one's, itself among them."""
        found = self._everyone
        for field, admitted in self._open.items():
            values = _values(field, getattr(rule.match, field))
            # What covers all values covers the first.
            found &= admitted | (self._naming.get((field, values[0]), 0) if values else 0)
        while found:
            lowest = found & -found
            yield lowest.bit_length() - 1
            found ^= lowest


def _values(field: str, value: object) -> tuple[object, ...]:
    if field in _SAME:
        return () if value in (None, ()) else (value,)
    assert isinstance(value, tuple)  # noqa: S101 - every other field of a Match is one
    return value


def _is_wild(text: object) -> bool:
    return isinstance(text, str) and ("*" in text or "?" in text)


def _covers_set(wide: tuple[object, ...], narrow: tuple[object, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _covers_globs(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide:
        return True
    exact = globs(wide)
    return bool(narrow) and all(text in wide or (not _is_wild(text) and exact(text)) for text in narrow)


def _covers_bounds(wide: Match, narrow: Match) -> bool:
    if not wide.up_to and not wide.above:
        return True
    up_to = {bound.currency: bound for bound in narrow.up_to}
    above = {bound.currency: bound for bound in narrow.above}
    if wide.up_to and {bound.currency for bound in wide.up_to} != set(up_to):
        return False
    if wide.above and {bound.currency for bound in wide.above} != set(above):
        return False
    return all(up_to[bound.currency] <= bound for bound in wide.up_to) and all(
        above[bound.currency] >= bound for bound in wide.above
    )
