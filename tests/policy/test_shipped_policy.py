"""The shipped policies.yaml and its cases: what a careful owner of a small business starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.case_file import load_cases
from policy.cases import Case, CaseResult, facts_for, run_case
from policy.decide import needs
from policy.language import Answer
from policy.lint import lint
from policy.load import load, load_file
from policy.tools import load_tools
from policy.trace import RuleStep, trace

ROOT = Path(__file__).resolve().parents[2]
TOOLS = load_tools()
POLICY = load_file(ROOT / "policies.yaml", TOOLS)
CASES = load_cases(
    (ROOT / "policies.cases.yaml").read_bytes(), "policies.cases.yaml", policy=POLICY, tools=TOOLS
)
RESULTS = [run_case(POLICY, case) for case in CASES]


@pytest.mark.parametrize("result", RESULTS, ids=[case.why for case in CASES])
def test_the_shipped_policy_answers_as_its_cases_say(result: CaseResult) -> None:
    """Each case is a sentence its owner believes; the `why` names it."""
    assert result.differences == ()


def test_the_shipped_policy_has_nothing_to_warn_of() -> None:
    """What we ship must not teach the habit of ignoring warnings."""
    assert lint(POLICY, TOOLS, (ROOT / "policies.yaml").read_text(encoding="utf-8")) == ()


def test_every_shipped_rule_says_why() -> None:
    """The words stand on an approver's card and in a denial; a rule without them teaches nothing."""
    assert [rule.id for rule in POLICY.rules if not rule.because] == []


def test_live_money_is_off_until_an_owner_turns_it_on() -> None:
    """The first of three yeses is never ours to say."""
    assert not POLICY.live_spend.enabled


def test_no_enforcing_rule_depends_on_the_days_hour() -> None:
    """A newcomer who tries it on a Saturday must meet the same policy as on a Monday."""
    parts = [part for rule in POLICY.rules if not rule.shadow for part in (rule.match, rule.unless) if part]
    assert [part.hours for part in parts if part.hours] == []
    assert [cap.id for cap in POLICY.caps if cap.match and cap.match.hours] == []


@pytest.mark.parametrize("rule", [rule.id for rule in POLICY.rules])
def test_every_rule_is_shown_from_both_sides(rule: str) -> None:
    """One case in which it speaks, and one of a kind it is about in which it does not."""
    says = {step.says for case in CASES for step in _steps(case) if step.id == rule}
    assert says >= {"speaks", "silent"}


def _steps(case: Case) -> tuple[RuleStep, ...]:
    return trace(POLICY, case.call, facts_for(needs(POLICY, case.call), case.given))


@pytest.mark.parametrize("cap", [cap.id for cap in POLICY.caps])
def test_every_cap_is_shown_from_both_sides(cap: str) -> None:
    """One case that fills it to the last cent or call, and one a single step beyond that is denied for it."""
    lines = [(result, line) for result in RESULTS for line in result.decision.caps if line.id == cap]
    full = [result for result, line in lines if line.used + line.asked == line.limit]
    beyond = [result for result, line in lines if line.used + line.asked > line.limit]
    assert any(result.decision.answer is not Answer.DENY for result in full)
    assert any(result.decision.cap == cap for result in beyond)


def test_the_case_file_expects_something_of_every_effect() -> None:
    """Denials alone would pass under an empty policy, allowances alone under a careless one."""
    assert {case.expect.effect for case in CASES} == set(Answer)


def test_the_policy_is_the_same_however_it_is_read() -> None:
    """Its hash is of the file's bytes, so text and bytes must give one policy."""
    raw = (ROOT / "policies.yaml").read_bytes()
    assert load(raw, "policies.yaml", TOOLS) == load(raw.decode(), "policies.yaml", TOOLS)
