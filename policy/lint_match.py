"""What one match says and does not mean: globs that reach nothing or too much, an `unless` that is moot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Final

from msgspec.structs import replace

from policy.language import Answer, Hours, Kind, Match, Mode, PayeeBasis, Policy, Rule
from policy.lint_pairs import Finding, covers
from policy.load_match import speaks_of
from policy.matching import COUNTED, KNOWN_PAYEES, MONEY_OUT, NAMES_A_PAYEE, NAMES_A_PRICE, globs
from policy.notation import is_registry
from policy.tools import ToolInfo

_ANY: Final = Match()
_REACHED: Final = {"tool": "name", "operation": "operation", "provider": "provider"}
_APART: Final = ("currency", "mode", "project", "agent", "payee_basis")
_FLAGS: Final = ("recurring", "reversible", "payee_known")


def of_match(what: str, match: Match, spoken_of: list[ToolInfo]) -> Iterator[str]:
    """Find names that reach none of the tools the whole match speaks of, and stars that are no wildcards."""
    for field, attribute in _REACHED.items():
        patterns: tuple[str, ...] = getattr(match, field)
        for pattern in patterns if len(patterns) > 1 else ():
            reaches = globs((pattern,))
            if spoken_of and not any(reaches(getattr(tool, attribute)) for tool in spoken_of):
                yield f"{what}: {field} '{pattern}' reaches no tool that the rest of it speaks of"
    for name, test in match.args:
        for value in (test.equals, *test.one_of):
            if isinstance(value, str) and "*" in value:
                yield f"{what}: argument '{name}' is compared exactly, the '*' in '{value}' is no wildcard"


def of_money(what: str, match: Match, spoken_of: list[ToolInfo]) -> Iterator[str]:
    """Find tests of money, sums and payees on calls that have none, and amounts that cannot agree."""
    kinds = {tool.kind for tool in spoken_of}
    bounds = {bound.currency for bound in (*match.up_to, *match.above)}
    if kinds and (bounds or match.currency) and not kinds & set(NAMES_A_PRICE):
        yield f"{what} asks for an amount that {kinds_in_words(kinds)} calls do not have"
    if kinds and _asks_payee(match) and not kinds & {*NAMES_A_PAYEE, Kind.EARN}:
        yield f"{what} asks for a payee that {kinds_in_words(kinds)} calls do not have"
    if bounds and match.currency and not bounds & set(match.currency):
        named, other = " and ".join(sorted(bounds)), " and ".join(match.currency)
        yield f"{what} compares amounts in {other} with a bound in {named}, which is always in doubt"
    if kinds and match.sum_above is not None and not kinds & set(match.kind or MONEY_OUT):
        yield f"{what} adds up amounts that {kinds_in_words(kinds)} calls do not have"
    if kinds and match.count_above is not None and not kinds & set(match.kind or COUNTED):
        yield f"{what} counts calls, but {kinds_in_words(kinds)} calls only where 'kind' says so"


def kinds_in_words(kinds: Iterable[Kind]) -> str:
    """List kinds by name."""
    return " and ".join(sorted(kind.value for kind in kinds))


def _asks_payee(match: Match) -> bool:
    return bool(match.payee or match.payee_in or match.payee_basis or match.payee_known is not None)


# --- unless ------------------------------------------------------------------------------------------------


def of_unless(rule: Rule, spoken_of: list[ToolInfo]) -> Iterator[str]:
    """Find an `unless` that silences its rule for good, and one that never does."""
    unless = rule.unless
    if unless is None or not spoken_of:
        return
    both = [tool for tool in spoken_of if speaks_of(unless, tool)]
    # Where its names hold for every tool in question, only its other fields say anything.
    rest = replace(unless, kind=(), tool=(), operation=(), provider=())
    if covers(unless, rule.match) or (len(both) == len(spoken_of) and covers(_said(rest), rule.match)):
        yield f"rule '{rule.id}' never speaks: its 'unless' holds wherever its 'match' does"
    elif not both or _apart(unless, rule.match):
        yield f"rule '{rule.id}' has no exception: its 'unless' never holds where its 'match' does"


def _said(match: Match) -> Match:
    """Return the match without the fields that hold for every call there is."""
    hours, count, total = match.hours, match.count_above, match.sum_above
    return replace(
        match,
        payee=() if "*" in match.payee else match.payee,
        payee_basis=() if set(match.payee_basis) == set(PayeeBasis) else match.payee_basis,
        mode=() if set(match.mode) == set(Mode) else match.mode,
        above=() if all(bound.minor_units == 0 for bound in match.above) else match.above,
        hours=None if hours is not None and _is_the_week(hours) else hours,
        count_above=None if count is not None and not count.count and not count.outcome else count,
        sum_above=None if total and not any(bound.minor_units for bound in total.amounts) else total,
    )


def _is_the_week(hours: Hours) -> bool:
    return replace(hours, days=tuple(sorted(hours.days))) == Hours()


def _apart(one: Match, other: Match) -> bool:
    """Say whether two matches surely never hold for one call."""
    pairs = [(getattr(one, field), getattr(other, field)) for field in _APART]
    if any(mine and theirs and not set(mine) & set(theirs) for mine, theirs in pairs):
        return True
    flags = [(getattr(one, field), getattr(other, field)) for field in _FLAGS]
    if any(None not in pair and pair[0] is not pair[1] for pair in flags):
        return True
    bounds = (*product(one.up_to, other.above), *product(other.up_to, one.above))
    return any(most.currency == least.currency and most <= least for most, least in bounds)


# --- payees ------------------------------------------------------------------------------------------------


def of_payees(policy: Policy) -> Iterator[Finding]:
    """Find patterns that let strangers in where they loosen, or leave somebody out where they tighten."""
    for rule in policy.rules:
        loosens = rule.effect is Answer.ALLOW
        for part, loose in ((rule.match, loosens), (rule.unless or _ANY, not loosens)):
            patterns = part.payee or policy.lists.get(part.payee_in or "", ())
            # What is wrong with the vendors is told once, at their list.
            if part.payee_in == KNOWN_PAYEES and loose:
                continue
            find = strangers if loose else left_out
            yield from ((rule.at, f"rule '{rule.id}': {found}") for found in find(patterns))
    for cap in policy.caps:
        part = cap.match or _ANY
        patterns = part.payee or policy.lists.get(part.payee_in or "", ())
        yield from ((cap.at, f"cap '{cap.id}': {found}") for found in left_out(patterns))


def strangers(patterns: Iterable[str]) -> Iterator[str]:
    """Say which patterns also fit names that a stranger may take."""
    for pattern in patterns:
        labels = pattern.split(".")
        if "*" not in pattern:
            if is_registry(pattern):
                yield f"payee '{pattern}' is where names are registered, no payee"
        elif pattern == "*":
            yield "payee '*' is everybody"
        elif len(labels) == 1 or "*" in labels[-1]:
            yield f"payee '{pattern}' also fits names that a stranger may take; write '*.' and a domain"
        elif is_registry(".".join(labels[labels.index("*") + 1 :])) or len(labels) - labels.index("*") <= 2:  # noqa: PLR2004 - `*.com` is a star and one label
            yield f"payee '{pattern}' is everybody who registers a name there"


def left_out(patterns: Iterable[str]) -> Iterator[str]:
    """Say which domains a pattern of their parts leaves out itself."""
    listed = {pattern.lower() for pattern in patterns}
    for pattern in sorted(listed):
        domain = pattern.removeprefix("*.")
        if domain != pattern and "*" not in domain and "." in domain and domain not in listed:
            yield f"payee '{pattern}' leaves out '{domain}' itself; add it if it is meant too"
