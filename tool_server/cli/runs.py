"""`bursar runs`: list, show, open and close runs, each one bounded piece of work."""

from __future__ import annotations

import argparse

from tool_server.cli import run_proof
from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.command import EXIT_DONE, print_json
from tool_server.cli.ledger_files import add_account, add_database

_COLUMNS = ("run_id", "project", "title", "state", "standing", "order_id", "opened_at", "closed_at")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the four subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = commands.add_parser("list", help="show runs, newest first")
    listed.add_argument("--project", metavar="P")
    listed.add_argument("--state", choices=("open", "closed"))
    show = commands.add_parser("show", help="show one run, or write its proof to a file")
    show.add_argument("run_id", metavar="RUN")
    show.add_argument(
        "--proof", metavar="FILE", help="write all that is behind it, which `bursar ledger verify` checks"
    )
    show.add_argument(
        "--without-payload", action="store_true", help="leave out of a proof what could be erased"
    )
    add_account(show)
    add_database(show)
    opened = commands.add_parser("open", help="open a run; caps per run begin with it")
    opened.add_argument("--project", required=True, metavar="P")
    opened.add_argument("--title", required=True, metavar="TEXT")
    add_as(opened)
    closed = commands.add_parser("close", help="close a run; what waits in it is cancelled")
    closed.add_argument("run_id", metavar="RUN")
    closed.add_argument("--because", default="", metavar="TEXT")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "show" and args.proof:
        return run_proof.write(args)
    if args.what == "list":
        found = ask(args, "runs.list", {"project": args.project, "state": args.state})
    elif args.what == "show":
        found = [ask(args, "runs.show", {"name": args.run_id})]
    elif args.what == "open":
        found = [ask(args, "runs.open", {"project": args.project, "title": args.title})]
    else:
        found = [ask(args, "runs.close", {"run_id": args.run_id, "reason": args.because})]
    if args.json:
        print_json(found if args.what == "list" else found[0])
    else:
        print(table(found, _COLUMNS, "no runs; a project's standing run begins with its first call"))
    return EXIT_DONE
