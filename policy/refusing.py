"""The reasons for a denial, each with its code, its words, and what would have to be different.

`policy.decide` asks them in a fixed order and takes the first; a reason that does not hold answers None.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from policy import explain, timing
from policy.capping import Weighed, exceeds_share, frees_at, in_the_red
from policy.compiled import Candidates, CompiledCap, CompiledRule
from policy.language import Policy
from policy.matching import Question
from policy.model import CapLine


class Refusal(NamedTuple):
    """Why a call is denied."""

    code: str
    message: str
    retry: str = "never"
    retry_at: datetime | None = None
    cap: str | None = None
    would_change: tuple[str, ...] = ()


def by_rules(denies: Sequence[CompiledRule], found: Candidates, question: Question) -> Refusal:
    """Word the denial of the rules that apply; where only their hours or windows do it, say until when."""
    first = denies[0].rule
    because = f": {first.because}" if first.because else ""
    others = f" and {len(denies) - 1} more" if len(denies) > 1 else ""
    timed = all(rule.timed for rule in denies)  # Else no time of day or week ends it.
    at = timing.denied_until(found.denies, question) if timed else None
    return Refusal(
        "denied_by_rule",
        f"rule '{first.id}' in {first.at}{others} denies it{because}",
        retry="later" if at else "never",
        retry_at=at,
        would_change=tuple(rule.silent_where for rule in denies if rule.silent_where),
    )


def by_posture(found: Candidates, question: Question) -> Refusal | None:
    """Say whether the posture in force closes this kind of effect; withdrawals and reads it never does."""
    posture, scope = question.facts.posture, question.facts.posture_scope
    if not found.closed_by:
        return None
    if posture is None:
        return _missing("the posture in force could not be read")
    if posture not in found.closed_by:
        return None
    kind = question.effect.kind
    return Refusal(
        "posture_closed",
        f"the posture of this {scope} is {posture}, which lets no {kind} run; an owner can loosen it",
        retry="later",
        would_change=(f"an owner loosens the posture of this {scope}",),
    )


def by_live_spend(question: Question, policy: Policy) -> Refusal | None:
    """Ask for all yeses to live money that leaves: environment, policy, provider."""
    effect = question.effect
    wanted = []
    if question.facts.live_spend is not True:
        wanted.append("LIVE_SPEND=1 in the environment of every process")
    if not policy.live_spend.enabled:
        wanted.append(f"live_spend.enabled: true in {policy.file}")
    if effect.provider not in policy.live_spend.providers:
        wanted.append(f"{effect.provider} among live_spend.providers in {policy.file}")
    if not wanted:
        return None
    return Refusal(
        "live_spend_off", f"live money stays; missing: {'; '.join(wanted)}", would_change=tuple(wanted)
    )


def by_silence(found: Candidates, question: Question) -> Refusal:
    """Word the denial of a policy that says nothing; where a rule would speak at another hour, say when."""
    at = timing.silent_until((*found.approvals, *found.allows), question)
    what = f"{question.effect.kind} by {question.call.tool}"
    return Refusal(
        "no_rule",
        f"no rule of the policy speaks for this {what}, and silence is a denial",
        retry="later" if at else "never",
        retry_at=at,
        would_change=(f"a rule with effect allow or require_approval that matches this {what}",),
    )


def by_money(found: Candidates, question: Question, weighed: Weighed) -> Refusal | None:
    """Refuse money that leaves in no amount, live without cover, or with twins that nobody looked for.

    No amount could not be held to any limit (M18); a twin not looked for is not an absent one (M26).
    """
    currency = question.currency
    if currency is None:
        return _missing("it names no amount that could be held against a cap", retry="with_changes")
    if found.live_spend and not weighed.covered:
        return Refusal(
            "live_spend_uncovered",
            f"no account-wide money cap in {currency} covers this live spend",
            would_change=(f"a cap per account over a day, a month or at least 24h, in {currency}",),
        )
    if not question.facts.twin_checked:
        return _missing("whether an equal purchase exists was not looked up")
    return None


def by_caps(weighed: Weighed, question: Question) -> Refusal:
    """Refuse what does not fit under every cap; what is not known about a cap refuses first."""
    full: list[tuple[CompiledCap, CapLine]] = []
    for cap, line in weighed.refusing:
        if line is None:
            return _missing(f"what counts against cap '{cap.id}' could not be looked up")._replace(cap=cap.id)
        full.append((cap, line))
    return _full(full, question)


def by_waiting(policy: Policy, weighed: Weighed, question: Question) -> Refusal | None:
    """Refuse one more request than one agent may keep waiting, in number or in money held (M17)."""
    facts = question.facts
    if facts.claiming:
        return None
    if facts.open_requests is None:
        return _missing("how many requests of this agent wait for a person could not be looked up")
    most = policy.limits.open_requests
    if facts.open_requests >= most:
        message = (
            f"{facts.open_requests} requests of this agent wait for a person, {most} may; wait for answers"
        )
        return Refusal("too_many_requests", message, "later", would_change=("an answer to one of them",))
    share = policy.limits.held_share_percent
    for cap, line in zip(weighed.bound, weighed.lines, strict=True):
        if cap.shared and exceeds_share(cap, line, question, share):
            message = (
                f"this agent's waiting requests would hold more than {share}% of cap '{cap.id}' "
                f"in {line.at}; wait for answers"
            )
            change = ("an answer to one of them", "a smaller amount")
            return Refusal("held_share_exceeded", message, "later", cap=cap.id, would_change=change)
    return None


def _full(full: list[tuple[CompiledCap, CapLine]], question: Question) -> Refusal:
    """Word the first cap by name; the room must come back on all of them."""
    lines = [line for _, line in full]
    times = [frees_at(cap, line, question) for cap, line in full]
    known = [time for time in times if time is not None]
    at = max(known) if len(known) == len(times) else None
    can_ask_less = all(line.left and line.unit != explain.CALLS for line in lines)
    change = tuple(_more_room(line) for line in lines)
    if in_the_red(full[0][0], question):
        message = f"cap '{lines[0].id}' is a share of what was earned, and more was lost than earned"
        return Refusal("earned_below_zero", message, "later", cap=lines[0].id, would_change=("new earnings",))
    retry = "with_changes" if can_ask_less else "later" if at else "never"
    return Refusal("cap_exceeded", explain.cap_is_full(lines[0]), retry, at, lines[0].id, change)


def _more_room(line: CapLine) -> str:
    if line.left <= 0 or line.unit == explain.CALLS:
        return f"a higher limit of cap '{line.id}' in {line.at}"
    return (
        f"at most {explain.quantity(line.left, line.unit)} for cap '{line.id}', or a higher one in {line.at}"
    )


def _missing(message: str, retry: str = "later") -> Refusal:
    return Refusal("fact_missing", f"{message}, and doubt denies", retry)
