"""What a tool is: the pure description of its effect, then one way to make it happen.

A plugin author writes `Tool` objects and hands them over in the `bursar_tools` hook. `describe`, `references`,
`prepare` and `apply` are pure; only `execute` and the two reconcilers may speak to the world, and only through
the context they are given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Generic, TypeVar

from msgspec import Struct

from ledger.records import CallRecord, Change, Outcome, Proof, ProviderIdentity, Query, RecordRef
from policy.model import Effect, Kind, Mode
from policy.money import Money

A = TypeVar("A", bound=Struct)

Records = tuple[RecordRef, ...]


class Binding(Struct, frozen=True, kw_only=True):
    """What a plugin's provider is bound to, fixed at start: whose account, in which mode."""

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
    """The instant, the caller and fresh ids: all that a pure `prepare` or `apply` may know beside its arguments."""

    now: datetime
    call_id: str
    agent: str
    project: str
    run_id: str
    account_id: str
    new_id: Callable[[str], str]  # new_id("lead") -> "lead_01J..."


class Described(Struct, frozen=True):
    """What `describe` may know beside arguments and records: the binding and the caller."""

    binding: Binding | None
    agent: str
    project: str
    run_id: str


class ExecuteContext(Struct, frozen=True, kw_only=True):
    """What an execution may touch. `guard()` must be awaited right before bytes leave (M3)."""

    call: CallRecord
    records: Records
    provider_key: str  # What goes to the provider as its idempotency key; derived from the call id.
    key_step: Callable[[str], str]  # key_step("create") -> "<provider_key>:create"
    timeout_s: float
    guard: Callable[[], None]  # Raises SendTooLate past send_by; nothing may be sent then.
    attempt: int = 1
    public_url: str = ""


class OutcomeReport(Struct, frozen=True, kw_only=True):
    """How an execution or a reconciliation ended, with its evidence."""

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


class Replay(Struct, frozen=True):
    """Reconcile by sending the same provider key again, within its life; then by `lookup`, where there is one."""

    lifetime_s: int
    lookup: Callable[..., Awaitable[OutcomeReport]] | None = None
    settle_delay_s: int | None = None


class Lookup(Struct, frozen=True):
    """Reconcile by finding our reference at the provider; absent is believed after `settle_delay_s` (M3)."""

    find: Callable[..., Awaitable[OutcomeReport]]
    settle_delay_s: int | None = None


class Manual(Struct, frozen=True):
    """Only a person with evidence can settle it."""


Reconcile = Replay | Lookup | Manual


class Tool(Struct, Generic[A], frozen=True, kw_only=True):
    """One tool. Exactly one of `apply` (local), `execute` (effect) or `read` (kind read) is set."""

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
    read: Callable[[A, Records, ApplyContext], Awaitable[Mapping[str, Any]]] | None = None
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
