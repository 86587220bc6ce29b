"""How caps bind: which ones a call meets, what each has left, what is held for it, and when room comes back.

Every cap binds by itself every call it fits (M10): amount caps count spend and provision in their own
currency, call caps count draft, earn, spend and provision. A cap whose match is in doubt binds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, NamedTuple

from policy import windows
from policy.compiled import CompiledCap
from policy.explain import CALLS
from policy.language import Scope
from policy.matching import Question
from policy.model import CapLine, EarnedNeed, Reserve, Usage, UsageNeed

_NO_USAGE: Final = Usage()
_SCOPE_KEYS: Final[dict[Scope, Callable[[Question], str]]] = {
    Scope.ACCOUNT: lambda q: q.call.account,
    Scope.PROJECT: lambda q: q.call.project,
    Scope.RUN: lambda q: q.call.run,
    Scope.AGENT: lambda q: q.call.agent,
    Scope.PROVIDER: lambda q: q.effect.provider,
    Scope.PAYEE: lambda q: q.payee or "",  # All that name nobody share one.
    Scope.TOOL: lambda q: q.call.tool,
}


class Bound(NamedTuple):
    """One cap that binds this call; `line` is None where what it needs was not found."""

    cap: CompiledCap
    line: CapLine | None
    in_the_red: bool  # A share of what was earned while more was lost (M15).
    usage: Usage


class Weighed(NamedTuple):
    """All caps a call meets, sorted by id."""

    bound: tuple[Bound, ...]
    lines: tuple[CapLine, ...]
    reserves: tuple[Reserve, ...]
    refusing: tuple[Bound, ...]
    covered: bool  # By an account-wide money cap over a span of time.


def scope_key(scope: Scope, question: Question) -> str:
    """Name whose usage is meant; a payee's name is folded to one case."""
    return _SCOPE_KEYS[scope](question)


def cap_needs(
    caps: Iterable[CompiledCap], question: Question
) -> tuple[tuple[UsageNeed, ...], tuple[EarnedNeed, ...]]:
    """Ask for the usage of every cap that could bind, and for what was earned if a cap is a share of it."""
    usage: list[UsageNeed] = []
    earned: list[EarnedNeed] = []
    mode = question.effect.mode
    for one in caps:
        asked = _asked(one, question)
        if asked is None or (one.tests is not None and one.tests.truth_so_far(question) is False):
            continue
        unit, amount = asked
        cap = one.cap
        key = _SCOPE_KEYS[cap.per](question)
        if not one.each_call:
            usage.append(UsageNeed(cap.id, cap.per, key, unit, mode, cap.window, amount))
        if one.earned:
            earned.append(EarnedNeed(cap.id, cap.per, key, unit, mode, cap.after_s))
    return tuple(usage), tuple(earned)


def weigh(caps: Iterable[CompiledCap], question: Question) -> Weighed:
    """Put the call on every cap it meets."""
    bound = []
    lines = []
    reserves = []
    covered = False
    mode = question.effect.mode
    for one in caps:
        asked = _asked(one, question)
        if asked is None or (one.tests is not None and one.tests.truth(question) is False):
            continue
        unit, amount = asked
        covered = covered or one.covers
        on = _put_on(one, question, unit, amount)
        bound.append(on)
        if on.line is None:
            continue
        lines.append(on.line)
        if not one.each_call:
            cap = one.cap
            key = _SCOPE_KEYS[cap.per](question)
            reserves.append(Reserve(cap.id, cap.per, key, unit, mode, cap.window, amount, on.line.limit))
    refusing = tuple(on for on in bound if on.line is None or not on.line.fits)
    return Weighed(tuple(bound), tuple(lines), tuple(reserves), refusing, covered)


def frees_at(on: Bound, question: Question) -> datetime | None:
    """Return when time alone will have made room at the latest; None where it never will.

    What is held moves with its calls into the next window (M11), so only what is posted can run out.
    """
    if on.line is None or on.cap.each_call or on.cap.earned or question.tz is None:
        return None
    if on.usage.held + on.line.asked > on.line.limit:
        return None
    return windows.end(on.cap.cap.window, question.facts.now, question.tz)


def exceeds_share(on: Bound, percent: int) -> bool:
    """Say whether this agent's waiting requests and this one hold too much (M17); a lone one may."""
    if not on.cap.shared or on.line is None or not on.usage.agent_waiting:
        return False
    return (on.usage.agent_waiting + on.line.asked) * 100 > on.line.limit * percent


def _asked(one: CompiledCap, question: Question) -> tuple[str, int] | None:
    """Return the unit and what this call adds; None where the cap is kept in another currency."""
    if one.counts_calls:
        return CALLS, 1
    currency = question.currency
    if currency is None or (one.currency is not None and one.currency != currency):
        return None
    return currency, question.units


def _put_on(one: CompiledCap, question: Question, unit: str, amount: int) -> Bound:
    usage = _NO_USAGE if one.each_call else question.facts.usage.get(one.id)
    limit, in_the_red = one.limit, False
    if one.earned:
        earned = question.facts.earned.get(one.id)
        if earned is None:
            return Bound(one, None, in_the_red=False, usage=_NO_USAGE)
        limit, in_the_red = _share(one, earned), earned < 0
    if usage is None:
        return Bound(one, None, in_the_red=in_the_red, usage=_NO_USAGE)
    used = usage.posted + usage.held
    line = CapLine(
        id=one.id,
        at=one.cap.at,
        unit=unit,
        limit=limit,
        used=used,
        asked=amount,
        fits=used + amount <= limit and not in_the_red,
    )
    return Bound(one, line, in_the_red=in_the_red, usage=usage)


def _share(one: CompiledCap, earned: int) -> int:
    percent = min(100, one.cap.limit.percent_of_earned or 0)
    return max(0, earned) * percent // 100
