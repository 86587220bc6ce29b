"""`bursar doctor`: say what is missing before money can move."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from tool_server.cli.asking import ask, read_settings
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.doctor import Finding, of_files

_MARKS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


def register(parser: argparse.ArgumentParser) -> None:
    """Take nothing: everything is checked."""


def run(args: argparse.Namespace) -> int:
    """Print one line per check; 1 where anything is bad."""
    settings = read_settings()
    found = [*of_files(settings), *_of_house(args)]
    bad = sum(each.level == "bad" for each in found)
    if args.json:
        print_json({"findings": found, "bad": bad})
        return EXIT_NO if bad else EXIT_DONE
    for each in found:
        print(f"{_MARKS[each.level]}  {each.check}: {each.said}{f'; {each.do}' if each.do else ''}")
    warned = sum(each.level == "warn" for each in found)
    print(f"\n{bad} bad, {warned} to look at, {len(found) - bad - warned} in order")
    return EXIT_NO if bad else EXIT_DONE


def _of_house(args: argparse.Namespace) -> list[Finding]:
    """Ask the house; one that does not open is itself a finding."""
    try:
        told: list[dict[str, Any]] = ask(args, "doctor")
    except CommandError as error:
        return [Finding("house", "bad", str(error))]
    return msgspec.convert(told, list[Finding])
