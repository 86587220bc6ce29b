"""What may happen? Two pure functions: what must be known about a call, and what the policy says to it.

`needs(policy, call)` names the facts, somebody gathers them, `decide(policy, call, facts)` answers. The same
three always give the same answer: there is no clock, no randomness and no lookup in here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from policy import explain, refusing
from policy.capping import cap_needs, reserves, weigh
from policy.compiled import (
    HUMAN_ONLY_DESK,
    OWNERS_DESK,
    SCOPE_KEYS,
    Candidates,
    CompiledRule,
    Speaking,
    compile_policy,
    speaking,
)
from policy.language import Answer, Kind, Policy
from policy.matching import COUNTED, MONEY_OUT, Question, Tests, Truth, is_human_only
from policy.model import Ask, Call, CountNeed, Decision, Facts, Needs, RuleLine, SumNeed, Twin
from policy.refusing import Refusal

_NOTHING_KNOWN: Final = Facts(now=datetime(1970, 1, 1, tzinfo=UTC))
_TWIN_UNSURE: Final = "unknown"  # A twin that may have been bought: owners answer, whoever else does.
_LEDGER_ONLY: Final = "bursar"  # The provider of tools that touch nothing but the ledger: always ready.


def needs(policy: Policy, call: Call) -> Needs:
    """Name every fact that `decide` will ask for about this call, and none that could not matter."""
    if call.core:
        return Needs(timezone=policy.timezone)
    compiled = compile_policy(policy)
    question = Question(call, _NOTHING_KNOWN, compiled.tz)
    found = compiled.candidates(call.tool, call.effect, question.currency)
    usage, earned = cap_needs(found.caps, question)
    parts = _parts_that_look_up(found, question) if found.looks_up else []
    ask_payee = found.caps_ask_payee or any(part.match.payee_known is not None for part in parts)
    payee = question.payee
    return Needs(
        usage=usage,
        earned=earned,
        sums=_sum_needs(parts, question) if parts else (),
        counts=_count_needs(parts, question) if parts else (),
        payee_known=ask_payee and payee is not None and not compiled.vendors(payee),
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
    asks = () if own else hearing.asks(asking)
    refused = hearing.refusal(silent=not (own or asking or allowing), waits=bool(asks))
    if refused is not None:
        return hearing.deny(refused)
    if asks:
        return hearing.ask(asks, asking)
    return hearing.allow(_lines(allowing, question))


class _Hearing:
    """One call before its policy: what every answer is made of."""

    __slots__ = ("desks", "facts", "found", "policy", "question", "shadows", "twin", "weighed")

    def __init__(self, policy: Policy, call: Call, facts: Facts) -> None:
        compiled = compile_policy(policy)
        self.policy = policy
        self.facts = facts
        self.desks = compiled.desks
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

    def asks(self, asking: Speaking) -> tuple[Ask, ...]:
        """Return every desk that must agree, each with the rules that ask it, sorted by desk."""
        if not asking and self.twin is None and not self.found.human_only:
            return ()
        by_desk: dict[str, list[str]] = {}
        for rule, _ in asking:
            desk = rule.rule.approval or ""
            by_desk.setdefault(desk if desk in self.desks else "", []).append(rule.id)
        asks = [Ask(self.desks.get(desk, OWNERS_DESK), tuple(by_desk[desk])) for desk in sorted(by_desk)]
        if self.found.human_only and not asks:
            asks.append(Ask(HUMAN_ONLY_DESK, ()))
        # M26: owners, where nobody else is asked, and always where the twin may have been bought.
        twin_asks = self.twin is not None and (not asks or self.twin.state == _TWIN_UNSURE)
        if twin_asks and all(ask.desk is not OWNERS_DESK for ask in asks):
            asks.append(Ask(OWNERS_DESK, ()))
        return tuple(asks)

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

    def ask(self, asks: tuple[Ask, ...], asking: Speaking) -> Decision:
        """Answer that people must agree; what it would cost is held meanwhile."""
        held = self._held_reason()
        silent = tuple([rule.silent_where for rule, _ in asking if rule.silent_where])
        return Decision(
            answer=Answer.REQUIRE_APPROVAL,
            rules=_lines(asking, self.question),
            shadows=self.shadows,
            caps=tuple(self.weighed.lines),
            reserves=reserves(self.weighed, self.question),
            asks=asks,
            twin=self.twin,
            message=explain.who_answers(asks, self.twin),
            would_change=silent,
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
        ready = self.facts.ready is True or self.question.effect.provider == _LEDGER_ONLY
        return "" if ready else "not_ready"


def _takes_back_its_own(call: Call) -> bool:
    """Say whether it ends the caller's own call or instrument, which only a deny naming the tool may stop."""
    return call.own and call.effect.kind is Kind.WITHDRAW and not is_human_only(call.effect)


def _lines(rules: Speaking, question: Question) -> tuple[RuleLine, ...]:
    """Return each rule's line; only what depends on this call is worded now."""
    return tuple([_line(rule, truth, question) for rule, truth in rules])


def _line(rule: CompiledRule, truth: Truth, question: Question) -> RuleLine:
    if truth and not rule.varies:
        return rule.line
    return explain.line(rule.line, rule.match, rule.unless, question, in_doubt=not truth)


def _parts_that_look_up(found: Candidates, question: Question) -> list[Tests]:
    """Return each match and unless whose facts could still make its rule speak."""
    return [part for rule in found.looks_up if rule.may_apply(question) for part in rule.parts]


def _sum_needs(parts: list[Tests], question: Question) -> tuple[SumNeed, ...]:
    sums = []
    for part in parts:
        wanted = part.match.sum_above
        kinds = part.match.kind or MONEY_OUT
        if wanted is not None and question.currency is not None and question.effect.kind in kinds:
            key = SCOPE_KEYS[wanted.per](question)
            mode = question.effect.mode
            sums.append(SumNeed(part.sum_key, wanted.per, key, question.currency, mode, wanted.window, kinds))
    return tuple(sums)


def _count_needs(parts: list[Tests], question: Question) -> tuple[CountNeed, ...]:
    counts = []
    for part in parts:
        wanted = part.match.count_above
        kinds = part.match.kind or COUNTED
        if wanted is not None and question.effect.kind in kinds:
            key = SCOPE_KEYS[wanted.per](question)
            mode = question.effect.mode
            outcome = wanted.outcome
            counts.append(CountNeed(part.count_key, wanted.per, key, mode, wanted.window, kinds, outcome))
    return tuple(counts)


def _may_wait(found: Candidates, question: Question) -> bool:
    """Say whether a rule might ask a person, so that what already waits must be counted (M17)."""
    if _takes_back_its_own(question.call):
        return False
    return any(rule.may_apply(question) for rule in found.approvals)
