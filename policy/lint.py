"""What loads and is probably not meant: rules that never matter, tools nobody covers, live money without cap.

A finding is advice with an address. It looks at what is written, never at a ledger: unknown agents and people
are for those who know them (`activate`, `doctor`, the Policy page).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from policy.errors import Mistake
from policy.language import Answer, Cap, Mark, Match, Mode, Policy, Rule
from policy.lint_match import kinds_in_words, of_match, of_money, of_payees, of_unless, strangers
from policy.lint_pairs import Finding, overridden
from policy.load_match import speaks_of
from policy.matching import COUNTED, KNOWN_PAYEES, MONEY_OUT, names
from policy.model import Effect
from policy.reach import covers_live_money, passes_denies
from policy.tools import OUTSIDE, ToolInfo, Tools, outside_tools

_CORE: Final = "core"


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
            # The first line says nothing about what the whole file lacks.
            source=lines[at.line - 1] if 1 < at.line <= len(lines) else "",
        )
        for at, message in _findings(policy, every, lines)
    }
    return tuple(sorted(findings))


def _findings(policy: Policy, tools: Tools, lines: list[str]) -> Iterator[Finding]:
    for rule in policy.rules:
        yield from _of_rule(policy, rule, tools)
    for cap in policy.caps:
        yield from _of_cap(cap, tools)
    yield from overridden(policy.rules)
    yield from of_payees(policy)
    yield from _of_lists(policy, lines)
    yield from _unused_desks(policy)
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
    if rule.effect is Answer.DENY and acting and all(_cannot_be_denied(rule, tool) for tool in acting):
        yield rule.at, f"rule '{rule.id}' never speaks: only a deny that names a withdraw tool stops it"
    what = f"rule '{rule.id}'"
    told = (
        of_unless(rule, acting),
        of_match(what, rule.match, spoken_of),
        of_money(what, rule.match, acting),
    )
    yield from ((rule.at, message) for messages in told for message in messages)
    if rule.unless is not None:
        both = [tool for tool in spoken_of if speaks_of(rule.unless, tool)]
        yield from ((rule.at, message) for message in of_match(f"{what}, unless", rule.unless, both))


def _cannot_be_denied(rule: Rule, tool: ToolInfo) -> bool:
    effect = Effect(kind=tool.kind, operation=tool.operation, provider=tool.provider, mode=Mode.LIVE)
    return passes_denies(rule.match, tool.name, effect)


def _of_cap(cap: Cap, tools: Tools) -> Iterator[Finding]:
    match = cap.match or Match()
    counted = COUNTED if cap.limit.calls is not None else MONEY_OUT
    spoken_of = [tool for tool in tools.values() if speaks_of(match, tool) and not tool.core]
    if not spoken_of:
        yield cap.at, f"cap '{cap.id}' speaks of no tool there is"
    elif not any(tool.kind in counted for tool in spoken_of):
        what = "calls" if cap.limit.calls is not None else "amounts"
        yield cap.at, f"cap '{cap.id}' binds nothing: {what} count for {kinds_in_words(counted)} only"
    yield from ((cap.at, message) for message in of_match(f"cap '{cap.id}'", match, spoken_of))


def _unused_desks(policy: Policy) -> Iterator[Finding]:
    asked = {rule.approval for rule in policy.rules}
    for desk in policy.desks:
        if desk.id not in asked:
            yield desk.at, f"desk '{desk.id}' is asked by no rule"


def _of_lists(policy: Policy, lines: list[str]) -> Iterator[Finding]:
    parts = [rule.match for rule in policy.rules] + [rule.unless for rule in policy.rules if rule.unless]
    used = {part.payee_in for part in (*parts, *(cap.match for cap in policy.caps if cap.match))}
    for name, payees in policy.lists.items():
        # A policy keeps no marks of its lists; where two lines could be meant, the first is near enough.
        at = next((number for number, line in enumerate(lines, 1) if f"{name}:" in line), 1)
        if name == KNOWN_PAYEES:  # Every rule about known payees lets them in.
            yield from ((Mark(policy.file, at), f"list '{name}': {found}") for found in strangers(payees))
        elif name not in used:
            yield Mark(policy.file, at), f"list '{name}' is used by no rule and no cap"


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
    covering = [cap for cap in policy.caps if covers_live_money(cap)]
    for tool in tools.values():
        if tool.kind not in MONEY_OUT or not names(policy.live_spend.providers, tool.provider):
            continue
        if not any(cap.match is None or speaks_of(cap.match, tool) for cap in covering):
            yield (
                Mark(policy.file, 1),
                f"live {tool.name} is denied: no cap per account and day, month or at least 24h covers it",
            )
    capped = {cap.limit.money.currency for cap in covering if cap.limit.money}
    for rule in policy.rules:
        for bound in (*rule.match.up_to, *rule.match.above):
            if rule.effect is not Answer.DENY and bound.currency not in capped and _spends(rule.match, tools):
                yield (
                    rule.at,
                    f"rule '{rule.id}' speaks of {bound.currency}, in which no cap covers live spending",
                )


def _spends(match: Match, tools: Tools) -> bool:
    return any(tool.kind in MONEY_OUT and speaks_of(match, tool) for tool in tools.values())
