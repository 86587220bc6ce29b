"""Checks of one plugin: what the registry refuses, and what only running its pure parts can show.

Nothing here speaks to a provider: pure functions get made-up arguments, executions a guard that always
refuses. So the kit may run anywhere, also where real keys lie about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

from ledger.records import Outcome
from plugins.conformance.samples import a_call, sample
from plugins.hookspecs import PluginContext, Secret
from plugins.registry import LoadedTool, PluginRefused, Registry, load
from plugins.tool import ApplyContext, Binding, Described, ExecuteContext, OutcomeReport, SendTooLate
from policy.errors import CallRefused, ConfigurationError
from policy.language import PluginEntry
from policy.model import Effect, Kind
from policy.money import enc_hook

PENDING_WORD: Final = "pending_approval"  # Agents trust descriptions only: the protocol has to stand there.
GUARD_S: Final = 5.0  # An execution whose guard refuses must end by itself within this.
_GATED: Final = frozenset({Kind.SPEND, Kind.PROVISION, Kind.HUMAN_ONLY})
_ASKING: Final = ("not ready", "refused")  # Not a fault: it needs a record that this kit cannot make up.


class Check(Struct, frozen=True):
    """One thing that was looked at: what should hold, of which tool, and what was met where it does not."""

    name: str
    subject: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return not self.problem


class Conforms(Protocol):
    """Look at a plugin; fail the test with every fault at once."""

    def __call__(
        self, name: str, *, module: str | None = None, settings: Mapping[str, object] | None = None
    ) -> tuple[Check, ...]:
        """Return what was looked at."""


def check_plugin(entry: PluginEntry, *, now: datetime | None = None) -> tuple[Check, ...]:
    """Load one plugin with made-up secrets and look at it from every side."""
    at = now or datetime(2026, 1, 1, tzinfo=UTC)
    try:
        registry = load([entry], lambda each, names: made_up_context(each, names, at))
    except (PluginRefused, ConfigurationError) as refused:
        return (Check("the plugin loads", entry.name, str(refused)),)
    found = [Check("the plugin loads", entry.name)]
    for loaded in registry.tools.values():
        found += _of_tool(registry, loaded, at)
    return tuple(found)


def made_up_context(entry: PluginEntry, names: tuple[str, ...], at: datetime) -> PluginContext:
    """Return a context whose secrets open nothing."""
    return PluginContext(
        name=entry.name,
        settings=entry.settings,
        secrets={name: Secret(name, f"made-up-{name.lower()}") for name in names},
        now=lambda: at,
        new_id=lambda prefix: f"{prefix}_1",
    )


def _of_tool(registry: Registry, loaded: LoadedTool, at: datetime) -> Iterable[Check]:
    name = loaded.tool.name
    yield Check("its description tells the pending protocol", name, _description_fault(loaded))
    args = sample(loaded.tool.arguments)
    if args is None:
        yield Check(
            "its arguments can be made up", name, "no example fits; give its fields examples or defaults"
        )
        return
    binding = _binding(registry, loaded)
    yield Check("describe is pure and of this tool", name, _describe_fault(loaded, args, binding, at))
    if loaded.tool.apply is not None:
        yield Check("apply is pure", name, _apply_fault(loaded, args, at))
    if loaded.tool.execute is not None:
        yield Check("nothing is sent past the guard", name, _guard_fault(loaded, args, binding, at))


def _binding(registry: Registry, loaded: LoadedTool) -> Binding | None:
    provider = registry.providers.get(loaded.tool.provider)
    if provider is None:
        return None
    bound = provider.binding
    return bound if bound.account else msgspec.structs.replace(bound, account="acct_made_up")


def _description_fault(loaded: LoadedTool) -> str:
    if loaded.tool.kind in _GATED and PENDING_WORD not in loaded.tool.description:
        return f"say what {PENDING_WORD} means: nothing has run, do not call again, ask call_status"
    return ""


def _describe_fault(loaded: LoadedTool, args: Struct, binding: Binding | None, at: datetime) -> str:
    """Ask twice, at two instants: an Effect may depend on neither chance nor the clock."""
    tool = loaded.tool
    known = Described(binding=binding, agent="agent", project="project", run_id="run_1", now=at)
    answers = []
    for when in (at, at.replace(year=at.year + 1)):
        asked = msgspec.structs.replace(known, now=when)
        answers.append(_pure(lambda asked=asked: tool.describe(args, (), asked)))  # type: ignore[misc]  # a default binds the loop's value
    if any(answer in _ASKING for answer in answers):
        return ""  # It needs a record this kit cannot make up, and refuses without: rightly so.
    first, second = answers
    if isinstance(first, str):
        return f"it broke: {first}"
    if not isinstance(first, Effect):
        return f"it returned {type(first).__name__}, expected an Effect"
    if first != second:
        return "it says another thing at another time"
    return _effect_fault(loaded, first, binding)


def _effect_fault(loaded: LoadedTool, effect: Effect, binding: Binding | None) -> str:
    tool = loaded.tool
    told = (effect.kind, effect.operation, effect.provider)
    if told != (tool.kind, tool.operation, tool.provider):
        return f"it describes {'/'.join(told)}, the tool says {tool.kind}/{tool.operation}/{tool.provider}"
    if binding is not None and effect.mode is not binding.mode:
        return f"it describes mode {effect.mode}, bound is {binding.mode}"
    if tool.kind in {Kind.SPEND, Kind.PROVISION} and effect.amount is None:
        return "it spends and names no amount, so no cap could bind it"
    if tool.kind in {Kind.SPEND, Kind.PROVISION} and effect.payee is None:
        return "it spends and names nobody who is paid"
    return ""


def _apply_fault(loaded: LoadedTool, args: Struct, at: datetime) -> str:
    """Apply twice with the same instant and ids: the ledger may do so too."""
    tool = loaded.tool
    context = ApplyContext(at, "call_1", "agent", "project", "run_1", "acc_1", lambda prefix: f"{prefix}_1")
    apply: Callable[..., Any] = tool.apply or (lambda *_: None)
    first, second = (_pure(lambda: apply(args, (), context)) for _ in range(2))
    if first in _ASKING:
        return ""
    if isinstance(first, str):
        return f"it broke: {first}"
    if first != second:
        return "it does another thing the second time"
    try:
        msgspec.json.encode(first.data, enc_hook=enc_hook)
    except (TypeError, NotImplementedError, AttributeError) as error:
        return f"its data is no JSON: {error}"
    return ""


def _guard_fault(loaded: LoadedTool, args: Struct, binding: Binding | None, at: datetime) -> str:
    """Execute with a guard that refuses: the refusal has to come through, before anything else happens."""
    asked: list[bool] = []

    def guard() -> None:
        asked.append(True)
        raise SendTooLate("the kit lets nothing be sent")

    context = ExecuteContext(
        call=a_call(loaded, binding, at),
        records=(),
        provider_key="call_1",
        key_step=lambda step: f"call_1:{step}",
        timeout_s=1.0,
        guard=guard,
    )
    ended = asyncio.run(_ended(loaded, args, context))
    if ended in {*_ASKING, "too late", str(Outcome.NOT_SENT)}:
        return ""
    if not asked:
        return (
            f"it ended ({ended}) without asking the guard, which must be asked right before bytes leave (M3)"
        )
    return f"it asked the guard, was refused, and ended all the same: {ended}"


async def _ended(loaded: LoadedTool, args: Struct, context: ExecuteContext) -> str:
    execute: Callable[..., Any] = loaded.tool.execute or (lambda *_: None)
    try:
        async with asyncio.timeout(GUARD_S):
            report = await execute(args, context)
    except SendTooLate:
        return "too late"
    except CallRefused:
        return "refused"
    except LookupError:
        return "not ready"
    except TimeoutError:
        return f"nothing within {GUARD_S:g} s"
    except Exception as error:  # noqa: BLE001 -- a stranger's code may raise anything; that is what is looked for
        return f"it broke: {type(error).__name__}"
    return str(report.outcome) if isinstance(report, OutcomeReport) else f"returned {type(report).__name__}"


def _pure(ask: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever the plugin returns
    """Return the answer, "refused" for a refusal, or the words of what broke."""
    try:
        return ask()
    except CallRefused:
        return "refused"
    except LookupError:
        return "not ready"  # No record was made up for it; its own tests have to.
    except Exception as error:  # noqa: BLE001 -- the same
        return f"{type(error).__name__}: {error}"
