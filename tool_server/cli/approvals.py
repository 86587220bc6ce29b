"""`bursar approvals`: list, show, approve and deny what waits for a person."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tool_server.cli.asking import add_as, ask, shown, table
from tool_server.cli.command import EXIT_DONE, CommandError, print_json

_COLUMNS = ("approval_id", "tool", "amount", "payee", "mode", "agent", "state", "expires_at")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the four subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = commands.add_parser("list", help="show what waits, the next to run out first")
    listed.add_argument(
        "--state", help="pending (default), approved, consumed, denied, expired, superseded, ..."
    )
    listed.add_argument("--limit", type=int, default=50)
    listed.add_argument("--after", metavar="KEY", help="the next page, as the last one said")
    show = commands.add_parser("show", help="show one request and the exact call it is about")
    show.add_argument("approval_id", metavar="APPROVAL")
    for name in ("approve", "deny"):
        answer = commands.add_parser(name, help=f"{name} exactly what `show` showed")
        answer.add_argument("approval_id", metavar="APPROVAL")
        answer.add_argument("--op-hash", metavar="HASH", help="only if the request still has this hash")
        answer.add_argument("--comment", default="", metavar="TEXT", help="words the agent reads")
        answer.add_argument(
            "--amount", default="", metavar="AMOUNT", help="the amount, where a desk wants it typed"
        )
        add_as(answer)


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        page = ask(args, "approvals.list", {"state": args.state, "limit": args.limit, "after": args.after})
        print_json(page) if args.json else _list(page)
    elif args.what == "show":
        request = ask(args, "approvals.show", {"id": args.approval_id})
        print_json(request) if args.json else print(shown(request))
    else:
        _answer(args)
    return EXIT_DONE


def _list(page: Mapping[str, Any]) -> None:
    print(table(page["items"], _COLUMNS, "nothing waits for a person"))
    if page.get("after"):
        print(f"more: --after {page['after']}")


def _answer(args: argparse.Namespace) -> None:
    """Show the card first: a verdict is for what was shown, and the hash says that it is still that."""
    request = ask(args, "approvals.show", {"id": args.approval_id})
    if args.op_hash and not request["op_hash"].startswith(args.op_hash):
        raise CommandError("this request changed since then; look at it with `bursar approvals show`")
    if not args.json:
        print(shown(request))
    params = {
        "id": args.approval_id,
        "op_hash": request["op_hash"],
        "verdict": args.what,
        "comment": args.comment,
        "typed_amount": args.amount,
    }
    told = ask(args, "approvals.answer", params)
    if args.json:
        print_json(told)
    else:
        print(f"\n{args.approval_id}: {told['state']}; the call is {told['call']['state']}")
