"""How caps bind: which ones a call meets, what each has left, what is held for it, and when room comes back.

Every cap binds by itself every call it fits (M10): amount caps count spend and provision in their own
currency, call caps count draft, earn, spend and provision. A cap whose match is in doubt binds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final, NamedTuple

from policy import windows
from policy.compiled import CompiledCap
from policy.explain import CALLS
from policy.matching import Question
from policy.model import CapLine, EarnedNeed, Reserve, Usage, UsageNeed

_NO_USAGE: Final = Usage()


class Weighed(NamedTuple):
    """All caps a call meets, sorted by id, with their lines; None where something could not be looked up."""

    bound: list[tuple[CompiledCap, CapLine]]
    refusing: list[tuple[CompiledCap, CapLine | None]]
    covered: bool  # By an account-wide money cap over a span of time.


def cap_needs(
    caps: Iterable[CompiledCap], question: Question
) -> tuple[tuple[UsageNeed, ...], tuple[EarnedNeed, ...]]:
    """Ask for the usage of every cap that could bind, and for what was earned if a cap is a share of it."""
    usage: list[UsageNeed] = []
    earned: list[EarnedNeed] = []
    mode = question.effect.mode
    for one in caps:
        if one.tests is not None and one.tests.truth_so_far(question) is False:
            continue
        unit, amount = (CALLS, 1) if one.counts_calls else (question.currency or "", question.units)
        cap = one.cap
        key = one.key_of(question)
        if not one.each_call:
            usage.append(UsageNeed(cap.id, cap.per, key, unit, mode, cap.window, amount))
        if one.earned:
            earned.append(EarnedNeed(cap.id, cap.per, key, unit, mode, cap.after_s))
    return tuple(usage), tuple(earned)


def weigh(caps: tuple[CompiledCap, ...], question: Question) -> Weighed:
    """Put the call on every cap it meets."""
    bound: list[tuple[CompiledCap, CapLine]] = []
    refusing: list[tuple[CompiledCap, CapLine | None]] = []
    covered = False
    for one in caps:
        if one.tests is not None and one.tests.truth(question) is False:
            continue
        covered = covered or one.covers
        line = _put_on(one, question)
        if line is not None:
            bound.append((one, line))
        if line is None or not line.fits:
            refusing.append((one, line))
    return Weighed(bound, refusing, covered)


def reserves(weighed: Weighed, question: Question) -> tuple[Reserve, ...]:
    """Return what must be held on each cap for as long as the call is open."""
    mode = question.effect.mode
    return tuple(
        [  # A list first: it is built twice as fast as a tuple from a generator.
            Reserve(
                one.id,
                one.cap.per,
                one.key_of(question),
                line.unit,
                mode,
                one.cap.window,
                line.asked,
                line.limit,
            )
            for one, line in weighed.bound
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
    unit, amount = (CALLS, 1) if one.counts_calls else (question.currency or "", question.units)
    limit, known = one.limit, True
    if one.earned:
        earned = question.facts.earned.get(one.id)
        known = earned is not None
        limit = max(0, earned or 0) * min(100, one.cap.limit.percent_of_earned or 0) // 100
    usage = _NO_USAGE if one.each_call else question.facts.usage.get(one.id)
    if usage is None or not known:
        return None
    used = usage.posted + usage.held
    fits = used + amount <= limit and not (one.earned and in_the_red(one, question))
    return CapLine(id=one.id, at=one.cap.at, unit=unit, limit=limit, used=used, asked=amount, fits=fits)
