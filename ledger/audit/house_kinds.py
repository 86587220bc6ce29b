"""Kinds of audit entries about policy, postures, people, revenue, and the log itself."""

from ledger.audit.fact import Fact

# ---- what may happen, and who may ask


class AccountOpened(Fact, frozen=True, kw_only=True):
    """An account exists; the first entry of its log."""

    kind = "account.opened"
    subject = "account"
    payload = ("name",)
    instance: str


class PolicyLoaded(Fact, frozen=True, kw_only=True):
    """A policy text entered the ledger as a candidate. The subject is its hash."""

    kind = "policy.loaded"
    subject = "policy"
    payload = ("source",)
    state: str = "candidate"


class PolicyActivated(Fact, frozen=True, kw_only=True):
    """A policy became the account's active one. The subject is its hash."""

    kind = "policy.activated"
    subject = "policy"
    payload = ("reason",)
    replaces: str | None = None
    state: str = "active"


class PolicyRetired(Fact, frozen=True, kw_only=True):
    """A policy stopped being a candidate or the active one."""

    kind = "policy.retired"
    subject = "policy"
    payload = ("reason",)
    state: str = "retired"


class PostureMoved(Fact, frozen=True, kw_only=True):
    """The runtime switch of a scope moved. The subject is the scope, like `account` or `provider:stripe`."""

    kind = "posture.moved"
    subject = "posture"
    payload = ("reason", "in_flight")
    posture: str
    was: str | None = None
    cause: str | None = None


class AgentChanged(Fact, frozen=True, kw_only=True):
    """An agent was added, rotated, given other kits, or revoked."""

    kind = "agent.changed"
    subject = "agent"
    payload = ("name", "made_by", "kits")
    state: str
    project_id: str
    what: str


class EnforcerChanged(Fact, frozen=True, kw_only=True):
    """An enforcer was added, rotated or revoked."""

    kind = "enforcer.changed"
    subject = "enforcer"
    payload = ("name", "made_by")
    state: str
    project_id: str
    what: str


class OperatorChanged(Fact, frozen=True, kw_only=True):
    """An operator was added, given another role, sent a sign-in link, or disabled."""

    kind = "operator.changed"
    subject = "operator"
    payload = ("name", "made_by")
    state: str
    role: str
    what: str


class OperatorSignedIn(Fact, frozen=True, kw_only=True):
    """A person signed in, stepped up, or was refused."""

    kind = "operator.signed_in"
    subject = "session"
    payload = ("address", "reason")
    outcome: str
    operator_id: str | None = None


class ProjectChanged(Fact, frozen=True, kw_only=True):
    """A project was opened or closed."""

    kind = "project.changed"
    subject = "project"
    payload = ("name",)
    state: str


class RunChanged(Fact, frozen=True, kw_only=True):
    """A bounded piece of work was opened or closed."""

    kind = "run.changed"
    subject = "run"
    payload = ("title", "reason")
    state: str
    project_id: str
    order_id: str | None = None


class PluginAccepted(Fact, frozen=True, kw_only=True):
    """A person accepted a tool's definition. The subject is the tool."""

    kind = "plugin.accepted"
    subject = "tool"
    payload = ("definition",)
    definition_hash: str
    effect_kind: str | None = None


# ---- revenue and the records of plugins


class EventReceived(Fact, frozen=True, kw_only=True):
    """A provider's event was stored, once by its id."""

    kind = "event.received"
    subject = "event"
    payload = ("body_sha256",)
    provider: str
    event_type: str
    state: str
    mode: str | None = None


class EventProcessed(Fact, frozen=True, kw_only=True):
    """A stored event was worked into the ledger, ignored, quarantined, or failed."""

    kind = "event.processed"
    subject = "event"
    payload = ("reason",)
    state: str
    code: str | None = None


class OrderBooked(Fact, frozen=True, kw_only=True):
    """A verified payment became an order and its intake."""

    kind = "order.booked"
    subject = "order"
    payload = ("buyer", "line_items", "reference")
    state: str
    amount_minor: int
    currency: str
    mode: str
    proof_level: str
    project_id: str | None = None
    run_id: str | None = None
    deal_id: str | None = None


class RevenueBooked(Fact, frozen=True, kw_only=True):
    """An amount was earned or given back: payment, refund, dispute, fee (M15). The subject is its event."""

    kind = "revenue.booked"
    subject = "revenue"
    payload = ("reference",)
    revenue_kind: str
    amount_minor: int
    currency: str
    mode: str
    proof_level: str
    order_id: str | None = None
    project_id: str | None = None


class RecordWritten(Fact, frozen=True, kw_only=True):
    """A plugin's record (lead, deal, offer, quote, draft, delivery) was made or changed.

    `data_sha256` is left out where the data is personal: then the payload's salted hash binds it.
    """

    kind = "record.written"
    subject = "record"
    payload = ("data",)
    record_type: str
    version: int
    state: str | None = None
    call_id: str | None = None
    proof_level: str | None = None


# ---- the log itself. The subject is the log's origin unless said otherwise.


class KeyRotated(Fact, frozen=True, kw_only=True):
    """Checkpoints are signed by another key from here on; both keys signed this statement (M35).

    `statement` is the C2SP signed note of the rotation, with a signature of each key.
    """

    kind = "key.rotated"
    subject = "log"
    old_key: str
    new_key: str
    statement: str


class PayloadErased(Fact, frozen=True, kw_only=True):
    """Payloads were erased with their salts; their entries stay provable (M35). The subject is the erasure.

    `seqs` are the entries whose payloads are gone; `leaves` are their leaf hashes in hex, in that order.
    """

    kind = "payload.erased"
    subject = "erasure"
    payload = ("reason",)
    seqs: tuple[int, ...]
    leaves: tuple[str, ...]


class ReadsLost(Fact, frozen=True, kw_only=True):
    """Read audits may have been lost in a crash between two instants (M36)."""

    kind = "reads.lost"
    subject = "log"
    since_us: int
    until_us: int


class EpochOpened(Fact, frozen=True, kw_only=True):
    """The log goes on after a restore or a fork (M33): what was signed beyond this point is not in it.

    `signed_size` and `signed_root` (base64) are those of the last checkpoint beside the key.
    """

    kind = "epoch.opened"
    subject = "log"
    payload = ("reason",)
    opened: int
    kept_size: int
    signed_size: int
    signed_root: str
    cause: str


class SchemaMigrated(Fact, frozen=True, kw_only=True):
    """The tables changed shape."""

    kind = "schema.migrated"
    subject = "log"
    revision_from: str
    revision_to: str
    schema_sha256: str


class LedgerMoved(Fact, frozen=True, kw_only=True):
    """The ledger moved to another engine with the same tree; the old file never serves again (M34)."""

    kind = "ledger.moved"
    subject = "log"
    engine_from: str
    engine_to: str
    size: int
    root: str


class SystemCited(Fact, frozen=True, kw_only=True):
    """The state of the `system` log at this point of the account's log (M35)."""

    kind = "system.cited"
    subject = "log"
    origin: str
    size: int
    root: str


class ProcessStarted(Fact, frozen=True, kw_only=True):
    """A process began to serve, with its LIVE_SPEND and policy (M6)."""

    kind = "process.started"
    subject = "process"
    live_spend: int
    version: str
    policy_hash: str | None = None


class ProcessStopped(Fact, frozen=True, kw_only=True):
    """A process ended in good order."""

    kind = "process.stopped"
    subject = "process"
