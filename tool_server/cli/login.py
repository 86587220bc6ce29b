"""`bursar login`: get a one-time link for the console."""

from __future__ import annotations

import argparse

from tool_server.cli.asking import add_as, ask
from tool_server.cli.command import EXIT_DONE, print_json
from tool_server.cli.operator import show_link


def register(parser: argparse.ArgumentParser) -> None:
    """Add who signs."""
    add_as(parser)


def run(args: argparse.Namespace) -> int:
    """Print the link."""
    told = ask(args, "login")
    print_json(told) if args.json else show_link(told)
    return EXIT_DONE
