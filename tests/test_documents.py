"""The pages say what is so: links lead somewhere, promises have tests, reference pages equal the code."""

import ast
import re
import runpy
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
MONEY_RULES: Final = [f"M{number}" for number in range(1, 37)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    """A dead link on the first page is the first thing a visitor learns about the rest."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("name", ["cli_page", "errors_page"])
def test_the_generated_page_is_current(name: str) -> None:
    """`python docs/generate.py` writes it again."""
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    page = next(path for path, write in made["PAGES"].items() if write.__name__ == name)
    assert (ROOT / page).read_text() == made[name](), f"{page} is out of date: run python docs/generate.py"


def test_every_promise_of_the_readme_has_its_test() -> None:
    """A claim without a test is an opinion; a row without a claim is forgotten."""
    promised = set(re.findall(r"<sup>(C\d+)</sup>", (ROOT / "README.md").read_text()))
    rows = re.findall(r"^\| (C\d+) \| .+ \| (.+) \|$", (ROOT / "docs/claims.md").read_text(), re.MULTILINE)
    assert promised == {claim for claim, _ in rows}
    assert promised
    missing = [(claim, test) for claim, cell in rows for test in cell.split(", ") if not _test_exists(test)]
    assert not missing


def test_every_money_rule_is_told_once_and_in_order() -> None:
    """Tests and messages speak of rules by number, so each number has its place on the page."""
    told = re.findall(r"^\*\*(M\d+)\.", (ROOT / "docs/money.md").read_text(), re.MULTILINE)
    assert told == MONEY_RULES


def test_the_page_names_exactly_the_money_rules_that_no_test_holds() -> None:
    """docs/money.md sends its readers to the tests by number; it must not hide what is held, or not."""
    page = (ROOT / "docs/money.md").read_text()
    line = re.search(r"^Not yet held by a test: (.+)\.$", page, re.MULTILINE)
    assert line is not None
    open_rules = set(re.findall(r"M\d+", line[1]))
    assert line[1] == "none" or open_rules
    assert open_rules == set(MONEY_RULES) - _rules_held()


def test_every_setting_is_documented() -> None:
    """A variable that only the code knows is one that nobody can set, or unset, on purpose."""
    page = (ROOT / "docs/reference/settings.md").read_text()
    source = (ROOT / "tool_server/settings.py").read_text()
    names = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and re.fullmatch(r"(BURSAR|STRIPE|PORKBUN|LIVE)_[A-Z_]+", node.value)
    }  # fmt: skip
    assert names
    assert not [name for name in sorted(names) if f"`{name}`" not in page]


def test_every_hook_is_documented() -> None:
    """A plugin system ignores what it does not know in silence, so authors need the exact names."""
    source = (ROOT / "plugins/hookspecs.py").read_text()
    hooks = re.findall(r"@hookspec.*\n(?:@.*\n)*\s*def (\w+)", source)
    pages = "\n".join(page.read_text() for page in PAGES)
    assert hooks
    assert not [hook for hook in hooks if hook not in pages]


@pytest.mark.parametrize("script", ["run", "test", ".ci/run", ".ci/lock", ".ci/environment.sh"])
def test_the_scripts_are_sound_shell(script: str) -> None:
    """The two commands must parse under the plainest shell there is."""
    shell = "bash" if script == ".ci/run" else "sh"
    subprocess.run([shell, "-n", str(ROOT / script)], check=True, timeout=10)


def _rules_held() -> set[str]:
    """Collect the rules that tests name: in their name (`test_m4_...`) or docstring (M4, M1 to M9)."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    held: set[int] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            reason = ast.get_docstring(node) or ""
            held |= {int(number) for number in re.findall(r"^test_m(\d+)_", node.name)}
            held |= {int(number) for number in re.findall(r"\bM(\d+)\b", reason)}
            for first, last in re.findall(r"\bM(\d+) to M(\d+)\b", reason):
                held |= set(range(int(first), int(last) + 1))
    return {f"M{number}" for number in held}


def _test_exists(reference: str) -> bool:
    """Look a test up by `path::name`, without collecting the suite."""
    path, _, name = reference.strip("`").partition("::")
    file = ROOT / path
    return file.is_file() and bool(re.search(rf"(?m)^(async )?def {re.escape(name)}\(", file.read_text()))
