"""What is counted together: one meter per cap (or rule with a sum), scope, unit and mode; and its windows.

A meter's name is what usage and reservations are keyed by and what the audit log moves. A cap's name carries
a digest of its definition without its limit: changing the limit goes on with what was counted, changing what
the cap speaks of starts a new meter, which activation fills from the calls of its window (`ledger.backfill`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final

from msgspec import Struct

from ledger.rows import ENCODER
from ledger.times import EPOCH, SECOND_US, to_us
from policy import windows
from policy.language import Cap, Kind, Match, Policy, Scope, Window, WindowKind
from policy.matching import COUNTED, MONEY_OUT
from policy.model import Call, CountNeed, Reserve, SumNeed, UsageNeed

FLOATING: Final = -1  # The window of holds that no claim has fixed yet (M11).
WHOLE: Final = 0  # The one window of a run.
CALLS: Final = "calls"


class Meter(Struct, frozen=True):
    """A rule's sum or count, before it is known for which call: `what` is "sum", "count" or a final state."""

    what: str
    scope: Scope
    window: Window
    kinds: tuple[Kind, ...]


class Reading(Struct, frozen=True):
    """One meter to read or to book on: its name, the columns it is shown by, its window."""

    meter: str
    cap_id: str
    scope: str
    scope_key: str
    unit: str
    mode: str
    window: Window


def meters_of(policy: Policy) -> tuple[Meter, ...]:
    """Return every sum and count that the policy's rules speak of, each once."""
    found: dict[Meter, None] = {}
    for rule in policy.rules:
        for match in (rule.match, rule.unless):
            found.update(dict.fromkeys(_of_match(match)))
    return tuple(found)


def _of_match(match: Match | None) -> Iterable[Meter]:
    if match is None:
        return
    if match.sum_above is not None:
        yield Meter("sum", match.sum_above.per, match.sum_above.window, match.kind or MONEY_OUT)
    if match.count_above is not None:
        above = match.count_above
        yield Meter(above.outcome or "count", above.per, above.window, match.kind or COUNTED)


def digests(policy: Policy) -> dict[str, str]:
    """Return the digest of each cap's definition, without its limit, by cap id."""
    return {cap.id: _digest(cap) for cap in policy.caps}


def _digest(cap: Cap) -> str:
    return sha256(ENCODER.encode((cap.per, cap.window, cap.match))).hexdigest()[:8]


def cap_reading(need: UsageNeed | Reserve, digest: str) -> Reading:
    """Return the meter of one cap for one call."""
    key = _key(need.scope, need.scope_key)
    meter = f"{need.cap_id}:{digest}/{need.scope}/{key}/{need.unit}/{need.mode}"
    return Reading(meter, need.cap_id, need.scope, need.scope_key, need.unit, need.mode, need.window)


def rule_reading(need: SumNeed | CountNeed) -> Reading:
    """Return the meter that a rule asks to read."""
    if isinstance(need, SumNeed):
        template, unit = Meter("sum", need.scope, need.window, need.kinds), need.currency
    else:
        template, unit = Meter(need.outcome or "count", need.scope, need.window, need.kinds), CALLS
    return _reading(template, need.scope_key, unit, need.mode)


def template_of(need: SumNeed | CountNeed) -> Meter:
    """Return the template a rule's need was made from; one the policy does not hold is counted nowhere."""
    what = "sum" if isinstance(need, SumNeed) else need.outcome or "count"
    return Meter(what, need.scope, need.window, need.kinds)


def booked_on(
    templates: Iterable[Meter], call: Call, what: tuple[str, ...] | None
) -> list[tuple[Reading, int]]:
    """Return which rule meters this call books on and how much: its amount for a sum, 1 for a count.

    `what` narrows it to some kinds of meter; None means all of them.
    """
    out = []
    effect = call.effect
    for template in templates:
        if (what is not None and template.what not in what) or effect.kind not in template.kinds:
            continue
        if template.window.kind is WindowKind.CALL:
            continue
        key = scope_key(template.scope, call)
        if template.what != "sum":
            out.append((_reading(template, key, CALLS, effect.mode), 1))
        elif effect.amount is not None:
            money = effect.amount
            out.append((_reading(template, key, money.currency, effect.mode), money.minor_units))
    return out


def scope_key(scope: Scope, call: Call) -> str:  # noqa: PLR0911 -- one line for each way it can end
    """Return what a scope's meter is kept for with this call, as the judge names it too."""
    match scope:
        case Scope.ACCOUNT:
            return call.account
        case Scope.PROJECT:
            return call.project
        case Scope.RUN:
            return call.run
        case Scope.AGENT:
            return call.agent
        case Scope.PROVIDER:
            return call.effect.provider
        case Scope.TOOL:
            return call.tool
        case Scope.PAYEE:
            return (call.effect.payee or "").casefold()  # All that name nobody share one.


def _reading(template: Meter, key: str, unit: str, mode: str) -> Reading:
    name = f"{template.what}.{'+'.join(template.kinds)}.{template.window}"
    meter = f"{name}/{template.scope}/{_key(template.scope, key)}/{unit}/{mode}"
    return Reading(meter, name, template.scope, key, unit, mode, template.window)


def _key(scope: Scope, key: str) -> str:
    """Keep payees out of names: names stand in the log for ever, payees may be erased (M35)."""
    return sha256(key.encode()).hexdigest()[:32] if scope is Scope.PAYEE else key


# --- windows ---------------------------------------------------------------------------------------------


_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@lru_cache(maxsize=256)
def read_window(text: str) -> Window:
    """Return the window that `str` of it wrote."""
    if text in {WindowKind.CALL, WindowKind.RUN, WindowKind.DAY, WindowKind.MONTH}:
        return Window(WindowKind(text))
    return Window(WindowKind.ROLLING, int(text[:-1]) * _UNITS[text[-1]])


def booking_start(window: Window, at_us: int, timezone: str) -> int:
    """Return the window_start_us of the row on which something booked at `at_us` counts."""
    kind = window.kind
    if kind is WindowKind.ROLLING:
        size = windows.bucket_s(window.seconds) * SECOND_US
        return at_us // size * size
    if kind is WindowKind.DAY or kind is WindowKind.MONTH:
        return _calendar(kind, at_us // _QUARTER_US, timezone)
    return WHOLE


def reading_start(window: Window, at_us: int, timezone: str) -> int:
    """Return the first window_start_us that counts at `at_us`: the only one but for rolling windows."""
    if window.kind is WindowKind.ROLLING:
        size = windows.bucket_s(window.seconds) * SECOND_US
        return (at_us - window.seconds * SECOND_US) // size * size
    return booking_start(window, at_us, timezone)


# Every zone's midnight falls on a quarter of an hour of UTC, so one answer serves a whole quarter.
_QUARTER_US: Final = 900 * SECOND_US


@lru_cache(maxsize=1_024)
def _calendar(kind: WindowKind, quarter: int, timezone: str) -> int:
    at = EPOCH + timedelta(microseconds=quarter * _QUARTER_US)
    begin = windows.start(Window(kind), at, windows.zone(timezone))
    if begin is None:
        raise AssertionError("a calendar window has a beginning")
    return to_us(begin)
