"""`bursar agent`: add, list, rotate and revoke agents; a token is shown once."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.clients import CLIENTS, Connection, settings_for
from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json

_UNITS = {"m": 60, "h": 3_600, "d": 86_400}


def register(parser: argparse.ArgumentParser) -> None:
    """Add the four subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    add = commands.add_parser("add", help="register an agent and print its token and its client's settings")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--project", required=True, metavar="P")
    add.add_argument(
        "--kit", required=True, metavar="KIT[,KIT]", help="sell, fulfil, buy, care, or a plugin's own"
    )
    add.add_argument("--run", metavar="RUN", help="bind the token to one run")
    add.add_argument("--expires-in", metavar="30d", help="close the token by itself after 30m, 24h, 90d")
    add.add_argument(
        "--errors", choices=("calm", "strict"), default="calm", help="strict: denials carry isError"
    )
    add.add_argument(
        "--for", dest="client", choices=tuple(CLIENTS), default="json", help="whose settings to print"
    )
    add_as(add)
    commands.add_parser("list", help="show every agent")
    rotate = commands.add_parser("rotate", help="give an agent another token; the old one stops at once")
    rotate.add_argument("name", metavar="NAME")
    rotate.add_argument("--for", dest="client", choices=tuple(CLIENTS), default="json")
    add_as(rotate)
    revoke = commands.add_parser("revoke", help="close an agent's token at once")
    revoke.add_argument("name", metavar="NAME")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        agents = ask(args, "agent.list")
        columns = ("name", "project", "kits", "run_id", "active", "expires_at", "last_seen_at")
        text = table(
            agents, columns, "no agents yet; `bursar agent add NAME --project P --kit KIT` makes one"
        )
        print_json(agents) if args.json else print(text)
    elif args.what == "revoke":
        told = ask(args, "agent.revoke", {"name": args.name})
        print_json(told) if args.json else print(
            f"{args.name} is revoked: its token opens nothing from now on"
        )
    elif args.what == "rotate":
        _show(args, ask(args, "agent.rotate", {"name": args.name}))
    else:
        _show(args, ask(args, "agent.add", _wanted(args)))
    return EXIT_DONE


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": args.name,
        "project": args.project,
        "kits": [kit.strip() for kit in args.kit.split(",") if kit.strip()],
        "run_id": args.run,
        "expires_in_s": seconds(args.expires_in) if args.expires_in else None,
        "strict_errors": args.errors == "strict",
    }


def _show(args: argparse.Namespace, made: dict[str, Any]) -> None:
    """Print the token this once, and what to paste where."""
    settings = settings_for(args.client, Connection(made["url"], made["token"]))
    if args.json:
        print_json({**made, "client": args.client, "where": settings.where, "settings": settings.text})
        return
    print(f"Token of {made['name']}, shown only now:\n\n  {made['token']}\n")
    print(f"For {args.client}, into {settings.where}:\n\n{settings.text}")
    if settings.hint:
        sys.stderr.write(f"{settings.hint}\n")


def seconds(text: str) -> int:
    """Read 30m, 24h or 7d. Raises CommandError."""
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise CommandError(f"{text!r} is no duration; write 30m, 24h or 7d", exit_code=EXIT_USAGE)
    return int(number) * _UNITS[unit]
