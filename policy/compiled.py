"""A policy made ready for deciding: every rule and cap compiled once, and indexed by what they can apply to.

The index is by kind, tool, operation, provider, mode and currency, so that a call meets only what could
concern it, however long the file is. Compiling is a pure function of the policy; the memo only saves repeats.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import tzinfo
from operator import attrgetter
from typing import Final

from msgspec import Struct

from policy import explain, windows
from policy.explain import CALLS
from policy.language import (
    Answer,
    Cap,
    Desk,
    Kind,
    Mark,
    Mode,
    Policy,
    Posture,
    Rule,
    Scope,
    WindowKind,
)
from policy.matching import (
    COUNTED,
    KNOWN_PAYEES,
    MONEY_OUT,
    Question,
    Tests,
    Truth,
    compile_match,
    is_human_only,
    payee_among,
)
from policy.model import Ask, Effect, RuleLine
from policy.reach import covers_live_money, fits, passes_denies

_BROUGHT: Final = Mark("built in", 0, 0)
# M29: who answers for a human-only effect that no rule speaks of.
HUMAN_ONLY_DESK: Final = Desk(
    id="built-in:human-only", who=("role:owner",), at=_BROUGHT, expires_in_s=7 * 86_400, run_within_s=15 * 60
)
# M26: who answers for a purchase that looks like another one; also for a rule whose desk does not exist.
OWNERS_DESK: Final = Desk(
    id="built-in:owners", who=("role:owner",), at=_BROUGHT, expires_in_s=24 * 3_600, run_within_s=3_600
)

_PROVED_UNREAL: Final = (Mode.TEST, Mode.SIMULATED)
_CLOSED: Final[dict[Posture, tuple[Kind, ...]]] = {
    Posture.NORMAL: (),
    Posture.NO_SPEND: (Kind.SPEND, Kind.PROVISION),
    Posture.DRAFT_ONLY: (Kind.SPEND, Kind.PROVISION, Kind.EARN, Kind.HUMAN_ONLY),
    Posture.READ_ONLY: (Kind.SPEND, Kind.PROVISION, Kind.EARN, Kind.HUMAN_ONLY, Kind.DRAFT),
}
_TIMED: Final = ("hours", "sum_above", "count_above")  # Fields that time alone can turn.
_SHARED: Final = (Scope.ACCOUNT, Scope.PROJECT)
_POLICIES_KEPT: Final = 8  # The active one, a candidate, and what a replay compares; more is a test.
_SORTS_KEPT: Final = 4_096  # Far more sorts of calls than a house has; callers may ask about any name.


SCOPE_KEYS: Final[dict[Scope, Callable[[Question], str]]] = {
    Scope.ACCOUNT: attrgetter("call.account"),
    Scope.PROJECT: attrgetter("call.project"),
    Scope.RUN: attrgetter("call.run"),
    Scope.AGENT: attrgetter("call.agent"),
    Scope.PROVIDER: attrgetter("effect.provider"),
    Scope.PAYEE: lambda q: q.payee or "",  # All that name nobody share one.
    Scope.TOOL: attrgetter("call.tool"),
}


class CompiledRule:
    """One rule with its tests, and the texts that never change."""

    __slots__ = (
        "allows",
        "desk",
        "first",
        "id",
        "line",
        "match",
        "parts",
        "rule",
        "silent_where",
        "single",
        "timed",
        "unless",
        "varies",
    )

    def __init__(self, rule: Rule, policy: Policy) -> None:
        unless = rule.unless
        self.rule = rule
        self.id = rule.id
        self.allows = rule.effect is Answer.ALLOW
        self.desk = next((desk for desk in policy.desks if desk.id == rule.approval), OWNERS_DESK)
        self.match = compile_match(rule.match, lists=policy.lists, sum_key=rule.id, count_key=rule.id)
        self.first = self.match.every[0] if self.match.every else _holds
        self.unless: Tests | None = (
            None
            if unless is None
            else compile_match(
                unless,
                lists=policy.lists,
                sum_key=unless_key(rule.id) if rule.match.sum_above else rule.id,
                count_key=unless_key(rule.id) if rule.match.count_above else rule.id,
            )
        )
        self.single = self.unless is None and len(self.match.every) <= 1  # `first` is all it asks.
        self.parts = (self.match,) if self.unless is None else (self.match, self.unless)
        self.timed = any(name in _TIMED for part in self.parts for name in part.names)
        self.line = RuleLine(rule.id, rule.at, rule.effect, rule.because, explain.words(rule.match))
        self.silent_where = explain.silent_where(rule)
        self.varies = rule.match.sum_above is not None or rule.match.count_above is not None

    def applies(self, question: Question) -> Truth:
        """Say whether the rule speaks: True, False, or None where it speaks because of a doubt.

        In doubt a deny or an approval rule applies and an allow rule does not.
        """
        matched = self.match.truth(question)
        if matched is False:
            return False
        silenced = False if self.unless is None else self.unless.truth(question)
        if silenced is True:
            return False
        if matched is None or silenced is None:
            return False if self.allows else None
        return True

    def may_apply(self, question: Question) -> bool:
        """Say whether facts could still make the rule speak."""
        if self.match.truth_so_far(question) is False:
            return False
        return self.unless is None or self.unless.truth_so_far(question) is not True

    def for_sort(self, tool: str, effect: Effect) -> CompiledRule:
        """Return the rule as it stands for this sort of call: without an `unless` that cannot hold."""
        if self.unless is None or fits(self.unless.match, tool, effect):
            return self
        bare = copy.copy(self)
        bare.unless = None
        bare.single = len(self.match.every) <= 1
        bare.parts = (self.match,)
        bare.timed = any(name in _TIMED for name in self.match.names)
        return bare


Speaking = list[tuple[CompiledRule, Truth]]


def speaking(rules: tuple[CompiledRule, ...], question: Question) -> Speaking:
    """Return the rules that apply, each with True, or None where it applies because of a doubt."""
    found: Speaking = []
    for rule in rules:
        # Most rules end at their first test, so that one is asked before anything else is set up.
        speaks = rule.first(question)
        if speaks is False:
            continue
        if not speaks or not rule.single:
            speaks = rule.applies(question)
        if speaks is not False:
            found.append((rule, speaks))
    return found


class CompiledCap:
    """One cap with the tests of its match."""

    __slots__ = (
        "at",
        "cap",
        "counts_calls",
        "covers",
        "currency",
        "each_call",
        "earned",
        "fixed",
        "id",
        "key_of",
        "limit",
        "per",
        "plain",
        "shared",
        "tests",
        "unit",
        "window",
    )

    def __init__(self, cap: Cap, policy: Policy) -> None:
        limit = cap.limit
        kind = cap.window.kind
        self.cap = cap
        self.id = cap.id
        self.at = cap.at
        self.per = cap.per
        self.window = cap.window
        self.key_of = SCOPE_KEYS[cap.per]
        self.tests = _cap_tests(cap, policy)
        self.counts_calls = limit.calls is not None
        self.fixed = 1 if self.counts_calls else 0  # What each call adds; 0 for its amount.
        self.unit = CALLS if self.counts_calls else ""
        self.earned = limit.percent_of_earned is not None
        self.currency = limit.money.currency if limit.money else limit.currency
        self.limit = limit.money.minor_units if limit.money else limit.calls or 0
        self.each_call = kind is WindowKind.CALL
        # Its limit is fixed, its usage is looked up, and it binds every call of its sort.
        self.plain = not self.earned and not self.each_call and self.tests is None
        self.covers = covers_live_money(cap)
        self.shared = limit.money is not None and cap.per in _SHARED and not self.each_call

    def kept_in(self, currency: str | None) -> CompiledCap:
        """Return the cap as it is kept for calls in this currency."""
        if self.counts_calls:
            return self
        kept = copy.copy(self)
        kept.unit = currency or ""
        return kept

    def concerns(self, tool: str, effect: Effect, currency: str | None) -> bool:
        """Say whether it can bind this sort of call (M10), by what it counts, its currency and its match."""
        if self.cap.match is not None and not fits(self.cap.match, tool, effect):
            return False
        if self.counts_calls:
            return effect.kind in COUNTED
        ours = currency is not None and (self.currency is None or self.currency == currency)
        return ours and effect.kind in MONEY_OUT


class Asked(Struct, frozen=True, kw_only=True):
    """What some rules together ask for: which desks must agree, and how that is said."""

    asks: tuple[Ask, ...]
    message: str
    would_change: tuple[str, ...]


AskedSets = dict[tuple[CompiledRule, ...], Asked]


class Candidates(Struct, frozen=True, kw_only=True):
    """All that can concern one sort of call, each group sorted by id: the file's order is forgotten."""

    human_only: bool
    money_out: bool
    live_spend: bool  # Live money that leaves; what is neither test nor simulated counts as live (M30).
    closed_by: tuple[Posture, ...]
    denies: tuple[CompiledRule, ...]
    approvals: tuple[CompiledRule, ...]
    allows: tuple[CompiledRule, ...]
    shadows: tuple[CompiledRule, ...]
    caps: tuple[CompiledCap, ...]
    looks_up: tuple[CompiledRule, ...]  # Those with a sum, a count or a known payee to look up.
    caps_ask_payee: bool
    # What rules that spoke together asked for, so that the same words are not put together for every call.
    asked: AskedSets


