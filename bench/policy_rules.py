"""The rules that bench/policy.py measures, each as policies.yaml and, where it can say it, as Cedar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policy.model import Call, Kind

PAYEES = ("porkbun.com", "hetzner.com", "example.com", "evil.example", "ads.example")
HEAD = """
version: 1
timezone: Europe/Berlin
live_spend: {enabled: true, providers: [stripe]}
lists: {vendors: [porkbun.com, hetzner.com]}
caps:
  - {id: account-month, per: account, window: month, limit: "500.00 USD"}
  - {id: project-day, per: project, window: day, limit: "100.00 USD"}
  - {id: run-total, per: run, window: run, limit: "25.00 USD"}
  - {id: agent-pace, per: agent, window: 1h, limit: "60 calls"}
approvals:
  - {id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h}
rules:
"""
ASK = "effect: require_approval, approval: desk"
# What only Bursar's policy can say: sums, hours, known payees, shadows.
BUYING = "kind: [spend, provision]"
LOOKUPS = f"""
  - {{id: many, match: {{{BUYING}, sum_above: {{amount: "10.00 USD", per: project, window: 24h}}}}, {ASK}}}
  - {{id: known, match: {{kind: spend, payee_known: false, amount: {{above: "5.00 USD"}}}}, {ASK}}}
  - {{id: freeze, shadow: true, match: {{{BUYING}, hours: {{days: [sat, sun]}}}}, effect: deny}}
  - id: failing
    match: {{kind: spend, count_above: {{count: 3, per: agent, window: 24h, outcome: failed}}}}
    effect: deny
"""


class Plain(NamedTuple):
    """A rule that both languages can express, with its match as Cedar writes it."""

    id: str
    match: str
    effect: str
    cedar: str


PLAIN = (
    Plain("look", "kind: read", "effect: allow", 'context.kind == "read"'),
    Plain("write", "kind: draft", "effect: allow", 'context.kind == "draft"'),
    Plain(
        "sell",
        'kind: earn, amount: {up_to: "5.00 USD"}',
        "effect: allow",
        'context.kind == "earn" && context.amount <= 500',
    ),
    Plain(
        "scouts-sell",
        "kind: earn, agent: scout",
        "effect: allow",
        'context.kind == "earn" && context.agent == "scout"',
    ),
    Plain(
        "small",
        'kind: spend, mode: [test, simulated], amount: {up_to: "2.00 USD"}',
        "effect: allow",
        'context.kind == "spend" && ["test", "simulated"].contains(context.mode) && context.amount <= 200',
    ),
    Plain(
        "vendors",
        'kind: [spend, provision], payee: {in_list: vendors}, amount: {up_to: "20.00 USD"}',
        "effect: allow",
        '["spend", "provision"].contains(context.kind) && context.amount <= 2000'
        ' && ["porkbun.com", "hetzner.com"].contains(context.payee)',
    ),
    Plain(
        "rent",
        "tool: rent, reversible: true",
        "effect: allow",
        'context.tool == "rent" && context.reversible',
    ),
    Plain("ads", "kind: spend, payee: ads.*", ASK, 'context.kind == "spend" && context.payee like "ads.*"'),
    Plain(
        "large",
        'kind: [spend, provision], amount: {above: "15.00 USD"}',
        ASK,
        '["spend", "provision"].contains(context.kind) && context.amount > 1500',
    ),
    Plain("live", "kind: spend, mode: live", ASK, 'context.kind == "spend" && context.mode == "live"'),
    Plain(
        "evil",
        "kind: spend, payee: evil.example",
        "effect: deny",
        'context.kind == "spend" && context.payee == "evil.example"',
    ),
    Plain(
        "maker-no-rent",
        "kind: provision, agent: maker, mode: live",
        "effect: deny",
        'context.kind == "provision" && context.agent == "maker" && context.mode == "live"',
    ),
    *(
        Plain(
            f"odd-{n}",
            f"kind: spend, payee: odd-{n}.example",
            "effect: deny",
            f'context.kind == "spend" && context.payee == "odd-{n}.example"',
        )
        for n in range(4)
    ),
    *(
        Plain(
            f"lab-{n}",
            f"kind: earn, project: lab-{n}",
            "effect: deny",
            f'context.kind == "earn" && context.project == "lab-{n}"',
        )
        for n in range(4)
    ),
)


def as_yaml(rule: Plain) -> str:
    """Write a rule as policies.yaml has it."""
    return f"  - {{id: {rule.id}, match: {{{rule.match}}}, {rule.effect}}}\n"


def rules_of_100_tools(tools: dict[str, Kind]) -> Iterator[str]:
    """Write ten rules for each tool: three allow, three ask, four deny."""
    effects = (("effect: allow",) * 3) + ((ASK,) * 3) + (("effect: deny",) * 4)
    for tool in tools:
        for n, effect in enumerate(effects):
            bound = f'amount: {{{"up_to" if n < 3 else "above"}: "{5 + n}.00 USD"}}'
            match = f"tool: {tool}, payee: [{PAYEES[n % 3]}, other-{n}.example], {bound}"
            yield f"  - {{id: {tool.replace('_', '-')}-{n}, match: {{{match}}}, {effect}}}\n"


def rules_alike(tools: list[str]) -> Iterator[str]:
    """Write a thousand rules about a few tools that differ in payee, amount and effect."""
    effects = ("effect: allow", ASK, "effect: deny")
    for n in range(1_000):
        bound = f'amount: {{{"above" if n % 3 else "up_to"}: "{5 + n % 11}.00 USD"}}'
        match = f"tool: {tools[n % len(tools)]}, payee: [a-{n}.example, other-{n % 7}.example], {bound}"
        yield f"  - {{id: rule-{n}, match: {{{match}}}, {effects[n % 3]}}}\n"


def permission(rule: Plain) -> str:
    """Cedar has two effects: what asks a person may not run by itself, so it is forbidden."""
    return "permit" if rule.effect == "effect: allow" else "forbid"


def as_cedar(call: Call) -> dict[str, object]:
    """Write a call as a Cedar request, with all that rules look at in its context."""
    effect = call.effect
    context = {
        "kind": effect.kind.value,
        "tool": call.tool,
        "mode": effect.mode.value,
        "payee": effect.payee,
        "amount": effect.amount.minor_units if effect.amount else 0,
        "agent": call.agent,
        "project": call.project,
        "reversible": effect.reversible,
    }
    return {
        "principal": {"type": "Agent", "id": call.agent},
        "action": {"type": "Action", "id": "call"},
        "resource": {"type": "Tool", "id": call.tool},
        "context": context,
    }
