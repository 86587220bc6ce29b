"""The command line as an operator meets it: passwords on a terminal, the lock's holder, exit codes."""

import fcntl
import json
import logging
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from msgspec import Struct

from tool_server.cli.main import main
from tool_server.office import Verb
from tool_server.office_calls import PostureSet
from tool_server.office_local import VERBS

PASSWORD = "plum anchor violet dune"
POLICY = """\
version: 1
plugins: []
rules:
  - {id: look, match: {kind: [read, draft]}, effect: allow}
"""
PATIENCE_S = 40.0  # A loaded machine imports the whole server in this many seconds at the worst.


class Ran(Struct, frozen=True):
    """How one command ended."""

    code: int
    out: str
    err: str
    seen: str  # What stood on the terminal.


class Folder:
    """A house's folder, and the commands that are run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("BURSAR_", "STRIPE_"))
            },
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }

    def run(self, *words: str, typed: tuple[str, ...] | None = None) -> Ran:
        """Run a command; `typed` are the answers of a person at its terminal, None means nobody is there."""
        command = [sys.executable, "-m", "tool_server.cli", *words]
        if typed is None:
            done = subprocess.run(
                command,
                cwd=self.path,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                start_new_session=True,  # No terminal to ask on.
                timeout=PATIENCE_S,
                check=False,
            )
            return Ran(done.returncode, done.stdout, done.stderr, "")
        return self._with_person(command, typed)

    def json(self, *words: str, typed: tuple[str, ...] | None = None) -> Any:  # noqa: ANN401 - the command's answer
        """Run a command that must succeed, and return its answer."""
        ran = self.run(*words, "--json", typed=typed)
        assert ran.code == 0, ran
        return json.loads(ran.out)

    def _with_person(self, command: list[str], typed: tuple[str, ...]) -> Ran:
        """Run a command whose controlling terminal is ours, and answer each question on it."""
        master, slave = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        with subprocess.Popen(
            command,
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=take_terminal,  # noqa: PLW1509 - a terminal can only be taken in the child
        ) as process:
            seen = _converse(master, process, list(typed))
            out, err = process.communicate(timeout=PATIENCE_S)
        os.close(master)
        os.close(slave)
        return Ran(process.returncode, out, err, seen)

    @contextmanager
    def serving(self) -> Iterator[dict[str, str]]:
        """Serve this house; yield where."""
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tool_server.cli",
                "serve",
                "--agents",
                ":0",
                "--web",
                ":0",
                "--only",
                "agents",
                "--json",
            ],
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                yield json.loads(process.stdout.readline())["serving"]
            finally:
                process.terminate()
                assert process.wait(PATIENCE_S) == 0


def _converse(master: int, process: subprocess.Popen[str], answers: list[str]) -> str:
    """Type the next answer at each prompt; return all that stood on the terminal."""
    seen, end = "", time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end:
        if not select.select([master], [], [], 0.05)[0]:
            continue
        seen += os.read(master, 4_096).decode()
        if seen.endswith(": ") and answers:
            os.write(master, (answers.pop(0) + "\n").encode())
            seen += "\n"
    return seen


Here = Callable[..., Ran]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    """Give a way to run a command in this process, where nothing is typed: seconds less than a new one."""
    handlers, level = logging.getLogger().handlers, logging.getLogger().level

    def run(folder: Folder, *words: str) -> Ran:
        monkeypatch.chdir(folder.path)
        for name in [name for name in os.environ if name.startswith(("BURSAR_", "STRIPE_"))]:
            monkeypatch.delenv(name)
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Ran(code, said.out, said.err, "")

    yield run
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Give a house whose owner set a password when it was made."""
    made = Folder(tmp_path_factory.mktemp("house"))
    (made.path / "policies.yaml").write_text(POLICY)
    ran = made.run("init", "--owner", "ada", "--project", "shop", typed=(PASSWORD, PASSWORD))
    assert ran.code == 0, ran
    assert "http://127.0.0.1:8401/link/" in ran.out
    assert PASSWORD not in ran.out + ran.err + ran.seen
    return made


def test_what_init_makes_is_for_this_user_alone(folder: Folder) -> None:
    """Keys, ledger and instance id that others may read are others'."""
    for name in ("bursar.db", "keys", "keys/checkpoint.pem", "keys/instance"):
        assert (folder.path / name).stat().st_mode & 0o077 == 0, name


def test_init_touches_nothing_that_is_there(folder: Folder) -> None:
    """A second init must not give away a house that stands."""
    before = (folder.path / "keys" / "checkpoint.pem").read_bytes()
    ran = folder.run("init", typed=("", ""))
    assert ran.code == 3
    assert "already" in ran.err
    assert (folder.path / "keys" / "checkpoint.pem").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [("agent", "add", "eve", "--project", "shop", "--kit", "sell"), ("login",), ("project", "add", "other")],
)
def test_nothing_that_mints_or_loosens_is_done_without_a_person(
    words: tuple[str, ...], folder: Folder
) -> None:
    """An agent with a shell has no terminal of the operator's; no flag, variable or pipe replaces it."""
    ran = folder.run(*words)
    assert ran.code == 3
    assert "terminal" in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_every_verb_that_mints_or_loosens_wants_a_role() -> None:
    """The list is short enough to read; a new verb that is not on it opens with a password or tightens."""
    free = {name for name, verb in VERBS.items() if not wants_role(verb)}
    assert free == {
        *("agent.list", "operator.list", "project.list", "runs.list", "runs.show", "plugin.list"),
        *("approvals.list", "approvals.show", "calls.list", "calls.show", "caps.list", "posture.show"),
        *("doctor", "policy.active"),
        *("offers.list", "webhooks.list", "webhooks.show"),
        "webhooks.reconcile",  # Fetches evidence again, and believes the provider alone.
        *("agent.revoke", "runs.close", "posture.set"),  # They only ever tighten without a password.
    }


