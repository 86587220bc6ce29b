"""docs/reference/plugins.md names every hook and every field of the contract, and no others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from plugins import hookspecs, tool

PAGE = Path("docs/reference/plugins.md").read_text()
CONTRACT: tuple[type[Struct], ...] = (
    hookspecs.PluginContext,
    hookspecs.Plugin,
    hookspecs.Provider,
    tool.Binding,
    tool.Readiness,
    tool.Evidence,
    tool.Tool,
    tool.Annotations,
    tool.Described,
    tool.ApplyContext,
    tool.Applied,
    tool.ExecuteContext,
    tool.OutcomeReport,
    tool.Replay,
    tool.Lookup,
)


@pytest.mark.parametrize("part", CONTRACT, ids=lambda part: part.__name__)
def test_every_field_is_on_the_page_and_nothing_else(part: type[Struct]) -> None:
    """An author reads the page, not our source."""
    section = PAGE.split(f"### `{part.__name__}`\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert named == [field.name for field in fields(part)]


def test_every_hook_is_on_the_page() -> None:
    """A hook that nobody reads of is never written."""
    hooks = {name for name in vars(hookspecs.BursarHooks) if name.startswith("bursar_")}
    section = PAGE.split("## Hooks\n", 1)[1].split("\n### ", 1)[0]
    assert set(re.findall(r"^\| `(\w+)\(", section, re.MULTILINE)) == hooks
