"""`bursar policy check|test|explain|schema`: what they print, their exit codes, and that they are quick."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from policy.language import Kind
from policy.tools import ToolInfo, tools_json
from tool_server.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
BROKEN = ROOT / "tests/policy/broken"
WARNED = "version: 1\nrules:\n  - {id: x, match: {tool: my_status}, effect: deny}\n"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped policy and its cases, as the current one."""
    for name in ("policies.yaml", "policies.cases.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BURSAR_POLICIES", raising=False)
    return tmp_path


def bursar(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `bursar policy ...` and return its exit code and what it printed."""
    code = main(["policy", *words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.usefixtures("shop")
def test_check_says_that_the_shipped_policy_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, one line."""
    assert bursar(capsys, "check") == (0, "policies.yaml: good, 9 rules, 5 caps, 3 desks\n", "")


@pytest.mark.parametrize("path", sorted(BROKEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_check_prints_every_mistake_of_a_broken_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message beside the file, then how many, and exit code 1: the answer is no."""
    code, out, err = bursar(capsys, "check", str(path))
    expected = path.with_suffix(".expected").read_text(encoding="utf-8")
    assert (code, err) == (1, "")
    assert out.startswith(expected)
    assert out.endswith("nothing of it takes effect\n")


def test_warnings_are_told_and_change_the_exit_code_only_when_asked(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Advice must not stop a deployment, unless its owner wants it to."""
    (shop / "policies.yaml").write_text(WARNED)
    code, out, _ = bursar(capsys, "check")
    assert code == 0
    assert out.startswith("policies.yaml:3:5: warning: rule 'x' speaks of core tools only")
    assert out.endswith("policies.yaml: good, 1 rule, 0 caps, 0 desks, 1 warning\n")
    assert bursar(capsys, "check", "--strict")[0] == 1


def test_check_tells_programs_the_same(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is one document with mistakes and warnings by address."""
    (shop / "policies.yaml").write_text(WARNED)
    good = json.loads(bursar(capsys, "check", "--json")[1])
    assert (good["ok"], good["mistakes"], good["warnings"][0]["line"]) == (True, [], 3)
    code, out, _ = bursar(capsys, "check", str(BROKEN / "unknown-field.yaml"), "--json")
    bad = json.loads(out)
    assert (code, bad["ok"], bad["sha256"]) == (1, False, None)
    assert bad["mistakes"][0]["suggestion"] == "did you mean 'amount'?"


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("action", ["check", "test", "explain"])
def test_a_file_that_is_not_there_is_a_matter_of_configuration(
    action: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 3 and the name that was tried, here from the environment."""
    monkeypatch.setenv("BURSAR_POLICIES", "elsewhere.yaml")
    more = ["--tool", "my_status"] if action == "explain" else []
    code, _, err = bursar(capsys, action, *more)
    assert code == 3
    assert "elsewhere.yaml cannot be read" in err


@pytest.mark.usefixtures("shop")
def test_test_runs_the_cases_beside_the_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """All hold: exit code 0."""
    code, out, _ = bursar(capsys, "test")
    assert code == 0
    assert out.endswith("cases hold\n")
    told = json.loads(bursar(capsys, "test", "--json")[1])
    assert told["passed"] > 30
    assert told["failed"] == []


def test_test_tells_what_failed_and_where(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the case with its address, what was due, what came, and why."""
    (shop / "mine.cases.yaml").write_text(
        "- {why: domains are free, call: {tool: domain_register, mode: test}, expect: {effect: allow}}\n"
        "- {why: drafts are free, call: {tool: crm_create_lead}, expect: {effect: deny}}\n"
    )
    code, out, _ = bursar(capsys, "test", "mine.cases.yaml")
    assert code == 1
    assert "mine.cases.yaml:1: domains are free\n  expected effect allow, got deny\n  it says: " in out
    assert "mine.cases.yaml:2: drafts are free\n  expected effect deny, got allow\n2 cases, 2 failed\n" in out
    told = json.loads(bursar(capsys, "test", "mine.cases.yaml", "--policy", "policies.yaml", "--json")[1])
    assert told["failed"][0]["differences"] == ["expected effect allow, got deny"]


def test_cases_with_mistakes_and_no_cases_are_configuration(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No answer can be given: exit code 3."""
    (shop / "policies.cases.yaml").write_text("- {why: x, call: {tool: pay_vendr}, expect: {effect: deny}}\n")
    code, _, err = bursar(capsys, "test")
    assert code == 3
    assert "policies.cases.yaml:1:25: unknown tool 'pay_vendr', did you mean 'pay_vendor'?" in err
    (shop / "policies.cases.yaml").unlink()
    code, _, err = bursar(capsys, "test")
    assert (code, "no *.cases.yaml beside policies.yaml" in err) == (3, True)


@pytest.mark.usefixtures("shop")
def test_explain_tells_the_decision_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    """Every rule with its line, what matched or did not, the caps, the answer and what would change it."""
    words = [
        "--tool",
        "domain_register",
        "--payee",
        "porkbun.com",
        "--mode",
        "test",
        "--arg",
        "domain=a.example",
    ]
    code, out, _ = bursar(capsys, "explain", *words, "--amount", "11.06 USD")
    assert code == 0
    for part in (
        "domain_register: provision domain_register, 11.06 USD, to porkbun.com, test at porkbun",
        "posture normal, LIVE_SPEND off, payee not known before, nothing used so far; --given says otherwise",
        "spend-needs-a-person (require_approval): speaks; kind: spend or provision",
        "look-and-write (allow): silent; the call's kind is provision",
        "only-our-vendors (deny, shadow): silent; its 'unless' holds",
        "run-total: 25.00 USD left of 25.00 USD, 11.06 USD asked: fits",
        "answer: require_approval",
        "desk owner-desk: 1 of role:owner",
        "would change it: rule 'spend-needs-a-person' is silent where",
    ):
        assert part in out, part


@pytest.mark.usefixtures("shop")
def test_explain_takes_json_facts_and_cases(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same form as in a cases file, so that a case can be pasted; `-` reads standard input."""
    call = '{"tool": "crm_create_lead", "args": {"name": "Ada"}}'
    code, out, _ = bursar(capsys, "explain", call, "--given", '{"spent": {"agent-pace": "60 calls"}}')
    assert code == 0
    assert "agent-pace: 0 calls left of 60 calls, 1 call asked: does not fit" in out
    assert "answer: deny (cap_exceeded)" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"tool": "my_status"}'))
    out = bursar(capsys, "explain", "-")[1]
    assert "none binds this call" in out
    out = bursar(capsys, "explain", "--case", "a cent beyond the day's money")[1]
    assert "again from 2026-11-21T00:00:00+00:00" in out
    out = bursar(capsys, "explain", "--case", "a stranger is asked about")[1]
    assert "in shadow, policies.yaml:" in out
    told = json.loads(bursar(capsys, "explain", call, "--json")[1])
    assert told["decision"]["answer"] == "allow"
    assert told["steps"][0]["says"] == "speaks"


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "name a call"),
        (["--tool", "pay_vendor", "--arg", "amount"], 2, "is no NAME=VALUE"),
        (["--tool", "pay_vendr"], 3, "did you mean 'pay_vendor'?"),
        (["{'tool': pay_vendor, 'oops'"], 3, "is not YAML"),
        (["--case", "nobody wrote this"], 3, "no case beside policies.yaml says"),
        (["--case", "asks"], 3, "the first two are policies.cases.yaml:"),
        (["--tool", "stripe_create_checkout", "--arg", "expires_in_minutes=45"], 0, ""),
    ],
)
def test_explain_says_what_it_needs(
    words: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what to do; usage is exit code 2, a call with mistakes 3."""
    done, _, err = bursar(capsys, "explain", *words)
    assert done == code
    assert told in err


@pytest.mark.usefixtures("shop")
def test_schema_prints_the_committed_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """So that anyone can put it beside their own policy."""
    code, out, _ = bursar(capsys, "schema")
    assert code == 0
    assert out == (ROOT / "policy.schema.json").read_text(encoding="utf-8")


def test_tools_of_a_plugin_of_ones_own_are_named(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without them its tools are unknown names, which are refused."""
    mine = ToolInfo(
        name="my_look",
        kind=Kind.READ,
        kit="my",
        plugin="my",
        provider="my",
        operation="look",
        description="Looks.",
    )
    (shop / "mine.json").write_bytes(tools_json([mine]))
    (shop / "policies.yaml").write_text(
        "version: 1\nrules: [{id: x, match: {tool: my_look}, effect: allow}]\n"
    )
    assert bursar(capsys, "check")[0] == 1
    assert bursar(capsys, "check", "--tools", "mine.json")[0] == 0
    assert bursar(capsys, "check", "--tools", "none.json")[0] == 3


def test_check_imports_no_server() -> None:
    """It answers in a third of a second on a quiet machine because it loads next to nothing."""
    script = (
        "import sys; from tool_server.cli.main import main; main(['policy', 'check', 'policies.yaml']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {
        "litestar",
        "mcp",
        "stripe",
        "sqlalchemy",
        "pydantic",
        "httpx",
        "asyncio",
        "ledger",
        "plugins",
        "rich",
    }
    loaded = set(eval(done.stdout.splitlines()[-1]))  # noqa: S307 - our own list of names
    assert not heavy & loaded
