"""When time alone would change a denial: the instant an agent may try again, at the latest.

The calendar is walked edge by edge: hours that begin or end, windows whose sums and counts run out. At every
edge all rules are asked again, so that the end of one rule's hours does not hide the beginning of another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec

from policy import windows
from policy.compiled import CompiledRule
from policy.language import Window
from policy.matching import Question

_EDGES_WALKED: Final = 40  # Three weeks of nightly hours; a denial that lasts longer has no date.


def denied_until(denies: Sequence[CompiledRule], question: Question) -> datetime | None:
    """Return the first edge from which none of these deny rules applies; None where none comes."""
    start = now = question.facts.now
    for _ in range(_EDGES_WALKED):
        later = _at(question, now, denies)
        applying = [rule for rule in denies if rule.applies(later) is not False]
        if not applying:
            return now if now > start else None
        # Every rule that still applies must end, so the last of their next edges is the earliest hope.
        edges = [_next_edge(rule, later, start) for rule in applying]
        known = [edge for edge in edges if edge is not None]
        if len(known) < len(edges):
            return None
        now = max(known)
    return None


def silent_until(rules: Sequence[CompiledRule], question: Question) -> datetime | None:
    """Return the first edge from which one of these rules applies; None where time would not bring one."""
    now = question.facts.now
    rules = [rule for rule in rules if rule.timed]
    for _ in range(_EDGES_WALKED):
        edges = [edge for rule in rules if (edge := _next_hour(rule, question, now)) is not None]
        if not edges:
            return None
        now = min(edges)
        later = _at(question, now, ())
        if any(rule.applies(later) is not False for rule in rules):
            return now
    return None


def _next_edge(rule: CompiledRule, question: Question, start: datetime) -> datetime | None:
    """Return the next instant at which hours of the rule turn, or a window that speaks now has run out."""
    edges = [_next_hour(rule, question, question.facts.now)]
    if question.tz is not None:
        edges += [windows.end(window, start, question.tz) for _, window in _windows(rule)]
    return min((edge for edge in edges if edge is not None and edge > question.facts.now), default=None)


def _next_hour(rule: CompiledRule, question: Question, now: datetime) -> datetime | None:
    if question.tz is None:
        return None
    edges = [
        windows.next_change(part.match.hours, now, question.tz, to=state)
        for part in rule.parts
        if part.match.hours is not None
        for state in (True, False)
    ]
    return min((edge for edge in edges if edge is not None), default=None)


def _at(question: Question, now: datetime, rules: Iterable[CompiledRule]) -> Question:
    """Ask again at a later instant, at which windows that have ended are empty."""
    facts = question.facts
    if now == facts.now or question.tz is None:
        return question
    over = {key for rule in rules for key, window in _windows(rule) if _is_over(window, question, now)}
    sums = {key: 0 if key in over else value for key, value in facts.sums.items()}
    counts = {key: 0 if key in over else value for key, value in facts.counts.items()}
    later = msgspec.structs.replace(facts, now=now, sums=sums, counts=counts)
    return Question(question.call, later, question.tz)


def _is_over(window: Window, question: Question, now: datetime) -> bool:
    ends = None if question.tz is None else windows.end(window, question.facts.now, question.tz)
    return ends is not None and ends <= now


def _windows(rule: CompiledRule) -> Iterable[tuple[str, Window]]:
    """Name each sum and count that the rule looks up, with its window."""
    for part in rule.parts:
        if part.match.sum_above is not None:
            yield part.sum_key, part.match.sum_above.window
        if part.match.count_above is not None:
            yield part.count_key, part.match.count_above.window
