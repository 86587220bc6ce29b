"""Deliberately broken twins of the judge: copies of its own modules with one line changed each.

A harness that does not catch them proves nothing. A twin whose line no longer exists fails loudly.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

from policy.model import Call, Decision, Facts, Policy

Decide = Callable[[Policy, Call, Facts], Decision]

# In the order they import each other; the words they share (model, money, windows, ...) stay the real ones.
COPIED = ("matching", "reach", "explain", "compiled", "capping", "timing", "refusing", "decide")


class BrokenTwin(NamedTuple):
    """One planted bug: where, what stands there, and what stands there instead."""

    name: str
    module: str
    right: str
    wrong: str


TWINS = (
    BrokenTwin(
        "a name that folds alike is the same payee",
        "matching",
        "    return None if alike else False\n",
        "    return alike\n",
    ),
    BrokenTwin(
        "a star in a domain crosses a slash",
        "matching",
        "True if _HOST.fullmatch(q.name) else None",
        "True",
    ),
    BrokenTwin(
        "a payee is known by a name that folds alike",
        "matching",
        "q.name != q.payee if known else listed is None",
        "not known and listed is None",
    ),
    BrokenTwin(
        "no deny stops a refund that calls itself a withdrawal",
        "reach",
        " and not is_human_only(effect)\n",
        "\n",
    ),
    BrokenTwin(
        "a cap over an hour covers live spend", "reach", "window.seconds >= _DAY_S", "window.seconds >= 0"
    ),
    BrokenTwin("an amount at its bound is above it", "matching", "q.units <= bound", "q.units < bound"),
    BrokenTwin(
        "another currency is simply no match",
        "matching",
        "        if bound is None:\n            return None\n        return q.units",
        "        if bound is None:\n            return False\n        return q.units",
    ),
    BrokenTwin(
        "payees differ by case",
        "matching",
        "effect.payee is None else effect.payee.lower()",
        "effect.payee is None else effect.payee",
    ),
    BrokenTwin(
        "one doubt hides a later no", "matching", "            doubt = True\n", "            return None\n"
    ),
    BrokenTwin(
        "a doubtful unless silences a deny",
        "compiled",
        "if silenced is True:",
        "if silenced is not False:",
    ),
    BrokenTwin(
        "a doubtful allow allows",
        "compiled",
        "return False if self.allows else None",
        "return None",
    ),
    BrokenTwin(
        "a wide allow runs human-only effects",
        "compiled",
        "rule.effect is Answer.ALLOW and is_human_only(effect)",
        "rule.effect is Answer.ALLOW and False",
    ),
    BrokenTwin(
        "a wide deny stops a withdrawal",
        "reach",
        "effect.kind is Kind.WITHDRAW and tool not in match.tool",
        "False",
    ),
    BrokenTwin(
        "shadow rules act",
        "compiled",
        "[rule for rule in rules if not rule.rule.shadow]",
        "rules",
    ),
    BrokenTwin("holds do not count", "capping", "usage.posted + usage.held", "usage.posted"),
    BrokenTwin(
        "a full cap takes one more", "capping", "fits = used + amount <= one.limit", "fits = used < one.limit"
    ),
    BrokenTwin(
        "a share of a loss is a share",
        "capping",
        "max(0, earned) * min(100",
        "abs(earned) * min(100",
    ),
    BrokenTwin(
        "an unknown usage is none",
        "capping",
        "    if usage is None or limit is None:\n",
        "    usage = usage or _NO_USAGE\n    if limit is None:\n",
    ),
    BrokenTwin(
        "live spend needs two yeses",
        "refusing",
        "    if not policy.live_spend.enabled:\n",
        "    if not policy.live_spend.enabled and wanted:\n",
    ),
    BrokenTwin(
        "human-only runs in draft_only",
        "compiled",
        "Posture.DRAFT_ONLY: (Kind.SPEND, Kind.PROVISION, Kind.EARN, Kind.HUMAN_ONLY)",
        "Posture.DRAFT_ONLY: (Kind.SPEND, Kind.PROVISION, Kind.EARN)",
    ),
    BrokenTwin(
        "a per-call cap covers live spend",
        "reach",
        "window.kind in {WindowKind.DAY,",
        "window.kind in {WindowKind.CALL, WindowKind.DAY,",
    ),
    BrokenTwin(
        "a twin that may have been bought asks no owner",
        "decide",
        "(not asks or twin.state == _TWIN_UNSURE)",
        "(not asks)",
    ),
    BrokenTwin("only the first desk is asked", "decide", "asks=tuple(asks),", "asks=tuple(asks[:1]),"),
    BrokenTwin(
        "the desks of the last call are asked again",
        "decide",
        "known = self.found.asked.get(rules)",
        "known = next(iter(self.found.asked.values()), None)",
    ),
    BrokenTwin(
        "of many tests only the first counts",
        "compiled",
        "if not speaks or not rule.single:",
        "if not speaks:",
    ),
    BrokenTwin(
        "twenty-one requests may wait",
        "refusing",
        "facts.open_requests >= most",
        "facts.open_requests > most",
    ),
)


def plant(twin: BrokenTwin | None, folder: Path, name: str) -> Decide:
    """Copy the judge into a package of its own, broken as the twin says, and return its `decide`."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").touch()
    for module in COPIED:
        text = (Path(__file__).parents[2] / "policy" / f"{module}.py").read_text()
        if twin is not None and twin.module == module:
            assert twin.right in text, f"the line that {twin.name!r} breaks is gone; plant it elsewhere"
            text = text.replace(twin.right, twin.wrong)
        (package / f"{module}.py").write_text(_own_imports(text, name))
    return _load(package, name)


def _own_imports(text: str, name: str) -> str:
    """Let the copies import each other."""
    among = "|".join(COPIED)
    text = re.sub(rf"^from policy\.({among}) import", rf"from {name}.\1 import", text, flags=re.MULTILINE)

    def split(found: re.Match[str]) -> str:
        wanted = [each.strip() for each in found[1].split(",")]
        groups = {
            True: [each for each in wanted if each in COPIED],
            False: [each for each in wanted if each not in COPIED],
        }
        lines = [
            f"from {name if own else 'policy'} import {', '.join(each)}"
            for own, each in groups.items()
            if each
        ]
        return "\n".join(lines)

    return re.sub(r"^from policy import (.+)$", split, text, flags=re.MULTILINE)


def _load(package: Path, name: str) -> Decide:
    spec = importlib.util.spec_from_file_location(
        name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(sys.modules[name])
        return cast("Decide", importlib.import_module(f"{name}.decide").decide)
    finally:
        for each in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
            del sys.modules[each]
