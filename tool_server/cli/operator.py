"""`bursar operator`: add, list, disable and link the people who answer."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json
from tool_server.cli.terminal import ask_new_password


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    add = commands.add_parser("add", help="add a person and print the link of their first sign-in")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--role", choices=("viewer", "approver", "owner"), default="approver")
    add_as(add)
    commands.add_parser("list", help="show every operator")
    for name, said in (
        ("disable", "let a person in no more"),
        ("link", "print another sign-in link for a person"),
    ):
        command = commands.add_parser(name, help=said)
        command.add_argument("name", metavar="NAME")
        add_as(command)
    add_as(commands.add_parser("password", help="give yourself another password"))


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        people = ask(args, "operator.list")
        text = table(people, ("name", "role", "active", "has_password", "created_at"), "no operators yet")
        print_json(people) if args.json else print(text)
        return EXIT_DONE
    if args.what == "password":
        new = ask_new_password("yourself")
        if not new:
            raise CommandError("an empty password is none; nothing was done", exit_code=EXIT_USAGE)
        told = ask(args, "operator.password", {"password": new})
        print_json(told) if args.json else print(f"{told['name']} has another password")
        return EXIT_DONE
    params = {"name": args.name} | ({"role": args.role} if args.what == "add" else {})
    told = ask(args, f"operator.{args.what}", params)
    if args.json:
        print_json(told)
    elif args.what == "disable":
        print(f"{args.name} is disabled: no sign-in, and verdicts not yet used count no more")
    else:
        show_link(told)
    return EXIT_DONE


def show_link(told: dict[str, str]) -> None:
    """Print a one-time link and how long it works."""
    print(f"{told['name']} ({told['role']}) signs in once, until {told['expires_at']}, at:")
    print(f"\n  {told['link']}\n")
