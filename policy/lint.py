"""What loads and is probably not meant: rules that never matter, tools nobody covers, live money without cap.

A finding is advice with an address. It looks at what is written, never at a ledger: unknown agents and people
are for those who know them (`activate`, `doctor`, the Policy page).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Final

from policy.errors import Mistake
from policy.language import Answer, Cap, Kind, Mark, Match, Policy, Rule, Scope, WindowKind
from policy.load_match import speaks_of
from policy.matching import COUNTED, KNOWN_PAYEES, MONEY_OUT, globs, names
from policy.tools import OUTSIDE, ToolInfo, Tools, outside_tools

_CORE: Final = "core"
_STRICTNESS: Final = {Answer.ALLOW: 0, Answer.REQUIRE_APPROVAL: 1, Answer.DENY: 2}
_GLOBS: Final = ("tool", "operation", "provider", "payee")
_SETS: Final = ("kind", "payee_basis", "currency", "mode", "project", "agent")
_SAME: Final = (
    "payee_in", "payee_known", "recurring", "reversible", "args", "hours", "sum_above", "count_above",
)  # fmt: skip
# Every field of a Match; a test holds that none is forgotten.
COMPARED: Final = frozenset((*_GLOBS, *_SETS, *_SAME, "up_to", "above"))
_COVERING: Final = (WindowKind.DAY, WindowKind.MONTH, WindowKind.ROLLING)
_PRICED: Final = (Kind.EARN, Kind.SPEND, Kind.PROVISION, Kind.HUMAN_ONLY)


def lint(policy: Policy, tools: Tools, text: str = "") -> tuple[Mistake, ...]:
    """Return what is probably not meant, in the order of the file; `text` gives each finding its line."""
    every = {**tools, **outside_tools(policy.outside)}
    lines = text.split("\n")
    findings = {
        Mistake(
            policy.file,
            at.line,
            at.column,
            message,
            source=lines[at.line - 1] if at.line <= len(lines) else "",
        )
        for at, message in _findings(policy, every)
    }
    return tuple(sorted(findings))


Finding = tuple[Mark, str]


def _findings(policy: Policy, tools: Tools) -> Iterator[Finding]:
    for rule in policy.rules:
        yield from _of_rule(policy, rule, tools)
    for cap in policy.caps:
        yield from _of_cap(cap, tools)
    for one, other in combinations(policy.rules, 2):
        yield from _of_pair(one, other)
    yield from _unused(policy)
    yield from _uncovered_tools(policy, tools)
    yield from _uncovered_live_spend(policy, tools)


def _of_rule(policy: Policy, rule: Rule, tools: Tools) -> Iterator[Finding]:
    spoken_of = [tool for tool in tools.values() if speaks_of(rule.match, tool)]
    if not spoken_of:
        yield rule.at, f"rule '{rule.id}' speaks of no tool there is"
        return
    listed = {plugin.name for plugin in policy.plugins} | {_CORE, OUTSIDE}
    acting = [tool for tool in spoken_of if not tool.core]
    if not acting:
        yield rule.at, f"rule '{rule.id}' speaks of core tools only, which pass without a rule"
    elif policy.plugins and all(tool.plugin not in listed for tool in acting):
        missing = ", ".join(sorted({tool.plugin for tool in acting}))
        yield rule.at, f"rule '{rule.id}' speaks only of tools of plugins that are not listed: {missing}"
    if rule.unless is not None and covers(rule.unless, rule.match):
        yield rule.at, f"rule '{rule.id}' never speaks: its 'unless' holds wherever its 'match' does"
    if rule.effect is Answer.DENY and acting and all(_cannot_be_denied(rule, tool) for tool in acting):
        yield rule.at, f"rule '{rule.id}' never speaks: only a deny that names a withdraw tool stops it"
    yield from _of_money(rule.id, rule.at, rule.match, acting)


def _cannot_be_denied(rule: Rule, tool: ToolInfo) -> bool:
    return tool.kind is Kind.WITHDRAW and tool.name not in rule.match.tool


def _of_money(name: str, at: Mark, match: Match, spoken_of: list[ToolInfo]) -> Iterator[Finding]:
    """Find tests of money, sums and payees on kinds of calls that have none."""
    kinds = {tool.kind for tool in spoken_of}
    if kinds and (match.up_to or match.above or match.currency) and not kinds & set(_PRICED):
        yield at, f"rule '{name}' asks for an amount that {_kinds(kinds)} calls do not have"
    if kinds and match.sum_above is not None and not kinds & set(match.kind or MONEY_OUT):
        yield at, f"rule '{name}' adds up amounts that {_kinds(kinds)} calls do not have"
    if kinds and match.count_above is not None and not kinds & set(match.kind or COUNTED):
        yield at, f"rule '{name}' counts calls, but {_kinds(kinds)} calls only where 'kind' says so"


def _kinds(kinds: Iterable[Kind]) -> str:
    return " and ".join(sorted(kind.value for kind in kinds))


def _of_cap(cap: Cap, tools: Tools) -> Iterator[Finding]:
    match = cap.match or Match()
    counted = COUNTED if cap.limit.calls is not None else MONEY_OUT
    spoken_of = [tool for tool in tools.values() if speaks_of(match, tool) and not tool.core]
    if not spoken_of:
        yield cap.at, f"cap '{cap.id}' speaks of no tool there is"
    elif not any(tool.kind in counted for tool in spoken_of):
        what = "calls" if cap.limit.calls is not None else "amounts"
        yield cap.at, f"cap '{cap.id}' binds nothing: {what} count for {_kinds(counted)} only"


def _of_pair(one: Rule, other: Rule) -> Iterator[Finding]:
    """Find a rule that another, stricter or equal, always speaks over."""
    if one.shadow or other.shadow:
        return
    for rule, over in ((other, one), (one, other)):
        if not _speaks_wherever(over, rule):
            continue
        if (over.effect, over.approval) == (rule.effect, rule.approval):
            yield rule.at, f"rule '{rule.id}' adds nothing to '{over.id}' in line {over.at.line}"
            return
        if _STRICTNESS[over.effect] > _STRICTNESS[rule.effect]:
            where = f"'{over.id}' in line {over.at.line}"
            yield rule.at, f"rule '{rule.id}' can never matter: {where} overrides it"
            return


def _speaks_wherever(over: Rule, rule: Rule) -> bool:
    if not covers(over.match, rule.match):
        return False
    return over.unless is None or over.unless == rule.unless


def covers(wide: Match, narrow: Match) -> bool:
    """Say whether the wide match surely holds wherever the narrow one does; in doubt no."""
    return (
        all(_covers_set(getattr(wide, field), getattr(narrow, field)) for field in _SETS)
        and all(_covers_globs(getattr(wide, field), getattr(narrow, field)) for field in _GLOBS)
        and all(getattr(wide, field) in {None, (), getattr(narrow, field)} for field in _SAME)
        and _covers_bounds(wide, narrow)
    )


def _covers_set(wide: tuple[object, ...], narrow: tuple[object, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _covers_globs(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    if not wide:
        return True
    exact = globs(wide)
    return bool(narrow) and all(
        text in wide or ("*" not in text and "?" not in text and exact(text)) for text in narrow
    )


def _covers_bounds(wide: Match, narrow: Match) -> bool:
    up_to = {bound.currency: bound for bound in narrow.up_to}
    above = {bound.currency: bound for bound in narrow.above}
    if wide.up_to and {bound.currency for bound in wide.up_to} != set(up_to):
        return False
    if wide.above and {bound.currency for bound in wide.above} != set(above):
        return False
    return all(up_to[bound.currency] <= bound for bound in wide.up_to) and all(
        above[bound.currency] >= bound for bound in wide.above
    )


def _unused(policy: Policy) -> Iterator[Finding]:
    asked = {rule.approval for rule in policy.rules}
    for desk in policy.desks:
        if desk.id not in asked:
            yield desk.at, f"desk '{desk.id}' is asked by no rule"
    parts = [rule.match for rule in policy.rules] + [rule.unless for rule in policy.rules if rule.unless]
    used = {part.payee_in for part in (*parts, *(cap.match for cap in policy.caps if cap.match))}
    for name in policy.lists:
        if name not in used and name != KNOWN_PAYEES:
            yield Mark(policy.file, 1), f"list '{name}' is used by no rule and no cap"


def _uncovered_tools(policy: Policy, tools: Tools) -> Iterator[Finding]:
    """Find tools that cost and that no rule could ever let through."""
    listed = {plugin.name for plugin in policy.plugins} | {OUTSIDE}
    saying = [rule.match for rule in policy.rules if rule.effect is not Answer.DENY and not rule.shadow]
    for tool in tools.values():
        covered = any(speaks_of(match, tool) for match in saying)
        if tool.kind in MONEY_OUT and tool.plugin in listed and not covered:
            yield Mark(policy.file, 1), f"no rule covers {tool.name} ({tool.kind}): every call is denied"


def _uncovered_live_spend(policy: Policy, tools: Tools) -> Iterator[Finding]:
    """Find live spending that is denied for want of an account-wide money cap over a span of time."""
    if not policy.live_spend.enabled:
        return
    covering = [cap for cap in policy.caps if _covers_account(cap)]
    for tool in tools.values():
        if tool.kind not in MONEY_OUT or not names(policy.live_spend.providers, tool.provider):
            continue
        if not any(cap.match is None or speaks_of(cap.match, tool) for cap in covering):
            yield (
                Mark(policy.file, 1),
                f"live {tool.name} is denied: no cap per account and day, month or duration covers it",
            )
    capped = {cap.limit.money.currency for cap in covering if cap.limit.money}
    for rule in policy.rules:
        for bound in (*rule.match.up_to, *rule.match.above):
            if rule.effect is not Answer.DENY and bound.currency not in capped and _spends(rule.match, tools):
                yield (
                    rule.at,
                    f"rule '{rule.id}' speaks of {bound.currency}, in which no cap covers live spending",
                )


def _covers_account(cap: Cap) -> bool:
    return cap.limit.money is not None and cap.per is Scope.ACCOUNT and cap.window.kind in _COVERING


def _spends(match: Match, tools: Tools) -> bool:
    return any(tool.kind in MONEY_OUT and speaks_of(match, tool) for tool in tools.values())
