"""`bursar policy`: check, test, explain, replay and activate a policies.yaml; print the schema of editors.

But for `replay` and `activate` nothing here opens a ledger or imports a server: it answers in a moment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from tool_server.cli import policy_activate, policy_explain, policy_replay
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.cli.policy_files import (
    add_policy,
    add_tools,
    cases_beside,
    configured,
    policy_path,
    read_cases,
    read_policy,
    read_tools,
)

if TYPE_CHECKING:
    from policy.cases import CaseResult
    from policy.errors import Mistake
    from policy.language import Policy


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = commands.add_parser("check", help="say what is wrong with a policy, all at once")
    check.add_argument("file", nargs="?", help="default: $BURSAR_POLICIES, else policies.yaml")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    add_tools(check)

    test = commands.add_parser("test", help="run policy cases")
    test.add_argument(
        "cases", nargs="*", metavar="CASES", help="default: every *.cases.yaml beside the policy"
    )
    add_policy(test)

    policy_explain.register(commands.add_parser("explain", help="show a decision step by step"))
    policy_replay.register(
        commands.add_parser("replay", help="show which recorded calls another policy would decide otherwise")
    )
    policy_activate.register(
        commands.add_parser("activate", help="put a policy in force, with an owner's password")
    )
    commands.add_parser("schema", help="print the JSON Schema of policies.yaml")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "check": _check,
        "test": _test,
        "explain": policy_explain.run,
        "replay": policy_replay.run,
        "activate": policy_activate.run,
        "schema": _schema,
    }
    return actions[args.action](args)


# --- check ---------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    """Exit with 0 if it loads, 1 if not (with --strict: or has warnings), 3 if there is no such file."""
    from policy.errors import PolicyError
    from policy.lint import lint
    from policy.load import load, read_source

    path, tools = policy_path(args), read_tools(args)
    source = configured(lambda: read_source(path))
    try:
        policy = load(source, path.name, tools)
    except PolicyError as error:
        return _tell(args, path, error.mistakes, ())
    warnings = lint(policy, tools, source.decode())
    code = _tell(args, path, (), warnings, policy)
    return EXIT_NO if args.strict and warnings else code


def _tell(
    args: argparse.Namespace,
    path: Path,
    mistakes: Iterable[Mistake],
    warnings: Iterable[Mistake],
    policy: Policy | None = None,
) -> int:
    mistakes, warnings = tuple(mistakes), tuple(warnings)
    if args.json:
        print_json(
            {
                "file": path.name,
                "ok": policy is not None,
                "sha256": policy.sha256 if policy else None,
                "mistakes": mistakes,
                "warnings": warnings,
            }
        )
        return EXIT_DONE if policy else EXIT_NO
    for mistake in mistakes:
        print(mistake)
    for warning in warnings:
        print(str(warning).replace(": ", ": warning: ", 1))
    if policy is None:
        print(f"\n{path.name}: {_count(mistakes, 'mistake')}; nothing of it takes effect")
        return EXIT_NO
    parts = f"{_count(policy.rules, 'rule')}, {_count(policy.caps, 'cap')}, {_count(policy.desks, 'desk')}"
    print(f"{path.name}: good, {parts}{', ' + _count(warnings, 'warning') if warnings else ''}")
    return EXIT_DONE


# --- test ----------------------------------------------------------------------------------------------


def _test(args: argparse.Namespace) -> int:
    """Exit with 0 if every case holds, 1 if one does not, 3 if a file cannot be read."""
    from policy.cases import run_case

    policy, tools = read_policy(args)
    files = [Path(name) for name in args.cases] or cases_beside(args)
    if not files:
        raise CommandError(f"no *.cases.yaml beside {policy_path(args)}; write one or name it")
    results = [run_case(policy, case) for file in files for case in read_cases(file, policy, tools)]
    failed = [result for result in results if not result.passed]
    if args.json:
        print_json({"passed": len(results) - len(failed), "failed": [_result(result) for result in failed]})
    else:
        for result in failed:
            print(_failure(result))
        print(
            f"{_count(results, 'case')}, {len(failed)} failed"
            if failed
            else f"{_count(results, 'case')} hold"
        )
    return EXIT_NO if failed else EXIT_DONE


def _result(result: CaseResult) -> dict[str, object]:
    return {
        "why": result.case.why,
        "at": str(result.case.at),
        "differences": result.differences,
        "message": result.decision.message,
    }


def _failure(result: CaseResult) -> str:
    lines = [
        f"{result.case.at}: {result.case.why}",
        *(f"  {difference}" for difference in result.differences),
    ]
    if result.decision.message:
        lines.append(f"  it says: {result.decision.message}")
    return "\n".join(lines)


# --- schema ---------------------------------------------------------------------------------------------


def _schema(_args: argparse.Namespace) -> int:
    """Print the schema; it is JSON with or without --json."""
    from policy.schema import schema_json

    sys.stdout.write(schema_json().decode())
    return EXIT_DONE


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"
