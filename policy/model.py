"""The words the decision is made of: calls, effects, what to look up, what was found, what is answered.

Every type here is frozen and free of behaviour beyond naming itself; `policy.decide` is the only judge.
Amounts are `Money` (integer minor units), durations whole seconds, instants aware UTC datetimes. The language
of policies.yaml has its own module, `policy.language`; its names are offered here too, for most need both.
`gc=False` spares the collector records that are made by the dozen per call and cannot form a cycle.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from policy.language import (
    Answer,
    ArgTest,
    Cap,
    Confirm,
    CountAbove,
    Desk,
    Hours,
    Kind,
    Limit,
    Limits,
    LiveSpend,
    Mark,
    Match,
    Mode,
    PayeeBasis,
    PluginEntry,
    Policy,
    Posture,
    Rule,
    Scope,
    SumAbove,
    Window,
    WindowKind,
)
from policy.money import Money

__all__ = [
    "Answer",
    "ArgTest",
    "Ask",
    "Call",
    "Cap",
    "CapLine",
    "Confirm",
    "CountAbove",
    "CountNeed",
    "Decision",
    "Desk",
    "EarnedNeed",
    "Effect",
    "Facts",
    "Hours",
    "Kind",
    "Limit",
    "Limits",
    "LiveSpend",
    "Mark",
    "Match",
    "Mode",
    "Needs",
    "PayeeBasis",
    "PluginEntry",
    "Policy",
    "Posture",
    "Recurrence",
    "Reserve",
    "Rule",
    "RuleLine",
    "Scope",
    "SumAbove",
    "SumNeed",
    "Twin",
    "Usage",
    "UsageNeed",
    "Window",
    "WindowKind",
]

# --- what a call would do ------------------------------------------------------------------------------


class Recurrence(Struct, frozen=True):
    """A commitment over time (M18): what each period costs and how often it comes round."""

    every: str  # "month" or "year".
    each: Money
    first_year: Money  # What is reserved and shown; equals `Effect.amount`.


class Effect(Struct, frozen=True, kw_only=True):
    """What one call would do in the world, as the pure `Tool.describe` states it.

    `amount` is what is reserved: for a recurring effect the first year's total. None where no money is named.
    """

    kind: Kind
    operation: str
    provider: str  # "bursar" for tools that touch nothing but the ledger.
    mode: Mode
    payee: str | None = None
    payee_basis: PayeeBasis | None = None
    amount: Money | None = None
    recurring: Recurrence | None = None
    reversible: bool = False
    undo: str = ""  # How, and until when, a person can take it back; for the approver's card.
    summary: str = ""  # One sentence from typed fields only, never the agent's prose.


class Call(Struct, frozen=True, kw_only=True):
    """One call as the policy sees it: who asks, in which scope, for which effect."""

    tool: str
    effect: Effect
    account: str
    project: str
    run: str
    agent: str
    args: Mapping[str, object] = {}
    core: bool = False  # One of Bursar's own core tools: passes without a rule.
    own: bool = False  # A withdrawal of the caller's own call or instrument.


# --- what must be looked up, and what was found --------------------------------------------------------


class UsageNeed(Struct, frozen=True, gc=False):
    """Ask what counts against one cap: posted, executing, unknown, committed, holds admitted before (M12)."""

    cap_id: str
    scope: Scope
    scope_key: str  # The account, project, run, agent, provider, payee or tool it is kept for.
    unit: str  # A currency code, or "calls".
    mode: Mode
    window: Window
    amount: int  # What this call adds: minor units, or 1.


class EarnedNeed(Struct, frozen=True, gc=False):
    """Ask what was earned (M15) for a percentage cap."""

    cap_id: str
    scope: Scope
    scope_key: str
    currency: str
    mode: Mode
    after_s: int


class SumNeed(Struct, frozen=True, gc=False):
    """Ask what the matching calls of a rolling or calendar window add up to, without this call."""

    rule_id: str
    scope: Scope
    scope_key: str
    currency: str
    mode: Mode
    window: Window
    kinds: tuple[Kind, ...]


class CountNeed(Struct, frozen=True, gc=False):
    """Ask how many calls stand in a window, without this call; with `outcome`, only those that ended so."""

    rule_id: str
    scope: Scope
    scope_key: str
    mode: Mode
    window: Window
    kinds: tuple[Kind, ...]
    outcome: str | None = None


class Needs(Struct, frozen=True, kw_only=True, gc=False):
    """All that `decide` must be told about one call, so that it can be gathered in a few set queries."""

    usage: tuple[UsageNeed, ...] = ()
    earned: tuple[EarnedNeed, ...] = ()
    sums: tuple[SumNeed, ...] = ()
    counts: tuple[CountNeed, ...] = ()
    payee_known: bool = False  # Whether a posted purchase to this payee, same mode, must be looked for.
    twin: bool = False  # Whether an equal purchase must be looked for (M26).
    waiting: bool = False  # Whether this agent's open requests must be counted (M17).
    timezone: str = "UTC"


class Usage(Struct, frozen=True, gc=False):
    """What stands against a cap in its current window, in the cap's unit: posted, and held but not posted."""

    posted: int = 0
    held: int = 0
    agent_waiting: int = 0  # Of `held`: what this agent's waiting requests hold (M17).


