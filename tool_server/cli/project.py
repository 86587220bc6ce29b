"""`bursar project`: add and list projects, each a budget with agents and runs."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.command import EXIT_DONE, print_json


def register(parser: argparse.ArgumentParser) -> None:
    """Add the two subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    add = commands.add_parser("add", help="open a project; caps per project and per run begin with it")
    add.add_argument("name", metavar="NAME")
    add_as(add)
    commands.add_parser("list", help="show every project")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "add":
        made = ask(args, "project.add", {"name": args.name})
        print_json(made) if args.json else print(f"project {args.name} is open")
        return EXIT_DONE
    projects = ask(args, "project.list")
    text = table(projects, ("name", "created_at"), "no projects yet; `bursar project add NAME` makes one")
    print_json(projects) if args.json else print(text)
    return EXIT_DONE
