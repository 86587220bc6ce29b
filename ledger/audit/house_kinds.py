"""Kinds of audit entries about policy, postures, people, revenue, and the log itself."""

from ledger.audit.fact import Fact

# ---- what may happen, and who may ask


class AccountOpened(Fact, frozen=True, kw_only=True):
    """An account exists; the first entry of its log."""

    KIND = "account.opened"
    SUBJECT = "account"
    PAYLOAD = ("name",)
    instance: str


class PolicyLoaded(Fact, frozen=True, kw_only=True):
    """A policy text entered the ledger as a candidate. The subject is its hash."""

    KIND = "policy.loaded"
    SUBJECT = "policy"
    PAYLOAD = ("source",)
    state: str = "candidate"


class PolicyActivated(Fact, frozen=True, kw_only=True):
    """A policy became the account's active one. The subject is its hash."""

    KIND = "policy.activated"
    SUBJECT = "policy"
    PAYLOAD = ("reason",)
    replaces: str | None = None
    state: str = "active"


class PolicyRetired(Fact, frozen=True, kw_only=True):
    """A policy stopped being a candidate or the active one."""

    KIND = "policy.retired"
    SUBJECT = "policy"
    PAYLOAD = ("reason",)
    state: str = "retired"


class PostureMoved(Fact, frozen=True, kw_only=True):
    """The runtime switch of a scope moved. The subject is the scope, like `account` or `provider:stripe`."""

    KIND = "posture.moved"
    SUBJECT = "posture"
    PAYLOAD = ("reason", "in_flight")
    posture: str
    was: str | None = None
    cause: str | None = None


class AgentChanged(Fact, frozen=True, kw_only=True):
    """An agent was added, rotated, given other kits, or revoked."""

    KIND = "agent.changed"
    SUBJECT = "agent"
    PAYLOAD = ("name", "made_by", "kits")
    state: str
    project: str
    what: str


class EnforcerChanged(Fact, frozen=True, kw_only=True):
    """An enforcer was added, rotated or revoked."""

    KIND = "enforcer.changed"
    SUBJECT = "enforcer"
    PAYLOAD = ("name", "made_by")
    state: str
    project: str
    what: str


class OperatorChanged(Fact, frozen=True, kw_only=True):
    """An operator was added, given another role, sent a sign-in link, or disabled."""

    KIND = "operator.changed"
    SUBJECT = "operator"
    PAYLOAD = ("name", "made_by")
    state: str
    role: str
    what: str


class OperatorSignedIn(Fact, frozen=True, kw_only=True):
    """A person signed in, stepped up, or was refused."""

    KIND = "operator.signed_in"
    SUBJECT = "session"
    PAYLOAD = ("address", "reason")
    outcome: str
    operator: str | None = None


class ProjectChanged(Fact, frozen=True, kw_only=True):
    """A project was opened or closed."""

    KIND = "project.changed"
    SUBJECT = "project"
    PAYLOAD = ("name",)
    state: str


class RunChanged(Fact, frozen=True, kw_only=True):
    """A bounded piece of work was opened or closed."""

    KIND = "run.changed"
    SUBJECT = "run"
    PAYLOAD = ("title", "reason")
    state: str
    project: str
    order_id: str | None = None


class PluginAccepted(Fact, frozen=True, kw_only=True):
    """A person accepted a tool's definition. The subject is the tool."""

    KIND = "plugin.accepted"
    SUBJECT = "tool"
    PAYLOAD = ("definition",)
    definition_hash: str
    accepted_kind: str | None = None


# ---- revenue and the records of plugins


class EventReceived(Fact, frozen=True, kw_only=True):
    """A provider's event was stored, once by its id."""

    KIND = "event.received"
    SUBJECT = "event"
    PAYLOAD = ("body_sha256",)
    provider: str
    event_type: str
    state: str
    mode: str | None = None
    object_ref: str | None = None


class EventProcessed(Fact, frozen=True, kw_only=True):
    """A stored event was worked into the ledger, ignored, quarantined, or failed."""

    KIND = "event.processed"
    SUBJECT = "event"
    PAYLOAD = ("reason",)
    state: str
    code: str | None = None


class OrderBooked(Fact, frozen=True, kw_only=True):
    """A verified payment became an order and its intake."""

    KIND = "order.booked"
    SUBJECT = "order"
    PAYLOAD = ("buyer", "line_items", "reference", "payment")
    state: str
    amount_minor: int
    currency: str
    mode: str
    proof_level: str
    project: str | None = None
    run_id: str | None = None
    deal_id: str | None = None


