"""One-character slips in the shipped policies.yaml: none opens a hole, and a lenient loader is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.document import CapForm, CapMatchForm, DeskForm, MatchForm, PolicyForm, RuleForm
from policy.errors import PolicyError
from policy.language import Policy
from policy.load import load
from policy.tools import load_tools
from tests.policy import slips

TEXT = (Path(__file__).resolve().parents[2] / "policies.yaml").read_text(encoding="utf-8")
TOOLS = load_tools()
PROBES = slips.probes(TOOLS, count=1_000, seed=20_261_122)
SHARE = 500


def strict(text: str) -> Policy:
    """Load as Bursar does."""
    return load(text, "policies.yaml", TOOLS)


def test_no_slip_of_one_character_opens_a_hole(*, deep: bool) -> None:
    """An admin's typo is refused, means the same, or is nowhere looser; another number is another wish."""
    tried = list(slips.every_slip(TEXT)) if deep else slips.some_slips(TEXT, count=SHARE, seed=7)
    verdicts = slips.judge(TEXT, tried, load=strict, asked=PROBES)
    print(  # noqa: T201 - the list of other wishes is part of the proof; pytest shows it with -s
        f"{verdicts.all} slips: {verdicts.refused} refused, {verdicts.equal} equal,"
        f" {verdicts.nowhere_looser} nowhere looser, {len(verdicts.other_wishes)} other wishes:",
        *verdicts.other_wishes,
        sep="\n  ",
    )
    assert verdicts.all == len(tried)
    assert verdicts.holes == []
    # Were most slips harmless, the file would say little; were all refused, the probes were never asked.
    assert verdicts.refused > verdicts.all / 3
    assert verdicts.nowhere_looser > 0


def lenient(text: str) -> Any:  # noqa: ANN401 - whatever YAML makes of it
    """Read as a plain YAML library does: the last of two keys wins, any '#' begins a comment."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - it is a safe one
    except yaml.YAMLError:
        raise PolicyError([]) from None


def forgiving_comments_and_duplicates(text: str) -> Policy:
    """A twin that takes what the YAML library gives."""
    return strict(json.dumps(lenient(text)))


def ignoring_unknown_keys(text: str) -> Policy:
    """A twin that drops the keys it does not know."""
    data = lenient(text)
    if not isinstance(data, dict):
        raise PolicyError([])
    known: dict[str, Any] = {key: value for key, value in data.items() if key in fields(PolicyForm)}
    for part, form in (("rules", RuleForm), ("caps", CapForm), ("approvals", DeskForm)):
        if isinstance(known.get(part), list):
            known[part] = [pruned(item, fields(form)) for item in known[part]]
    return strict(json.dumps(known))


def fields(form: type[Any]) -> frozenset[str]:
    """Return the names of a form's fields as the file writes them."""
    return frozenset(form.__struct_encode_fields__)


def pruned(item: Any, known: frozenset[str]) -> Any:  # noqa: ANN401 - any YAML
    """Return a mapping without the keys nobody knows, in its match too."""
    if not isinstance(item, dict):
        return item
    kept = {key: value for key, value in item.items() if key in known}
    for part in ("match", "unless"):
        if isinstance(kept.get(part), dict):
            match = fields(MatchForm) | fields(CapMatchForm)
            kept[part] = {key: value for key, value in kept[part].items() if key in match}
    return kept


def skipping_what_it_cannot_read(text: str) -> Policy:
    """A twin that logs a bad rule or cap and goes on without it."""
    data = lenient(text)
    if not isinstance(data, dict):
        raise PolicyError([])
    for part in ("rules", "caps"):
        items = data.get(part)
        data[part] = (
            [item for item in items if loads_alone(part, item, data)] if isinstance(items, list) else []
        )
    return strict(json.dumps(data))


def loads_alone(part: str, item: object, data: dict[str, Any]) -> bool:
    """Say whether a policy with this one rule or cap would load."""
    alone = {**data, "rules": [], "caps": [], part: [item]}
    try:
        strict(json.dumps(alone))
    except PolicyError:
        return False
    return True


@pytest.mark.parametrize(
    ("twin", "where"),
    [
        (forgiving_comments_and_duplicates, "insert '#'"),
        (ignoring_unknown_keys, "delete"),
        (skipping_what_it_cannot_read, "delete"),
    ],
)
def test_a_lenient_loader_is_caught(twin: Callable[[str], Policy], where: str) -> None:
    """The harness is worth something only if it fails on the loaders that most programs have."""
    begin, end = TEXT.index("caps:"), TEXT.index("# Desks")
    tried = [slip for slip in slips.every_slip(TEXT) if slip.what == where and begin <= slip.at < end]
    asked = PROBES[:300]
    assert slips.judge(TEXT, tried, load=strict, asked=asked).holes == []
    assert slips.judge(TEXT, tried, load=twin, asked=asked, one_hole_is_enough=True).holes


def test_a_looser_answer_is_seen_as_one() -> None:
    """The judge itself: without the cap, the desk or the bound, some probe is answered more loosely."""
    for old, new in (
        ('"25.00 USD"', '"2500.00 USD"'),
        ("who: [role:approver]", "who: [role:viewer]"),
        ('sum_above: {amount: "10.00 USD"', 'sum_above: {amount: "90.00 USD"'),
        (
            "effect: require_approval\n    approval: spend-desk\n    because: money",
            "effect: allow\n    because: money",
        ),
    ):
        changed = TEXT.replace(old, new)
        assert changed != TEXT
        before, after = strict(TEXT), strict(changed)
        assert any(
            slips.looser(slips.answer(before, probe), slips.answer(after, probe)) for probe in PROBES
        ), new
