"""What a tool is: the pure description of its effect, then one way to make it happen.

A plugin author writes `Tool` objects and hands them over in the `bursar_plugin` hook (plugins/hookspecs.py).
`describe`, `references`, `prepare` and `apply` are pure: the same arguments and records always give the same
answer, and they may be asked again at the claim. Only `execute`, `read` and the reconcilers may speak to the
world. Whatever refuses raises a `policy.errors.CallRefused`; its message is for the agent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import Struct

from ledger.records import CallRecord, Change, Outcome, Proof, ProviderIdentity, Query, RecordRef
from policy.errors import BursarError
from policy.model import Effect, Kind, Mode
from policy.money import Money

A = TypeVar("A", bound=Struct)

Records = tuple[RecordRef, ...]


class SendTooLate(BursarError):  # noqa: N818 -- it says what happened, as in policy.errors
    """`guard()` refused: the lease or the provider's key may end before an answer comes (M3).

    Let it pass through.
    """


class Binding(Struct, frozen=True, kw_only=True):
    """What a plugin's provider is bound to, fixed at start: whose account, in which mode.

    An empty account is filled in by the first check that measures one, and then holds for the process.
    """

    provider: str
    account: str
    mode: Mode
    instance: str = ""


class Annotations(Struct, frozen=True, kw_only=True):
    """MCP's four hints; all set, since clients assume the worst of what is left out."""

    read_only: bool
    destructive: bool
    idempotent: bool
    open_world: bool


class Applied(Struct, frozen=True):
    """What a local tool makes of its arguments: data for the agent and changes for the ledger."""

    data: Mapping[str, object]
    changes: tuple[Change, ...] = ()


class ApplyContext(Struct, frozen=True):
    """The instant, the caller and fresh ids.

    All that a pure `prepare` or `apply` may know beside its arguments.
    """

    now: datetime
    call_id: str
    agent: str
    project: str
    run_id: str
    account_id: str
    new_id: Callable[[str], str]  # new_id("lead") -> "lead_01J..."
    binding: Binding | None = None  # What the tool's provider is bound to; None for local tools.


class Described(Struct, frozen=True):
    """What `describe` may know beside arguments and records: the binding, the caller, and the instant.

    The instant serves only to refuse what is no longer valid (raise QuoteExpired); an Effect may not depend
    on it.
    """

    binding: Binding | None
    agent: str
    project: str
    run_id: str
    now: datetime


class ExecuteContext(Struct, frozen=True, kw_only=True):
    """What an execution may touch. `guard()` must be called right before bytes leave, each time (M3)."""

    call: CallRecord
    records: Records
    provider_key: str  # What goes to the provider as its idempotency key; derived from the call id.
    key_step: Callable[[str], str]  # key_step("create") -> "<provider_key>:create"
    timeout_s: float  # For one request to the provider.
    guard: Callable[[], None]  # Raises SendTooLate past send_by; nothing may be sent then.
    attempt: int = 1
    purpose: str = (
        "execute"  # "execute", "replay" (same keys, after a doubt) or "lookup" (nothing may be sent).
    )
    public_url: str = ""


class OutcomeReport(Struct, frozen=True, kw_only=True):
    """How an execution or a reconciliation ended, with its evidence.

    A lookup that finds nothing reports `failed` with code "absent"; it is believed once the settle delay is
    over.
    """

    outcome: Outcome
    data: Mapping[str, object] = {}
    proof: Proof | None = None
    identity: ProviderIdentity | None = None
    actual: Money | None = None
    committed: bool = False  # The instrument is armed, nothing bought yet (M19).
    stored_answer: bool = False  # The provider replayed a stored answer (M2).
    provider_ref: str | None = None
    changes: tuple[Change, ...] = ()
    code: str = ""
    message: str = ""
    retry: str = "never"


Finder = Callable[[Any, ExecuteContext], Awaitable[OutcomeReport]]  # (arguments, context) -> report


class Replay(Struct, frozen=True):
    """Reconcile by sending the same provider key again, within its life.

    Then by `lookup`, where there is one.
    """

    lifetime_s: int
    lookup: Finder | None = None
    settle_delay_s: int | None = None


class Lookup(Struct, frozen=True):
    """Reconcile by finding our reference at the provider; absent is believed after `settle_delay_s` (M3)."""

    find: Finder
    settle_delay_s: int | None = None


class Manual(Struct, frozen=True):
    """Only a person with evidence can settle it."""


Reconcile = Replay | Lookup | Manual


class Tool(Struct, Generic[A], frozen=True, kw_only=True):
    """One tool. Exactly one of `apply` (local), `execute` (effect) or `read` (kind read) is set.

    `arguments` becomes the published schema: one flat object of text, integers, booleans, Money,
    enumerations and lists of those (plugins/schema.py). The gate adds `idempotency_key`, `run_id` and
    `reason` where they belong.
    """

    name: str
    kit: str
    kind: Kind
    operation: str
    provider: str
    description: str
    arguments: type[A]
    result: type[Struct] | None
    annotations: Annotations
    describe: Callable[[A, Records, Described], Effect]
    references: Callable[[A], tuple[Query, ...]] = lambda _args: ()
    own: Callable[[A, Records, str], bool] = lambda _args, _records, _agent: False  # Withdrawal of one's own.
    apply: Callable[[A, Records, ApplyContext], Applied] | None = None
    read: Callable[[A, Records, ApplyContext], Awaitable[Applied]] | None = (
        None  # Changes: a quote it stores.
    )
    prepare: Callable[[A, Records, ApplyContext], tuple[Change, ...]] | None = None
    execute: Callable[[A, ExecuteContext], Awaitable[OutcomeReport]] | None = None
    reconcile: Reconcile = Manual()
    timeout_s: float = 30.0  # Longest a provider may take before the outcome is unknown.
    priced: bool = False  # An earn tool that names a price, and so needs an idempotency key (M24).


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a provider can be used now, and if not, what is missing and what to do."""

    ready: bool
    missing: tuple[str, ...] = ()
    identity: ProviderIdentity | None = None  # As measured by the check (M4).


class Evidence(Struct, frozen=True, kw_only=True):
    """One object as the provider shows it now: what `fetch(ref)` brings back."""

    ref: str
    found: bool
    identity: ProviderIdentity | None = None
    proof: Proof | None = None
    data: Mapping[str, object] = {}
