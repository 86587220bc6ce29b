"""`bursar webhooks`: the events a provider sent, what became of each, and looking for what was missed."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, shown, table
from tool_server.cli.command import EXIT_DONE, print_json

_COLUMNS = ("event_id", "type", "state", "why", "source", "deliveries", "attempts", "received_at")
_STATES = ("received", "processed", "ignored", "unmatched", "quarantined")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the four subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    listed = commands.add_parser("list", help="show events, newest first")
    listed.add_argument("--state", choices=_STATES)
    listed.add_argument("--after", metavar="EVENT", help="the last event of the page before")
    show = commands.add_parser("show", help="show one event as it was signed")
    show.add_argument("event_id", metavar="EVENT")
    again = commands.add_parser("replay", help="work one event once more; nothing is booked twice")
    again.add_argument("event_id", metavar="EVENT")
    add_as(again)
    commands.add_parser("reconcile", help="have the server look for what no event told, at once")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        found = ask(args, "webhooks.list", {"state": args.state, "after": args.after})
        print_json(found) if args.json else print(table(found, _COLUMNS, "no events yet"))
        return EXIT_DONE
    if args.what == "reconcile":
        told = ask(args, "webhooks.reconcile")
        line = "asked; the server's worker looks within seconds (`bursar webhooks list` shows what it finds)"
    else:
        told = ask(args, f"webhooks.{args.what}", {"event_id": args.event_id})
        line = shown(told)
    print_json(told) if args.json else print(line)
    return EXIT_DONE
