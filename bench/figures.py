"""What the benches measured: figures beside their floor and goal, as a table and as a line for machines."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    """One figure. `ratio` is to its floor or peer, or to its goal where it has neither."""

    name: str
    figure: float
    unit: str
    floor: float | None
    ratio: float | None
    goal: float | str | None
    holds: bool


def at_most(name: str, figure: float, unit: str, most: float | None = None) -> Result:
    """Return a figure that has no floor and must not exceed its goal, where it has one."""
    ratio = figure / most if most else None
    return Result(name, figure, unit, None, ratio, most, most is None or figure <= most)


def show(results: Sequence[Result]) -> None:
    """Print the table; floors have a column where the bench has any."""
    floors = any(each.floor is not None for each in results)
    columns = f"{'floor':>12}{'ratio':>8}" if floors else ""
    print(f"{'':44}{'figure':>12} {'':9}{columns}  goal")
    for each in results:
        beside = "" if each.floor is None else f"{each.floor:12,.2f}{each.ratio:8.2f}"
        row = f"{each.name:44}{_number(each.figure):>12} {each.unit:9}{beside:{len(columns)}}"
        print(f"{row}  {_goal(each)}".rstrip())


def print_json(results: Sequence[Result]) -> None:
    """Print the line for machines: the results, the command, the machine and the time."""
    print(
        json.dumps(
            {
                "results": [_rounded(each) for each in results],
                "command": " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
                "machine": _machine(),
                "date": dt.datetime.now(dt.UTC).isoformat(),
            }
        )
    )


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 if a goal was missed."""
    return 0 if all(each.holds for each in results) else 1


def _goal(each: Result) -> str:
    if not each.goal and each.goal != 0:
        return ""
    words = each.goal if isinstance(each.goal, str) else f"<= {each.goal:g}"
    return f"{words}: {'holds' if each.holds else 'MISSED'}"


def _number(figure: float) -> str:
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:,.2f}"


def _rounded(each: Result) -> dict[str, object]:
    return {key: round(it, 3) if isinstance(it, float) else it for key, it in each._asdict().items()}


def _machine() -> str:
    programs = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{platform.machine()}, {platform.system()}, {cores}, {programs}"
