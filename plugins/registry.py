"""Load plugins by name, look at all they brought, and refuse at the door what is not fit to be offered.

Ours and strangers' come in the same way: named in `policies.yaml`, imported, asked through the two hooks. A
refusal names the plugin and what to change; nothing of a refused plugin is kept, and the program does not
start.
"""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import pluggy
from msgspec import Struct, structs

from plugins.hookspecs import PROJECT, BursarHooks, Plugin, PluginContext, Provider
from plugins.schema import KEY_ARGUMENT, SchemaRefused, input_schema, published
from plugins.tool import Replay, Tool
from policy.errors import ConfigurationError
from policy.language import Kind, PluginEntry
from policy.tools import ToolInfo, definition_hash

TOOL_NAME: Final = re.compile(
    r"[a-z][a-z0-9_]{2,39}"
)  # Longer ones break names that clients build from them.
PLUGIN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,39}")
KIT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,19}")
WORD: Final = re.compile(r"[a-z][a-z0-9_]{1,39}")  # Providers and operations, as policies write them.
SECRET_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{1,62}[A-Z0-9]")
LONGEST_DESCRIPTION: Final = 600  # Characters; clients with many tools drop what is longer.
LONGEST_TIMEOUT_S: Final = (
    120.0  # A provider that takes longer is asked again by reconciling, not waited for.
)
HOUSE_PROVIDER: Final = "bursar"  # Of tools that touch nothing but the ledger.
_SHOWN: Final = 300  # Characters of a stranger's error, which may be pages long.
_MONEY_KINDS: Final = frozenset({Kind.SPEND, Kind.PROVISION})

# How much a kind must be watched; a tool may not come back below what an owner accepted it as (M30).
WEIGHT: Final[Mapping[Kind, int]] = {
    kind: weight
    for weight, kind in enumerate(
        (Kind.READ, Kind.WITHDRAW, Kind.DRAFT, Kind.EARN, Kind.PROVISION, Kind.SPEND, Kind.HUMAN_ONLY)
    )
}


class PluginRefused(ConfigurationError):  # noqa: N818 -- it says what happened, as in policy.errors
    """A plugin that cannot be loaded; the message names it and says what to change."""

    def __init__(self, plugin: str, why: str) -> None:
        super().__init__(f"plugin {plugin!r}: {why}")
        self.plugin = plugin


class LoadedTool(Struct, frozen=True, kw_only=True):
    """A tool with what was worked out about it once, at start."""

    tool: Tool[Any]
    plugin: str
    ours: bool  # Shipped with this release, so that the release's tools.json speaks for it.
    schema: Mapping[str, Any]  # As agents see it: its own arguments and the gate's.
    key_required: bool  # M24.
    info: ToolInfo  # What an owner accepts, with its hash.


class Registry(Struct, frozen=True, kw_only=True):
    """Every tool and provider of this process, by name. Fixed at start."""

    tools: Mapping[str, LoadedTool]
    providers: Mapping[str, Provider]
    plugins: tuple[str, ...]

    def kits(self) -> tuple[str, ...]:
        """Return the names of all kits, sorted."""
        return tuple(sorted({loaded.tool.kit for loaded in self.tools.values()}))


MakeContext = Callable[
    [PluginEntry, tuple[str, ...]], PluginContext
]  # From an entry and its declared secrets.