class OrderMoved(Fact, frozen=True, kw_only=True):
    """Money went back or is in dispute: what became of an order, and whether its fulfilment is on hold."""

    KIND = "order.moved"
    SUBJECT = "order"
    PAYLOAD = ("reason",)
    state: str
    on_hold: int
    refunded_minor: int
    disputed_minor: int


class AuthorizationDecided(Fact, frozen=True, kw_only=True):
    """A card network asked in real time, and this was the one answer (M20). The subject is its question."""

    KIND = "authorization.decided"
    SUBJECT = "question"
    PAYLOAD = ("merchant",)
    authorization_id: str
    approved: int
    amount_minor: int
    currency: str
    code: str
    purchase_id: str | None = None


class RevenueBooked(Fact, frozen=True, kw_only=True):
    """An amount was earned or given back: payment, refund, dispute, fee (M15). The subject is its event."""

    KIND = "revenue.booked"
    SUBJECT = "revenue"
    PAYLOAD = ("reference",)
    revenue_kind: str
    amount_minor: int
    currency: str
    mode: str
    proof_level: str
    order_id: str | None = None
    project: str | None = None


class RecordWritten(Fact, frozen=True, kw_only=True):
    """A plugin's record (lead, deal, offer, quote, draft, delivery) was made or changed.

    `data_sha256` is left out where the data is personal: then the payload's salted hash binds it.
    """

    KIND = "record.written"
    SUBJECT = "record"
    PAYLOAD = ("data",)
    record_type: str
    version: int
    state: str | None = None
    call_id: str | None = None
    proof_level: str | None = None
    lead_id: str | None = None
    order_id: str | None = None


# ---- the log itself. The subject is the log's origin unless said otherwise.


class KeyRotated(Fact, frozen=True, kw_only=True):
    """Checkpoints are signed by another key from here on; both keys signed this statement (M35).

    `statement` is the C2SP signed note of the rotation, with a signature of each key.
    """

    KIND = "key.rotated"
    SUBJECT = "log"
    old_key: str
    new_key: str
    statement: str


class PayloadErased(Fact, frozen=True, kw_only=True):
    """Payloads were erased with their salts; their entries stay provable (M35). The subject is the erasure.

    `seqs` are the entries whose payloads are gone; `leaves` are their leaf hashes in hex, in that order.
    """

    KIND = "payload.erased"
    SUBJECT = "erasure"
    PAYLOAD = ("reason",)
    seqs: tuple[int, ...]
    leaves: tuple[str, ...]


class ReadsLost(Fact, frozen=True, kw_only=True):
    """Read audits may have been lost in a crash between two instants (M36)."""

    KIND = "reads.lost"
    SUBJECT = "log"
    since_us: int
    until_us: int


class EpochOpened(Fact, frozen=True, kw_only=True):
    """The log goes on after a restore or a fork (M33): what was signed beyond this point is not in it.

    `signed_size` and `signed_root` (base64) are those of the last checkpoint beside the key.
    """

    KIND = "epoch.opened"
    SUBJECT = "log"
    PAYLOAD = ("reason",)
    opened: int
    kept_size: int
    signed_size: int
    signed_root: str
    cause: str


class SchemaMigrated(Fact, frozen=True, kw_only=True):
    """The tables changed shape."""

    KIND = "schema.migrated"
    SUBJECT = "log"
    revision_from: str
    revision_to: str
    schema_sha256: str


class LedgerMoved(Fact, frozen=True, kw_only=True):
    """The ledger moved to another engine with the same tree; the old file never serves again (M34)."""

    KIND = "ledger.moved"
    SUBJECT = "log"
    engine_from: str
    engine_to: str
    size: int
    root: str


class SystemCited(Fact, frozen=True, kw_only=True):
    """The state of the `system` log at this point of the account's log (M35)."""

    KIND = "system.cited"
    SUBJECT = "log"
    origin: str
    size: int
    root: str


class ProcessStarted(Fact, frozen=True, kw_only=True):
    """A process began to serve, with its LIVE_SPEND and policy (M6)."""

    KIND = "process.started"
    SUBJECT = "process"
    live_spend: int
    version: str
    policy_sha256: str | None = None


class ProcessStopped(Fact, frozen=True, kw_only=True):
    """A process ended in good order."""

    KIND = "process.stopped"
    SUBJECT = "process"
