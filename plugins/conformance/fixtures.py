"""The kit as pytest fixtures: `pytest_plugins = ["plugins.conformance.fixtures"]` in an author's conftest.py.

def test_my_plugin_conforms(conforms):
    conforms("acme", module="acme_plugin", settings={"address": "https://api.acme.example"})
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from plugins.conformance.checks import Check, Conforms, check_plugin
from policy.language import PluginEntry


@pytest.fixture
def conforms() -> Conforms:
    """Give a function that fails the test unless the plugin passes every check."""

    def look(
        name: str, *, module: str | None = None, settings: Mapping[str, object] | None = None
    ) -> tuple[Check, ...]:
        checks = check_plugin(PluginEntry(name, module, settings or {}))
        faults = [f"{check.subject}: {check.name}: {check.problem}" for check in checks if not check.passed]
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)
        return checks

    return look
