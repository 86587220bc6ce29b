"""What may happen? Two pure functions: what must be known about a call, and what the policy says to it.

`needs(policy, call)` names the facts, somebody gathers them, `decide(policy, call, facts)` answers. The same
three always give the same answer: there is no clock, no randomness and no lookup in here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from policy import explain, refusing
from policy.capping import cap_needs, reserves, weigh
from policy.compiled import (
    HUMAN_ONLY_DESK,
    OWNERS_DESK,
    SCOPE_KEYS,
    Asked,
    Candidates,
    CompiledRule,
    Speaking,
    compile_policy,
    speaking,
)
from policy.language import Answer, CountAbove, Kind, Policy, SumAbove
from policy.matching import COUNTED, HOUSE_PROVIDER, MONEY_OUT, Question, Tests, is_human_only
from policy.model import Ask, Call, CountNeed, Decision, Facts, Needs, RuleLine, SumNeed, Twin
from policy.refusing import Refusal

_NOTHING_KNOWN: Final = Facts(now=datetime(1970, 1, 1, tzinfo=UTC))
_TWIN_UNSURE: Final = "unknown"  # A twin that may have been bought: owners answer, whoever else does.
_NOBODY_ASKED: Final = Asked(asks=(), message="", would_change=())
_SETS_KEPT: Final = 1_024  # Of all sorts of calls together, so that no caller can fill the memory with names.


def needs(policy: Policy, call: Call) -> Needs:
    """Name every fact that `decide` will ask for about this call, and none that could not matter."""
    if call.core:
        return Needs(timezone=policy.timezone)
    compiled = compile_policy(policy)
    question = Question(call, _NOTHING_KNOWN, compiled.tz)
    found = compiled.candidates(call.tool, call.effect, question.currency)
    usage, earned = cap_needs(found.caps, question)
    asked = _lookups(found, question) if found.looks_up else _NO_LOOKUPS
    ask_payee = found.caps_ask_payee or asked.payee
    return Needs(
        usage=usage,
        earned=earned,
        sums=tuple(asked.sums),
        counts=tuple(asked.counts),
        payee_known=ask_payee and question.payee is not None and not compiled.vendors(question),
        twin=found.money_out,
        waiting=found.money_out or found.human_only or _may_wait(found, question),
        timezone=policy.timezone,
    )


def decide(policy: Policy, call: Call, facts: Facts) -> Decision:
    """Judge one call.

    Deny overrides require_approval overrides allow; silence is a denial (a human-only effect asks owners
    instead); obligations of all matching rules add up; the order of rules never matters. A core tool passes.

    Else the first of these denies: a deny rule, the posture, live money without its yeses, silence, money in
    no amount, live money without cover, twins not looked for, a cap, too much waiting already. What is not
    known denies. What is left asks every desk that a rule names, and owners for a twin; or it is allowed.
    """
    if call.core:
        return Decision(answer=Answer.ALLOW, policy_sha256=policy.sha256)
    hearing = _Hearing(policy, call, facts)
    found, question = hearing.found, hearing.question

    denies = speaking(found.denies, question)
    if denies:
        refusal = refusing.by_rules([rule for rule, _ in denies], found, question)
        return hearing.deny(refusal, _lines(denies, question))

    own = call.own and _takes_back_its_own(call)
    asking = [] if own else speaking(found.approvals, question)
    allowing = [] if asking else speaking(found.allows, question)
    asked = _NOBODY_ASKED if own else hearing.asks(asking)
    refused = hearing.refusal(silent=not (own or asking or allowing), waits=bool(asked.asks))
    if refused is not None:
        return hearing.deny(refused)
    if asked.asks:
        return hearing.ask(asked, asking)
    return hearing.allow(_lines(allowing, question))


class _Hearing:
    """One call before its policy: what every answer is made of."""

    __slots__ = ("facts", "found", "policy", "question", "shadows", "twin", "weighed")

    def __init__(self, policy: Policy, call: Call, facts: Facts) -> None:
        compiled = compile_policy(policy)
        self.policy = policy
        self.facts = facts
        self.question = Question(call, facts, compiled.tz)
        self.found = compiled.candidates(call.tool, call.effect, self.question.currency)
        self.weighed = weigh(self.found.caps, self.question)
        self.twin: Twin | None = None
        if self.found.money_out and facts.twin_checked:
            self.twin = facts.twin
        shadows = self.found.shadows
        self.shadows = _lines(speaking(shadows, self.question), self.question) if shadows else ()

    def refusal(self, *, silent: bool, waits: bool) -> Refusal | None:
        """Return the first reason to deny that is no rule, in the order that `decide` promises."""
        found, question, weighed = self.found, self.question, self.weighed
        refused = refusing.by_posture(found, question)
        if refused is None and found.live_spend:
            refused = refusing.by_live_spend(question, self.policy)
        if refused is None and silent and not found.human_only:
            refused = refusing.by_silence(found, question)
        if refused is None and found.money_out:
            refused = refusing.by_money(found, question, weighed)
        if refused is None and weighed.refusing:
            refused = refusing.by_caps(weighed, question)
        if refused is None and waits:
            refused = refusing.by_waiting(self.policy, weighed, question)
        return refused

    def asks(self, asking: Speaking) -> Asked:
        """Return every desk that must agree, each with the rules that ask it, sorted by desk."""
        rules = tuple([rule for rule, _ in asking])
        if self.twin is not None:
            return _asked(rules, self.twin, human_only=self.found.human_only)
        known = self.found.asked.get(rules)
        if known is None:
            if len(self.found.asked) >= _SETS_KEPT:
                self.found.asked.clear()
            known = self.found.asked[rules] = _asked(rules, None, human_only=self.found.human_only)
        return known

    def deny(self, refusal: Refusal, rules: tuple[RuleLine, ...] = ()) -> Decision:
        """Answer no; nothing is reserved and nobody is asked."""
        return Decision(
            answer=Answer.DENY,
            rules=rules,
            shadows=self.shadows,
            caps=tuple(self.weighed.lines),
            twin=self.twin,
            code=refusal.code,
            message=refusal.message,
            retry=refusal.retry,
            retry_at=refusal.retry_at,
            cap=refusal.cap,
            would_change=refusal.would_change,
            policy_sha256=self.policy.sha256,
        )

    def ask(self, asked: Asked, asking: Speaking) -> Decision:
        """Answer that people must agree; what it would cost is held meanwhile."""
        held = self._held_reason()
        return Decision(
            answer=Answer.REQUIRE_APPROVAL,
            rules=_lines(asking, self.question),
            shadows=self.shadows,
            caps=tuple(self.weighed.lines),
            reserves=reserves(self.weighed, self.question),
            asks=asked.asks,
            twin=self.twin,
            message=asked.message,
            would_change=asked.would_change,
            policy_sha256=self.policy.sha256,
            held_reason=held,
            missing=self.facts.missing if held else (),
        )

    def allow(self, rules: tuple[RuleLine, ...]) -> Decision:
        """Answer yes, and say what must be reserved."""
        held = self._held_reason()
        return Decision(
            answer=Answer.ALLOW,
            rules=rules,
            shadows=self.shadows,
            caps=tuple(self.weighed.lines),
            reserves=reserves(self.weighed, self.question),
            policy_sha256=self.policy.sha256,
            held_reason=held,
            missing=self.facts.missing if held else (),
        )

    def _held_reason(self) -> str:
        """Say why the call must wait in the queue although it may run; readiness holds, it never denies."""
        ready = self.facts.ready is True or self.question.effect.provider == HOUSE_PROVIDER
        return "" if ready else "not_ready"


def _takes_back_its_own(call: Call) -> bool:
    """Say whether it ends the caller's own call or instrument, which only a deny naming the tool may stop."""
    return call.own and call.effect.kind is Kind.WITHDRAW and not is_human_only(call.effect)


