"""`bursar policy activate`: put a policy in force that loads, whose cases hold, and that an owner saw."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable

from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.cli.policy_files import (
    add_policy,
    cases_beside,
    configured,
    policy_path,
    read_cases,
    read_tools,
)


def register(parser: argparse.ArgumentParser) -> None:
    """Add which file, and who signs."""
    parser.add_argument("--as", dest="sign_as", metavar="OPERATOR", help="who signs, where several could")
    add_policy(parser)


def run(args: argparse.Namespace) -> int:
    """Show what changes, then ask an owner's password.

    Exits with 1 where a case fails or nobody signed, with 3 where the file has mistakes.
    """
    # Imported here: the other policy commands open no ledger and answer in a fraction of a second.
    from tool_server.cli.asking import ask

    (digest, text), path = tried(args), policy_path(args)
    before = ask(args, "policy.active")
    if before is not None and before["sha256"] == digest:
        print_json({"sha256": digest, "state": "active"}) if args.json else print(
            f"{path.name} is in force already ({digest[:12]})"
        )
        return EXIT_DONE
    if not args.json:
        print("\n".join(_differences(before["text"] if before else "", text, path.name)))
    became = ask(args, "policy.activate", {"text": text, "file": path.name})
    if args.json:
        print_json(became)
    else:
        print(f"{path.name} is in force for every admission and claim from now on ({became['sha256'][:12]})")
    return EXIT_DONE


def tried(args: argparse.Namespace) -> tuple[str, str]:
    """Return hash and text of a policy that loads and whose cases hold. Raises CommandError.

    The file is read once: what an owner signs is the very text whose cases ran, whatever is saved meanwhile.
    """
    from policy.cases import run_case
    from policy.load import load, read_source

    path, tools = policy_path(args), read_tools(args)
    source = configured(lambda: read_source(path))
    policy = configured(lambda: load(source, path.name, tools))
    results = [
        run_case(policy, case) for file in cases_beside(args) for case in read_cases(file, policy, tools)
    ]
    failed = [result.case.why for result in results if not result.passed]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(results)} cases fail, the first: {failed[0]!r}; see `bursar policy test`",
            exit_code=EXIT_NO,
        )
    return policy.sha256, source.decode("utf-8")


def _differences(before: str, after: str, name: str) -> Iterable[str]:
    """Yield what changes, as a diff with a little context around each change."""
    if not before:
        yield f"no policy is in force yet; {name} would be the first"
        return
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "in force", name, n=2, lineterm="")
    yield from lines
