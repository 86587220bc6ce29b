"""What benches of the gate's single parts are built of: the shop's tools, and an attempt's surroundings."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from plugins.conformance.checks import made_up_context
from plugins.registry import Registry, load
from policy.language import PluginEntry
from tool_server.attempt import AttemptParts
from tool_server.providers import Providers

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def shop_tools() -> Registry:
    """Load the shop's plugin for a shop that is not there."""
    settings = {"address": "http://127.0.0.1:9", "mode": "simulated"}
    return load(
        [PluginEntry("shop", "tests.provider.shop", settings)],
        lambda entry, names: made_up_context(entry, names, NOW),
    )


def parts_over(books: Any, providers: Providers, now_s: Callable[[], float]) -> AttemptParts:  # noqa: ANN401 -- a fake of the books
    """Return what an attempt works with, over books that answer as told and on a bench's clock."""
    return AttemptParts(
        books=books,
        providers=providers,
        holder="proc_1",
        live_spend=False,
        public_url="",
        now=lambda: NOW,
        monotonic=now_s,
        new_id=lambda prefix: f"{prefix}_1",
    )
