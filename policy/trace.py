"""A decision step by step: what every rule said to a call, and where it stopped speaking.

`policy.decide` answers; this only tells the story, rule by rule in the order of the file, for a reader.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from policy.compiled import CompiledRule, compile_policy, fits
from policy.language import Answer, Kind, Mark, Match, Policy
from policy.matching import Question, Tests, is_human_only
from policy.model import Call, Facts

Says = Literal["speaks", "in doubt", "silent"]


class RuleStep(Struct, frozen=True, kw_only=True):
    """What one rule said: whether it speaks, and why or why not."""

    id: str
    at: Mark
    effect: Answer
    shadow: bool
    says: Says
    reasons: tuple[str, ...]


def trace(policy: Policy, call: Call, facts: Facts) -> tuple[RuleStep, ...]:
    """Return what each rule of the policy said to the call, in the order of the file."""
    compiled = compile_policy(policy)
    question = Question(call, facts, compiled.tz)
    by_line = sorted(compiled.rules, key=lambda one: (one.rule.at.line, one.rule.at.column))
    return tuple(_step(one, question) for one in by_line)


def _step(one: CompiledRule, question: Question) -> RuleStep:
    says, reasons = _said(one, question)
    rule = one.rule
    return RuleStep(
        id=rule.id, at=rule.at, effect=rule.effect, shadow=rule.shadow, says=says, reasons=tuple(reasons)
    )


def _said(one: CompiledRule, question: Question) -> tuple[Says, list[str]]:
    missed = _out_of_the_question(one, question)
    missed = missed or [f"{name} does not hold" for name in _where(one.match, question, said=False)]
    if missed:
        return "silent", missed
    unless = one.for_sort(question.call.tool, question.call.effect).unless
    if unless is not None and unless.truth(question) is True:
        return "silent", ["its 'unless' holds"]
    doubts = [f"{name} cannot be known" for name in _where(one.match, question, said=None)]
    if unless is not None and unless.truth(question) is None:
        doubts.append("whether its 'unless' holds cannot be known")
    if not doubts:
        return "speaks", list(one.line.matched)
    return ("silent" if one.allows else "in doubt"), doubts


def _out_of_the_question(one: CompiledRule, question: Question) -> list[str]:
    """Say why the rule cannot concern this sort of call at all."""
    call, effect = question.call, question.call.effect
    if not fits(one.rule.match, call.tool, effect):
        return [f"{field} is not this one" for field in _misfits(one.rule.match, question)]
    if one.allows and is_human_only(effect):
        return ["an allow never speaks for what only a person may do"]
    denies = one.rule.effect is Answer.DENY
    if denies and effect.kind is Kind.WITHDRAW and call.tool not in one.rule.match.tool:
        return ["only a deny that names the tool stops a withdrawal"]
    return []


def _where(tests: Tests, question: Question, *, said: bool | None) -> list[str]:
    """Name the fields whose test answers so."""
    return [name for name, test in zip(tests.names, tests.every, strict=True) if test(question) is said]


def _misfits(match: Match, question: Question) -> list[str]:
    """Name which of kind, tool, operation, provider and mode is another."""
    call, effect = question.call, question.call.effect
    alone = {
        "kind": Match(kind=match.kind),
        "tool": Match(tool=match.tool),
        "operation": Match(operation=match.operation),
        "provider": Match(provider=match.provider),
        "mode": Match(mode=match.mode),
    }
    return [field for field, part in alone.items() if not fits(part, call.tool, effect)]
