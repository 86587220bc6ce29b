"""The command line's promises: one line for a mistake, fixed exit codes, nothing imported unasked."""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from policy.errors import ConfigurationError
from tool_server.cli import main as cli
from tool_server.cli.command import EXIT_CONFIGURATION, EXIT_NO, EXIT_USAGE, CommandError, print_json

SERVERS = ("litestar", "mcp", "sqlalchemy", "stripe", "uvicorn", "httpx", "ledger", "webhooks")


class Fake:
    """A command that takes one subcommand and does as it is told."""

    __spec__ = "found"  # What an imported module shows to whoever asks whether it is there.

    def __init__(self, do: Callable[[argparse.Namespace], int]) -> None:
        self.run = do

    def register(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("word", nargs="*")
        parser.add_argument("--limit", type=int)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Start the command line with a fake in the place of `caps`."""

    def run(do: Callable[[argparse.Namespace], int], *words: str) -> int:
        monkeypatch.setitem(cli.COMMANDS, "caps", cli.Command("a_fake_command", "a fake"))
        monkeypatch.setitem(sys.modules, "a_fake_command", Fake(do))
        return cli.main(words)

    return run


def fail_with(error: BaseException) -> Callable[[argparse.Namespace], int]:
    """Make a command that raises."""

    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def test_an_answer_of_no_is_an_exit_code_and_no_complaint(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts branch on it: a ledger that does not verify is not a broken command."""
    assert start(lambda _: EXIT_NO, "caps") == EXIT_NO
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "json_wanted", "rest"),
    [
        (("--json", "caps", "a"), True, ["a"]),
        (("caps", "a", "--json"), True, ["a"]),
        (("caps", "a", "--", "--json"), False, ["a", "--json"]),
    ],
)
def test_the_switches_stand_anywhere_before_two_dashes(
    start: Callable[..., int], words: tuple[str, ...], *, json_wanted: bool, rest: list[str]
) -> None:
    """People add --json at the end of a line they already have."""
    seen: list[argparse.Namespace] = []

    def note(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    assert start(note, *words) == 0
    assert (seen[0].json, seen[0].debug, seen[0].word) == (json_wanted, False, rest)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("no such cap"), EXIT_CONFIGURATION, "no such cap"),
        (CommandError("it does not hold", exit_code=EXIT_NO), EXIT_NO, "it does not hold"),
        (ConfigurationError("BURSAR_DB is empty"), EXIT_CONFIGURATION, "BURSAR_DB is empty"),
        (
            ValueError("two\nlines"),
            EXIT_CONFIGURATION,
            "broke with ValueError: two lines; add --debug to see where",
        ),
    ],
)
def test_an_error_is_one_line(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str], error: Exception, code: int, line: str
) -> None:
    """A traceback tells an operator nothing that they can act on."""
    assert start(fail_with(error), "caps") == code
    assert capsys.readouterr().err == f"bursar caps: {line}\n"


def test_debug_shows_where_it_broke(start: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """The one line must not hide the cause from whoever mends it."""
    start(fail_with(ValueError("lost")), "caps", "--debug")
    complaint = capsys.readouterr().err
    assert "Traceback" in complaint
    assert complaint.splitlines()[-1].startswith("bursar caps: broke with ValueError: lost")


def test_an_interrupted_command_says_nothing(start: Callable[..., int]) -> None:
    """Ctrl-C is an order, not an accident."""
    assert start(fail_with(KeyboardInterrupt()), "caps") == cli.INTERRUPTED


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("polici",), "bursar polici: no such command, did you mean 'policy'? see 'bursar --help'"),
        (("zzzz",), "bursar zzzz: no such command; see 'bursar --help'"),
    ],
)
def test_an_unknown_command_names_the_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], line: str
) -> None:
    """A slip of the finger should cost one more try, not a search."""
    assert cli.main(words) == EXIT_USAGE
    assert capsys.readouterr().err == line + "\n"


def test_a_wrong_argument_is_one_line_and_exit_code_two(
    start: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Left to itself, argparse would print a page of usage first."""
    with pytest.raises(SystemExit) as left:
        start(lambda _: 0, "caps", "--limit", "many")
    assert left.value.code == EXIT_USAGE
    complaint = capsys.readouterr().err
    assert complaint == "bursar caps: argument --limit: invalid int value: 'many'; see 'bursar caps --help'\n"


def test_json_is_one_document_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read the whole of standard output, or its lines; both must work."""
    print_json({"caps": [1, "two"]})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"caps": [1, "two"]}


def test_help_and_policy_commands_import_no_server() -> None:
    """They answer in a third of a second only as long as nothing heavy comes with them."""
    look = (
        "import sys; from tool_server.cli.main import build_parser, import_command;"
        "build_parser('policy', import_command('policy'));"
        f"print([name for name in {SERVERS!r} if name in sys.modules])"
    )
    shown = subprocess.check_output([sys.executable, "-c", look], text=True, timeout=60)
    assert shown.strip() == "[]"


def test_a_reader_that_left_is_no_error() -> None:
    """`bursar calls list | head -1` is a normal thing to do."""
    line = f"{shlex.quote(sys.executable)} -m tool_server.cli --help | true"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
