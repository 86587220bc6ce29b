"""How a command gets done: by the process that writes the ledger, with a person's password where needed.

Where a server runs, it is asked over its socket; where none does, this process opens the ledger itself and
asks the same office. PostgreSQL has no lock to hold, so there the command always opens the ledger itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.records import Role
from policy.errors import ConfigurationError
from tool_server.cli.command import EXIT_NO, CommandError
from tool_server.cli.terminal import ask_line, ask_password
from tool_server.office import RANK, Ask, Sign, Told
from tool_server.settings import Settings


def add_as(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the operator who signs; the password is only ever typed."""
    parser.add_argument("--as", dest="sign_as", metavar="OPERATOR", help="who signs, where several could")


def read_settings() -> Settings:
    """Return the settings of the environment. Raises CommandError."""
    try:
        return Settings.read(os.environ)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None


def ask(args: argparse.Namespace, verb: str, params: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - the verb's own answer
    """Have one thing done and return what came of it. Raises CommandError."""
    settings = read_settings()
    question = Ask(verb=verb, params=dict(params or {}))
    told = asyncio.run(_told(settings, question))
    if told.sign_as:
        sign = _sign(settings, Role(told.sign_as), getattr(args, "sign_as", None))
        told = asyncio.run(_told(settings, Ask(verb=verb, params=question.params, sign=sign)))
    if told.refused:
        raise CommandError(told.refused, exit_code=EXIT_NO)
    return told.data


async def _told(settings: Settings, question: Ask) -> Told:
    """Ask the lock's holder, else do it here."""
    from tool_server.office_socket import ask_holder

    try:
        if settings.sqlite_file is not None:
            told = await ask_holder(settings.sqlite_file, question)
            if told is not None:
                return told
        return await _here(settings, question)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None


async def _here(settings: Settings, question: Ask) -> Told:
    """Open the ledger in this process and ask its office."""
    from tool_server.logs import configure_logging
    from tool_server.office_local import open_office

    configure_logging(level="ERROR")  # A command's output is its answer.
    async with open_office(settings, question.verb) as office:
        told = await office.handle(question)
    # As it would have come over the socket: plain values only.
    import msgspec

    from policy.money import enc_hook

    return msgspec.structs.replace(
        told, data=msgspec.to_builtins(told.data, enc_hook=enc_hook, str_keys=True)
    )


def _sign(settings: Settings, role: Role, name: str | None) -> Sign:
    """Ask who signs, where that is not plain, and the password."""
    if name is None:
        told = asyncio.run(_told(settings, Ask(verb="operator.list")))
        name = _only(told.data or [], role) or ask_line(f"Operator ({role.value} or more): ").strip()
    return Sign(name, ask_password(f"Password of {name}: "))


def _only(operators: Sequence[Mapping[str, Any]], role: Role) -> str | None:
    """Return the one operator who could sign, None where several could."""
    able = [
        operator["name"]
        for operator in operators
        if operator["active"] and operator["has_password"] and RANK[Role(operator["role"])] >= RANK[role]
    ]
    if not able:
        raise CommandError(
            f"nobody who could sign for this (role {role.value}) has a password yet; sign in at the console "
            "with the link from `bursar init` or `bursar operator add` and set one"
        )
    return str(able[0]) if len(able) == 1 else None


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> str:
    """Return rows as aligned text with a head line; `empty` says what it means that there are none."""
    if not rows:
        return empty
    cells = [[column.replace("_", " ") for column in columns]]
    cells += [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)


def shown(record: Mapping[str, Any]) -> str:
    """Return one record as lines of name and value; what is empty is left out."""
    width = max((len(name) for name in record), default=0)
    lines = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            lines += [name, *(f"  {line}" for line in shown(value).splitlines())]
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            lines += [name, *(f"  {_in_a_row(each)}" for each in value)]
        elif value not in (None, "", []):
            lines.append(f"{name.ljust(width)}  {_cell(value)}")
    return "\n".join(lines)


def _in_a_row(record: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name}={_cell(value)}" for name, value in record.items() if value not in (None, "", [])
    )


def _cell(value: object) -> str:
    """Return one value for a person: nothing for nothing, yes and no for truth, no control characters."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(each) for each in value) or "-"
    return "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in str(value))
