"""`bursar plugin`: list, accept and test plugins."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask, table
from tool_server.cli.command import EXIT_DONE, print_json

_COLUMNS = ("tool", "plugin", "kit", "kind", "provider", "on", "why_off")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    commands.add_parser("list", help="show every tool, and why those that are off are off")
    accept = commands.add_parser("accept", help="accept a plugin's tools as they are defined now")
    accept.add_argument("plugin", metavar="PLUGIN")
    add_as(accept)
    test = commands.add_parser("test", help="run the conformance kit on a plugin")
    test.add_argument("plugin", metavar="PLUGIN", help="its name in the policy, or a module")


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        tools = ask(args, "plugin.list")
        print_json(tools) if args.json else print(table(tools, _COLUMNS, "the policy names no plugins"))
        return EXIT_DONE
    if args.what == "test":
        from tool_server.cli.plugin_test import run_kit

        return run_kit(args)
    told = ask(args, "plugin.accept", {"plugin": args.plugin})
    if args.json:
        print_json(told)
    else:
        print(f"accepted: {', '.join(told['accepted'])}; a running server serves them from its next start")
    return EXIT_DONE
