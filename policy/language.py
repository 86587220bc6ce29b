"""The policy language: kinds, modes, scopes and windows, and what one policies.yaml says with them.

Every type here is frozen and free of behaviour beyond naming itself. Amounts are `Money` (integer minor
units), durations whole seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from policy.money import Money


class Word(StrEnum):
    """A word of the language: equal to its text, and hashed as it, in C and not in Enum's Python."""

    __hash__ = str.__hash__


class Kind(Word):
    """What sort of consequence a call would have."""

    READ = "read"
    DRAFT = "draft"
    EARN = "earn"
    SPEND = "spend"
    PROVISION = "provision"
    WITHDRAW = "withdraw"  # Ends, cancels or takes back; never costs.
    HUMAN_ONLY = "human_only"  # An agent may propose it; only a person's verdict runs it.


class Mode(Word):
    """What a provider's binding is set to."""

    LIVE = "live"
    TEST = "test"
    SIMULATED = "simulated"


class Posture(Word):
    """The runtime switch, from open to shut; the strictest of all scopes wins."""

    NORMAL = "normal"
    NO_SPEND = "no_spend"
    DRAFT_ONLY = "draft_only"
    READ_ONLY = "read_only"


class PayeeBasis(Word):
    """Whether the provider pays exactly this party, or the agent merely says so (M21)."""

    ENFORCED = "enforced"
    CLAIMED = "claimed"


class Answer(Word):
    """What a decision says, from loosest to strictest."""

    ALLOW = "allow"
    REQUIRE_APPROVAL = "require_approval"
    DENY = "deny"


class Scope(Word):
    """What a cap, a sum or a count is kept per."""

    ACCOUNT = "account"
    PROJECT = "project"
    RUN = "run"
    AGENT = "agent"
    PROVIDER = "provider"
    PAYEE = "payee"
    TOOL = "tool"


class WindowKind(Word):
    """How a window of time is cut."""

    CALL = "call"  # This call alone.
    RUN = "run"  # The life of the run.
    DAY = "day"  # A calendar day in the policy's zone.
    MONTH = "month"  # A calendar month in the policy's zone.
    ROLLING = "rolling"  # The last `seconds`, counting the oldest bucket whole.


# --- the policy ----------------------------------------------------------------------------------------


class Mark(Struct, frozen=True):
    """Where in a file something stands: line and column count from 1; line 0 is what Bursar itself brings."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Window(Struct, frozen=True):
    """A span that usage is added up over. `seconds` is set for rolling windows only."""

    kind: WindowKind
    seconds: int = 0

    def __str__(self) -> str:
        if self.kind is not WindowKind.ROLLING:
            return self.kind.value
        for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
            if self.seconds % size == 0:
                return f"{self.seconds // size}{unit}"
        return f"{self.seconds}s"


class ArgTest(Struct, frozen=True):
    """A test of one argument. All that are set must hold; amounts compare within one currency only."""

    equals: str | int | bool | None = None
    one_of: tuple[str | int | bool, ...] = ()  # `in` in the file.
    up_to: Money | int | None = None
    above: Money | int | None = None


class Hours(Struct, frozen=True):
    """Times of the week in the policy's zone. Days 0 (Monday) to 6; minutes of the day, `to` excluded.

    `from_minute` > `to_minute` spans midnight and belongs to the day it begins on.
    """

    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    from_minute: int = 0
    to_minute: int = 1_440


class SumAbove(Struct, frozen=True):
    """True once this call brings the sum in the window above the amount of its currency."""

    amounts: tuple[Money, ...]
    per: Scope
    window: Window


class CountAbove(Struct, frozen=True):
    """True once more than `count` calls stand in the window: this one included, unless `outcome` is set."""

    count: int
    per: Scope
    window: Window
    outcome: str | None = None  # A final state such as "failed": then only settled calls are counted.


class Match(Struct, frozen=True, kw_only=True):
    """What a rule or a cap speaks of. Empty fields match everything; all set fields must hold."""

    kind: tuple[Kind, ...] = ()
    tool: tuple[str, ...] = ()  # Globs.
    operation: tuple[str, ...] = ()  # Globs.
    provider: tuple[str, ...] = ()  # Globs.
    payee: tuple[str, ...] = ()  # Globs.
    payee_in: str | None = None  # The name of a list in `lists`.
    payee_known: bool | None = None
    payee_basis: tuple[PayeeBasis, ...] = ()
    up_to: tuple[Money, ...] = ()  # One per currency; the bound itself is included.
    above: tuple[Money, ...] = ()  # One per currency; the bound itself is excluded.
    currency: tuple[str, ...] = ()
    mode: tuple[Mode, ...] = ()
    project: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    recurring: bool | None = None
    reversible: bool | None = None
    args: tuple[tuple[str, ArgTest], ...] = ()
    hours: Hours | None = None
    sum_above: SumAbove | None = None
    count_above: CountAbove | None = None


class Rule(Struct, frozen=True, kw_only=True):
    """One statement of the policy. Silent where `unless` holds; a shadow is recorded, nothing more."""

    id: str
    match: Match
    effect: Answer
    at: Mark
    unless: Match | None = None
    approval: str | None = None  # A desk's id; set exactly where the effect is require_approval.
    because: str = ""
    shadow: bool = False


class Limit(Struct, frozen=True):
    """A cap's bound: exactly one of money, calls, or per cent of what was earned."""

    money: Money | None = None
    calls: int | None = None
    percent_of_earned: int | None = None
    currency: str | None = None  # For a percentage: the currency it is kept in.