def _asked(rules: tuple[CompiledRule, ...], twin: Twin | None, *, human_only: bool) -> Asked:
    """Add up whom these rules, the effect itself and its twin ask."""
    by_desk: dict[str, list[CompiledRule]] = {}
    for rule in rules:
        by_desk.setdefault(rule.desk.id, []).append(rule)
    asks = [Ask(among[0].desk, tuple(rule.id for rule in among)) for _, among in sorted(by_desk.items())]
    if human_only and not asks:
        asks.append(Ask(HUMAN_ONLY_DESK, ()))
    # M26: owners, where nobody else is asked, and always where the twin may have been bought.
    twin_asks = twin is not None and (not asks or twin.state == _TWIN_UNSURE)
    if twin_asks and OWNERS_DESK.id not in by_desk:
        asks.append(Ask(OWNERS_DESK, ()))
    return Asked(
        asks=tuple(asks),
        message=explain.who_answers(asks, twin),
        would_change=tuple(rule.silent_where for rule in rules if rule.silent_where),
    )


def _lines(rules: Speaking, question: Question) -> tuple[RuleLine, ...]:
    """Return each rule's line; only what depends on this call is worded now."""
    return tuple(
        [
            rule.line
            if truth and not rule.varies
            else explain.line(rule.line, rule.match, rule.unless, question, in_doubt=not truth)
            for rule, truth in rules
        ]
    )


class _Lookups(Struct, frozen=True, gc=False):
    """What rules must be told before they can speak."""

    sums: Sequence[SumNeed]
    counts: Sequence[CountNeed]
    payee: bool


_NO_LOOKUPS: Final = _Lookups((), (), payee=False)


def _lookups(found: Candidates, question: Question) -> _Lookups:
    """Ask for the facts of each match and unless that could still make its rule speak."""
    sums: list[SumNeed] = []
    counts: list[CountNeed] = []
    payee = False
    for rule in found.looks_up:
        if not rule.may_apply(question):
            continue
        for part in rule.parts:
            match = part.match
            payee = payee or match.payee_known is not None
            if match.sum_above is not None:
                sums += _sum_need(part, match.sum_above, question)
            if match.count_above is not None:
                counts += _count_need(part, match.count_above, question)
    return _Lookups(sums, counts, payee)


def _sum_need(part: Tests, wanted: SumAbove, question: Question) -> Sequence[SumNeed]:
    kinds = part.match.kind or MONEY_OUT
    effect, currency = question.effect, question.currency
    if effect.kind not in kinds or currency is None:
        return ()
    key = SCOPE_KEYS[wanted.per](question)
    return (SumNeed(part.sum_key, wanted.per, key, currency, effect.mode, wanted.window, kinds),)


def _count_need(part: Tests, wanted: CountAbove, question: Question) -> Sequence[CountNeed]:
    kinds = part.match.kind or COUNTED
    effect = question.effect
    if effect.kind not in kinds:
        return ()
    key = SCOPE_KEYS[wanted.per](question)
    return (CountNeed(part.count_key, wanted.per, key, effect.mode, wanted.window, kinds, wanted.outcome),)


def _may_wait(found: Candidates, question: Question) -> bool:
    """Say whether a rule might ask a person, so that what already waits must be counted (M17)."""
    if _takes_back_its_own(question.call):
        return False
    return any(rule.may_apply(question) for rule in found.approvals)