def load(
    entries: Iterable[PluginEntry], make_context: MakeContext, *, reserved: Iterable[str] = ()
) -> Registry:
    """Load the plugins that a policy names, in its order. Raises PluginRefused.

    `reserved`: tool names that are the house's own. A plugin that raises by itself is refused with its words.
    """
    tools: dict[str, LoadedTool] = {}
    providers: dict[str, Provider] = {}
    names: list[str] = []
    secrets: dict[str, str] = {}
    for entry in entries:
        if PLUGIN_NAME.fullmatch(entry.name) is None or entry.name in names:
            raise PluginRefused(entry.name, "names are lower case, like 'payments', and each is listed once")
        names.append(entry.name)
        plugin = _ask(entry, make_context, secrets)
        _take_providers(entry.name, plugin, providers)
        for tool in plugin.tools:
            loaded = _checked(entry, plugin, tool)
            if tool.name in tools or tool.name in reserved:
                other = tools[tool.name].plugin if tool.name in tools else PROJECT
                raise PluginRefused(
                    entry.name, f"tool {tool.name!r} is already there, from {other!r}; rename it"
                )
            tools[tool.name] = loaded
    return Registry(tools=tools, providers=providers, plugins=tuple(names))


def _ask(entry: PluginEntry, make_context: MakeContext, secrets: dict[str, str]) -> Plugin:
    """Import one plugin and call its hooks, in a manager of its own."""
    module = entry.module or f"plugins.{entry.name}.plugin"
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(BursarHooks)
    try:
        manager.register(importlib.import_module(module), name=entry.name)
        manager.check_pending()
        names = manager.hook.bursar_secrets() or ()
        _check_secrets(entry.name, names, secrets)
        plugin = manager.hook.bursar_plugin(context=make_context(entry, tuple(names)))
    except (PluginRefused, ConfigurationError):
        raise
    except pluggy.PluginValidationError as error:
        raise PluginRefused(entry.name, f"a hook does not fit the contract: {_one_line(error)}") from error
    except Exception as error:
        # A stranger's code may raise anything; whoever starts the program must learn whose it was.
        raise PluginRefused(entry.name, f"{module} cannot be loaded: {_one_line(error)}") from error
    if not isinstance(plugin, Plugin):
        raise PluginRefused(entry.name, f"bursar_plugin must return a Plugin, got {type(plugin).__name__}")
    return plugin


def _check_secrets(plugin: str, names: object, taken: dict[str, str]) -> None:
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise PluginRefused(plugin, "bursar_secrets must return a tuple of names")
    for name in names:
        if SECRET_NAME.fullmatch(name) is None or name.startswith("BURSAR_") or name.endswith("_FILE"):
            raise PluginRefused(
                plugin, f"{name!r} cannot be a plugin's secret; take a name like ACME_API_KEY"
            )
        if name in taken:
            raise PluginRefused(plugin, f"the secret {name} belongs to the plugin {taken[name]!r}")
        taken[name] = plugin


def _take_providers(name: str, plugin: Plugin, providers: dict[str, Provider]) -> None:
    for provider in plugin.providers:
        word = provider.binding.provider
        if WORD.fullmatch(word) is None or word == HOUSE_PROVIDER:
            raise PluginRefused(name, f"{word!r} cannot be a provider's name; take one like 'stripe'")
        if word in providers:
            raise PluginRefused(name, f"the provider {word!r} is already bound by another plugin")
        providers[word] = provider


def _checked(entry: PluginEntry, plugin: Plugin, tool: Tool[Any]) -> LoadedTool:
    """Look at one tool from every side. Raises PluginRefused."""
    if not isinstance(tool, Tool):
        raise PluginRefused(entry.name, f"a tool must be a Tool, got {type(tool).__name__}")
    for why in (*_name_faults(tool), *_text_faults(tool.description), *_shape_faults(tool, plugin)):
        raise PluginRefused(entry.name, f"tool {tool.name!r}: {why}")
    try:
        own = input_schema(tool.arguments)
    except SchemaRefused as refused:
        raise PluginRefused(entry.name, f"tool {tool.name!r}: {refused}") from None
    if KEY_ARGUMENT in own["properties"]:
        raise PluginRefused(
            entry.name, f"tool {tool.name!r}: {KEY_ARGUMENT} is the gate's own argument; leave it out"
        )
    needed = key_required(tool)
    return LoadedTool(
        tool=tool,
        plugin=entry.name,
        ours=entry.module is None,
        schema=published(own, tool.kind, key_required=needed),
        key_required=needed,
        info=_info(entry.name, tool, own),
    )


