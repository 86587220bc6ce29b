"""House rules as tests: what keeps the code small, the rooms apart and the tree free of what does not belong.

Every rule is a function from one source to complaints with file and line; the table `CODE_RULES` lists them.
Rules about documents are in tests/test_documents.py.
"""

import ast
import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
ROOMS: Final = ("policy", "ledger", "plugins", "tool_server", "webhooks")
MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 60
NESTING: Final = 3
POSITIONAL: Final = 5
TOOL_TIMEOUT_S: Final = 420  # mypy without its cache, on two busy cores, takes one to two minutes.


class Source(NamedTuple):
    """One Python file: its path from the root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder it lives in."""
        return self.path.split("/", 1)[0]

    @property
    def generated(self) -> bool:
        """Alembic writes its versions as one function; splitting them would only hide their order."""
        return "/migrations/versions/" in self.path

    def nodes(self, *kinds: type[ast.AST]) -> Iterator[Any]:
        """Walk the nodes of these kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))

    def at(self, line: int, complaint: str) -> str:
        """Give a complaint its address."""
        return f"{self.path}:{line}: {complaint}"


Rule = Callable[[Source], Iterator[str]]


def modules_are_short(source: Source) -> Iterator[str]:
    """A module outgrows a reader's head before it outgrows its subject; split it along a concept."""
    lines = source.text.count("\n")
    if lines > MODULE_LINES and not source.generated:
        yield source.at(MODULE_LINES + 1, f"{lines} lines, at most {MODULE_LINES}")


def functions_are_short(source: Source) -> Iterator[str]:
    """A function fits on one screen."""
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > FUNCTION_LINES and not source.generated:
            yield source.at(node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES}")


def functions_are_flat(source: Source) -> Iterator[str]:
    """Deep nesting hides which case a line belongs to."""
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        depth = max((_depth(statement) for statement in node.body), default=0)
        if depth > NESTING:
            yield source.at(node.lineno, f"{node.name} nests {depth} deep, at most {NESTING}")


def options_are_keywords(source: Source) -> Iterator[str]:
    """A sixth positional argument is one that somebody will swap with a neighbour."""
    for node in source.nodes(ast.FunctionDef, ast.AsyncFunctionDef):
        names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
        count = len([name for name in names if name not in {"self", "cls"}])
        # pytest passes fixtures by name, whatever their order.
        if count > POSITIONAL and source.room != "tests":
            yield source.at(node.lineno, f"{node.name} takes {count} by position, at most {POSITIONAL}")


def packages_hold_a_docstring(source: Source) -> Iterator[str]:
    """A re-export gives one thing two addresses, and makes importing a package import its rooms."""
    if not source.path.endswith("/__init__.py"):
        return
    if source.room == "tests":
        yield source.at(1, "tests/ has no packages: tests/policy would shadow policy")
    for statement in source.tree.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield source.at(statement.lineno, "an __init__.py holds a docstring and nothing else")


def suppressions_have_reasons(source: Source) -> Iterator[str]:
    """A silenced check is a claim; the next reader needs to know what it rests on."""
    for number, line in enumerate(source.text.splitlines(), 1):
        for kind, rest in re.findall(r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover)\b(.*)", line):
            codes, reason = re.match(r"(:?\s*(?:\[[^\]]*\]|[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?)(.*)", rest).groups()  # type: ignore[union-attr]  # Every part is optional, so it always matches.
            if kind != "pragma: no cover" and not codes.strip(" :"):
                yield source.at(number, f"{kind} without the code it silences")
            if not re.search(r"\w{4}", reason):
                yield source.at(number, f"{kind} without a reason on its line")


def nothing_reads_a_clock(source: Source) -> Iterator[str]:
    """Clocks, ids and chance are passed in, so that every decision can be made again."""
    if source.room not in {"policy", "ledger"}:
        return
    for node in source.nodes(ast.Call):
        called = ast.unparse(node.func)
        if re.fullmatch(CHANCE, called):
            yield source.at(node.lineno, f"{called}() here; have it passed in")


CHANCE: Final = (
    r"time\.(time|monotonic|perf_counter)(_ns)?|(datetime\.)?(datetime|date)\.(now|utcnow|today)"
    r"|(uuid\.|uuid_utils\.)?uuid[1-8]|random\.\w+|secrets\.\w+|os\.urandom"
)


def money_stays_whole(source: Source) -> Iterator[str]:
    """An amount that was a float for one line is an amount nobody can prove."""
    if source.room == "tests":
        return
    for node in source.nodes(ast.Call, ast.BinOp):
        floats = isinstance(node, ast.Call) and ast.unparse(node.func) == "float"
        divides = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if (floats or divides) and re.search(r"minor|amount", ast.unparse(node)):
            yield source.at(node.lineno, f"`{ast.unparse(node)}`: amounts are whole minor units; use //")