class Compiled:
    """One policy, ready to decide."""

    __slots__ = ("_asked", "_index", "caps", "policy", "rules", "tz", "vendors")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tz = _zone(policy.timezone)
        self.rules = sorted(
            (CompiledRule(rule, policy) for rule in policy.rules), key=lambda one: (one.id, one.rule.at.line)
        )
        self.caps = sorted((CompiledCap(cap, policy) for cap in policy.caps), key=lambda one: one.id)
        self.vendors = payee_among(policy.lists.get(KNOWN_PAYEES, ()))
        # By whether they are human-only. Kept for all sorts of calls together, which share what was asked.
        self._asked: tuple[AskedSets, AskedSets] = ({}, {})
        self._index: dict[tuple[str, Kind, Mode, str, str, str | None], Candidates] = {}

    def candidates(self, tool: str, effect: Effect, currency: str | None) -> Candidates:
        """Return the rules and caps that could concern this tool doing this sort of thing."""
        key = (tool, effect.kind, effect.mode, effect.operation, effect.provider, currency)
        found = self._index.get(key)
        if found is None:
            if len(self._index) >= _SORTS_KEPT:
                self._index.clear()
            found = self._index[key] = self._gather(tool, effect, currency)
        return found

    def _gather(self, tool: str, effect: Effect, currency: str | None) -> Candidates:
        rules = [one.for_sort(tool, effect) for one in self.rules if _concerns(one.rule, tool, effect)]
        caps = tuple(cap.kept_in(currency) for cap in self.caps if cap.concerns(tool, effect, currency))
        acting = [rule for rule in rules if not rule.rule.shadow]
        human = is_human_only(effect)
        money_out = effect.kind in MONEY_OUT
        return Candidates(
            human_only=human,
            money_out=money_out,
            live_spend=money_out and effect.mode not in _PROVED_UNREAL,
            closed_by=tuple(
                posture
                for posture, kinds in _CLOSED.items()
                if effect.kind in kinds or (human and Kind.HUMAN_ONLY in kinds)
            ),
            denies=tuple(rule for rule in acting if rule.rule.effect is Answer.DENY),
            approvals=tuple(rule for rule in acting if rule.rule.effect is Answer.REQUIRE_APPROVAL),
            allows=tuple(rule for rule in acting if rule.allows),
            shadows=tuple(rule for rule in rules if rule.rule.shadow),
            caps=caps,
            looks_up=tuple(rule for rule in rules if _looks_up(rule)),
            caps_ask_payee=any(cap.cap.match and cap.cap.match.payee_known is not None for cap in caps),
            asked=self._asked[human],
        )


