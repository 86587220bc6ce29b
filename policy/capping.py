"""How caps bind: which ones a call meets, what each has left, what is held for it, and when room comes back.

Every cap binds by itself every call it fits (M10): amount caps count spend and provision in their own
currency, call caps count draft, earn, spend and provision. A cap whose match is in doubt binds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from policy import windows
from policy.compiled import CompiledCap
from policy.matching import Question
from policy.model import CapLine, EarnedNeed, Reserve, Usage, UsageNeed

_NO_USAGE: Final = Usage()


class Weighed(Struct, frozen=True, gc=False):
    """All caps a call meets with their lines, sorted by id; None where something could not be looked up."""

    bound: list[CompiledCap]
    lines: list[CapLine]  # One for each that is bound.
    refusing: list[tuple[CompiledCap, CapLine | None]]

    @property
    def covered(self) -> bool:
        """Whether an account-wide money cap over a span of time binds the call."""
        return any(one.covers for one in (*self.bound, *(cap for cap, _ in self.refusing)))


def cap_needs(
    caps: tuple[CompiledCap, ...], question: Question
) -> tuple[tuple[UsageNeed, ...], tuple[EarnedNeed, ...]]:
    """Ask for the usage of every cap that could bind, and for what was earned if a cap is a share of it."""
    usage: list[UsageNeed] = []
    earned: list[EarnedNeed] = []
    mode = question.effect.mode
    units = question.units
    for one in caps:
        key = one.key_of(question)
        need = UsageNeed(one.id, one.per, key, one.unit, mode, one.window, one.fixed or units)
        if one.plain:
            usage.append(need)
            continue
        if one.tests is not None and one.tests.truth_so_far(question) is False:
            continue
        if not one.each_call:
            usage.append(need)
        if one.earned:
            earned.append(EarnedNeed(one.id, one.per, key, one.unit, mode, one.cap.after_s))
    return tuple(usage), tuple(earned)


def weigh(caps: tuple[CompiledCap, ...], question: Question) -> Weighed:
    """Put the call on every cap it meets."""
    bound: list[CompiledCap] = []
    lines: list[CapLine] = []
    refusing: list[tuple[CompiledCap, CapLine | None]] = []
    usages, units = question.facts.usage, question.units
    for one in caps:
        if one.plain and (usage := usages.get(one.id)) is not None:
            # The common case, written out: a call would cost as much as the work.
            used = usage.posted + usage.held
            amount = one.fixed or units
            fits = used + amount <= one.limit
            line: CapLine | None = CapLine(one.id, one.at, one.unit, one.limit, used, amount, fits)
        elif one.tests is not None and one.tests.truth(question) is False:
            continue
        else:
            line = _put_on(one, question)
            fits = line is not None and line.fits
        if line is not None:
            bound.append(one)
            lines.append(line)
        if not fits:
            refusing.append((one, line))
    return Weighed(bound, lines, refusing)


def reserves(weighed: Weighed, question: Question) -> tuple[Reserve, ...]:
    """Return what must be held on each cap for as long as the call is open."""
    mode = question.effect.mode
    return tuple(
        [  # A list first: it is built twice as fast as a tuple from a generator.
            Reserve(one.id, one.per, one.key_of(question), one.unit, mode, one.window, line.asked, line.limit)
            for one, line in zip(weighed.bound, weighed.lines, strict=True)
            if not one.each_call
        ]
    )


def frees_at(one: CompiledCap, line: CapLine, question: Question) -> datetime | None:
    """Return when time alone will have made room at the latest; None where it never will.

    What is held moves with its calls into the next window (M11), so only what is posted can run out.
    """
    usage = question.facts.usage.get(one.id)
    if usage is None or one.each_call or one.earned or question.tz is None:
        return None
    if usage.held + line.asked > line.limit:
        return None
    return windows.end(one.cap.window, question.facts.now, question.tz)


def exceeds_share(one: CompiledCap, line: CapLine, question: Question, percent: int) -> bool:
    """Say whether this agent's waiting requests and this one hold too much (M17); a lone one may."""
    usage = question.facts.usage.get(one.id)
    if usage is None or not usage.agent_waiting:
        return False
    return (usage.agent_waiting + line.asked) * 100 > line.limit * percent


def in_the_red(one: CompiledCap, question: Question) -> bool:
    """Say whether the cap is a share of what was earned while more was lost (M15)."""
    return one.earned and question.facts.earned.get(one.id, 0) < 0


def _put_on(one: CompiledCap, question: Question) -> CapLine | None:
    usage = _NO_USAGE if one.each_call else question.facts.usage.get(one.id)
    limit = _limit(one, question)
    if usage is None or limit is None:
        return None
    used = usage.posted + usage.held
    amount = one.fixed or question.units
    fits = used + amount <= limit and not in_the_red(one, question)
    return CapLine(one.id, one.at, one.unit, limit, used, amount, fits)


def _limit(one: CompiledCap, question: Question) -> int | None:
    """Return the fixed limit, or the share of what was earned, rounded down; None if not known (M15)."""
    if not one.earned:
        return one.limit
    earned = question.facts.earned.get(one.id)
    if earned is None:
        return None
    return max(0, earned) * min(100, one.cap.limit.percent_of_earned or 0) // 100
