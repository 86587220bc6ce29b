"""A pytest plugin that collects once and then, for each mutant, runs the tests that reach it in a fork.

    python -m pytest -p tests.mutation.workshop --mutants 5 --mutant-seed 7 tests/ledger tests/tool_server

Forks start with everything imported and collected, so a mutant costs the time of the tests that kill it.
Tests are tried in an order that kills early: those that killed something in the same function before (see
`noticed.json`), then the others that reach the function, the quick ones first.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from msgspec import Struct

from tests.mutation.mutants import Mutant, damage, mutants_of

FILES: Final = (
    "tool_server/gate.py",
    "tool_server/dispatcher.py",
    "tool_server/attempt.py",
    "tool_server/reconcile.py",
    "tool_server/normalize.py",
    "tool_server/operation.py",
    "ledger/admission.py",
    "ledger/claiming.py",
    "ledger/settlement.py",
    "ledger/settling.py",
    "ledger/approvals.py",
    "ledger/answering.py",
    "ledger/caps.py",
    "ledger/twins.py",
    "ledger/edges.py",
    "ledger/gather.py",
)
HERE: Final = Path(__file__).parent
NOTICED: Final = HERE / "noticed.json"
EQUIVALENTS: Final = HERE / "equivalents.json"  # {mutant: why nobody can tell it from the code}
OPEN: Final = (
    HERE / "open.json"
)  # {mutant: what no test notices yet}; a long run says which are noticed by now.
TEST_S: Final = 60.0  # A mutant may make a test wait for ever, which is noticed too; the longest takes ten.
HUNG: Final = "a test that hung"


class Noticed(Struct):
    """What was noticed so far, by which test: a number in `tests`. Written by `remember`."""

    tests: list[str] = []
    mutants: dict[str, dict[str, dict[str, int]]] = {}  # By file, function and name.

    def killers(self, mutant: Mutant) -> list[str]:
        """Return the tests that noticed something in the same function."""
        found = self.mutants.get(mutant.file, {}).get(mutant.function, {})
        return _unique(self.tests[number] for number in found.values())

    def killer(self, mutant: Mutant) -> tuple[str, ...]:
        """Return the test that noticed this very damage, where one did."""
        number = self.mutants.get(mutant.file, {}).get(mutant.function, {}).get(mutant.name)
        return () if number is None else (self.tests[number],)

    def has(self, mutant: Mutant) -> bool:
        """Say whether this very damage was noticed."""
        return mutant.name in self.mutants.get(mutant.file, {}).get(mutant.function, {})


class Fate(Struct, frozen=True):
    """What became of a mutant: the test that noticed it, or none."""

    mutant: str
    killer: str
    seconds: float


class Reached(Struct):
    """What one run without a mutant showed: which tests reach which lines, and how long each takes."""

    seconds: dict[str, float]
    tests: dict[str, dict[int, list[str]]]  # By file and line.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what to try and where to write what was found."""
    group = parser.getgroup("mutants")
    group.addoption("--mutants", type=int, default=0, help="how many; 0 is all")
    group.addoption("--mutant-seed", type=int, default=0)
    group.addoption("--mutant-only", default="", help="only mutants whose name has this in it")
    group.addoption("--mutant-part", default="1/1", help="K/N: every N-th from the K-th on")
    group.addoption("--mutant-map", default="", help="measure, or read, which tests reach what in this file")
    group.addoption("--mutant-again", action="store_true", help="only what was noticed, by the very tests")
    group.addoption("--mutant-budget", type=float, default=0.0, help="seconds of tests per mutant; 0 is all")
    group.addoption("--mutant-fates", default="", help="append what became of each mutant to this file")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave PostgreSQL out: the planners do not know which engine they plan for."""
    items[:] = [item for item in items if "postgres" not in item.nodeid]


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Try the chosen mutants, each in a process of its own."""
    if session.testsfailed:
        raise session.Interrupted("the tests could not be collected")
    bench = Bench(session)
    for mutant in bench.chosen():
        fate = bench.tried(mutant)
        bench.note(fate)
        if not fate.killer:
            session.testsfailed += 1
    return True