_memo: dict[int, Compiled] = {}


def compile_policy(policy: Policy) -> Compiled:
    """Compile a policy, or return what was made of this very object before.

    Keyed by identity and not by hash of the file: a test or a replay may hold two policies of one hash. Each
    entry keeps its policy alive, so an identity is never reused while it is here.
    """
    found = _memo.get(id(policy))
    if found is not None and found.policy is policy:
        return found
    compiled = Compiled(policy)
    while len(_memo) >= _POLICIES_KEPT:
        _memo.pop(next(iter(_memo)), None)
    _memo[id(policy)] = compiled
    return compiled


def _holds(_question: Question) -> Truth:
    return True


def unless_key(rule_id: str) -> str:
    """Name the fact of an `unless` whose rule already has one of that sort in its `match`."""
    return f"{rule_id}:unless"


def _concerns(rule: Rule, tool: str, effect: Effect) -> bool:
    if not fits(rule.match, tool, effect):
        return False
    if rule.effect is Answer.ALLOW and is_human_only(effect):
        return False  # However wide an allow is, it never speaks for a human-only effect.
    return rule.effect is not Answer.DENY or not passes_denies(rule.match, tool, effect)


def _cap_tests(cap: Cap, policy: Policy) -> Tests | None:
    """Compile a cap's match; nobody looks up sums or counts for it, so these are in doubt and bind."""
    if cap.match is None:
        return None
    return compile_match(cap.match, lists=policy.lists, sum_key="", count_key="")


def _looks_up(rule: CompiledRule) -> bool:
    return any(name != "hours" for part in rule.parts for name in part.names[len(part.early) :])


def _zone(name: str) -> tzinfo | None:
    """Return the zone; None, so that hours are in doubt, where this machine does not know the name."""
    try:
        return windows.zone(name)
    except (KeyError, ValueError):
        return None
