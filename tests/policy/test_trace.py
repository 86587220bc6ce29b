"""A decision step by step: what each rule said, and that the story agrees with the decision."""

from __future__ import annotations

from pathlib import Path

from policy.case_file import load_cases
from policy.cases import facts_for
from policy.decide import decide, needs
from policy.load import load, load_file
from policy.tools import load_tools
from policy.trace import RuleStep, trace

ROOT = Path(__file__).resolve().parents[2]
TOOLS = load_tools()
POLICY = load(
    """
version: 1
rules:
  - {id: free, match: {kind: spend, amount: {up_to: "5.00 USD"}}, effect: deny, shadow: true}
  - {id: wide, match: {tool: "*"}, effect: allow}
  - {id: kin, match: {kind: withdraw}, effect: deny}
  - {id: only, match: {tool: pay_vendor, mode: test, operation: vendor_payment}, effect: allow}
  - {id: unless, match: {kind: spend}, unless: {amount: {up_to: "5.00 USD"}}, effect: deny}
  - {id: bound, match: {kind: spend, amount: {up_to: "5.00 USD"}}, effect: allow}
""",
    "p.yaml",
    TOOLS,
)


def steps(call: str) -> dict[str, RuleStep]:
    """Return what each rule says to a call."""
    text = f"- {{why: x, call: {call}, expect: {{effect: deny}}}}"
    case = load_cases(text, "c.yaml", policy=POLICY, tools=TOOLS)[0]
    return {
        step.id: step for step in trace(POLICY, case.call, facts_for(needs(POLICY, case.call), case.given))
    }


def test_a_step_says_whether_and_why_a_rule_speaks() -> None:
    """What matched in the words of the file, and otherwise the field that did not."""
    small = steps("{tool: pay_vendor, amount: 5.00 USD, mode: live}")
    assert (small["bound"].says, small["bound"].reasons) == (
        "speaks",
        ("kind: spend", "amount up_to: 5.00 USD"),
    )
    assert small["unless"].reasons == ("its 'unless' holds",)
    assert small["only"].reasons == ("the call's mode is live",)
    assert small["free"].shadow
    large = steps("{tool: pay_vendor, amount: 5.01 USD}")
    assert (large["bound"].says, large["bound"].reasons) == (
        "silent",
        ("amount up_to: 5.00 USD does not hold",),
    )
    assert large["unless"].says == "speaks"


def test_a_doubt_is_told_apart_from_a_yes() -> None:
    """In another currency the bound cannot be compared: a deny speaks in doubt, an allow is silent (M16)."""
    euros = steps("{tool: pay_vendor, amount: 5.00 EUR}")
    assert (euros["bound"].says, euros["bound"].reasons) == (
        "silent",
        ("amount up_to: 5.00 USD cannot be known",),
    )
    assert (euros["unless"].says, euros["unless"].reasons) == (
        "in doubt",
        ("whether its 'unless' holds cannot be known",),
    )


def test_what_a_rule_can_never_do_is_told_too() -> None:
    """An allow is silent about refunds, and only a deny that names the tool stops a withdrawal."""
    assert steps("{tool: refund_payment}")["wide"].reasons == (
        "an allow never speaks for what only a person may do",
    )
    assert steps("{tool: saas_release}")["kin"].reasons == (
        "only a deny that names the tool stops a withdrawal",
    )
    assert steps("{tool: crm_find_leads}")["only"].reasons[:2] == (
        "the call's tool is crm_find_leads",
        "the call's operation is lead_find",
    )


def test_what_was_looked_up_is_told_whether_it_speaks_or_not() -> None:
    """An admin who asks why many small ones do not ask yet wants to read the sum."""
    policy = load_file(ROOT / "policies.yaml", TOOLS)
    for so_far, says in (("8.00 USD", "silent"), ("9.00 USD", "speaks")):
        call = "{tool: pay_vendor, payee: porkbun.com, amount: 1.50 USD, mode: test}"
        given = f"{{sums: {{many-small-ones: {so_far}}}}}"
        text = f"- {{why: x, call: {call}, given: {given}, expect: {{effect: deny}}}}"
        case = load_cases(text, "c.yaml", policy=policy, tools=TOOLS)[0]
        told = trace(policy, case.call, facts_for(needs(policy, case.call), case.given))
        step = next(step for step in told if step.id == "many-small-ones")
        assert step.says == says
        assert step.reasons[-1] == f"with this call the sum is {int(so_far[0]) + 1}.50 USD"


def test_the_story_agrees_with_the_decision() -> None:
    """Every rule the decision names speaks in the story, over all cases of the shipped policy."""
    policy = load_file(ROOT / "policies.yaml", TOOLS)
    text = (ROOT / "policies.cases.yaml").read_bytes()
    for case in load_cases(text, "c.yaml", policy=policy, tools=TOOLS):
        facts = facts_for(needs(policy, case.call), case.given)
        decision = decide(policy, case.call, facts)
        told = trace(policy, case.call, facts)
        assert [step.at.line for step in told] == sorted(step.at.line for step in told)
        spoke = {step.id for step in told if step.says != "silent" and not step.shadow}
        assert {rule.id for rule in decision.rules} <= spoke
        shadows = {step.id for step in told if step.says != "silent" and step.shadow}
        assert {rule.id for rule in decision.shadows} == shadows
