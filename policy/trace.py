"""A decision step by step: what every rule said to a call, and where it stopped speaking.

`policy.decide` answers; this only tells the story, rule by rule in the order of the file, for a reader.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from policy import explain
from policy.compiled import CompiledRule, compile_policy
from policy.language import Answer, Mark, Match, Policy
from policy.matching import Question, Tests, is_human_only
from policy.model import Call, Facts
from policy.reach import fits, passes_denies

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
    if missed:
        return "silent", missed
    found = explain.looked_up(one.match, question)
    missed = [f"{field} does not hold" for field in _where(one.match, question, said=False)]
    if missed:
        return "silent", missed + found
    unless = one.for_sort(question.call.tool, question.call.effect).unless
    if unless is not None and unless.truth(question) is True:
        return "silent", ["its 'unless' holds"]
    doubts = [f"{name} cannot be known" for name in _where(one.match, question, said=None)]
    if unless is not None and unless.truth(question) is None:
        doubts.append("whether its 'unless' holds cannot be known")
    if not doubts:
        return "speaks", [*one.line.matched, *found]
    return ("silent" if one.allows else "in doubt"), doubts


def _out_of_the_question(one: CompiledRule, question: Question) -> list[str]:
    """Say why the rule cannot concern this sort of call at all."""
    call, effect = question.call, question.call.effect
    if not fits(one.rule.match, call.tool, effect):
        return _misfits(one.rule.match, question)
    if one.allows and is_human_only(effect):
        return ["an allow never speaks for what only a person may do"]
    if one.rule.effect is Answer.DENY and passes_denies(one.rule.match, call.tool, effect):
        return ["only a deny that names the tool stops a withdrawal"]
    return []


def _where(tests: Tests, question: Question, *, said: bool | None) -> list[str]:
    """Word the fields whose test answers so."""
    fields = explain.by_field(tests.match)
    return [
        fields[name] for name, test in zip(tests.names, tests.every, strict=True) if test(question) is said
    ]


def _misfits(match: Match, question: Question) -> list[str]:
    """Say which of kind, tool, operation, provider and mode is another."""
    call, effect = question.call, question.call.effect
    alone = {
        "kind": (Match(kind=match.kind), effect.kind),
        "tool": (Match(tool=match.tool), call.tool),
        "operation": (Match(operation=match.operation), effect.operation),
        "provider": (Match(provider=match.provider), effect.provider),
        "mode": (Match(mode=match.mode), effect.mode),
    }
    return [
        f"the call's {field} is {value}"
        for field, (part, value) in alone.items()
        if not fits(part, call.tool, effect)
    ]
