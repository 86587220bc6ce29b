"""`bursar caps`: show every cap, what is used and what is held."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from policy.money import Money
from tool_server.cli.asking import ask, table
from tool_server.cli.command import EXIT_DONE, print_json

_COLUMNS = ("cap", "per", "of", "mode", "window", "posted", "held", "limit", "left")


def register(parser: argparse.ArgumentParser) -> None:
    """Take nothing: caps are few."""


def run(args: argparse.Namespace) -> int:
    """Print them."""
    caps = ask(args, "caps.list")
    if args.json:
        print_json(caps)
    else:
        print(table([_row(cap) for cap in caps], _COLUMNS, "the active policy has no caps"))
    return EXIT_DONE


def _row(cap: Mapping[str, Any]) -> dict[str, Any]:
    """Return one cap in its own notation; a limit of None is a share of earnings, known per call."""
    unit, limit = cap["unit"], cap["limit"]
    used = cap["posted"] + cap["held"]
    return {
        "cap": cap["cap_id"],
        "per": cap["scope"],
        "of": cap["scope_key"],
        "mode": cap["mode"] if used else "",
        "window": cap["window"],
        "posted": _amount(cap["posted"], unit),
        "held": _amount(cap["held"], unit),
        "limit": "a share of what is earned" if limit is None else _amount(limit, unit),
        "left": "" if limit is None else _amount(max(0, limit - used), unit),
    }


def _amount(units: int, unit: str) -> str:
    return f"{units} calls" if unit == "calls" else str(Money(units, unit))
