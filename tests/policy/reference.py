"""A second, naive judge, written from the documentation alone and sharing no code with `policy.decide`.

It reads a rule at a time, keeps nothing between calls, and says yes, no or doubt for every field. Where it
and the real judge differ, one of them misread the page; tests/policy/test_reference.py looks for such cases.
"""
# ruff: noqa: D103, FBT001, PLR0911 -- naive on purpose: short words, plain flags, one return per paragraph

from __future__ import annotations

from dataclasses import dataclass, field

from policy.model import (
    Call,
    Cap,
    Facts,
    Kind,
    Mode,
    Policy,
    Posture,
    Rule,
    Scope,
    WindowKind,
)
from tests.policy.reference_fields import NO, YES, amount, matches

HUMAN_OPERATIONS = {"refund", "dispute_answer", "account_delete", "legal_incident", "credential_change"}


@dataclass
class Verdict:
    """What the naive judge says, in plain containers that are easy to compare."""

    answer: str = ""
    code: str = ""
    rules: set[str] = field(default_factory=set)
    shadows: set[str] = field(default_factory=set)
    asks: dict[str, set[str]] = field(default_factory=dict)
    caps: dict[str, tuple[int, int, int, bool]] = field(default_factory=dict)
    reserves: dict[str, tuple[str, str, int, int]] = field(default_factory=dict)
    cap: str | None = None
    twin: str | None = None
    held: str = ""
    unknown: set[str] = field(default_factory=set, compare=False)  # Caps about which something is missing.
    binding: set[str] = field(default_factory=set, compare=False)


def judge(policy: Policy, call: Call, facts: Facts) -> Verdict:
    """Judge one call by the book, one paragraph of it after the other."""
    verdict = Verdict()
    if call.core:
        verdict.answer = "allow"
        return verdict
    for rule in policy.rules:
        if rule.shadow and speaks(rule, policy, call, facts):
            verdict.shadows.add(rule.id)
    denies = {
        r.id for r in policy.rules if r.effect == "deny" and not r.shadow and speaks(r, policy, call, facts)
    }
    asking = [
        r
        for r in policy.rules
        if r.effect == "require_approval" and not r.shadow and speaks(r, policy, call, facts)
    ]
    allows = {
        r.id for r in policy.rules if r.effect == "allow" and not r.shadow and speaks(r, policy, call, facts)
    }
    if money_out(call) and facts.twin_checked and facts.twin is not None:
        verdict.twin = facts.twin.call_id
    if facts.ready is not True and call.effect.provider != "bursar":
        verdict.held = "not_ready"
    look_at_caps(verdict, policy, call, facts)
    code = first_refusal(verdict, policy, call, facts, bool(denies), bool(asking or allows))
    asks = desks(verdict, policy, call, asking, facts.twin.state if facts.twin else "")
    if not code and asks:
        code = waiting_refusal(policy, facts, verdict)
    if code:
        verdict.answer, verdict.code, verdict.rules = "deny", code, denies
        verdict.reserves, verdict.held = {}, ""
    elif asks:
        verdict.answer, verdict.asks, verdict.rules = "require_approval", asks, {r.id for r in asking}
        if own_withdrawal(call):
            verdict.rules = set()
    else:
        verdict.answer, verdict.rules = "allow", allows
    return verdict


# --- who may not, whatever the rules say ----------------------------------------------------------------


def first_refusal(
    verdict: Verdict, policy: Policy, call: Call, facts: Facts, denied: bool, spoken: bool
) -> str:
    """Name the first reason for a denial, in the order the page lists them."""
    if denied:
        return "denied_by_rule"
    closed = posture_closes(call, facts)
    if closed:
        return closed
    effect = call.effect
    live = money_out(call) and effect.mode not in (Mode.TEST, Mode.SIMULATED)
    if live:
        yeses = (
            policy.live_spend.enabled,
            effect.provider in policy.live_spend.providers,
            facts.live_spend is True,
        )
        if not all(yeses):
            return "live_spend_off"
    if not spoken and not human(call) and not own_withdrawal(call):
        return "no_rule"
    if money_out(call) and amount(call) is None:
        return "fact_missing"
    if live and not covered(policy, verdict):
        return "live_spend_uncovered"
    if money_out(call) and not facts.twin_checked:
        return "fact_missing"
    return caps_refuse(verdict, policy, facts)


def posture_closes(call: Call, facts: Facts) -> str:
    """no_spend closes spend and provision, draft_only also earn and human-only, read_only also draft."""
    closed_by = {
        Kind.SPEND: ("no_spend", "draft_only", "read_only"),
        Kind.PROVISION: ("no_spend", "draft_only", "read_only"),
        Kind.EARN: ("draft_only", "read_only"),
        Kind.HUMAN_ONLY: ("draft_only", "read_only"),
        Kind.DRAFT: ("read_only",),
    }
    postures: set[str] = set(closed_by.get(call.effect.kind, ()))
    if human(call):
        postures |= {"draft_only", "read_only"}
    if not postures:
        return ""
    if facts.posture is None:
        return "fact_missing"
    return "posture_closed" if Posture(facts.posture).value in postures else ""


def waiting_refusal(policy: Policy, facts: Facts, verdict: Verdict) -> str:
    """M17: twenty requests, a quarter of each account or project money cap; a lone one may be larger."""
    if facts.claiming:
        return ""
    if facts.open_requests is None:
        return "fact_missing"
    if facts.open_requests >= policy.limits.open_requests:
        return "too_many_requests"
    for cap in sorted(policy.caps, key=lambda each: each.id):
        if cap.id not in verdict.caps or cap.limit.money is None or cap.window.kind == WindowKind.CALL:
            continue
        if cap.per not in (Scope.ACCOUNT, Scope.PROJECT):
            continue
        waiting = facts.usage[cap.id].agent_waiting
        limit = cap.limit.money.minor_units
        asked = verdict.caps[cap.id][2]
        if waiting > 0 and (waiting + asked) / 1 * 100 > limit * policy.limits.held_share_percent:
            verdict.cap = cap.id
            return "held_share_exceeded"
    return ""


