"""What every command of the command line shares: exit codes, the error a person can mend, JSON output."""

import argparse
import sys
from typing import Any, Final, Protocol

EXIT_DONE: Final = 0
EXIT_NO: Final = 1  # The answer is no: a policy test failed, a ledger does not verify.
EXIT_USAGE: Final = 2
EXIT_CONFIGURATION: Final = 3  # No answer could be given: something is missing, wrong or broken.


class CommandError(Exception):
    """Something a person can mend: printed as one line that says what was met and what to do."""

    def __init__(self, message: str, *, exit_code: int = EXIT_CONFIGURATION) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class CommandModule(Protocol):
    """What each module named in `tool_server.cli.main.COMMANDS` offers."""

    def register(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments and subcommands; import nothing heavy."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work and return the exit code."""


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever msgspec can encode is a command's answer
    """Print one JSON document and a newline, as `--json` promises."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
