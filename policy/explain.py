"""How a decision says why: in the notation of policies.yaml, so that a reader finds the words in the file.

What never changes about a rule is worded once, when the policy is compiled; the rest when a call asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from policy.language import ArgTest, CountAbove, Hours, Match, Rule
from policy.matching import Question, Tests
from policy.model import Ask, CapLine, RuleLine, Twin
from policy.money import written

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CALLS: Final = "calls"


def words(match: Match) -> tuple[str, ...]:
    """Word every field that is set, as the file would write it."""
    return tuple(by_field(match).values())


def by_field(match: Match) -> dict[str, str]:
    """Word every field that is set, under the name of its test."""
    lists = {
        "kind": match.kind,
        "tool": match.tool,
        "operation": match.operation,
        "provider": match.provider,
        "payee": match.payee,
        "payee_basis": match.payee_basis,
        "currency": match.currency,
        "mode": match.mode,
        "project": match.project,
        "agent": match.agent,
        "amount.up_to": match.up_to,
        "amount.above": match.above,
    }
    said = {name: f"{name.replace('.', ' ')}: {_some(values)}" for name, values in lists.items() if values}
    if match.payee_in is not None:
        said["payee.in_list"] = f"payee in_list: {match.payee_in}"
    flags = {
        "payee_known": match.payee_known,
        "recurring": match.recurring,
        "reversible": match.reversible,
    }
    said |= {name: f"{name}: {str(flag).lower()}" for name, flag in flags.items() if flag is not None}
    said |= {f"args.{name}": f"args {name} {_argument(test)}" for name, test in match.args}
    if match.hours is not None:
        said["hours"] = f"hours: {_hours(match.hours)}"
    if match.sum_above is not None:
        wanted = match.sum_above
        said["sum_above"] = f"sum_above: {_some(wanted.amounts)} per {wanted.per} in {wanted.window}"
    if match.count_above is not None:
        said["count_above"] = _count(match.count_above)
    return said


def silent_where(rule: Rule) -> str:
    """Say when the rule would be silent; empty where it never is."""
    if rule.unless is None:
        return ""
    return f"rule '{rule.id}' is silent where {'; '.join(words(rule.unless))}"


def quantity(amount: int, unit: str) -> str:
    """Write an amount in a cap's unit: "12.00 USD", "2 calls"."""
    if unit != CALLS:
        return written(amount, unit)
    return "1 call" if amount == 1 else f"{amount} calls"


def cap_is_full(line: CapLine) -> str:
    """Say what is left, what was asked for, and what to do."""
    left, limit, asked = (quantity(part, line.unit) for part in (line.left, line.limit, line.asked))
    if line.unit == CALLS:
        verb = "was" if line.asked == 1 else "were"
        return f"cap '{line.id}' has {left} left of {limit}, {asked} {verb} asked for; raise it in {line.at}"
    less = "ask for less or " if line.left else ""
    return f"cap '{line.id}' has {left} left of {limit}, {asked} were asked for; {less}raise it in {line.at}"


def who_answers(asks: Iterable[Ask], twin: Twin | None) -> str:
    """Say which desks must agree, and that it looks like another call where it does."""
    desks = "', '".join([ask.desk.id for ask in asks])
    alike = "" if twin is None else f"; it looks like {twin.call_id} ({twin.state})"
    return f"a person decides: desk '{desks}'{alike}"


def line(
    plain: RuleLine, tests: Tests, unless: Tests | None, question: Question, *, in_doubt: bool
) -> RuleLine:
    """Return a rule's line with what is peculiar to this call: its sums, its counts, its doubts."""
    said = [*plain.matched, *looked_up(tests, question)]
    if in_doubt:
        doubts = [*tests.doubts(question)]
        if unless is not None:
            doubts += [f"unless {name}" for name in unless.doubts(question)]
        said.append(f"applies because in doubt: {', '.join(doubts)}")
    return RuleLine(plain.id, plain.at, plain.effect, plain.because, tuple(said))


def looked_up(tests: Tests, question: Question) -> list[str]:
    """Say what was found for a match's sum and count, where it was."""
    found = []
    so_far = question.facts.sums.get(tests.sum_key)
    if tests.match.sum_above is not None and so_far is not None and question.currency is not None:
        found.append(f"with this call the sum is {quantity(so_far + question.units, question.currency)}")
    calls = question.facts.counts.get(tests.count_key)
    if tests.match.count_above is not None and calls is not None:
        found.append(f"before this call: {quantity(calls, CALLS)}")
    return found


def _some(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values)


def _argument(test: ArgTest) -> str:
    parts = []
    if test.equals is not None:
        parts.append(f"equals {_scalar(test.equals)}")
    if test.one_of:
        parts.append(f"in {_some(map(_scalar, test.one_of))}")
    if test.up_to is not None:
        parts.append(f"up_to {test.up_to}")
    if test.above is not None:
        parts.append(f"above {test.above}")
    return " and ".join(parts)


def _scalar(value: str | int) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hours(hours: Hours) -> str:
    days = "every day" if len(hours.days) == len(_DAYS) else _some(_DAYS[day] for day in hours.days)
    if hours.from_minute == 0 and hours.to_minute == Hours().to_minute:
        return days
    return f"{days}, {_clock(hours.from_minute)} to {_clock(hours.to_minute)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _count(wanted: CountAbove) -> str:
    ended = f" that ended {wanted.outcome}" if wanted.outcome else ""
    return f"count_above: {wanted.count} calls{ended} per {wanted.per} in {wanted.window}"
