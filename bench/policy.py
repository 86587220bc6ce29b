"""Measure the policy: how long a decision with its explanation takes, and how long loading takes.

    python bench/policy.py [--json]

Beside each figure stands a floor or a peer measured in the same run. The floor of a decision is building
the very records it answers with; the peer is cedarpy (Cedar in Rust) on a policy with the same verdicts.
Times are CPU times of this thread, so that a busy machine does not pass for a slow program; what is compared
takes turns, and each call counts with its best turn. Ends with 1 if a goal fails.
"""
# ruff: noqa: E402 -- the packages are found only once the root is on the path

from __future__ import annotations

import datetime as dt
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import cedarpy
from policy_rules import (
    HEAD,
    LOOKUPS,
    PAYEES,
    PLAIN,
    as_cedar,
    as_yaml,
    permission,
    rules_alike,
    rules_of_100_tools,
)

from bench.figures import Result, exit_code, print_json, show
from policy.decide import decide, needs
from policy.lint import lint
from policy.load import load
from policy.model import Answer, Call, Effect, Facts, Kind, Mode, PayeeBasis, Policy, Posture, Usage
from policy.money import Money
from policy.tools import ToolInfo, load_tools

SEED = 7
CALLS = 10_000
ROUNDS = 5  # The best of so many: the others met somebody else's load.
NOW = dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)
KINDS = {
    "buy": Kind.SPEND,
    "pay": Kind.SPEND,
    "rent": Kind.PROVISION,
    "sell": Kind.EARN,
    "note": Kind.DRAFT,
    "look": Kind.READ,
}


class Case(NamedTuple):
    """One call with all its facts."""

    call: Call
    facts: Facts


def main() -> int:
    """Measure everything, print the table, and say by the exit code whether all goals hold."""
    print("bench/policy.py: 10,000 decisions each over 20 rules, 1,000 rules, and Cedar", file=sys.stderr)
    plain = [as_yaml(rule) for rule in PLAIN]
    twenty = read(HEAD + "".join(plain[:16]) + LOOKUPS, KINDS)
    tools: dict[str, Kind] = {f"tool_{n:03}": Kind.PROVISION if n % 2 else Kind.SPEND for n in range(100)}
    text = HEAD + "".join(rules_of_100_tools(tools))
    thousand = read(text, tools)
    purchases: dict[str, Kind] = {
        tool: kind for tool, kind in KINDS.items() if kind in (Kind.SPEND, Kind.PROVISION)
    }
    results = [
        decisions("decide, 20 rules, all kinds", twenty, cases(twenty, KINDS), goal_us=25),
        # The dearest kind alone: each meets four caps, a sum, a count, hours and a desk.
        decisions("decide, 20 rules, purchases", twenty, cases(twenty, purchases), goal_us=25),
        decisions("decide, 1,000 rules, 100 tools", thousand, cases(thousand, tools), goal_us=75),
        *beside_cedar(read(HEAD + "".join(plain), KINDS)),
        loading(text, tools),
        linting(),
        checking(),
    ]
    show(results)
    if "--json" in sys.argv:
        print_json(results)
    return exit_code(results)


def read(text: str, kinds: dict[str, Kind]) -> Policy:
    """Load a policy about these tools."""
    return load(text, "bench.yaml", tool_infos(kinds))


def tool_infos(kinds: dict[str, Kind]) -> dict[str, ToolInfo]:
    """Describe tools that exist only here."""
    return {
        name: ToolInfo(
            name=name,
            kind=kind,
            kit="bench",
            plugin="bench",
            provider="stripe",
            operation=name,
            description="-",
        )
        for name, kind in kinds.items()
    }


def cases(policy: Policy, kinds: dict[str, Kind]) -> list[Case]:
    """Draw calls of these tools, with the facts that each needs; nothing is full, off or missing."""
    random = Random(SEED)
    names = tuple(kinds)
    drawn = []
    for _ in range(CALLS):
        tool = random.choice(names)
        call = draw_call(random, tool, kinds[tool])
        asked = needs(policy, call)
        facts = Facts(
            now=NOW,
            posture=Posture.NORMAL,
            live_spend=True,
            ready=True,
            usage={need.cap_id: Usage(posted=random.randrange(5)) for need in asked.usage},
            sums={need.rule_id: random.choice((0, 900)) for need in asked.sums},
            counts={need.rule_id: random.randrange(5) for need in asked.counts},
            payee_known=random.random() < 0.8,
            twin_checked=True,
            open_requests=0,
        )
        drawn.append(Case(call, facts))
    return drawn


def draw_call(random: Random, tool: str, kind: Kind) -> Call:
    """Draw one call; every one names a payee and an amount, since Cedar has no notion of a missing one."""
    effect = Effect(
        kind=kind,
        operation=tool,
        provider="stripe",
        mode=random.choice(tuple(Mode)),
        payee=random.choice(PAYEES),
        payee_basis=PayeeBasis.ENFORCED,
        amount=Money(random.choice((100, 199, 200, 201, 500, 900, 1_600, 2_100)), "USD"),
        reversible=random.random() < 0.5,
    )
    agent = random.choice(("scout", "maker"))
    return Call(tool=tool, effect=effect, account="acme", project="shop", run="run", agent=agent)


