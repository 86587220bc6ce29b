"""What the tests of local plugins share: a context, records as the ledger would read them, tools by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any

from ledger.records import RecordRef
from plugins.hookspecs import Plugin, PluginContext
from plugins.tool import ApplyContext, Described, Tool

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def tools_of(hook: Callable[..., Plugin], name: str) -> dict[str, Tool[Any]]:
    """Return a local plugin's tools by name."""
    context = PluginContext(
        name=name, settings={}, secrets={}, now=lambda: NOW, new_id=lambda prefix: f"{prefix}_1"
    )
    return {tool.name: tool for tool in hook(context=context).tools}


def caller(agent: str = "scout", run_id: str = "run_1") -> ApplyContext:
    """Return who asks, with ids that count up."""
    numbers = count(1)
    return ApplyContext(
        now=NOW,
        call_id="call_1",
        agent=agent,
        project="shop",
        run_id=run_id,
        account_id="acc_1",
        new_id=lambda prefix: f"{prefix}_{next(numbers)}",
    )


def who(agent: str = "scout") -> Described:
    """Return what `describe` knows of a caller."""
    return Described(binding=None, agent=agent, project="shop", run_id="run_1", now=NOW)


def record(kind: str, record_id: str, **data: object) -> RecordRef:
    """Return a record as the ledger reads it."""
    return RecordRef(kind, record_id, "00" * 32, data)
