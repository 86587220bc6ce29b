"""Policy cases: what a policy should answer to a call, written as data, and how they are run.

`policy.case_file` reads them from *.cases.yaml. What a case does not give is zero, unknown, or ready.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from policy.decide import decide, needs
from policy.language import Answer, Mark, Policy, Posture
from policy.model import Call, Decision, Facts, Needs, Twin, Usage
from policy.money import Money

NOON: Final = datetime(
    2026, 1, 7, 12, tzinfo=UTC
)  # A Wednesday: no month's end, no weekend, no clock change.


class Given(Struct, frozen=True, kw_only=True):
    """The facts of a case, apart from what `needs` asks of each call."""

    now: datetime = NOON
    posture: Posture = Posture.NORMAL
    live_spend: bool = False
    payee_known: bool = False
    twin: str | None = None
    ready: bool = True
    spent: Mapping[str, int] = {}
    held: Mapping[str, int] = {}
    counts: Mapping[str, int] = {}
    sums: Mapping[str, Money] = {}
    earned: Mapping[str, int] = {}


class Expect(Struct, frozen=True, kw_only=True):
    """The answer that is due; None is not looked at."""

    effect: Answer
    rules: tuple[str, ...] | None = None
    desks: tuple[str, ...] | None = None
    code: str | None = None
    cap: str | None = None
    retry_at: datetime | None = None


class Case(Struct, frozen=True, kw_only=True):
    """One case, ready to run."""

    why: str
    at: Mark
    call: Call
    given: Given
    expect: Expect


class CaseResult(Struct, frozen=True, kw_only=True):
    """How a case went: the decision, and each way in which it is not the one expected."""

    case: Case
    decision: Decision
    differences: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the policy answered as expected."""
        return not self.differences


def run_case(policy: Policy, case: Case) -> CaseResult:
    """Put the case's call to the policy and compare the answer."""
    decision = decide(policy, case.call, facts_for(needs(policy, case.call), case.given))
    return CaseResult(case=case, decision=decision, differences=tuple(_differences(case.expect, decision)))


def facts_for(wanted: Needs, given: Given) -> Facts:
    """Return all facts that are asked for; those not given are zero."""
    return Facts(
        now=given.now,
        posture=given.posture,
        live_spend=given.live_spend,
        ready=given.ready,
        usage={
            need.cap_id: Usage(posted=given.spent.get(need.cap_id, 0), held=given.held.get(need.cap_id, 0))
            for need in wanted.usage
        },
        earned={need.cap_id: given.earned.get(need.cap_id, 0) for need in wanted.earned},
        sums={need.rule_id: _sum_in(given.sums.get(need.rule_id), need.currency) for need in wanted.sums},
        counts={need.rule_id: given.counts.get(need.rule_id, 0) for need in wanted.counts},
        payee_known=given.payee_known,
        twin=None if given.twin is None else Twin("call_twin", given.twin, given.now),
        twin_checked=True,
        open_requests=0,
    )


def _sum_in(given: Money | None, currency: str) -> int:
    """Return a sum in the currency asked for; sums are kept per currency, so another one is no part."""
    return given.minor_units if given is not None and given.currency == currency else 0


def _differences(expect: Expect, got: Decision) -> list[str]:
    asked = tuple(ask.desk.id for ask in got.asks)
    told = [
        ("effect", expect.effect.value, got.answer.value),
        ("rules", _sorted(expect.rules), _sorted(rule.id for rule in got.rules)),
        ("desks", _sorted(expect.desks), _sorted(asked)),
        ("code", expect.code, got.code),
        ("cap", expect.cap, got.cap),
        ("retry_at", expect.retry_at, got.retry_at),
    ]
    return [
        f"expected {name} {_word(due)}, got {_word(met)}"
        for name, due, met in told
        if due is not None and due != met
    ]


def _sorted(names: Iterable[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _word(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value) if value else "none"