class Bench:
    """The collected tests and the mutants to try on them."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._option = session.config.option
        self._items = {item.nodeid: item for item in session.items}
        self._noticed = msgspec.json.decode(NOTICED.read_bytes(), type=Noticed)
        self._sound: dict[str, bool] = {}
        self._learned: dict[tuple[str, str], list[str]] = {}
        self._reached = self._measured() if self._option.mutant_map else None

    def chosen(self) -> list[Mutant]:
        """Return the mutants of this run; those nobody can tell from the code are left out."""
        tried = self._tried() | set(_read(EQUIVALENTS))
        left = [mutant for file in FILES for mutant in mutants_of(file) if mutant.key not in tried]
        left = [mutant for mutant in left if self._option.mutant_only in mutant.key]
        if self._option.mutant_again:
            left = [mutant for mutant in left if self._noticed.has(mutant)]
        if self._option.mutants:
            left = drawn(left, self._noticed, self._option.mutants, self._option.mutant_seed)
        first, _, step = self._option.mutant_part.partition("/")
        return left[int(first) - 1 :: int(step)]

    def _tried(self) -> frozenset[str]:
        """Return what an earlier run into the same file has tried: a long run may be cut in two."""
        file = Path(self._option.mutant_fates or os.devnull)
        lines = file.read_bytes().splitlines() if file.exists() else ()
        return frozenset(msgspec.json.decode(line, type=Fate).mutant for line in lines)

    def tried(self, mutant: Mutant) -> Fate:
        """Run the tests that may notice a mutant, in a fork, until one does."""
        begun = time.monotonic()
        learned = self._learned.setdefault((mutant.file, mutant.function), [])
        known = (*learned, *self._noticed.killers(mutant))
        others = () if self._option.mutant_again else self._reaching(mutant)
        known = self._noticed.killer(mutant) if self._option.mutant_again else known
        nodes = [node for node in _unique((*known, *others)) if node in self._items]
        killer = self._first_to_fail(mutant, nodes)
        while killer in self._items and not self._is_sound(killer):
            nodes.remove(killer)
            killer = self._first_to_fail(mutant, nodes)
        if killer in self._items:
            # What noticed one damage to a function is the first to ask about the next.
            learned[:] = _unique((killer, *learned))
        return Fate(mutant.key, killer, round(time.monotonic() - begun, 1))

    def _first_to_fail(self, mutant: Mutant | None, nodes: Sequence[str]) -> str:
        items = [self._items[node] for node in nodes]
        return _in_fork(lambda tell: _until_one_fails(mutant, items, tell))

    def _is_sound(self, node: str) -> bool:
        """Say whether a test passes on the code as it is: one that fails anyway notices nothing."""
        if node not in self._sound:
            self._sound[node] = not self._first_to_fail(None, [node])
        return self._sound[node]

    def note(self, fate: Fate) -> None:
        """Say what became of a mutant."""
        said = f"{'killed' if fate.killer else 'SURVIVED'} {fate.seconds:5.1f} s  {fate.mutant}"
        sys.__stderr__.write(f"{said}  <- {fate.killer}\n" if fate.killer else f"{said}\n")  # type: ignore[union-attr]  # A process of ours has a stderr.
        sys.__stderr__.flush()  # type: ignore[union-attr]  # The same.
        if self._option.mutant_fates:
            with Path(self._option.mutant_fates).open("ab") as out:
                out.write(msgspec.json.encode(fate) + b"\n")

    def _reaching(self, mutant: Mutant) -> Iterable[str]:
        if self._reached is None:
            return self._items
        seconds = self._reached.seconds
        found = self._reached.tests.get(mutant.file, {}).get(mutant.line, ())
        quick_first = sorted(found, key=lambda node: seconds[node])
        left_s = self._option.mutant_budget or float("inf")
        return [node for node in quick_first if (left_s := left_s - seconds[node]) > 0]

    def _measured(self) -> Reached:
        """Run everything once without a mutant, with coverage by test; or read an earlier run's file."""
        file = Path(self._option.mutant_map)
        if not file.exists():
            broke = _in_fork(lambda _tell: _measure(self._session.items, file))
            if broke:
                raise pytest.UsageError(f"the tests could not be measured: {broke}")
        return msgspec.json.decode(file.read_bytes(), type=Reached)


