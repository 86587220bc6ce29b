"""What one batch of one account sees and changes: loaded rows, and what is to be written of them.

Planners get a World and nothing else, so they run without a database. Each change goes through a method here,
which notes what the flush has to write and that something was changed at all (`touched`): a refusal that
touched nothing leaves its neighbours in the batch undisturbed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from ledger.audit.entry import Draft
from ledger.audit.fact import Fact, Move
from ledger.judge import Judge, Law
from ledger.meters import FLOATING, Reading, cap_reading
from ledger.records import AgentRecord, Change, OperatorRecord, Query, Reader, RecordRef
from ledger.rows import (
    ApprovalRow,
    AttemptRow,
    CallRow,
    ReservationRow,
    RunRow,
    UsageRow,
    VerdictRow,
    policy_call,
)
from policy.errors import RecordMissing
from policy.language import Posture
from policy.model import Call, Needs, Reserve, UsageNeed


class House(Struct, frozen=True, kw_only=True):
    """Who and what may in one account: read rarely, cached by the account's `house_version`."""

    version: int
    agents: Mapping[str, AgentRecord] = {}  # By name, which is never given twice.
    tokens: Mapping[str, str] = {}  # The hash of each agent's token to its name.
    operators: Mapping[str, OperatorRecord] = {}  # By id.
    postures: Mapping[tuple[str, str], Posture] = {}
    accepted: Mapping[str, str] = {}  # Tool to the hash of its accepted definition.


class ProcessBeat(Struct, frozen=True):
    """One process's last word about itself (M6)."""

    process_id: str
    live_spend: bool
    beat_at_us: int


class Effects(Struct, frozen=True):
    """Changes that plugins asked for, and the call they belong to."""

    call: CallRow
    changes: tuple[Change, ...]
    at: datetime


class TwinRow(Struct, gc=False):
    """What M25 and M26 must know of a call that is not loaded whole."""

    call_id: str
    ordinal: int
    state: str
    agent: str
    until_us: int
    at_us: int
    keyless: bool = True


