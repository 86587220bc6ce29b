"""Short ways to write a policy, a call and its facts in a test; everything has a harmless default."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from policy.decide import decide, needs
from policy.errors import PolicyError
from policy.load import load
from policy.model import (
    Answer,
    Call,
    Cap,
    Decision,
    Desk,
    Effect,
    Facts,
    Kind,
    Limit,
    LiveSpend,
    Mark,
    Match,
    Mode,
    Policy,
    Posture,
    Rule,
    Scope,
    Usage,
    Window,
    WindowKind,
)
from policy.money import Money
from policy.tools import load_tools

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)  # A Friday morning.
DAY, MONTH, RUN = Window(WindowKind.DAY), Window(WindowKind.MONTH), Window(WindowKind.RUN)
CALL, HOUR = Window(WindowKind.CALL), Window(WindowKind.ROLLING, 3_600)
ALLOW, ASK, DENY = Answer.ALLOW, Answer.REQUIRE_APPROVAL, Answer.DENY
SPENDING = (Kind.SPEND, Kind.PROVISION)
ALL = Match()
TOOLS = load_tools()
HEAD = "version: 1\n"


def at(text: str) -> datetime:
    """Read an instant in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def usd(text: str) -> Money:
    """Read dollars."""
    return Money.parse(f"{text} USD")


def allow(name: str = "allowed", match: Match = ALL, **more: Any) -> Rule:  # noqa: ANN401 - any field of Rule
    """Write an allow rule."""
    return Rule(id=name, match=match, effect=Answer.ALLOW, at=Mark("policies.yaml", 30), **more)


def deny(name: str = "denied", match: Match = ALL, **more: Any) -> Rule:  # noqa: ANN401 - any field of Rule
    """Write a deny rule."""
    return Rule(id=name, match=match, effect=Answer.DENY, at=Mark("policies.yaml", 40), **more)


def ask(name: str = "asks", match: Match = ALL, desk: str = "desk", **more: Any) -> Rule:  # noqa: ANN401 - any field of Rule
    """Write a rule that asks a desk."""
    return Rule(
        id=name,
        match=match,
        effect=Answer.REQUIRE_APPROVAL,
        approval=desk,
        at=Mark("policies.yaml", 50),
        **more,
    )


def cap(
    name: str,
    limit: str | int | Limit,
    *,
    per: Scope = Scope.ACCOUNT,
    window: Window = DAY,
    **more: Any,  # noqa: ANN401 - any field of Cap
) -> Cap:
    """Write a cap of dollars, of calls, or of any limit."""
    if isinstance(limit, str):
        limit = Limit(money=usd(limit))
    elif isinstance(limit, int):
        limit = Limit(calls=limit)
    return Cap(id=name, per=per, window=window, limit=limit, at=Mark("policies.yaml", 12), **more)


def policy(*parts: Rule | Cap, **more: Any) -> Policy:  # noqa: ANN401 - any field of Policy
    """Write a policy of these rules and caps, with one desk and live spending on for stripe."""
    settings: dict[str, Any] = {
        "sha256": "a" * 64,
        "file": "policies.yaml",
        "desks": (desk("desk"), desk("other-desk")),
        "live_spend": LiveSpend(enabled=True, providers=("stripe",)),
        "lists": {"vendors": ("porkbun.com", "*.hetzner.com")},
        "rules": tuple(part for part in parts if isinstance(part, Rule)),
        "caps": tuple(part for part in parts if isinstance(part, Cap)),
    }
    return Policy(**(settings | more))


def desk(name: str) -> Desk:
    """Set up a desk."""
    return Desk(id=name, who=("role:approver",), at=Mark("policies.yaml", 20))


def purchase(amount: str | Money | None = "1.50", **more: Any) -> Call:  # noqa: ANN401 - any field of Effect or Call
    """Ask for a card purchase at example.com in test mode."""
    money = usd(amount) if isinstance(amount, str) else amount
    effect: dict[str, Any] = {
        "kind": Kind.SPEND,
        "operation": "card_purchase",
        "provider": "stripe",
        "mode": Mode.TEST,
        "payee": "example.com",
        "amount": money,
    }
    call: dict[str, Any] = {
        "tool": "request_card_purchase",
        "account": "acme",
        "project": "shop",
        "run": "run_1",
        "agent": "scout",
    }
    effect |= {name: value for name, value in more.items() if name in Effect.__struct_fields__}
    call |= {name: value for name, value in more.items() if name in Call.__struct_fields__}
    return Call(effect=Effect(**effect), **call)


def of_kind(kind: Kind, **more: Any) -> Call:  # noqa: ANN401 - any field of Effect or Call
    """Ask for something of this kind that names no payee and no amount."""
    plain: dict[str, Any] = {"amount": None, "kind": kind, "payee": None, "operation": "note"}
    return purchase(**(plain | {"tool": "some_tool"} | more))


def facts(**more: Any) -> Facts:  # noqa: ANN401 - any field of Facts
    """Know everything that is needed, and nothing of it in the way."""
    known: dict[str, Any] = {
        "now": NOW,
        "posture": Posture.NORMAL,
        "live_spend": True,
        "ready": True,
        "payee_known": False,
        "twin_checked": True,
        "open_requests": 0,
    }
    return Facts(**(known | more))


def judge(of: Policy, call: Call, **more: Any) -> Decision:  # noqa: ANN401 - any field of Facts
    """Decide with every needed number at zero, except what is given."""
    asked = needs(of, call)
    found: dict[str, Any] = {
        "usage": {need.cap_id: Usage() for need in asked.usage},
        "earned": {need.cap_id: 0 for need in asked.earned},
        "sums": {need.rule_id: 0 for need in asked.sums},
        "counts": {need.rule_id: 0 for need in asked.counts},
    }
    for name in found.keys() & more.keys():
        more[name] = found[name] | more[name]
    return decide(of, call, facts(**(found | more)))


def ids(lines: Iterable[Any]) -> list[str]:
    """Name the rules, caps or desks."""
    return [line.id for line in lines]


def loaded(text: str) -> Policy:
    """Load a policy under a short name."""
    return load(text, "p.yaml", TOOLS)


def mistakes(text: str) -> list[str]:
    """Return the first line of every mistake."""
    with pytest.raises(PolicyError) as error:
        loaded(text)
    return [str(mistake).split("\n")[0] for mistake in error.value.mistakes]
