"""The fields of a match for the naive judge: each says yes, no or doubt, as the page on decisions has it."""
# ruff: noqa: D103, FBT001 -- naive on purpose: short words and plain flags

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from zoneinfo import ZoneInfo

from policy.model import (
    ArgTest,
    Call,
    Facts,
    Hours,
    Match,
    PayeeBasis,
    Policy,
    Rule,
)
from policy.money import Money

YES, NO, DOUBT = "yes", "no", "doubt"


def amount(call: Call) -> Money | None:
    """An amount that is absent, negative or at odds with its own first year is none at all."""
    effect = call.effect
    if effect.amount is None or effect.amount.minor_units < 0:
        return None
    if effect.recurring is not None and effect.recurring.first_year != effect.amount:
        return None
    return effect.amount


def matches(match: Match, rule: Rule | None, policy: Policy, call: Call, facts: Facts, part: str) -> str:
    """All fields that are set must hold: one no decides, else one doubt does."""
    answers = [
        *who_and_what(match, call),
        *payee_fields(match, policy, call, facts),
        *money_fields(match, call),
        *[argument(test, call.args.get(name)) for name, test in match.args],
    ]
    if match.hours is not None:
        answers.append(in_hours(match.hours, policy, facts))
    if match.sum_above is not None:
        answers.append(above_sum(match, rule, call, facts, part))
    if match.count_above is not None:
        answers.append(above_count(match, rule, call, facts, part))
    if NO in answers:
        return NO
    return DOUBT if DOUBT in answers else YES


def who_and_what(match: Match, call: Call) -> list[str]:
    effect = call.effect
    answers = []
    if match.kind:
        answers.append(yes(effect.kind in match.kind))
    if match.mode:
        answers.append(yes(effect.mode in match.mode))
    if match.project:
        answers.append(yes(call.project in match.project))
    if match.agent:
        answers.append(yes(call.agent in match.agent))
    if match.recurring is not None:
        answers.append(yes(match.recurring == (effect.recurring is not None)))
    if match.reversible is not None:
        answers.append(yes(match.reversible == effect.reversible))
    for patterns, text in (
        (match.tool, call.tool),
        (match.operation, effect.operation),
        (match.provider, effect.provider),
    ):
        if patterns:
            answers.append(yes(any(glob(p, text) for p in patterns)))
    return answers


def payee_fields(match: Match, policy: Policy, call: Call, facts: Facts) -> list[str]:
    """A payee is compared without regard to case; money that leaves to nobody named is in doubt."""
    nobody = DOUBT if call.effect.kind in ("spend", "provision", "human_only") else NO
    payee = call.effect.payee
    answers = []
    if match.payee:
        answers.append(nobody if payee is None else listed(match.payee, payee))
    if match.payee_in is not None:
        names = policy.lists.get(match.payee_in)
        if payee is None:
            answers.append(nobody)
        else:
            answers.append(DOUBT if names is None else listed(names, payee))
    if match.payee_known is not None:
        if payee is None:
            answers.append(nobody)
        else:
            answers.append(known_payee(match.payee_known, policy, payee, facts))
    if match.payee_basis:
        basis: PayeeBasis | None = call.effect.payee_basis
        answers.append(nobody if basis is None else yes(basis in match.payee_basis))
    return answers


def known_payee(wanted: bool, policy: Policy, payee: str, facts: Facts) -> str:
    """The list `vendors` decides, else the ledger, which knows names folded: what folds is in doubt."""
    vendor = listed(policy.lists.get("vendors", ()), payee)
    if vendor == YES:
        return yes(wanted)
    if facts.payee_known is None:
        return DOUBT
    if facts.payee_known:
        return yes(wanted) if payee.lower() == payee.casefold() else DOUBT
    return DOUBT if vendor == DOUBT else yes(not wanted)


def money_fields(match: Match, call: Call) -> list[str]:
    """M16: a bound in another currency cannot be evaluated."""
    money = amount(call)
    priced = call.effect.kind in ("earn", "spend", "provision", "human_only")
    none = DOUBT if priced or call.effect.amount is not None else NO
    answers = []
    if match.currency:
        answers.append(none if money is None else yes(money.currency in match.currency))
    for bounds, over in ((match.up_to, False), (match.above, True)):
        if not bounds:
            continue
        if money is None:
            answers.append(none)
            continue
        mine = [b for b in bounds if b.currency == money.currency]
        if not mine:
            answers.append(DOUBT)
        elif over:
            answers.append(yes(money.minor_units > mine[0].minor_units))
        else:
            answers.append(yes(money.minor_units <= mine[0].minor_units))
    return answers


