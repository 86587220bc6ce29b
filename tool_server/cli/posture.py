"""`bursar posture`: tighten or loosen what may run now."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json

_POSTURES = ("normal", "no_spend", "draft_only", "read_only")


def register(parser: argparse.ArgumentParser) -> None:
    """Add where the switch goes, for whom, and why."""
    parser.add_argument("posture", nargs="?", choices=_POSTURES, help="left out: show what is set")
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--project", metavar="P")
    whom.add_argument("--agent", metavar="A")
    whom.add_argument("--provider", metavar="V")
    parser.add_argument("--because", metavar="TEXT", help="the reason, for the log")
    add_as(parser)


def run(args: argparse.Namespace) -> int:
    """Show or move the switch; tightening asks nobody, loosening asks an owner's password."""
    if args.posture is None:
        postures = ask(args, "posture.show")
        columns = ("scope", "scope_key", "posture", "because", "set_by", "at")
        print_json(postures) if args.json else print(table(postures, columns, "everything is normal"))
        return EXIT_DONE
    if not args.because:
        raise CommandError("say why with --because TEXT", exit_code=EXIT_USAGE)
    asked = {"posture": args.posture, "because": args.because, **_scope(args)}
    told = ask(args, "posture.set", asked)
    if told.get("loosens"):
        told = ask(args, "posture.set", {**asked, "loosens": True})
    if args.json:
        print_json(told)
        return EXIT_DONE
    print(f"{told['scope']} {told['key']}".strip() + f" is {told['posture']} for every claim from now on")
    flying = told["in_flight"]
    if flying:
        print("Already on their way, and not stopped by this:")
        print(table(flying, ("call_id", "state", "tool", "amount", "payee", "agent"), ""))
    return EXIT_DONE


def _scope(args: argparse.Namespace) -> dict[str, str]:
    for scope in ("project", "agent", "provider"):
        if getattr(args, scope):
            return {"scope": scope, "key": getattr(args, scope)}
    return {"scope": "account", "key": ""}