def wants_role(verb: Verb) -> bool:
    """Say whether a verb asks for a password, whatever it is asked."""
    return verb.role(None) is not None if verb.params is not PostureSet else False


def test_a_wrong_password_opens_nothing_and_a_guesser_must_wait(tmp_path: Path) -> None:
    """The same line for a wrong name and a wrong password; after a few, a pause."""
    house = Folder(tmp_path)
    (tmp_path / "policies.yaml").write_text(POLICY)
    assert house.run("init", "--owner", "ada", typed=(PASSWORD, PASSWORD)).code == 0
    wrong = house.run("project", "add", "x", typed=("guess number one",))
    nobody = house.run("project", "add", "x", "--as", "nobody", typed=(PASSWORD,))
    assert (wrong.code, nobody.code) == (1, 1)
    assert wrong.err == nobody.err
    assert PASSWORD not in nobody.seen


def test_beside_a_running_server_its_holder_does_the_work(folder: Folder) -> None:
    """The command asks the lock's holder over its socket; the holder checks the password."""
    with folder.serving() as urls:
        assert (folder.path / "bursar.db.sock").stat().st_mode & 0o777 == 0o600
        project = folder.json("project", "add", "beside", typed=(PASSWORD,))
        assert project["name"] == "beside"
        assert [each["name"] for each in folder.json("project", "list")] == ["beside", "shop"]
        assert httpx.get(urls["agents"].replace("/mcp", "/healthz"), timeout=5).json()["server"] == "bursar"
    assert not (folder.path / "bursar.db.sock").exists()


def test_a_policy_is_put_in_force_by_an_owner_who_saw_what_changes(folder: Folder, here: Here) -> None:
    """Cases first, then the differences, then the password; without one nothing changes."""
    file, cases = folder.path / "policies.yaml", folder.path / "policies.cases.yaml"
    try:
        first = folder.run("policy", "activate", typed=(PASSWORD,))
        assert (first.code, "is in force" in first.out) == (0, True), first
        file.write_text(POLICY + "live_spend: {enabled: true, providers: [stripe]}\n")
        cases.write_text("- {why: looking is dear, call: {tool: crm_find_leads}, expect: {effect: deny}}\n")
        assert here(folder, "policy", "activate").code == 1
        cases.unlink()
        assert folder.run("policy", "activate").code == 3
        seen = folder.run("policy", "activate", typed=(PASSWORD,))
        assert (seen.code, "+live_spend: {enabled: true" in seen.out) == (0, True), seen
        assert "in force already" in here(folder, "policy", "activate").out
    finally:
        cases.unlink(missing_ok=True)
        file.write_text(POLICY)
    assert folder.run("policy", "activate", typed=(PASSWORD,)).code == 0


def test_tightening_asks_nobody_and_loosening_asks_an_owner(folder: Folder, here: Here) -> None:
    """Whoever sees trouble may stop; only an owner starts again, with a reason."""
    stopped = json.loads(here(folder, "posture", "no_spend", "--because", "trouble", "--json").out)
    assert (stopped["posture"], stopped["in_flight"]) == ("no_spend", [])
    assert folder.run("posture", "normal", "--because", "all clear").code == 3
    opened = folder.run("posture", "normal", "--because", "all clear", typed=(PASSWORD,))
    assert opened.code == 0, opened
    assert json.loads(here(folder, "posture", "--json").out)[0]["posture"] == "normal"


@pytest.mark.parametrize(
    "words",
    [
        ("agent", "list"),
        ("operator", "list"),
        ("project", "list"),
        ("runs", "list"),
        ("approvals", "list"),
        ("calls", "list"),
        ("caps",),
        ("posture",),
        ("plugin", "list"),
    ],
)
def test_every_listing_speaks_to_people_and_to_programs(
    words: tuple[str, ...], folder: Folder, here: Here
) -> None:
    """The same command for a screen and for a script, and neither needs a password."""
    for_people = here(folder, *words)
    assert (for_people.code, bool(for_people.out.strip()), for_people.err) == (0, True, "")
    json.loads(here(folder, *words, "--json").out)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("calls", "show", "call_nope"), 1, "call_nope"),
        (("approvals", "show", "apr_nope"), 1, "apr_nope"),
        (("runs", "close", "run_nope"), 1, "run_nope"),
        (("agent", "revoke", "nobody"), 1, "nobody"),
        (("posture", "no_spend"), 2, "--because"),
        (("agent", "add", "x", "--project", "p", "--kit", "k", "--expires-in", "soon"), 2, "30m"),
        (("calls", "list", "--state", "nonsense"), 1, "nonsense"),
        (("serve", "--agents", "0.0.0.0:0"), 3, "BURSAR_PUBLIC_URL"),
        (("serve", "--agents", "nonsense"), 3, "HOST:PORT"),
        (("stdio",), 3, "BURSAR_AGENT_TOKEN"),
    ],
)
def test_a_mistake_is_one_line_and_its_exit_code(
    words: tuple[str, ...], code: int, said: str, folder: Folder, here: Here
) -> None:
    """0 done, 1 the answer is no, 2 usage, 3 configuration; and no traceback."""
    ran = here(folder, *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1