def argument(test: ArgTest, value: object) -> str:
    """What is absent or of another type than the test's cannot be evaluated."""
    if isinstance(value, Enum):
        value = value.value
    answers = []
    plain = str(value) if isinstance(value, Money) else value
    if test.equals is not None:
        answers.append(yes(plain == test.equals) if same_type(plain, test.equals) else DOUBT)
    if test.one_of:
        alike = [each for each in test.one_of if same_type(plain, each)]
        answers.append(yes(plain in alike) if alike else DOUBT)
    for bound, over in ((test.up_to, False), (test.above, True)):
        if bound is not None:
            answers.append(bounded(value, bound, over))
    if NO in answers:
        return NO
    return DOUBT if DOUBT in answers else YES


def bounded(value: object, bound: Money | int, over: bool) -> str:
    if isinstance(bound, Money):
        if isinstance(value, str):
            try:
                value = Money.parse(value)
            except ValueError:
                return DOUBT
        if not isinstance(value, Money) or value.currency != bound.currency:
            return DOUBT
        value, bound = value.minor_units, bound.minor_units
    if isinstance(value, bool) or not isinstance(value, int):
        return DOUBT
    return yes(value > bound if over else value <= bound)


def in_hours(hours: Hours, policy: Policy, facts: Facts) -> str:
    """Count minutes of the local week from each beginning."""
    try:
        local = facts.now.astimezone(ZoneInfo(policy.timezone))
    except (KeyError, ValueError):
        return DOUBT
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    length = hours.to_minute - hours.from_minute
    if length < 0:
        length += 1440
    return yes(any((minute - day * 1440 - hours.from_minute) % 10080 < length for day in hours.days))


def above_sum(match: Match, rule: Rule | None, call: Call, facts: Facts, part: str) -> str:
    """The sum of spend and provision, or of the match's own kinds, with this call's amount, is above."""
    assert match.sum_above is not None
    if call.effect.kind not in (match.kind or ("spend", "provision")):
        return NO
    money = amount(call)
    bound = [b for b in match.sum_above.amounts if money is not None and b.currency == money.currency]
    twice = rule is not None and part == "unless" and rule.match.sum_above is not None
    so_far = looked_up(facts.sums, rule, twice)
    if money is None or not bound or so_far is None:
        return DOUBT
    return yes(so_far + money.minor_units > bound[0].minor_units)


def above_count(match: Match, rule: Rule | None, call: Call, facts: Facts, part: str) -> str:
    """Calls of draft, earn, spend, provision or the match's kinds; this one too, except with an outcome."""
    assert match.count_above is not None
    if call.effect.kind not in (match.kind or ("draft", "earn", "spend", "provision")):
        return NO
    twice = rule is not None and part == "unless" and rule.match.count_above is not None
    so_far = looked_up(facts.counts, rule, twice)
    if so_far is None:
        return DOUBT
    this = 0 if match.count_above.outcome else 1
    return yes(so_far + this > match.count_above.count)


def looked_up(found: Mapping[str, int], rule: Rule | None, twice: bool) -> int | None:
    """A cap's match asks for no sums. Where match and unless both ask, the second has its own name."""
    if rule is None:
        return None
    return found.get(rule.id + ":unless" if twice else rule.id)


# --- small words ------------------------------------------------------------------------------------------


def yes(answer: bool) -> str:
    return YES if answer else NO


def same_type(one: object, other: object) -> bool:
    return type(one) is type(other)


def listed(patterns: tuple[str, ...], payee: str) -> str:
    """One that surely fits decides; else one that might does."""
    answers = [names_payee(pattern, payee) for pattern in patterns]
    if YES in answers:
        return YES
    return DOUBT if DOUBT in answers else NO


def names_payee(pattern: str, payee: str) -> str:
    """Case never matters. In doubt: what only folds alike, and what is no host where a domain's `*` fits."""
    if glob(pattern.lower(), payee.lower()):
        of_hosts = "*" in pattern and "." in pattern
        host = all(letter.isalnum() or letter in "._-" for letter in payee)
        return YES if host or not of_hosts else DOUBT
    return DOUBT if glob(pattern.casefold(), payee.casefold()) else NO


def glob(pattern: str, text: str) -> bool:
    """`*` is any run of characters, `?` any one; everything else is itself."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (text != "" and glob(pattern, text[1:]))
    return text != "" and pattern[0] in ("?", text[0]) and glob(pattern[1:], text[1:])
