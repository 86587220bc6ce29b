"""The only wiring: `bootstrap(settings)` builds the house from settings, and nothing else builds it.

Tests hand in clocks, ids and plugins by the same function. Nothing here works on import.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct

from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from plugins.hookspecs import PluginContext, Secret
from plugins.registry import LoadedTool, Registry, load
from policy import load as loading
from policy.decide import decide, needs
from policy.language import Kind, Mode, PluginEntry, Policy
from policy.tools import TOOLS_FILE, ToolInfo, Tools
from tool_server import tracing
from tool_server.alerts import Alerts, Deliver, say
from tool_server.attempt import AttemptParts
from tool_server.books import Books
from tool_server.catalogue import Accepted, Catalogue
from tool_server.core import CoreTool
from tool_server.dispatcher import HELD_AGAIN_S, Dispatcher
from tool_server.gate import WAIT_S, Gate, GateParts
from tool_server.ids import id_maker
from tool_server.loops import every
from tool_server.normalize import Normalizer
from tool_server.policy_file import PolicyFile, known_tools
from tool_server.providers import EVERY_S, FRESH_S, Providers
from tool_server.reconcile import FIRST_LOOK_S, Reconciler
from tool_server.settings import Settings
from tool_server.waiting import Waiting

DRAIN_S: Final = (
    20.0  # What runs may still settle for this long; a supervisor usually kills after thirty seconds.
)
SEEN_S: Final = 10.0  # When each agent was last seen is written this often.

_log = structlog.get_logger("bursar.house")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Wiring(Struct, frozen=True, kw_only=True):
    """What tests replace: clocks, ids, chance, and how patient the house is."""

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    seed: int | None = None
    release: Path = TOOLS_FILE
    wait_s: float = WAIT_S
    fresh_s: float = FRESH_S
    first_look_s: float = FIRST_LOOK_S
    send_window_s: float | None = None
    held_again_s: float = HELD_AGAIN_S
    deliver: Deliver = (
        say  # Where words to people go; by default into the log, where an operator's tools read.
    )
    accept_all: bool = False  # Takes every tool for accepted: for drills and tests on the simulator only.


class House:
    """Everything of one process, built and connected; `running` brings it to life."""

    def __init__(  # noqa: PLR0913 -- the parts by name, and nothing but bootstrap calls this
        self,
        *,
        settings: Settings,
        ledger: Ledger,
        books: Books,
        registry: Registry,
        catalogue: Catalogue,
        providers: Providers,
        gate: Gate,
        dispatcher: Dispatcher,
        policy_file: PolicyFile,
        process_id: str,
        now: Callable[[], datetime],
        new_id: Callable[[str], str],
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.books = books
        self.registry = registry
        self.catalogue = catalogue
        self.providers = providers
        self.gate = gate
        self.dispatcher = dispatcher
        self.policy_file = policy_file
        self.process_id = process_id
        self.now = now
        self.new_id = new_id
        self._stop = asyncio.Event()

    @property
    def modes(self) -> Mapping[str, Mode]:
        """Return the mode each provider is bound to."""
        return {name: provider.binding.mode for name, provider in self.registry.providers.items()}

    @property
    def live_spend(self) -> bool:
        """Say whether this process was started with LIVE_SPEND=1."""
        return self.settings.live_spend

    @asynccontextmanager
    async def running(self, *, work: bool = True, drain_s: float = DRAIN_S) -> AsyncIterator[House]:
        """Check the providers, then work until the block ends.

        `work=False` serves agents and runs nothing itself.
        """
        await self.providers.check_all()
        loops = [
            every("readiness", EVERY_S, self.providers.check_all, stop=self._stop),
            every("policy file", self.settings.reload_s, self.policy_file.look, stop=self._stop),
            every("seen", SEEN_S, self.books.write_seen, stop=self._stop),
            self.dispatcher.run(work=work),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield self
        finally:
            await self.drain(drain_s)
            await asyncio.gather(*tasks, return_exceptions=True)

    async def drain(self, timeout_s: float = DRAIN_S) -> None:
        """Admit nothing more, answer who waits, let what runs settle. May be called again."""
        self._stop.set()
        self.gate.drain()
        await self.dispatcher.drain(timeout_s)

    async def close(self) -> None:
        """Let go of the providers and the ledger."""
        await self.books.write_seen()
        await self.providers.close()
        await self.ledger.close()


async def bootstrap(
    settings: Settings,
    *,
    core: Callable[[Books, Any], Iterable[CoreTool[Any]]] | None = None,
    wiring: Wiring | None = None,
    ledger: Ledger | None = None,
) -> House:
    """Build the house: policy, ledger, plugins, gate, dispatcher.

    Raises ConfigurationError and PolicyError with what to do; nothing is left open then. `core` makes the
    core tools from the books and the house's facts; left out, they are Bursar's own.
    """
    wiring = wiring or Wiring()
    new_id = id_maker(wiring.now, wiring.random_bytes)
    tools = known_tools(settings.policies, wiring.release)
    ledger = ledger or await open_ledger(
        ledger_url(settings.db), judge=judge_of(tools), clock=wiring.now, ids=new_id, failed=_say_failed
    )
    try:
        return await _wired(settings, ledger, tools, core=core or _own_core, wiring=wiring, new_id=new_id)
    except BaseException:
        await ledger.close()
        raise


def judge_of(tools: Tools) -> Judge:
    """Return the policy's three functions as the ledger is handed them."""

    def load_text(text: str, file: str) -> Policy:
        return loading.load(text, file, tools)

    return Judge(needs, decide, load_text)


def ledger_url(db: str) -> str:
    """Return the address of a ledger: BURSAR_DB is a path or an address."""
    return db if "://" in db else f"sqlite:///{db}"