class Cap(Struct, frozen=True, kw_only=True):
    """A limit per scope and window that binds by itself every call it fits (M10)."""

    id: str
    per: Scope
    window: Window
    limit: Limit
    at: Mark
    match: Match | None = None
    after_s: int = 604_800  # Age at which earnings count towards a percentage; 7 days.
    restores: bool = False  # Whether refunds give room back (M14).


class Confirm(Struct, frozen=True):
    """What an approver must do beyond pressing the button."""

    passkey_above: tuple[Money, ...] = ()
    type_amount_above: tuple[Money, ...] = ()
    comment: str | None = None  # "on_deny" or "always".


class Desk(Struct, frozen=True, kw_only=True):
    """Who is asked, how many must agree, and how long the question and the answer live."""

    id: str
    who: tuple[str, ...]  # "role:approver" or an operator's name.
    at: Mark
    quorum: int = 1
    expires_in_s: int = 86_400
    run_within_s: int = 3_600
    not_by: tuple[str, ...] = ()  # "agent_owner": the operator whose password made the agent.
    allow_self: bool = False
    notify: tuple[str, ...] = ()
    confirm: Confirm = Confirm()


class PluginEntry(Struct, frozen=True):
    """A plugin the policy loads, by name or by the module that holds it."""

    name: str
    module: str | None = None  # A stranger's plugin: an importable module; ours are found by name.
    settings: Mapping[str, object] = {}


class LiveSpend(Struct, frozen=True):
    """The policy's yes to live spending, one of three."""

    enabled: bool = False
    providers: tuple[str, ...] = ()


class Limits(Struct, frozen=True):
    """M17's numbers: what one agent may keep waiting for people."""

    open_requests: int = 20
    held_share_percent: int = 25


class Policy(Struct, frozen=True, kw_only=True):
    """One loaded policies.yaml. Two policies are the same if their hashes are."""

    sha256: str  # Of the file's bytes.
    file: str
    timezone: str = "UTC"
    plugins: tuple[PluginEntry, ...] = ()
    live_spend: LiveSpend = LiveSpend()
    lists: Mapping[str, tuple[str, ...]] = {}
    caps: tuple[Cap, ...] = ()
    desks: tuple[Desk, ...] = ()
    rules: tuple[Rule, ...] = ()
    limits: Limits = Limits()
    outside: tuple[Mapping[str, object], ...] = ()  # Tools that live in other servers.