def timed(*works: tuple[Callable[..., object], Sequence[tuple[Any, ...]]]) -> list[float]:
    """Return the median CPU microseconds per call of each work; they take turns, the best turn counts."""
    clock = time.thread_time_ns
    best = [[float("inf")] * len(given) for _, given in works]
    empty = min(-(clock() - clock()) for _ in range(1_000))
    for _ in range(ROUNDS):
        for (function, given), kept in zip(works, best, strict=True):
            for index, arguments in enumerate(given):
                start = clock()
                function(*arguments)
                kept[index] = min(kept[index], (clock() - start - empty) / 1_000)
    return [statistics.median(kept) for kept in best]


def decisions(name: str, policy: Policy, drawn: Sequence[Case], *, goal_us: float) -> Result:
    """Time needs and decide together, beside building the records they answer with."""

    def both(call: Call, facts: Facts) -> object:
        needs(policy, call)
        return decide(policy, call, facts)

    answers = [(needs(policy, case.call), decide(policy, case.call, case.facts)) for case in drawn]
    figure, floor = timed((both, drawn), (lambda *records: [rebuilt(record) for record in records], answers))
    return Result(name, figure, "us p50", floor, figure / floor, f"<= {goal_us:g} us", figure <= goal_us)


def rebuilt(record: Any) -> object:  # noqa: ANN401 - any Struct with lines in it
    """Build a record anew from its own fields, and so its lines."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    for name in ("usage", "sums", "rules", "caps", "reserves"):
        if name in fields:
            fields[name] = tuple(
                type(line)(**{f: getattr(line, f) for f in line.__struct_fields__}) for line in fields[name]
            )
    return type(record)(**fields)


def beside_cedar(policy: Policy) -> list[Result]:
    """Time both on the same calls, after checking that they agree on each."""
    drawn = cases(policy, KINDS)
    rules = "\n".join(
        f"{permission(rule)}(principal, action, resource) when {{ {rule.cedar} }};" for rule in PLAIN
    )
    peers = cedarpy.PolicySet.from_str(rules)
    entities = cedarpy.Entities.from_json_str("[]")
    asked = [(as_cedar(case.call),) for case in drawn]

    def cedar(request: dict[str, object]) -> cedarpy.AuthzResult:
        return cedarpy.is_authorized(request, peers, entities)

    def bursar(call: Call, facts: Facts) -> object:
        needs(policy, call)
        return decide(policy, call, facts)

    for case, (request,) in zip(drawn, asked, strict=True):
        ours = decide(policy, case.call, case.facts)
        assert (ours.answer is Answer.ALLOW) == cedar(request).allowed, (case, ours)
    mine, theirs = timed((bursar, drawn), (cedar, asked))
    start = time.process_time_ns()
    cedarpy.is_authorized_batch([request for (request,) in asked], peers, entities)
    batch = (time.process_time_ns() - start) / 1_000 / len(asked)
    return [
        Result(
            "beside cedarpy, one by one",
            mine,
            "us p50",
            theirs,
            theirs / mine,
            ">= 5 times faster",
            theirs >= 5 * mine,
        ),
        Result("beside cedarpy, one batch", mine, "us", batch, batch / mine, "", holds=True),
    ]


def loading(text: str, kinds: dict[str, Kind]) -> Result:
    """Time loading 1,000 rules, beside PyYAML's composing of the same text."""
    import yaml

    tools = tool_infos(kinds)
    once: list[tuple[Any, ...]] = [()]
    figure_us, floor_us = timed(
        (lambda: load(text, "bench.yaml", tools), once),
        (lambda: yaml.compose(text, Loader=yaml.CSafeLoader), once),
    )
    figure, floor = figure_us / 1_000, floor_us / 1_000
    return Result("load 1,000 rules", figure, "ms", floor, figure / floor, "<= 250 ms", figure <= 250)


def linting() -> Result:
    """Time the lint of 1,000 rules about real tools, beside loading them: what `check` does on top."""
    tools = load_tools()
    text = HEAD + "".join(rules_alike(sorted(name for name in tools if tools[name].kind is Kind.SPEND)))
    policy = load(text, "bench.yaml", tools)
    once: list[tuple[Any, ...]] = [()]
    figure_us, floor_us = timed(
        (lambda: lint(policy, tools, text), once), (lambda: load(text, "bench.yaml", tools), once)
    )
    figure, floor = figure_us / 1_000, floor_us / 1_000
    return Result("lint 1,000 rules", figure, "ms", floor, figure / floor, "<= 300 ms", figure <= 300)


def checking() -> Result:
    """Time `bursar policy check` from the shell, beside a Python that does nothing."""

    def cpu_ms(*arguments: str) -> float:
        times = []
        for _ in range(5):
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, *arguments]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - our own script
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append((end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime) * 1_000)
        return min(times)

    figure = cpu_ms("-m", "tool_server.cli", "policy", "check")
    floor = cpu_ms("-c", "pass")
    return Result("bursar policy check", figure, "ms CPU", floor, figure / floor, "<= 300 ms", figure <= 300)


if __name__ == "__main__":
    sys.exit(main())