async def _wired(
    settings: Settings,
    ledger: Ledger,
    tools: Tools,
    *,
    core: Callable[[Books, Any], Iterable[CoreTool[Any]]],
    wiring: Wiring,
    new_id: Callable[[str], str],
) -> House:
    # Somebody set up a tracer provider before: see tool_server.tracing.
    has_spans = tracing.active()
    books = (tracing.TracedBooks if has_spans else Books)(ledger, wiring.now)
    policy_file = PolicyFile(settings.policies, tools, ledger, wiring.now)
    policy = await policy_file.start()
    facts = _Facts(settings)
    core_tools = tuple(core(books, facts))
    registry = load(
        policy.plugins,
        lambda entry, names: plugin_context(settings, wiring, new_id, entry, names),
        reserved=[tool.name for tool in core_tools],
    )
    registry = tracing.traced(registry) if has_spans else registry
    facts.registry = registry
    accepted = await _accepted(ledger, registry, tools, accept_all=wiring.accept_all)
    providers = Providers(
        registry.providers, monotonic=wiring.monotonic, now=wiring.now, fresh_s=wiring.fresh_s
    )
    parts = AttemptParts(
        books=books,
        providers=providers,
        holder=new_id("proc"),
        live_spend=settings.live_spend,
        public_url=settings.public_url,
        now=wiring.now,
        monotonic=wiring.monotonic,
        new_id=new_id,
        **({} if wiring.send_window_s is None else {"send_window_s": wiring.send_window_s}),
    )
    catalogue = Catalogue(registry, core_tools, accepted)
    waiting = Waiting(books.find_call)
    dispatcher = _dispatcher(books, parts, registry, waiting, wiring)
    return House(
        settings=settings,
        ledger=ledger,
        books=books,
        registry=registry,
        catalogue=catalogue,
        providers=providers,
        gate=_gate(parts, catalogue, waiting, dispatcher, books=books, wait_s=wiring.wait_s),
        dispatcher=dispatcher,
        policy_file=policy_file,
        process_id=parts.holder,
        now=wiring.now,
        new_id=new_id,
    )


def _dispatcher(
    books: Books, parts: AttemptParts, registry: Registry, waiting: Waiting, wiring: Wiring
) -> Dispatcher:
    """Connect what runs."""
    chance = random.Random(wiring.seed)  # noqa: S311 -- spreads pauses; no secret rests on it
    return Dispatcher(
        books,
        parts,
        registry,
        waiting=waiting,
        reconciler=Reconciler(parts, registry, rand=chance, first_look_s=wiring.first_look_s),
        held_again_s=wiring.held_again_s,
        deliver=Alerts(books.ledger, wiring.deliver, wiring.now).deliver,
    )


def _gate(
    parts: AttemptParts,
    catalogue: Catalogue,
    waiting: Waiting,
    dispatcher: Dispatcher,
    *,
    books: Books,
    wait_s: float,
) -> Gate:
    """Connect the door, on the same clocks, ids and providers as the attempts behind it."""
    normalizer = Normalizer(books, binding=parts.providers.binding, now=parts.now, new_id=parts.new_id)
    return Gate(
        GateParts(
            books=books,
            catalogue=catalogue,
            normalizer=normalizer,
            providers=parts.providers,
            waiting=waiting,
            dispatch=dispatcher.offer,
            begin=dispatcher.begin,
            now=parts.now,
            new_id=parts.new_id,
            live_spend=parts.live_spend,
            public_url=parts.public_url,
            wait_s=wait_s,
        )
    )


class _Facts:
    """What the core tools may tell of this process; the registry comes when plugins are loaded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registry: Registry | None = None

    @property
    def modes(self) -> Mapping[str, Mode]:
        providers = self.registry.providers if self.registry else {}
        return {name: provider.binding.mode for name, provider in providers.items()}

    @property
    def live_spend(self) -> bool:
        return self._settings.live_spend


def _own_core(books: Books, facts: _Facts) -> Iterable[CoreTool[Any]]:
    from tool_server.core_tools import CoreTools

    return CoreTools(books, facts).tools()


def plugin_context(
    settings: Settings,
    wiring: Wiring,
    new_id: Callable[[str], str],
    entry: PluginEntry,
    names: tuple[str, ...],
) -> PluginContext:
    """Return what one plugin may know: its settings, and the secrets it declared."""
    found: dict[str, Secret] = {}
    for name in names:
        secret = settings.secret(name)
        if secret is not None:
            found[name] = secret
    return PluginContext(
        name=entry.name,
        settings=entry.settings,
        secrets=found,
        now=wiring.now,
        new_id=new_id,
        public_url=settings.public_url,
        api_base=settings.api_base,
        allowed_modes=settings.allowed_modes,
    )


async def _accepted(
    ledger: Ledger, registry: Registry, release: Tools, *, accept_all: bool
) -> Mapping[str, Accepted]:
    """Return what counts as accepted: an owner's word; for shipped tools also the release's own list."""
    said = await ledger.accepted_tools()
    found = {name: Accepted(digest, Kind(kind)) for name, (digest, kind) in said.items()}
    for name, loaded in registry.tools.items():
        info = _vouched(loaded, release.get(name), accept_all=accept_all)
        if info is not None and name not in found:
            found[name] = Accepted(info.definition_hash, info.kind)
    return found


def _vouched(loaded: LoadedTool, listed: ToolInfo | None, *, accept_all: bool) -> ToolInfo | None:
    if accept_all:
        return loaded.info
    return listed if loaded.ours else None


def _say_failed(what: str, error: Exception) -> None:
    _log.error("a ledger command broke", what=what, error=f"{type(error).__name__}: {error}")
