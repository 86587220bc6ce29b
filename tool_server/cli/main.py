"""Start the `bursar` command line.

To add a command, write `tool_server/cli/<name>.py` with two functions, and its line in `COMMANDS`:

    def register(parser: argparse.ArgumentParser) -> None   # adds arguments and subcommands
    def run(args: argparse.Namespace) -> int                # does the work; returns the exit code

Only the module of the command that was asked for is imported, so `bursar policy check` never pays for
a server; heavy imports go inside `run`. `--json` and `--debug` may stand anywhere before a `--`;
`args.json` and `args.debug` are set for every command. Shared pieces (exit codes, `CommandError`,
`print_json`) are in `tool_server.cli.command`.
"""

import argparse
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn, cast

from tool_server.cli.command import EXIT_CONFIGURATION, EXIT_DONE, EXIT_USAGE, CommandError, CommandModule

INTERRUPTED: Final = 130  # What shells report for a command that Ctrl-C ended.


class Command(NamedTuple):
    """Where a command lives and what it is for, known without importing it."""

    module: str
    summary: str


COMMANDS: Final[dict[str, Command]] = {
    "demo": Command("tool_server.cli.demo", "play the story on a house of its own in .demo/"),
    "init": Command("tool_server.cli.init", "prepare a house in this folder: keys, database, first owner"),
    "serve": Command("tool_server.cli.serve", "serve agents, console and webhooks"),
    "stdio": Command("tool_server.cli.stdio", "serve one agent over standard input and output"),
    "doctor": Command("tool_server.cli.doctor", "say what is missing before money can move"),
    "drill": Command("tool_server.cli.drill", "try the guarantees against your own policy, on the simulator"),
    "login": Command("tool_server.cli.login", "get a one-time link for the console"),
    "agent": Command("tool_server.cli.agent", "add, list, rotate and revoke agents"),
    "enforcer": Command("tool_server.cli.enforcer", "add, list and revoke other tool servers"),
    "operator": Command("tool_server.cli.operator", "add, list, disable and link operators"),
    "project": Command("tool_server.cli.project", "add and list projects"),
    "runs": Command("tool_server.cli.runs", "list, show, open and close runs"),
    "policy": Command("tool_server.cli.policy", "check, test, explain, replay and activate policies.yaml"),
    "plugin": Command("tool_server.cli.plugin", "list, accept and test plugins"),
    "offers": Command("tool_server.cli.offers", "list and set what is sold"),
    "approvals": Command("tool_server.cli.approvals", "list, show, approve and deny what waits for a person"),
    "calls": Command("tool_server.cli.calls", "list, show and resolve tool calls"),
    "caps": Command("tool_server.cli.caps", "show every cap, what is used and what is held"),
    "posture": Command("tool_server.cli.posture", "tighten or loosen what may run now"),
    "webhooks": Command("tool_server.cli.webhooks", "list, show, replay and reconcile provider events"),
    "ledger": Command("tool_server.cli.ledger", "verify, export, move and recover the ledger"),
    "simulate": Command("tool_server.cli.simulate", "start the stand-in for Stripe"),
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line; its subparsers are of the same kind."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message}; see '{self.prog} --help'\n")
        sys.exit(EXIT_USAGE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; usage mistakes leave through `SystemExit`."""
    words, switches = _take_switches(list(sys.argv[1:] if argv is None else argv))
    name = next((word for word in words if not word.startswith("-")), "")
    debug = "--debug" in switches
    try:
        module = import_command(name) if name else None
        args = build_parser(name, module).parse_args(words)
        args.json, args.debug = "--json" in switches, debug
        return cast("CommandModule", module).run(args)
    except CommandError as error:
        return _complain(f"bursar {name}: {error}", error.exit_code, debug=debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left: give Python's own flush at exit somewhere to go, and say nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    except Exception as error:  # noqa: BLE001 - the last line of defence: a person never meets a traceback
        return _complain(f"bursar {name}: {_explain(error)}", EXIT_CONFIGURATION, debug=debug)


def _take_switches(words: list[str]) -> tuple[list[str], set[str]]:
    """Split the switches that every command has from the words that its own parser reads."""
    end = words.index("--") if "--" in words else len(words)
    switches = {word for word in words[:end] if word in {"--json", "--debug"}}
    return [word for word in words[:end] if word not in switches] + words[end:], switches


def import_command(name: str) -> CommandModule:
    """Import the module of one command.

    Raises `CommandError` for a name that is no command, and for one that this version does not have.
    """
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ";"
        raise CommandError(f"no such command{hint} see 'bursar --help'", exit_code=EXIT_USAGE)
    path = COMMANDS[name].module
    if importlib.util.find_spec(path) is None:
        raise CommandError("not part of this version yet")
    return cast("CommandModule", importlib.import_module(path))


def build_parser(name: str, module: CommandModule | None) -> argparse.ArgumentParser:
    """Build the parser that knows every command's name and the arguments of the one called `name`."""
    parser = _Parser(
        prog="bursar",
        description="Let AI agents earn and spend real money, under policy.",
        epilog="Every command takes --json and --debug. "
        "Exit codes: 0 done, 1 the answer is no, 2 usage, 3 configuration.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for known, command in COMMANDS.items():
        sub = commands.add_parser(known, help=command.summary, description=command.summary)
        if known == name and module is not None:
            module.register(sub)
    return parser


def _explain(error: Exception) -> str:
    """Tell our own errors, which already say what to do, from a mistake in Bursar, which needs a report."""
    from policy.errors import BursarError

    if isinstance(error, BursarError):
        return str(error)
    text = " ".join(str(error).split())
    return f"broke with {type(error).__name__}: {text}; add --debug to see where"


def _complain(line: str, exit_code: int, *, debug: bool) -> int:
    """Print one line to standard error, after the traceback where `--debug` asks for it."""
    if debug:
        traceback.print_exc()
    sys.stderr.write(line + "\n")
    return exit_code
