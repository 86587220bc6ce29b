"""A plain model of one account: lists and loops over the rules of money, sharing no code with the ledger.

Nothing here is fast or stored. Usage is added up from the calls each time it is asked for; a state is a word.
The policy it knows is `PlainPolicy`, whose text in policies.yaml `text` writes. Instants are microseconds
since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
ZONE = "America/New_York"
BUCKETS = {"1h": (3_600, 60), "24h": (86_400, 3_600)}  # Seconds of a rolling window and of its buckets.
MONEY_KINDS = ("spend", "provision")
CLOSES = {
    "normal": (),
    "no_spend": ("spend", "provision"),
    "draft_only": ("spend", "provision", "earn", "human_only"),
    "read_only": ("spend", "provision", "earn", "human_only", "draft"),
}
OPEN = ("awaiting_approval", "queued", "executing", "unknown")
ROLES = {"viewer": 0, "approver": 1, "owner": 2}
DESKS = {  # Role, hours to answer, seconds to run; a quorum is the policy's.
    "desk": ("approver", 24, 3_600),
    "boss": ("owner", 6, 1_800),
    "built-in:owners": ("owner", 24, 3_600),
    "built-in:human-only": ("owner", 7 * 24, 900),
}
AGENT_OWNER = "ann"  # Whose password made every agent.
BEAT_LIVES = 30 * SECOND  # How long a process that said nothing still counts (M6).
COVERS = ("day", "month", "24h")  # Windows of account-wide caps that cover live spend: of a day or more.
RUN_BY = 900 * SECOND
KEY_LIFE = 86_400 * SECOND
OURS = "one"  # The simulator that answers, and another one that may.
OTHER = "another"


@dataclass(slots=True, frozen=True)
class PlainCap:
    """One cap: `unit` is a currency or "calls", `limit` minor units or calls.

    With `after` (seconds) the limit is per cent of what was earned.
    """

    id: str
    per: str
    window: str
    unit: str
    limit: int
    restores: bool = False
    after: int | None = None


@dataclass(slots=True, frozen=True)
class PlainPolicy:
    """What the policies of these histories can say."""

    caps: tuple[PlainCap, ...]
    ask_above: int
    boss_above: int
    sum_above: int | None
    quorum: int
    open_requests: int
    held_share: int
    live: bool = False
    allow_self: bool = False
    not_by_owner: bool = False
    refunds_at_desk: bool = False

    def text(self) -> str:
        """Write it as a person would."""
        caps = "".join(f"  - {_cap(cap)}\n" for cap in self.caps)
        desk = ", allow_self: true" * self.allow_self + ", not_by: [agent_owner]" * self.not_by_owner
        refunds = (
            "  - {id: refunds, match: {kind: human_only}, effect: require_approval, approval: desk}\n"
            if self.refunds_at_desk
            else ""
        )
        above = 'amount: {{above: ["{0} USD", "{0} EUR"]}}'
        many = (
            ""
            if self.sum_above is None
            else (
                '  - {id: many, match: {kind: [spend, provision], sum_above: {amount: "'
                f'{_money(self.sum_above)} USD", per: project, window: 24h}}}},'
                " effect: require_approval, approval: boss}\n"
            )
        )
        return (
            f"version: 1\ntimezone: {ZONE}\n"
            f"live_spend: {{enabled: {str(self.live).lower()}, providers: [stripe]}}\n"
            f'limits: {{open_requests: {self.open_requests}, held_share: "{self.held_share}%"}}\n'
            f"caps:\n{caps}approvals:\n"
            f"  - {{id: desk, who: [role:approver], quorum: {self.quorum},"
            f" expires_in: 24h, run_within: 1h{desk}}}\n"
            "  - {id: boss, who: [role:owner], quorum: 1, expires_in: 6h, run_within: 30m}\n"
            "rules:\n"
            "  - {id: all, match: {kind: [draft, earn, spend, provision, withdraw]}, effect: allow}\n"
            f"  - {{id: ask, match: {{kind: [spend, provision], {above.format(_money(self.ask_above))}}}, "
            "effect: require_approval, approval: desk}\n"
            f"  - {{id: big, match: {{kind: [spend, provision], {above.format(_money(self.boss_above))}}}, "
            "effect: require_approval, approval: boss}\n"
            "  - {id: never, match: {kind: [spend, provision], payee: evil.example}, effect: deny}\n"
            + many
            + refunds
        )


@dataclass(slots=True, frozen=True)
class PlainEarning:
    """What was earned, or lost where it is below zero; `proof` is what the evidence shows it to be."""

    project: str
    amount: int
    currency: str
    mode: str
    proof: str
    at: int


@dataclass(slots=True)
class PlainAttempt:
    """One try at the provider."""

    number: int
    token: int
    purpose: str
    lease_end: int
    instance: str
    sent: bool
    ended: bool = False


@dataclass(slots=True)
class PlainRequest:
    """One question to people."""

    approval_id: str
    desks: tuple[str, ...]
    expires: int
    run_within: int
    quorum: int  # As the policy had it when the question was put; a claim asks by the policy of now.


@dataclass(slots=True)
class PlainCall:
    """One call: what was asked, and what has become of it."""

    call_id: str
    ordinal: int
    agent: str
    project: str
    run: str
    kind: str
    tool: str
    amount: int | None
    currency: str | None
    mode: str
    payee: str | None
    key: str | None
    fingerprint: str
    op_hash: str
    at: int
    local: bool = False
    state: str = "new"
    run_by: int | None = None
    claimed_at: int | None = None  # None: its hold floats.
    posted: int | None = None
    committed: bool = False
    settled_at: int | None = None
    token: int = 0
    lease_until: int | None = None
    key_until: int | None = None
    request: PlainRequest | None = None
    editor: str = ""  # Who edited another call into this one (M28).
    verdicts: set[str] = field(default_factory=set)  # Operators whose approval stands.
    attempts: list[PlainAttempt] = field(default_factory=list)


def counts(window: str, booked: int, at: int) -> bool:
    """Say whether what was booked at one instant counts in the window of another."""
    if window == "run":
        return True
    if window in BUCKETS:
        seconds, bucket = BUCKETS[window]
        size = bucket * SECOND
        return booked // size >= (at - seconds * SECOND) // size
    then, now = _local(booked // (900 * SECOND)), _local(at // (900 * SECOND))
    return then == now if window == "day" else then[:2] == now[:2]


class Model:
    """The account, plainly."""

    def __init__(self, policy: PlainPolicy) -> None:
        self.policy = policy
        self.calls: dict[str, PlainCall] = {}
        self.keys: dict[tuple[str, str, str], str] = {}
        self.operators: dict[str, str] = {}  # Active ones, with their role.
        self.agents: dict[str, str] = {}  # Active ones, with their project.
        self.runs: dict[str, str] = {}  # Open ones, with their project.
        self.postures: dict[tuple[str, str], str] = {}
        self.adjusted: list[tuple[PlainCall, int, int]] = []  # Of which call, how much, when.
        self.earnings: list[PlainEarning] = []
        self.ready = True
        self.live_spend = True  # Of the process that asks.
        self.beat: tuple[bool, int] | None = None  # Of another one: its LIVE_SPEND, and when it said so.

    # --- what counts -------------------------------------------------------------------------------------

    def used(self, cap: PlainCap, call: PlainCall, at: int, own: PlainCall | None) -> int:
        """Add up what stands against a cap for one call, without the call itself (M11, M12)."""
        total = sum(
            self._stands(cap, each, at, own) for each in self.calls.values() if self._same(cap, each, call)
        )
        if cap.unit != "calls":
            total += sum(
                amount
                for each, amount, when in self.adjusted
                if self._same(cap, each, call)
                and (amount > 0 or cap.restores)
                and counts(cap.window, when, at)
            )
        return total

    def fixed(self, cap: PlainCap, call: PlainCall, at: int) -> int:
        """Add up what was claimed or booked in a cap's window, holds that wait left out."""
        total = self.used(cap, call, at, None)
        waits = sum(
            self._worth(cap, each)
            for each in self.calls.values()
            if each.state in {"awaiting_approval", "queued"} and self._same(cap, each, call)
        )
        return total - waits

    def _stands(self, cap: PlainCap, each: PlainCall, at: int, own: PlainCall | None) -> int:
        if each is own or each.state in {"denied", "failed", "cancelled", "expired"}:
            return 0
        if each.claimed_at is None:
            return self._worth(cap, each) if own is None or each.ordinal < own.ordinal else 0
        if not counts(cap.window, each.claimed_at, at):
            return 0
        posted = cap.unit != "calls" and each.posted is not None and not each.committed
        return each.posted or 0 if posted else self._worth(cap, each)

    @staticmethod
    def _worth(cap: PlainCap, call: PlainCall) -> int:
        return 1 if cap.unit == "calls" else call.amount or 0

    @staticmethod
    def _same(cap: PlainCap, one: PlainCall, other: PlainCall) -> bool:
        if cap.unit == "calls":
            binds = one.kind in {"draft", "earn", "spend", "provision"}
        else:
            binds = one.kind in MONEY_KINDS and one.currency == cap.unit
        if not binds or one.mode != other.mode:
            return False
        return cap.per == "account" or getattr(one, cap.per) == getattr(other, cap.per)

    def binding(self, call: PlainCall) -> list[PlainCap]:
        """Return the caps that bind a call (M10)."""
        return [cap for cap in self.policy.caps if self._same(cap, call, call)]

    def limit(self, cap: PlainCap, call: PlainCall, at: int) -> int:
        """Return a cap's limit for a call; of a share below zero, one that nothing fits under (M15)."""
        if cap.after is None:
            return cap.limit
        earned = sum(
            each.amount
            for each in self.earnings
            if (each.currency, each.mode, each.proof) == (cap.unit, call.mode, call.mode)
            and (cap.per == "account" or each.project == call.project)
            and (each.amount < 0 or each.at <= at - cap.after * SECOND)
        )
        return earned * cap.limit // 100 if earned >= 0 else -1

    # --- the answer --------------------------------------------------------------------------------------

    def judge(self, call: PlainCall, at: int, own: PlainCall | None) -> tuple[str, tuple[str, ...]]:
        """Return "denied", "full", "waits", "ask" or "allow", and the desks asked."""
        if call.kind in MONEY_KINDS and call.payee == "evil.example":
            return "denied", ()
        scopes = (
            ("account", "acct"),
            ("project", call.project),
            ("agent", call.agent),
            ("provider", "stripe"),
        )
        if any(call.kind in CLOSES[self.postures.get(scope, "normal")] for scope in scopes):
            return "denied", ()
        if call.mode == "live" and call.kind in MONEY_KINDS and not self._live_allowed(call, at):
            return "denied", ()
        for cap in self.binding(call):
            if self.used(cap, call, at, own) + self._worth(cap, call) > self.limit(cap, call, at):
                return "full", ()
        desks = self.desks(call, at, own)
        if desks and own is None and self._waits_too_much(call):
            return "waits", ()
        return ("ask" if desks else "allow"), desks

    def _live_allowed(self, call: PlainCall, at: int) -> bool:
        """Say whether live money may leave: three yeses, every living process's (M6), and a cover."""
        other = self.beat is None or self.beat[0] or self.beat[1] <= at - BEAT_LIVES
        covered = any(
            cap.per == "account" and cap.after is None and cap.unit == call.currency and cap.window in COVERS
            for cap in self.policy.caps
        )
        return self.policy.live and self.live_spend and other and covered

    def desks(self, call: PlainCall, at: int, own: PlainCall | None) -> tuple[str, ...]:
        """Return every desk that must agree: by amount, by sum (M12, M16), for a twin (M26), always (M29)."""
        if call.kind == "human_only":
            return ("desk",) if self.policy.refunds_at_desk else ("built-in:human-only",)
        if call.kind not in MONEY_KINDS:
            return ()
        asked, amount, policy = set(), call.amount or 0, self.policy
        if amount > policy.ask_above:
            asked.add("desk")
        if amount > policy.boss_above:
            asked.add("boss")
        if policy.sum_above is not None:
            rule = PlainCap("many", "project", "24h", "USD", 0)
            if call.currency != "USD" or self.used(rule, call, at, own) + amount > policy.sum_above:
                asked.add("boss")
        twins = [each for each in self.calls.values() if self._is_twin(each, call, at)]
        if twins and (not asked or self._latest(twins) == "unknown"):
            asked.add("built-in:owners")
        return tuple(sorted(asked))

    @staticmethod
    def _is_twin(each: PlainCall, call: PlainCall, at: int) -> bool:
        if each.kind not in MONEY_KINDS or each.ordinal >= call.ordinal:
            return False
        mine = (each.tool, each.payee, each.amount, each.currency)
        if mine != (call.tool, call.payee, call.amount, call.currency):
            return False
        return each.state in OPEN or (each.state == "succeeded" and at < (each.settled_at or 0) + DAY)

    @staticmethod
    def _latest(twins: list[PlainCall]) -> str:
        return "unknown" if any(each.state == "unknown" for each in twins) else "known"

    def _waits_too_much(self, call: PlainCall) -> bool:
        """M17: so many requests, and all but a lone one within a share of each shared money cap."""
        waiting = [e for e in self.calls.values() if e.agent == call.agent and e.state == "awaiting_approval"]
        if len(waiting) >= self.policy.open_requests:
            return True
        for cap in self.binding(call):
            if cap.unit == "calls" or cap.after is not None or cap.per not in {"account", "project"}:
                continue
            mine = sum(each.amount or 0 for each in waiting if self._same(cap, each, call))
            if mine and (mine + (call.amount or 0)) * 100 > cap.limit * self.policy.held_share:
                return True
        return False

    def sits_at(self, desk: str, who: str) -> bool:
        """Say whether a person belongs to a desk now."""
        return ROLES.get(self.operators.get(who, ""), -1) >= ROLES[DESKS[desk][0]]

    def counts_at(self, desk: str, who: str, call: PlainCall) -> bool:
        """Say whether a person's yes to a call counts at a desk: not an editor's own, nor its maker's."""
        ours = desk == "desk"
        if who == call.editor and not (ours and self.policy.allow_self):
            return False
        if who == AGENT_OWNER and ours and self.policy.not_by_owner:
            return False
        return self.sits_at(desk, who)

    def unmet(self, call: PlainCall, desks: tuple[str, ...], quorum: int) -> bool:
        """Say whether a desk lacks people who said yes and still may (M27)."""
        for desk in desks:
            met = sum(self.counts_at(desk, name, call) for name in call.verdicts)
            if met < (quorum if desk == "desk" else 1):
                return True
        return False


def _cap(cap: PlainCap) -> str:
    more = ", restores: true" * cap.restores
    if cap.after is not None:
        limit, more = f"{cap.limit}% of earned {cap.unit}", f"{more}, after: {cap.after}s"
    else:
        limit = f"{cap.limit} calls" if cap.unit == "calls" else f"{_money(cap.limit)} {cap.unit}"
    return f'{{id: {cap.id}, per: {cap.per}, window: {cap.window}, limit: "{limit}"{more}}}'


def _money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


@lru_cache(maxsize=4_096)
def _local(quarter: int) -> tuple[int, int, int]:
    at = datetime.fromtimestamp(quarter * 900, UTC).astimezone(ZoneInfo(ZONE))
    return at.year, at.month, at.day
