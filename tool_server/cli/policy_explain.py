"""`bursar policy explain`: what every rule and cap says to one call, the answer, and what would change it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json
from tool_server.cli.policy_files import (
    add_policy,
    cases_beside,
    configured,
    policy_path,
    read_cases,
    read_policy,
)

if TYPE_CHECKING:
    from policy.cases import Case, Given
    from policy.language import Policy
    from policy.model import CapLine, Decision
    from policy.tools import Tools
    from policy.trace import RuleStep

_CALL_FLAGS: Final = ("tool", "agent", "project", "payee", "amount", "mode", "kind", "operation", "provider")
_STANDARD_INPUT: Final = "-"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: a call as JSON, as flags, or of a case."""
    parser.add_argument("call", nargs="?", help="the call as JSON in the form of a case's 'call'; - reads it")
    parser.add_argument(
        "--case", metavar="WHY", help="take call and facts of the case whose why contains this"
    )
    parser.add_argument("--given", help="the facts as JSON in the form of a case's 'given'")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="an argument")
    for flag in _CALL_FLAGS:
        parser.add_argument(f"--{flag}", help=f"the call's {flag}")
    add_policy(parser)


def run(args: argparse.Namespace) -> int:
    """Print what every rule and cap says to one call, the answer, and what would change it."""
    from policy.cases import facts_for
    from policy.decide import decide, needs
    from policy.trace import trace

    policy, tools = read_policy(args)
    case = _asked(args, policy, tools)
    facts = facts_for(needs(policy, case.call), case.given)
    decision = decide(policy, case.call, facts)
    steps = trace(policy, case.call, facts)
    if args.json:
        import msgspec

        from policy.money import enc_hook

        answer = {"call": case.call, "decision": decision, "steps": steps}
        print_json(msgspec.to_builtins(answer, enc_hook=enc_hook))
    else:
        print("\n".join(_story(case, decision, steps)))
    return EXIT_DONE


def _asked(args: argparse.Namespace, policy: Policy, tools: Tools) -> Case:
    """Return the call to explain: of a case, as JSON, or put together from flags."""
    if args.case is not None:
        return _case_of(args, policy, tools)
    from policy.case_file import load_cases

    text = sys.stdin.read() if args.call == _STANDARD_INPUT else args.call
    call = text or json.dumps(_from_flags(args))
    if not text and args.tool is None:
        raise CommandError(
            "name a call: --tool NAME ..., a call as JSON, or --case WHY", exit_code=EXIT_USAGE
        )
    given = args.given or "{}"
    source = (
        f"- why: asked on the command line\n  expect: {{effect: deny}}\n  call: {call}\n  given: {given}\n"
    )
    return configured(lambda: load_cases(source, "call", policy=policy, tools=tools))[0]


def _from_flags(args: argparse.Namespace) -> dict[str, Any]:
    call = {flag: getattr(args, flag) for flag in _CALL_FLAGS if getattr(args, flag) is not None}
    arguments = dict(_argument(text) for text in args.arg)
    return {**call, "args": arguments} if arguments else call


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--arg {text!r} is no NAME=VALUE", exit_code=EXIT_USAGE)
    return name, int(value) if value.isdecimal() else value


def _case_of(args: argparse.Namespace, policy: Policy, tools: Tools) -> Case:
    cases = [case for file in cases_beside(args) for case in read_cases(file, policy, tools)]
    found = [case for case in cases if args.case in case.why]
    if not found:
        raise CommandError(f"no case beside {policy_path(args)} says {args.case!r} in its why")
    if len(found) > 1:
        several = f"{len(found)} cases say {args.case!r} in their why"
        raise CommandError(f"{several}; the first two are {found[0].at} and {found[1].at}")
    return found[0]


def _story(case: Case, decision: Decision, steps: Iterable[RuleStep]) -> Iterable[str]:
    effect = case.call.effect
    named = (effect.amount, effect.payee and f"to {effect.payee}", f"{effect.mode} at {effect.provider}")
    said = ", ".join(str(part) for part in named if part)
    yield f"{case.call.tool}: {effect.kind} {effect.operation}, {said}"
    yield f"  asked by {case.call.agent} of {case.call.project}, {case.given.now.isoformat()}"
    yield f"  {_facts(case.given)}"
    yield "rules"
    for step in steps:
        effect_word = f"{step.effect}{', shadow' if step.shadow else ''}"
        reasons = "; ".join(step.reasons) or "matches all"
        yield f"  {step.at} {step.id} ({effect_word}): {step.says}; {reasons}"
    yield "caps"
    yield from (_cap(cap) for cap in decision.caps)
    if not decision.caps:
        yield "  none binds this call"
    yield from _answer(decision)


def _facts(given: Given) -> str:
    """Say what is taken for a fact: on the command line most of it was not given."""
    known = "known" if given.payee_known else "not known before"
    live = "on" if given.live_spend else "off"
    used = any((given.spent, given.held, given.counts, given.sums, given.earned))
    return (
        f"posture {given.posture}, LIVE_SPEND {live}, payee {known}, "
        f"{'used so far as given' if used else 'nothing used so far'}; --given says otherwise"
    )


def _cap(cap: CapLine) -> str:
    from policy.explain import quantity

    left, limit, asked = (quantity(part, cap.unit) for part in (cap.left, cap.limit, cap.asked))
    fits = "fits" if cap.fits else "does not fit"
    return f"  {cap.at} {cap.id}: {left} left of {limit}, {asked} asked: {fits}"


def _answer(decision: Decision) -> Iterable[str]:
    yield f"answer: {decision.answer}{f' ({decision.code})' if decision.code else ''}"
    if decision.message:
        yield f"  {decision.message}"
    for rule in decision.rules:
        yield f"  {rule.at} {rule.id}{f': {rule.because}' if rule.because else ''}"
    for ask in decision.asks:
        yield f"  desk {ask.desk.id}: {ask.desk.quorum} of {', '.join(ask.desk.who)}"
    for shadow in decision.shadows:
        yield f"  in shadow, {shadow.at} {shadow.id} would have said {shadow.effect}"
    if decision.retry_at is not None:
        yield f"  again from {decision.retry_at.isoformat()}"
    for change in decision.would_change:
        yield f"  would change it: {change}"