def drawn(mutants: Sequence[Mutant], noticed: Noticed, count: int, seed: int) -> list[Mutant]:
    """Draw some of the mutants that were noticed before, and so must be noticed again."""
    left = [mutant for mutant in mutants if noticed.has(mutant)]
    return random.Random(seed).sample(left, min(count, len(left)))


def remember(fates: Iterable[Fate]) -> None:
    """Write down what was noticed, for the next runs."""
    by_key = {mutant.key: mutant for file in FILES for mutant in mutants_of(file)}
    noticed = Noticed([], {})
    for fate in fates:
        mutant = by_key.get(fate.mutant)
        if mutant is None or "::" not in fate.killer:
            continue
        if fate.killer not in noticed.tests:
            noticed.tests.append(fate.killer)
        of_file = noticed.mutants.setdefault(mutant.file, {})
        of_file.setdefault(mutant.function, {})[mutant.name] = noticed.tests.index(fate.killer)
    NOTICED.write_text(json.dumps(msgspec.to_builtins(noticed), indent=1, sort_keys=True) + "\n")


def _until_one_fails(mutant: Mutant | None, items: Sequence[pytest.Item], tell: int) -> None:
    if mutant is not None:
        damage(mutant)
    for node, failed in _outcomes(items):
        if failed:
            os.write(tell, node.encode())
            return


def _outcomes(items: Sequence[pytest.Item]) -> Iterator[tuple[str, bool]]:
    """Run tests one by one; yield each with whether it failed, was set up in vain, or could not be ended."""
    watch = _Watch()
    if items:
        items[0].config.pluginmanager.register(watch)
    for item, following in itertools.zip_longest(items, items[1:]):
        watch.failed = False
        signal.setitimer(signal.ITIMER_REAL, TEST_S)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield item.nodeid, watch.failed


class _Watch:
    """Notices that the test which runs has failed."""

    failed = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.failed = self.failed or report.failed


def _measure(items: Sequence[pytest.Item], file: Path) -> None:
    import coverage

    cover = coverage.Coverage(
        data_file=None, config_file=False, include=list(FILES), concurrency=["thread", "greenlet"]
    )
    seconds: dict[str, float] = {}
    cover.start()
    begun = time.monotonic()
    outcomes = _outcomes(items)
    for item in items:
        cover.switch_context(item.nodeid)
        begun = time.monotonic()
        node, failed = next(outcomes)
        seconds[node] = round(time.monotonic() - begun, 3)
        if failed:
            sys.__stderr__.write(f"fails without a mutant, left out: {node}\n")  # type: ignore[union-attr]  # A process of ours has a stderr.
            seconds.pop(node)
    cover.stop()
    data = cover.get_data()
    tests: dict[str, dict[int, list[str]]] = {}
    for each in FILES:
        lines = data.contexts_by_lineno(str(Path(each).resolve()))
        tests[each] = {line: [test for test in names if test in seconds] for line, names in lines.items()}
    file.write_bytes(msgspec.json.encode(Reached(seconds, tests)))


def _in_fork(work: Any) -> str:  # noqa: ANN401 -- a function of a file descriptor
    """Do work in a fork; return what it told, or that it had to be stopped. Its own children end with it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _alone(work, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(child, 0)
    _end_group(child)
    if os.WIFSIGNALED(status):
        return told.decode() or HUNG
    return told.decode() or ("" if os.WEXITSTATUS(status) == 0 else f"exit {os.WEXITSTATUS(status)}")


def _alone(work: Any, write: int) -> None:  # noqa: ANN401 -- as above
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.set_inheritable(write, False)  # noqa: FBT003 -- the function's only form
    try:
        work(write)
    except BaseException as error:  # noqa: BLE001 -- a mutant may break pytest itself, which is noticed too
        os.write(write, f"{type(error).__name__}: {str(error)[:500]}".encode())
        os._exit(1)
    os._exit(0)


def _end_group(leader: int) -> None:
    """End what a fork left running: test plugins' own processes."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _unique(nodes: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(nodes))


def _read(file: Path) -> Any:  # noqa: ANN401 -- JSON of ours
    return msgspec.json.decode(file.read_bytes()) if file.exists() else {}