class World(Struct, kw_only=True):
    """One account's rows as a batch sees them."""

    account_id: str
    judge: Judge
    law: Law | None
    house: House
    next_ordinal: int
    new_id: Callable[[str], str]
    processes: tuple[ProcessBeat, ...] = ()
    head: tuple[int, int, bytes] | None = None  # Of the log: size, epoch, frontier; None where not read yet.
    mark: int = 0  # The engine's count of foreign commits when the lock was taken.

    calls: dict[str, CallRow] = field(default_factory=dict)
    attempts: dict[str, dict[int, AttemptRow]] = field(default_factory=lambda: defaultdict(dict))
    reservations: dict[str, dict[str, ReservationRow]] = field(default_factory=lambda: defaultdict(dict))
    usage: dict[str, dict[int, UsageRow]] = field(default_factory=lambda: defaultdict(dict))
    # Of each meter: the holds that no claim has fixed, by call: (ordinal, amount).
    floating: dict[str, dict[str, tuple[int, int]]] = field(default_factory=lambda: defaultdict(dict))
    approvals: dict[str, ApprovalRow] = field(default_factory=dict)
    verdicts: dict[str, list[VerdictRow]] = field(default_factory=lambda: defaultdict(list))
    runs: dict[str, RunRow] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], tuple[str, str]] = field(default_factory=dict)
    twins: dict[str, dict[str, TwinRow]] = field(default_factory=lambda: defaultdict(dict))
    same: dict[str, dict[str, TwinRow]] = field(default_factory=lambda: defaultdict(dict))
    known_payees: set[tuple[str, str]] = field(default_factory=set)
    # Of each agent: what its requests awaiting a person hold, by call and meter (M17).
    waiting: dict[str, dict[str, dict[str, int]]] = field(default_factory=lambda: defaultdict(dict))
    earned: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    records: dict[tuple[Query, Reader], tuple[RecordRef, ...] | RecordMissing] = field(default_factory=dict)

    # What was looked up, so that what is not here is known not to be there (`ledger.kept`).
    met: set[str] = field(default_factory=set)  # Calls that this batch loaded, admitted or changed.
    whole: set[str] = field(default_factory=set)  # Calls loaded with all that belongs to them.
    seen_usage: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    seen_since: dict[str, int] = field(default_factory=dict)  # Rolling meters, from this bucket on.
    seen_floating: set[str] = field(default_factory=set)
    seen_twins: dict[str, int] = field(default_factory=dict)  # By key: those alive at this instant.
    seen_waiting: set[str] = field(default_factory=set)
    readings_by_call: dict[str, list[Reading]] = field(default_factory=dict)
    # Of each loaded call: the columns that indexes of ended calls and twins stand on, as stored.
    indexed: dict[str, tuple[int | str | None, ...]] = field(default_factory=dict)

    policy_calls: dict[str, Call] = field(default_factory=dict)  # By call id, as decoded while loading.
    readings: dict[tuple[str, str, str, str], Reading] = field(default_factory=dict)
    asked: dict[str, Needs] = field(default_factory=dict)  # By call id, what the active policy needs to know.

    touched: int = 0
    new_calls: dict[str, CallRow] = field(default_factory=dict)
    dirty_calls: dict[str, CallRow] = field(default_factory=dict)
    new_attempts: list[AttemptRow] = field(default_factory=list)
    dirty_attempts: dict[tuple[str, int], AttemptRow] = field(default_factory=dict)
    new_reservations: dict[tuple[str, str], ReservationRow] = field(default_factory=dict)
    dirty_reservations: dict[tuple[str, str], ReservationRow] = field(default_factory=dict)
    new_usage: list[UsageRow] = field(
        default_factory=list
    )  # Not met when loading; it may exist all the same.
    # By meter and window: what is to be added to held, committed and posted.
    moved_usage: dict[tuple[str, int], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0, 0])
    )
    new_approvals: dict[str, ApprovalRow] = field(default_factory=dict)
    dirty_approvals: dict[str, ApprovalRow] = field(default_factory=dict)
    new_verdicts: list[VerdictRow] = field(default_factory=list)
    dirty_verdicts: dict[str, VerdictRow] = field(default_factory=dict)
    new_keys: list[tuple[str, str, str, str, str, str]] = field(default_factory=list)
    new_payees: list[tuple[str, str, str, str, int]] = field(default_factory=list)
    closed_postures: dict[tuple[str, str], tuple[Posture, str, int]] = field(default_factory=dict)
    other_rows: list[tuple[str, dict[str, Any]]] = field(
        default_factory=list
    )  # Table name and row, inserts only.
    drafts: list[Draft] = field(default_factory=list)
    effects: list[Effects] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)  # Since the last audit entry; the next one carries them.

    def needs(self, call_id: str, call: Call) -> Needs:
        """Return what the active policy must know of a call; worked out once per batch."""
        found = self.asked.get(call_id)
        if found is None:
            if self.law is None:
                raise AssertionError("without a policy nothing is decided")
            found = self.asked[call_id] = self.judge.needs(self.law.policy, call)
        return found

    def cap_reading(self, need: UsageNeed | Reserve) -> Reading:
        """Return the meter of one cap for one call; worked out once per batch."""
        key = (need.cap_id, need.scope_key, need.unit, need.mode)
        found = self.readings.get(key)
        if found is None:
            if self.law is None:
                raise AssertionError("without a policy nothing is capped")
            found = self.readings[key] = cap_reading(need, self.law.cap_digests[need.cap_id])
        return found

    def policy_call(self, row: CallRow) -> Call:
        """Return the call as the policy sees it."""
        found = self.policy_calls.get(row.call_id)
        if found is None:
            found = self.policy_calls[row.call_id] = policy_call(row)
        return found

    # --- calls -------------------------------------------------------------------------------------------

    def admit(self, row: CallRow) -> None:
        """Add a new call."""
        self.touched += 1
        self.next_ordinal = max(self.next_ordinal, row.ordinal + 1)
        self.calls[row.call_id] = row
        self.new_calls[row.call_id] = row
        self.met.add(row.call_id)
        self.whole.add(row.call_id)

    def change(self, row: CallRow) -> None:
        """Note that a call was changed: one step of its version in this transaction."""
        self.touched += 1
        if row.call_id not in self.new_calls and row.call_id not in self.dirty_calls:
            self.met.add(row.call_id)
            row.version += 1
            self.dirty_calls[row.call_id] = row

    def add_attempt(self, row: AttemptRow) -> None:
        """Add a new attempt of a call."""
        self.touched += 1
        self.attempts[row.call_id][row.number] = row
        self.new_attempts.append(row)

    def change_attempt(self, row: AttemptRow) -> None:
        """Note that an attempt was changed."""
        self.touched += 1
        self.dirty_attempts[row.call_id, row.number] = row

    def claim_key(self, agent: str, tool: str, key: str, fingerprint: str, call_id: str) -> None:
        """Bind an idempotency key to one intention, for ever (M24)."""
        self.touched += 1
        self.keys[agent, tool, key] = (call_id, fingerprint)
        self.new_keys.append((self.account_id, agent, tool, key, fingerprint, call_id))

    def records_for(self, query: Query, reader: Reader) -> tuple[RecordRef, ...]:
        """Return what a query found under the lock. Raises RecordMissing where it found nothing."""
        found = self.records[query, reader]
        if isinstance(found, RecordMissing):
            raise found
        return found

    # --- usage -------------------------------------------------------------------------------------------

    def has_seen(self, meter: str, start: int) -> bool:
        """Say whether a window of a meter was looked up, so that what is here is all there is."""
        seen = self.seen_usage.get(meter)
        if seen is not None and start in seen:
            return True
        since = self.seen_since.get(meter)
        return since is not None and start >= since

    def usage_row(self, reading: Reading, start: int) -> UsageRow:
        """Return the usage of a meter in one window, making it where it is not there yet."""
        rows = self.usage[reading.meter]
        found = rows.get(start)
        if found is None:
            found = rows[start] = UsageRow(
                self.account_id,
                reading.meter,
                start,
                reading.cap_id,
                reading.scope,
                reading.scope_key,
                reading.unit,
                reading.mode,
                str(reading.window),
            )
            self.new_usage.append(found)
        return found

    def book(self, row: UsageRow, *, held: int = 0, committed: int = 0, posted: int = 0) -> None:
        """Move usage; the next audit entry says so."""
        if not (held or committed or posted):
            return
        self.touched += 1
        row.held += held
        row.committed += committed
        row.posted += posted
        moved = self.moved_usage[row.meter, row.window_start_us]
        moved[0] += held
        moved[1] += committed
        moved[2] += posted
        self.moves.append(Move(f"{row.meter}@{row.window_start_us}", held, committed, posted))

    def hold(self, row: ReservationRow) -> None:
        """Add a reservation."""
        self.touched += 1
        self.reservations[row.call_id][row.meter] = row
        self.new_reservations[row.call_id, row.meter] = row
        if row.window_start_us == FLOATING:
            self.floating[row.meter][row.call_id] = (row.ordinal, row.amount)

    def change_reservation(self, row: ReservationRow) -> None:
        """Note that a reservation was changed."""
        self.touched += 1
        if (row.call_id, row.meter) not in self.new_reservations:
            self.dirty_reservations[row.call_id, row.meter] = row
        if row.window_start_us != FLOATING or row.state != "held":
            self.floating[row.meter].pop(row.call_id, None)

    # --- people ------------------------------------------------------------------------------------------

    def ask(self, row: ApprovalRow) -> None:
        """Add an approval request."""
        self.touched += 1
        self.approvals[row.approval_id] = row
        self.new_approvals[row.approval_id] = row

    def change_approval(self, row: ApprovalRow) -> None:
        """Note that an approval request was changed."""
        self.touched += 1
        if row.approval_id not in self.new_approvals:
            self.dirty_approvals[row.approval_id] = row

    def give(self, row: VerdictRow) -> None:
        """Add a verdict."""
        self.touched += 1
        self.verdicts[row.call_id].append(row)
        self.new_verdicts.append(row)

    def change_verdict(self, row: VerdictRow) -> None:
        """Note that a verdict was revoked."""
        self.touched += 1
        self.dirty_verdicts[row.verdict_id] = row

    # --- the log -----------------------------------------------------------------------------------------

    def log(
        self, fact: Fact, subject_id: str, actor: str, at_us: int, payload: Mapping[str, object] | None = None
    ) -> None:
        """Write an audit entry, with all usage moved since the last one."""
        self.touched += 1
        draft = Draft(
            fact=fact,
            subject_id=subject_id,
            actor=actor,
            at_us=at_us,
            payload=payload,
            moves=tuple(self.moves),
        )
        self.moves.clear()
        self.drafts.append(draft)

    def close(self, scope: tuple[str, str], because: str, at_us: int) -> None:
        """Set `no_spend` on one scope, by the ledger itself; later commands of the batch see it."""
        self.touched += 1
        self.closed_postures[scope] = (Posture.NO_SPEND, because, at_us)
        self.house = msgspec.structs.replace(
            self.house, postures={**self.house.postures, scope: Posture.NO_SPEND}
        )

    def tell(self, topic: str, payload: bytes, at_us: int) -> None:
        """Queue a message for people in the outbox."""
        self.insert(
            "outbox",
            outbox_id=self.new_id("out"),
            topic=topic,
            payload=payload,
            due_at_us=at_us,
            tries=0,
            lease_until_us=0,
            done_at_us=None,
        )

    def insert(self, table: str, **row: object) -> None:
        """Add a row to a table that planners only ever write."""
        self.touched += 1
        self.other_rows.append((table, {"account_id": self.account_id, **row}))

    def apply(self, call: CallRow, changes: Iterable[Change], at: datetime) -> None:
        """Ask for a plugin's changes, applied at the flush."""
        asked = tuple(changes)
        if asked:
            self.touched += 1
            self.effects.append(Effects(call, asked, at))

    def written(self) -> None:
        """Take everything that was to be written as written."""
        for gone in (
            *(self.new_calls, self.dirty_calls, self.new_attempts, self.dirty_attempts),
            *(self.new_reservations, self.dirty_reservations, self.new_usage, self.moved_usage),
            *(self.new_approvals, self.dirty_approvals, self.new_verdicts, self.dirty_verdicts),
            *(self.new_keys, self.new_payees, self.closed_postures, self.other_rows),
            *(self.drafts, self.effects),
        ):
            gone.clear()
