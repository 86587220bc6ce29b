"""`bursar calls`: list, show and resolve tool calls."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, shown, table
from tool_server.cli.command import EXIT_DONE, print_json

_COLUMNS = ("call_id", "state", "tool", "amount", "payee", "mode", "agent", "code", "admitted_at")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the three subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = commands.add_parser("list", help="show calls, newest first")
    listed.add_argument(
        "--state", help="denied, awaiting_approval, queued, executing, succeeded, unknown, ..."
    )
    listed.add_argument("--project", metavar="P")
    listed.add_argument("--agent", metavar="A")
    listed.add_argument("--limit", type=int, default=50)
    listed.add_argument("--after", metavar="KEY", help="the next page, as the last one said")
    show = commands.add_parser("show", help="show one call, whole, with what happened to it")
    show.add_argument("call_id", metavar="CALL")
    resolve = commands.add_parser("resolve", help="settle an unknown call by what you found out")
    resolve.add_argument("call_id", metavar="CALL")
    resolve.add_argument("outcome", choices=("succeeded", "failed"))
    resolve.add_argument("--evidence", required=True, metavar="TEXT", help="what you saw, where")
    resolve.add_argument("--actual", metavar="'19.99 USD'", help="what was really charged, where it differs")
    add_as(resolve)


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        asked = {name: getattr(args, name) for name in ("state", "project", "agent", "limit", "after")}
        page = ask(args, "calls.list", asked)
        if args.json:
            print_json(page)
            return EXIT_DONE
        print(table(page["items"], _COLUMNS, "no calls"))
        if page.get("after"):
            print(f"more: --after {page['after']}")
        return EXIT_DONE
    if args.what == "show":
        call = ask(args, "calls.show", {"id": args.call_id})
        print_json(call) if args.json else print(shown(call))
        return EXIT_DONE
    asked = {"id": args.call_id, "outcome": args.outcome, "evidence": args.evidence, "actual": args.actual}
    call = ask(args, "calls.resolve", asked)
    print_json(call) if args.json else print(f"{args.call_id} is {call['state']}")
    return EXIT_DONE