def human(call: Call) -> bool:
    return call.effect.kind == "human_only" or call.effect.operation in HUMAN_OPERATIONS


def own_withdrawal(call: Call) -> bool:
    return call.own and call.effect.kind == "withdraw" and not human(call)


def money_out(call: Call) -> bool:
    return call.effect.kind in ("spend", "provision")


def desks(
    verdict: Verdict, policy: Policy, call: Call, asking: list[Rule], twin_state: str
) -> dict[str, set[str]]:
    """Every desk any rule asks; owners for a human-only call nobody speaks of, and for a twin."""
    found: dict[str, set[str]] = {}
    if own_withdrawal(call):
        return found
    known = {desk.id for desk in policy.desks}
    for rule in asking:
        desk = rule.approval if rule.approval in known else "built-in:owners"
        found.setdefault(desk or "built-in:owners", set()).add(rule.id)
    if human(call) and not asking:
        found["built-in:human-only"] = set()
    unsure = verdict.twin is not None and twin_state == "unknown"
    if verdict.twin and (not found or unsure):
        found.setdefault("built-in:owners", set())
    return found


# --- rules ------------------------------------------------------------------------------------------------


def speaks(rule: Rule, policy: Policy, call: Call, facts: Facts) -> bool:
    """In doubt a deny or an approval rule applies and an allow rule does not; `unless` silences."""
    withdraws = call.effect.kind == "withdraw" and not human(call)
    if rule.effect == "deny" and withdraws and call.tool not in rule.match.tool:
        return False  # Only a deny that names the tool stops a withdrawal.
    if rule.effect == "allow" and human(call):
        return False
    matched = matches(rule.match, rule, policy, call, facts, "")
    silenced = NO
    if rule.unless is not None:
        silenced = matches(rule.unless, rule, policy, call, facts, "unless")
    if rule.effect == "allow":
        return matched == YES and silenced == NO
    return matched != NO and silenced != YES


# --- caps -------------------------------------------------------------------------------------------------


def look_at_caps(verdict: Verdict, policy: Policy, call: Call, facts: Facts) -> None:
    """M10: every cap binds by itself each call that its kind of count, currency, mode and match fit."""
    for cap in policy.caps:
        asked = asks_of(cap, call)
        if asked is None:
            continue
        if cap.match is not None and matches(cap.match, None, policy, call, facts, "") == NO:
            continue
        verdict.binding.add(cap.id)
        limit = limit_of(cap, facts)
        used: int | None = 0
        if cap.window.kind != WindowKind.CALL:
            usage = facts.usage.get(cap.id)
            used = None if usage is None else usage.posted + usage.held
        if limit is None or used is None:
            verdict.unknown.add(cap.id)
            continue
        fits = used + asked[1] <= limit and not in_the_red(cap, facts)
        verdict.caps[cap.id] = (limit, used, asked[1], fits)
        if cap.window.kind != WindowKind.CALL:
            verdict.reserves[cap.id] = (scope_key(cap, call), asked[0], asked[1], limit)


def asks_of(cap: Cap, call: Call) -> tuple[str, int] | None:
    kind = call.effect.kind
    if cap.limit.calls is not None:
        return ("calls", 1) if kind in ("draft", "earn", "spend", "provision") else None
    money = amount(call)
    if kind not in ("spend", "provision") or money is None:
        return None
    currency = cap.limit.money.currency if cap.limit.money else (cap.limit.currency or money.currency)
    return (currency, money.minor_units) if currency == money.currency else None


def limit_of(cap: Cap, facts: Facts) -> int | None:
    if cap.limit.calls is not None:
        return cap.limit.calls
    if cap.limit.money is not None:
        return cap.limit.money.minor_units
    earned = facts.earned.get(cap.id)
    if earned is None:
        return None
    return max(0, earned) * min(100, cap.limit.percent_of_earned or 0) // 100


def in_the_red(cap: Cap, facts: Facts) -> bool:
    return cap.limit.percent_of_earned is not None and facts.earned.get(cap.id, 0) < 0


def caps_refuse(verdict: Verdict, policy: Policy, facts: Facts) -> str:
    """The refusing cap that comes first by name is the one named; what is not known refuses first of all."""
    by_id = {cap.id: cap for cap in policy.caps}
    refusing = sorted(name for name, (_, _, _, fits) in verdict.caps.items() if not fits)
    if verdict.unknown:
        verdict.cap = min(verdict.unknown)
        return "fact_missing"
    if not refusing:
        return ""
    verdict.cap = refusing[0]
    return "earned_below_zero" if in_the_red(by_id[refusing[0]], facts) else "cap_exceeded"


def covered(policy: Policy, verdict: Verdict) -> bool:
    """An account-wide money cap over a day, a month or at least 24 hours, in this currency, that binds it."""
    return any(
        cap.id in verdict.binding
        and cap.per == Scope.ACCOUNT
        and cap.limit.money is not None
        and (cap.window.kind in (WindowKind.DAY, WindowKind.MONTH) or cap.window.seconds >= 24 * 60 * 60)
        for cap in policy.caps
    )


def scope_key(cap: Cap, call: Call) -> str:
    return {
        "account": call.account,
        "project": call.project,
        "run": call.run,
        "agent": call.agent,
        "provider": call.effect.provider,
        "payee": (call.effect.payee or "").casefold(),
        "tool": call.tool,
    }[cap.per]