def sql_stays_in_the_ledger(source: Source) -> Iterator[str]:
    """Whoever writes SQL elsewhere goes around the account's lock. (Imports: contract `sql`.)"""
    if source.room in {"ledger", "tests", "bench"}:
        return
    for node in source.nodes(ast.Constant):
        if isinstance(node.value, str) and SQL.match(node.value):
            yield source.at(node.lineno, "SQL outside ledger/")


SQL: Final = re.compile(r"(?s)\s*(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE)\s")


def nothing_in_tests_sleeps(source: Source) -> Iterator[str]:
    """A test that sleeps is slow where it holds and flaky where it does not; wait for the event."""
    if source.room != "tests":
        return
    for node in source.nodes(ast.Call):
        if ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"} and ast.unparse(node.args[0]) != "0":
            line = source.text.splitlines()[node.lineno - 1]
            if "#" not in line:
                yield source.at(node.lineno, "a sleep without its reason on the line")


CODE_RULES: Final[tuple[Rule, ...]] = (
    modules_are_short,
    functions_are_short,
    functions_are_flat,
    options_are_keywords,
    packages_hold_a_docstring,
    suppressions_have_reasons,
    nothing_reads_a_clock,
    money_stays_whole,
    sql_stays_in_the_ledger,
    nothing_in_tests_sleeps,
)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Every Python file of ours."""
    paths = [path for path in committed_files() if path.endswith(".py")]
    texts = {path: (ROOT / path).read_text() for path in paths}
    return [Source(path, text, ast.parse(text, path)) for path, text in texts.items()]


@pytest.mark.parametrize("rule", CODE_RULES, ids=lambda rule: rule.__name__)
def test_code_keeps_the_rule(rule: Rule, sources: list[Source]) -> None:
    """Each rule's own docstring is its reason."""
    complaints = [complaint for source in sources for complaint in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


BROKEN: Final[dict[Rule, str]] = {
    modules_are_short: "x = 1\n" * 401,
    functions_are_short: "def f():\n" + "    x = 1\n" * 60,
    functions_are_flat: "def f():\n for a in b:\n  if a:\n   while a:\n    with a:\n     pass\n",
    options_are_keywords: "def f(a, b, c, d, e, g): ...\n",
    packages_hold_a_docstring: "from policy.money import Money\n",
    suppressions_have_reasons: "x = 1  # no" + "qa: E501\n",
    nothing_reads_a_clock: "now = datetime.now(UTC)\n",
    money_stays_whole: "share = amount_minor / 100\n",
    sql_stays_in_the_ledger: "query = 'DELETE FROM accounts WHERE 1'\n",
    nothing_in_tests_sleeps: "time.sleep(1)\n",
}
BROKEN_AT: Final[dict[Rule, str]] = {
    packages_hold_a_docstring: "policy/__init__.py",
    nothing_reads_a_clock: "policy/x.py",
    nothing_in_tests_sleeps: "tests/x.py",
}


@pytest.mark.parametrize("rule", CODE_RULES, ids=lambda rule: rule.__name__)
def test_the_rule_catches_its_broken_twin(rule: Rule) -> None:
    """A rule that nothing can break protects nothing."""
    text = BROKEN[rule]
    source = Source(BROKEN_AT.get(rule, "plugins/x.py"), text, ast.parse(text))
    assert list(rule(source))


def test_every_folder_of_a_room_is_a_package() -> None:
    """Without its __init__.py a folder is found from a clone and missing from a wheel."""
    folders = {Path(path).parent for path in committed_files() if path.endswith(".py")}
    rooms = [folder for folder in folders if folder.parts[0] in ROOMS and "migrations" not in folder.parts]
    assert not [str(folder) for folder in rooms if not (ROOT / folder / "__init__.py").exists()]


def test_no_file_names_an_index_or_a_path_of_one_machine() -> None:
    """The tree must mean the same everywhere; machines bring their own indexes."""
    # In pieces, so that this file does not name them either.
    patterns = ("py" + r"pi\.org", "python" + r"hosted\.org", "registry" + r"\.npm", "deb" + r"\.debian")
    machine = ("/wo" + "rk/(?:main|shared)", "bash" + "_jobs", "/ro" + "ot/")
    strange = re.compile("|".join((*patterns, *machine)))
    found = []
    for path in committed_files():
        text = (ROOT / path).read_text(errors="ignore")
        lines = enumerate(text.splitlines(), 1) if strange.search(text) else ()
        found += [f"{path}:{number}: {line.strip()[:100]}" for number, line in lines if strange.search(line)]
    assert not found, "\n" + "\n".join(found)


def test_the_locks_agree() -> None:
    """What ./run installs is a part of what ./test tested, version by version and hash by hash."""
    tested, run = (_pins(name) for name in ("requirements.lock", "requirements-run.lock"))
    assert run
    assert not {name: pin for name, pin in run.items() if tested.get(name) != pin}
    assert all("--hash=sha256:" in pin for pin in tested.values())


def test_what_the_rooms_import_is_declared(sources: list[Source]) -> None:
    """A package that is only there because another one needs it leaves without notice."""
    declared = _declared()
    owners = importlib.metadata.packages_distributions()
    strangers = []
    for source in sources:
        if source.room not in ROOMS:
            continue
        for line, name in _imports(source):
            if name in sys.stdlib_module_names or name in ROOMS:
                continue
            if not {_normal(owner) for owner in owners.get(name, [name])} & declared:
                strangers.append(source.at(line, f"imports {name}, which pyproject.toml omits"))
    assert not strangers, "\n" + "\n".join(strangers)


def test_every_ignored_lint_rule_has_a_reason() -> None:
    """An ignored rule without a reason is one nobody dares to turn on again."""
    text = (ROOT / "pyproject.toml").read_text().partition("[tool.ruff.lint]")[2]
    codes = [line for line in text.splitlines() if re.match(r'\s*"[A-Z]+\d+"', line)]
    assert codes
    assert not [line for line in codes if not re.search(r"#.+\w+ \w+", line)]
    assert 'select = ["ALL"]' in text


@pytest.mark.timeout(TOOL_TIMEOUT_S)
@pytest.mark.parametrize("command", ["ruff check --output-format=concise", "mypy"])
def test_the_tools_have_nothing_to_say(command: str) -> None:
    """Lint and types count like any other test, so the suite's last line speaks for all of it."""
    answer = _run([sys.executable, "-m", *command.split()], cwd=ROOT)
    assert answer.returncode == 0, "\n" + answer.stdout[-6000:] + answer.stderr[-2000:]


def test_every_import_contract_is_kept() -> None:
    """The rooms and who may enter them: docs/architecture.md draws what these contracts hold."""
    answer = _lint_imports(ROOT)
    assert answer.returncode == 0, "\n" + answer.stdout[-6000:] + answer.stderr[-2000:]


# What each room must never write; together they break every contract.
TRESPASSES: Final = {
    "policy/money.py": "import time, webhooks",
    "ledger/records.py": "import ledger.commands",
    "plugins/tool.py": "import ledger.commands, policy.decide, sqlalchemy, tool_server.cli.main",
    "plugins/crm/trespass.py": "import plugins.payments",
    "webhooks/trespass.py": "import plugins.payments.simulator",
}


@pytest.mark.timeout(TOOL_TIMEOUT_S)
def test_every_import_contract_can_be_broken(tmp_path: Path) -> None:
    """A contract that names the wrong module keeps itself."""
    for path in committed_files():
        if path == "pyproject.toml" or (path.startswith(ROOMS) and path.endswith(".py")):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    for path, line in TRESPASSES.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    answer = _lint_imports(tmp_path)
    kept = [contract["name"] for contract in contracts if f"{contract['name']} BROKEN" not in answer.stdout]
    assert not kept, f"{kept}\n{answer.stdout[-3000:]}"


def committed_files() -> list[str]:
    """List what is, or is about to be, committed; from the folder itself where there is no git."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - whichever git is there
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if listing.returncode == 0:
        return [path for path in sorted(set(listing.stdout.splitlines())) if (ROOT / path).is_file()]
    hidden = {".git", ".venv", ".uv", ".demo"}
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if not hidden & set(path.parts) and "cache" not in str(path))


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return _run([str(program), "--no-cache"], cwd=folder)


def _run(command: list[str], *, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(cwd), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
    )


def _depth(node: ast.AST) -> int:
    """Count how deep blocks stand in each other; an elif is as deep as its if."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
        return 0
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    own = int(isinstance(node, blocks))
    inner = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and child in node.orelse
        inner = max(inner, _depth(child) - is_elif)
    return own + inner


def _pins(lock: str) -> dict[str, str]:
    """Read a lock as name -> version, marker and hashes."""
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith(("#", " "))]
    return {words[0].split("==")[0]: " ".join(words) for words in lines}


def _declared() -> set[str]:
    """Name the distributions that pyproject.toml says Bursar runs on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    return {_normal(re.split(r"[\[<>=~!; ]", text, maxsplit=1)[0]) for text in texts}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(source: Source) -> Iterator[tuple[int, str]]:
    for node in source.nodes(ast.Import, ast.ImportFrom):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        yield from ((node.lineno, name.split(".")[0]) for name in names if not getattr(node, "level", 0))