def _info(plugin: str, tool: Tool[Any], own: Mapping[str, Any]) -> ToolInfo:
    """Return the definition that policies are checked against and an owner accepts."""
    info = ToolInfo(
        name=tool.name,
        kind=tool.kind,
        kit=tool.kit,
        plugin=plugin,
        provider=tool.provider,
        operation=tool.operation,
        description=tool.description,
        arguments=own,
    )
    return structs.replace(info, definition_hash=definition_hash(info))


def key_required(tool: Tool[Any]) -> bool:
    """Say whether a call must carry an idempotency key (M24)."""
    return tool.kind in {Kind.SPEND, Kind.PROVISION, Kind.HUMAN_ONLY} or (
        tool.kind is Kind.EARN and tool.priced
    )


def _name_faults(tool: Tool[Any]) -> Iterable[str]:
    if TOOL_NAME.fullmatch(tool.name) is None:
        yield "names are 3 to 40 lower case letters, digits and underscores, beginning with a letter"
    if KIT_NAME.fullmatch(tool.kit) is None or tool.kit == "core":
        yield f"{tool.kit!r} cannot be a kit; take a name like 'sell'"
    if WORD.fullmatch(tool.operation) is None:
        yield f"{tool.operation!r} cannot be an operation; take a name like 'domain_register'"


def _text_faults(text: str) -> Iterable[str]:
    if not text or len(text) > LONGEST_DESCRIPTION:
        yield f"the description has {len(text)} characters; it takes 1 to {LONGEST_DESCRIPTION}"
    strange = next((char for char in text if unicodedata.category(char).startswith("C")), None)
    if strange is not None:
        yield f"the description holds the invisible character U+{ord(strange):04X}; take it out"


def _shape_faults(tool: Tool[Any], plugin: Plugin) -> Iterable[str]:
    ways = [way for way in ("apply", "execute", "read") if getattr(tool, way) is not None]
    if len(ways) != 1:
        yield f"it has {' and '.join(ways) or 'nothing'} to run; give it exactly one of apply, execute, read"
    if (tool.kind is Kind.READ) != (tool.read is not None):
        yield "tools of kind read have `read`, and no others do"
    if tool.kind in _MONEY_KINDS and tool.apply is not None:
        yield f"kind {tool.kind} happens at a provider, so it needs `execute`"
    if tool.annotations.read_only != (tool.kind is Kind.READ):
        yield f"the annotation read_only does not fit kind {tool.kind}"
    if tool.prepare is not None and tool.execute is None:
        yield "`prepare` goes with `execute` only"
    if not 0 < tool.timeout_s <= LONGEST_TIMEOUT_S:
        yield f"timeout_s is {tool.timeout_s}; it takes more than 0 and at most {LONGEST_TIMEOUT_S:.0f}"
    yield from _provider_faults(tool, plugin)


def _provider_faults(tool: Tool[Any], plugin: Plugin) -> Iterable[str]:
    bound = {provider.binding.provider for provider in plugin.providers}
    if tool.execute is not None and tool.provider not in bound:
        yield f"its provider {tool.provider!r} is none of this plugin's: {', '.join(sorted(bound)) or 'none'}"
    if tool.execute is None and tool.provider not in {*bound, HOUSE_PROVIDER}:
        yield f"its provider {tool.provider!r} is neither {HOUSE_PROVIDER!r} nor one of this plugin's"
    delay = getattr(tool.reconcile, "settle_delay_s", None)
    if delay is not None and delay < 0:
        yield "settle_delay_s cannot be negative"
    if isinstance(tool.reconcile, Replay) and tool.reconcile.lifetime_s <= 0:
        yield "a replay needs the lifetime of the provider's keys in seconds"


def _one_line(error: BaseException) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "..."
