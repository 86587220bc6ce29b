"""Reload as a value: load a changed file, run the cases beside it, and offer one new policy or an alarm.

Nothing here watches files or swaps anything. The caller gives what it read and decides what to do with the
answer: an `Offered` policy may become the active one, a `Kept` one means an alarm for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from policy.case_file import load_cases
from policy.cases import CaseResult, run_case
from policy.errors import Mistake, PolicyError
from policy.language import Policy
from policy.load import load, read_source
from policy.tools import Tools


class Sources(Struct, frozen=True):
    """What stands on the disk: a policy's text and the cases files beside it, by name."""

    file: str
    text: bytes
    cases: Mapping[str, bytes] = {}


class Unchanged(Struct, frozen=True):
    """The file says what it said before, byte by byte."""

    policy: Policy


class Offered(Struct, frozen=True):
    """A policy that loads and keeps all its cases."""

    policy: Policy
    results: tuple[CaseResult, ...]
    needs_owner: (
        bool  # The old or the new one has live_spend enabled: an owner must accept it (design, section 3).
    )


class Kept(Struct, frozen=True):
    """The old policy stays (None: there is none), and people must hear of it: one line, and the details."""

    policy: Policy | None
    alarm: str
    mistakes: tuple[Mistake, ...] = ()
    failed: tuple[CaseResult, ...] = ()


def reload(old: Policy | None, sources: Sources, tools: Tools) -> Unchanged | Offered | Kept:
    """Return what to do with what was read: nothing, offer the new policy, or keep the old one and shout."""
    try:
        new = load(sources.text, sources.file, tools)
        if old is not None and new.sha256 == old.sha256:
            return Unchanged(old)
        results = tuple(
            run_case(new, case)
            for name, text in sorted(sources.cases.items())
            for case in load_cases(text, name, policy=new, tools=tools)
        )
    except PolicyError as error:
        first = error.mistakes[0]
        count = len(error.mistakes)
        where = f"{first.file}:{first.line}:{first.column}: {first.message}"
        more = f" and {count - 1} more" if count > 1 else ""
        return Kept(old, f"{sources.file} was not taken over: {where}{more}", error.mistakes)
    failed = tuple(result for result in results if not result.passed)
    if failed:
        first_case = failed[0].case
        alarm = f"{sources.file} was not taken over: {len(failed)} of its cases fail, first {first_case.at}"
        return Kept(old, alarm, failed=failed)
    needs_owner = new.live_spend.enabled or (old is not None and old.live_spend.enabled)
    return Offered(new, results, needs_owner)


def read_sources(path: Path) -> Sources:
    """Return a policy's text and the *.cases.yaml beside it. Raises ConfigurationError."""
    cases = {file.name: read_source(file) for file in sorted(path.parent.glob("*.cases.yaml"))}
    return Sources(path.name, read_source(path), cases)
