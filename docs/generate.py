"""Write the reference pages that are made from the code: `python docs/generate.py`, from the root.

tests/test_documents.py fails while a committed page differs from what this writes.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # Run as a script, this file's folder would come first, and not the rooms.

from plugins.schema import input_schema  # noqa: E402 - needs the path
from policy import errors  # noqa: E402 - needs the path
from policy.language import PluginEntry  # noqa: E402 - needs the path
from tool_server.cli.main import COMMANDS, build_parser, import_command  # noqa: E402 - needs the path

CLI_HEAD: Final = """# Command line

Made by `python docs/generate.py` from the commands themselves.

`./run ARGS` in a clone is `bursar ARGS`. Every command takes `--json` (one JSON document on standard
output) and `--debug` (a traceback where something broke). Errors are one line on standard error.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the answer is no: a policy test failed, a ledger does not verify |
| 2 | usage |
| 3 | configuration: something is missing, wrong or broken, so there is no answer |
"""
ERRORS_HEAD: Final = """# What a call can meet

Made by `python docs/generate.py` from `policy/errors.py`. `code`, `status` and `retry` are promises to
agents: they branch on them. `retry` is the usual advice; an answer may know better.

| code | status | retry | meaning |
|---|---|---|---|
"""


def cli_page() -> str:
    """Describe every command, its subcommands and their arguments."""
    parts = [CLI_HEAD]
    for name, command in COMMANDS.items():
        parts.append(f"## bursar {name}\n\n{command.summary.capitalize()}.\n")
        if not (ROOT / command.module.replace(".", "/")).with_suffix(".py").exists():
            parts.append("Not part of this version yet.\n")
            continue
        whole = build_parser(name, import_command(name))
        parser = next(sub for known, sub in _subparsers(whole) if known == name)
        parts += _usages(parser, f"bursar {name}")
    return "\n".join(parts)


def errors_page() -> str:
    """List every code with what it means."""
    kinds = sorted(_descendants(errors.BursarError), key=lambda kind: kind.__name__)
    rows = [
        f"| `{kind.code}` | `{kind.status}` | `{kind.retry}` | {_first_line(kind.__doc__)} |"
        for kind in kinds
        # Other rooms have refusals for people of their own; which are loaded must not change the page.
        if kind.__module__ == errors.__name__ and issubclass(kind, errors.CallRefused | errors.OutcomeUnknown)
    ]
    return ERRORS_HEAD + "\n".join(sorted(rows)) + "\n"


def tools_file() -> str:
    """List the release's tools: core and our plugins as they are, and what is planned as written down."""
    from plugins import registry
    from plugins.hookspecs import PluginContext, Secret
    from policy.tools import TOOLS_FILE, ToolInfo, load_tools, tools_json
    from tool_server.core_tools import CoreTools

    def context(entry: PluginEntry, secrets: tuple[str, ...]) -> PluginContext:
        # The keys of nobody: a definition depends on none, and a plugin may refuse to load without any.
        given = {name: Secret(name, "sk_test_nobody") for name in secrets}
        return PluginContext(
            name=entry.name,
            settings={},
            secrets=given,
            now=lambda: datetime.now(UTC),
            new_id=lambda prefix: prefix,
        )

    ours = [path.parent.name for path in sorted((ROOT / "plugins").glob("*/plugin.py"))]
    loaded = registry.load([PluginEntry(name) for name in ours], context)
    made = {name: tool.info for name, tool in loaded.tools.items()}
    nobody = cast("Any", None)  # The list of tools asks neither the books nor the house.
    for tool in CoreTools(nobody, nobody).tools():
        made[tool.name] = ToolInfo(
            name=tool.name,
            kind=tool.kind,
            kit="core",
            plugin="core",
            provider=registry.HOUSE_PROVIDER,
            operation=tool.name,
            description=tool.description,
            arguments=input_schema(tool.arguments),
        )
    planned = {
        name: info for name, info in load_tools(TOOLS_FILE).items() if info.plugin not in {*ours, "core"}
    }
    return tools_json({**planned, **made}.values()).decode()


PAGES: Final[dict[str, Callable[[], str]]] = {
    "tools.json": tools_file,
    "docs/reference/cli.md": cli_page,
    "docs/reference/errors.md": errors_page,
}


def _usages(parser: argparse.ArgumentParser, path: str) -> Iterator[str]:
    """Describe one command, or each of its subcommands."""
    subparsers = _subparsers(parser)
    for name, sub in subparsers:
        yield from _usages(sub, f"{path} {name}")
    if subparsers:
        return
    if path.count(" ") > 1:
        yield f"### {path}\n"
        yield (parser.description or "") + "\n"
    rows = [_row(action) for action in _actions(parser) if action.dest != "help"]
    if rows:
        yield "| argument | |\n|---|---|\n" + "\n".join(rows) + "\n"


def _row(action: argparse.Action) -> str:
    choices = "|".join(map(str, action.choices)) if action.choices else ""
    value = action.metavar or choices or action.dest.upper()
    shown = value if isinstance(value, str) else " ".join(value)
    if action.option_strings:
        shown = action.option_strings[-1] + ("" if action.nargs == 0 else f" {shown}")
    meaning = (action.help or "").replace("%%", "%")
    return f"| `{shown}` | {meaning} |".replace(shown, shown.replace("|", "\\|"))


def _subparsers(parser: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    """List a parser's subcommands in the order they were added."""
    groups = [
        action.choices
        for action in _actions(parser)
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001 - nor a public name for this
    ]
    return [(str(name), sub) for group in groups if group for name, sub in group.items()]


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse has no public list of what a parser takes


def _descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _first_line(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ")


if __name__ == "__main__":
    for page, write in PAGES.items():
        (ROOT / page).write_text(write())