class Twin(Struct, frozen=True):
    """An equal purchase under another key, admitted before this one (M26)."""

    call_id: str
    state: str
    at: datetime | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """What was found, at one instant, without this call's own reservation. What is missing denies."""

    now: datetime
    posture: Posture | None = None  # The strictest of account, project, agent and provider.
    posture_scope: str = "account"
    live_spend: bool | None = None  # Whether every live process was started with LIVE_SPEND=1 (M6).
    ready: bool | None = None
    missing: tuple[str, ...] = ()  # Why the provider is not ready.
    claiming: bool = False  # At claim nothing of this call waits for a person any more, so M17 does not bind.
    usage: Mapping[str, Usage] = {}  # By cap id.
    earned: Mapping[str, int] = {}  # By cap id, minor units; may be negative.
    sums: Mapping[str, int] = {}  # By rule id, minor units.
    counts: Mapping[str, int] = {}  # By rule id.
    payee_known: bool | None = None
    twin: Twin | None = None
    twin_checked: bool = False  # A twin that was not looked for is not an absent one.
    open_requests: int | None = None


# --- the answer ----------------------------------------------------------------------------------------


class RuleLine(Struct, frozen=True, gc=False):
    """A rule that spoke: its id, where it stands, why it says so, and what of the call it matched."""

    id: str
    at: Mark
    effect: Answer
    because: str = ""
    matched: tuple[str, ...] = ()


class CapLine(Struct, frozen=True, gc=False):
    """A cap that binds this call, in the cap's unit: limit, what counts against it, what this call adds."""

    id: str
    at: Mark
    unit: str
    limit: int
    used: int
    asked: int
    fits: bool

    @property
    def left(self) -> int:
        """What is left before this call, never below zero."""
        return max(0, self.limit - self.used)


class Reserve(Struct, frozen=True, gc=False):
    """An obligation: hold this much against a cap for as long as the call is open."""

    cap_id: str
    scope: Scope
    scope_key: str
    unit: str
    mode: Mode
    window: Window
    amount: int
    limit: int


class Ask(Struct, frozen=True, gc=False):
    """An obligation: this desk must agree, for these reasons."""

    desk: Desk
    rules: tuple[str, ...]


class Decision(Struct, frozen=True, kw_only=True, gc=False):
    """The answer and its reasons. `code` and `retry` are stable words that agents branch on."""

    answer: Answer
    rules: tuple[RuleLine, ...] = ()  # Every matching rule of the winning effect.
    shadows: tuple[RuleLine, ...] = ()
    caps: tuple[CapLine, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    asks: tuple[Ask, ...] = ()
    twin: Twin | None = None
    code: str = ""
    message: str = ""
    retry: str = "never"  # never, later, with_changes, same_key or new_key.
    retry_at: datetime | None = None
    cap: str | None = None  # The cap that refused, where one did.
    would_change: tuple[str, ...] = ()  # What would have to be different for another answer.
    held_reason: str = ""  # "not_ready" where the answer stands but the call must wait in the queue for it.
    missing: tuple[str, ...] = ()  # What the provider lacks, where `held_reason` is set.
    policy_sha256: str = ""
