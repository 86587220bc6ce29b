"""The whole plugin contract: two hooks, what they are given and what they give.

    from plugins.hookspecs import Plugin, PluginContext, hookimpl

    @hookimpl
    def bursar_secrets() -> tuple[str, ...]:
        return ("ACME_API_KEY",)

    @hookimpl
    def bursar_plugin(context: PluginContext) -> Plugin:
        return Plugin(tools=(...), providers=(...))

A plugin is a Python module, named in `policies.yaml` and never found by itself. Each has a hook caller of its
own: no plugin wraps, sees or outvotes another's hooks. It has no routes, templates or database.
docs/how-to/write-a-plugin.md tells the story; docs/reference/plugins.md lists every field.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

import pluggy
from msgspec import Struct

from ledger.records import Seen
from plugins.tool import Binding, Evidence, Readiness, Tool
from policy.model import Mode

PROJECT: Final = "bursar"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Secret:
    """A secret that shows itself only on purpose.

    Printing, logging, pickling and comparing it gives nothing away.
    """

    __slots__ = ("_text", "name")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; call this only where it goes onto the wire."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the secret {self.name} is not to be pickled")


class PluginContext(Struct, frozen=True, kw_only=True):
    """All that a plugin may know of the house. Secrets it did not declare are not here."""

    name: str  # As named in policies.yaml.
    settings: Mapping[str, object]  # Its `settings` in policies.yaml.
    secrets: Mapping[str, Secret]  # Those of `bursar_secrets` that are set; absent ones are absent here.
    now: Callable[[], datetime]  # Aware UTC.
    new_id: Callable[[str], str]
    public_url: str = ""
    api_base: str = ""  # A simulator's address; empty for the provider's own.
    allowed_modes: tuple[Mode, ...] = (Mode.LIVE, Mode.TEST, Mode.SIMULATED)


async def _nothing() -> None:
    """Close nothing."""


async def _no_evidence(ref: str) -> Evidence:
    """Find nothing: the provider shows no single objects."""
    return Evidence(ref=ref, found=False)


async def _no_events(since: datetime) -> tuple[Evidence, ...]:
    """Tell of no events: the provider keeps none."""
    del since
    return ()


async def _nothing_seen(since: datetime) -> tuple[Seen, ...]:
    """Find nothing: the provider shows no marks of ours."""
    del since
    return ()


async def _no_instruments(ref: str, armed: bool) -> bool:  # noqa: FBT001 -- the contract's own shape
    """Switch nothing: the provider makes no instruments that outlive a call."""
    del ref, armed
    return False


class Provider(Struct, frozen=True, kw_only=True):
    """One provider a plugin speaks to: what it is bound to, and how that is checked against what answers.

    `check` measures readiness and identity by asking the provider; it must end by itself within
    `check_timeout_s`.
    """

    binding: Binding
    check: Callable[[], Awaitable[Readiness]]
    fetch: Callable[[str], Awaitable[Evidence]] = (
        _no_evidence  # Our reference or the provider's id -> what it shows.
    )
    events: Callable[[datetime], Awaitable[tuple[Evidence, ...]]] = _no_events  # Since then, oldest first.
    seen: Callable[[datetime], Awaitable[tuple[Seen, ...]]] = (
        _nothing_seen  # What was done since, by our marks.
    )
    set_armed: Callable[[str, bool], Awaitable[bool]] = (
        _no_instruments  # Switch an instrument on or off (M20).
    )
    close: Callable[[], Awaitable[None]] = _nothing
    check_timeout_s: float = 10.0  # A provider that says nothing for this long cannot be used now.


class Plugin(Struct, frozen=True, kw_only=True):
    """What one plugin brings: its tools, and the providers they speak to."""

    tools: tuple[Tool[Any], ...] = ()
    providers: tuple[Provider, ...] = ()


class BursarHooks:
    """The hooks, as pluggy checks every implementation against them."""

    @hookspec(firstresult=True)
    def bursar_secrets(self) -> tuple[str, ...] | None:
        """Name the environment variables this plugin may read; each also works as NAME_FILE. Optional."""

    @hookspec(firstresult=True)
    def bursar_plugin(self, context: PluginContext) -> Plugin | None:
        """Return the plugin's tools and providers, built from its context.

        Required; called once, at start.
        """
