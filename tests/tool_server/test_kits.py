"""What a token lists must fit into every client: 24 tools and 18 kB with the core (contract, section 3)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from plugins.conformance.checks import made_up_context
from plugins.registry import load
from policy.load import load as load_policy
from policy.tools import TOOLS_FILE, load_tools
from tool_server.catalogue import MOST_BYTES, MOST_TOOLS, Accepted, Catalogue, listed_json
from tool_server.core_tools import CoreTools

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 22, tzinfo=UTC)
AVERAGE_WORDS = 420  # Characters of a description; the contract's average is 350, and the core says more.
NOBODY: Any = None  # Neither books nor house are asked for a listing.


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    """Give the catalogue of the shipped plugins, all accepted."""
    policy = load_policy((ROOT / "policies.yaml").read_bytes(), "policies.yaml", load_tools(TOOLS_FILE))
    registry = load(policy.plugins, lambda entry, names: made_up_context(entry, names, NOW))
    accepted = {
        name: Accepted(loaded.info.definition_hash, loaded.tool.kind)
        for name, loaded in registry.tools.items()
    }
    return Catalogue(registry, CoreTools(NOBODY, NOBODY).tools(), accepted)


@pytest.mark.parametrize(
    "kits",
    [("sell",), ("fulfil",), ("buy",), ("care",), ("sell", "buy"), ("fulfil", "care"), ("sell", "care")],
    ids="+".join,
)
def test_every_kit_and_the_pairs_that_are_advised_fit(catalogue: Catalogue, kits: tuple[str, ...]) -> None:
    """A longer description in one tool must not make a whole kit impossible to hand out."""
    catalogue.check_kits(kits)
    tools = [listed_json(tool) for tool in catalogue.listing(kits)]
    assert len(tools) <= MOST_TOOLS
    assert len(orjson.dumps(tools)) <= MOST_BYTES


def test_there_is_no_kit_beside_these(catalogue: Catalogue) -> None:
    """A new kit has to be tried above."""
    assert set(catalogue.registry.kits()) == {"sell", "fulfil", "buy", "care"}


def test_bursars_own_tools_stay_few_and_short(catalogue: Catalogue) -> None:
    """At most 32 in all, and descriptions of 350 characters or so leave room for a plugin of one's own."""
    own = catalogue.listing(catalogue.registry.kits())
    assert len(own) <= 32
    assert sum(len(tool.description) for tool in own) / len(own) <= AVERAGE_WORDS
    assert all(len(tool.description) <= 600 for tool in own)
