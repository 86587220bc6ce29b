"""The planners without a database: one World that stays loaded, and commands in the plain model's words."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from ledger import answering, sweeping
from ledger.admission import plan_admission
from ledger.approvals import Confirmed
from ledger.batch import plan
from ledger.commands import (
    Admission,
    Admitted,
    Changed,
    Claim,
    Claimed,
    Local,
    NotClaimed,
    ProcessFacts,
    Settlement,
)
from ledger.discrepancies import adjust
from ledger.earnings import book_earning
from ledger.judge import Law, law_of
from ledger.meters import FLOATING
from ledger.records import AgentRecord, OperatorRecord, Outcome, ProviderIdentity, Role
from ledger.rows import ApprovalRow, AttemptRow, CallRow, ReservationRow, RunRow, UsageRow, VerdictRow
from ledger.times import from_us, to_us
from ledger.world import House, ProcessBeat, TwinRow, World
from policy.errors import CallRefused
from policy.language import Kind, Mode, PayeeBasis, Posture
from policy.model import Call, Effect
from policy.money import Money
from tests.ledger.model import (
    AGENT_OWNER,
    KEY_LIFE,
    SECOND,
    PlainCall,
    PlainCap,
    PlainEarning,
    PlainPolicy,
    counts,
)
from tests.ledger.model_life import KEYED, Said
from tests.ledger.till import JUDGE

ACCOUNT: Final = "acct"
PROJECTS: Final = ("shop", "lab")
ROWS: Final = (CallRow, AttemptRow, ReservationRow, UsageRow, ApprovalRow, VerdictRow, TwinRow, RunRow)
MODES: Final = ("simulated", "test", "live")
START: Final = from_us(1_763_600_000 * SECOND)
BY_PASSWORD: Final = Confirmed(by="password")  # As at the console and on the terminal.
_LAWS: dict[PlainPolicy, Law] = {}


class Disagreed(AssertionError):  # noqa: N818 -- what was met
    """The ledger did what the rules of money do not say."""


Earning = Mapping[str, Any]
"""A row of the table `earnings`."""


def _earned(rows: list[Earning], project: str, until: int) -> int:
    """Add up earnings as the ledger's query does: gains once they are old enough, losses at once."""
    mine = [row for row in rows if not project or row["project"] == project]
    return sum(row["amount_minor"] for row in mine if row["amount_minor"] < 0 or row["booked_at_us"] <= until)


class Planners(Struct, frozen=True):
    """What a broken twin replaces: the World's class, and hooks before and after each command."""

    world: type[World] = World
    before: Callable[[World, object], object] = lambda _world, command: command
    after: Callable[[World, object], None] = lambda _world, _command: None
    earned: Callable[[list[Earning], str, int], int] = _earned
    policy: Callable[[PlainPolicy], PlainPolicy] = lambda policy: policy
    person_waits_s: float | None = None


def law(policy: PlainPolicy) -> Law:
    """Return a policy as the ledger loads it, from its text."""
    if policy not in _LAWS:
        _LAWS[policy] = law_of(JUDGE.load(policy.text(), "policies.yaml"))
    return _LAWS[policy]


class Memory:
    """One account in memory."""

    def __init__(self, policy: PlainPolicy, planners: Planners) -> None:
        counter = itertools.count(1)
        self.planners = planners
        self.world = planners.world(
            account_id=ACCOUNT,
            judge=JUDGE,
            law=law(planners.policy(policy)),
            house=House(version=1),
            next_ordinal=1,
            new_id=lambda prefix: f"{prefix}_{next(counter)}",
        )
        self.policy = policy
        self.earnings: list[Earning] = []
        self.ready = self.live_spend = True

    # --- the house ---------------------------------------------------------------------------------------

    def agent(self, name: str, project: str, *, active: bool = True) -> None:
        """Set an agent."""
        found = AgentRecord(
            agent_id=name, name=name, account_id=ACCOUNT, project=project, kits=(), run_id=None,
            expires_at=None, owner=AGENT_OWNER, strict_errors=False, active=active, created_at=START,
        )  # fmt: skip
        self._house(agents={**self.world.house.agents, name: found})

    def operator(self, name: str, role: str, *, active: bool = True) -> None:
        """Set an operator."""
        found = OperatorRecord(
            operator_id=name, name=name, account_id=ACCOUNT, role=Role(role), active=active,
            has_password=True, created_at=START,
        )  # fmt: skip
        self._house(operators={**self.world.house.operators, name: found})

    def run(self, run: str, project: str, state: str = "open") -> None:
        """Set a run."""
        self.world.runs[run] = RunRow(ACCOUNT, run, project, "", state, 0, 0)

    def posture(self, scope: tuple[str, str], posture: str) -> None:
        """Set a posture."""
        self._house(postures={**self.world.house.postures, scope: Posture(posture)})

    def law(self, policy: PlainPolicy) -> None:
        """Let another policy be the active one: a new batch asks it anew."""
        self.policy, self.world.law = policy, law(self.planners.policy(policy))
        self.world.asked.clear()

    def beat(self, live: bool, at: int) -> None:  # noqa: FBT001 -- the process's one word
        """Let another process say its LIVE_SPEND."""
        self.world.processes = (ProcessBeat("other", live, at),)

    def earn(self, earning: PlainEarning) -> None:
        """Book what was earned or lost, as the ledger books it."""
        book_earning(
            self.world, f"ern_{len(self.earnings)}", project=earning.project, amount_minor=earning.amount,
            currency=earning.currency, mode=earning.mode, proof_level=earning.proof, at_us=earning.at,
        )  # fmt: skip
        self.earnings += [row for table, row in self.world.other_rows if table == "earnings"]
        self._commit("earn")

    def _know_earnings(self, at: int) -> None:
        """Load what share-of-earnings caps ask for, as the ledger's query loads it."""
        for cap in self.policy.caps:
            for project, mode in itertools.product(("", *PROJECTS), MODES) if cap.after is not None else ():
                kept = [
                    row for row in self.earnings
                    if (row["currency"], row["mode"], row["proof_level"]) == (cap.unit, mode, mode)
                ]  # fmt: skip
                key = (project, cap.unit, mode, cap.after or 0)
                self.world.earned[key] = self.planners.earned(kept, project, at - key[3] * SECOND)

    def _house(self, **parts: object) -> None:
        self.world.house = msgspec.structs.replace(self.world.house, **parts)

    # --- commands ----------------------------------------------------------------------------------------

    def admit(self, call: PlainCall, at: int) -> str:
        """Admit a call."""
        found = self._hot(_admission(call, at, self._process("one", call.mode)))
        if not isinstance(found, Admitted):
            return "refused"
        return f"again:{found.call.call_id}" if found.replayed else found.call.state.value

    def claim(self, call_id: str, purpose: str, instance: str, lease: int, at: int) -> str:
        """Claim a call."""
        found = self._hot(
            Claim(
                call_id=call_id, at=from_us(at), holder="here", lease_s=lease / SECOND,
                process=self._process(instance, self.world.calls[call_id].mode),
                expect=lambda _call, _records: None,
                purpose=purpose,
            )
        )  # fmt: skip
        if isinstance(found, Claimed):
            return f"claimed:{found.attempt}:{found.lease_token}"
        return f"not:{found.state.value}" if isinstance(found, NotClaimed) else "refused"

    def settle(self, call_id: str, said: Said, at: int) -> str:
        """Settle an attempt."""
        row = self.world.calls[call_id]
        identity = (
            None if said.instance is None else ProviderIdentity("acct_sim", Mode(row.mode), said.instance)
        )
        actual = None if said.actual is None else Money(said.actual, row.currency or "USD")
        after = None if said.after is None else said.after / SECOND
        self._hot(
            Settlement(
                call_id=call_id, at=from_us(at), attempt=said.number, lease_token=said.token,
                outcome=Outcome(said.outcome), identity=identity, actual=actual, committed=said.committed,
                stored_answer=said.stored, settle_after_s=after,
            )
        )  # fmt: skip
        return self.world.calls[call_id].state

    def answer(self, call_id: str, who: str, verdict: str, op_hash: str, at: int) -> str:
        """Give a person's word."""
        person, request = self.world.house.operators[who], self.world.calls[call_id].approval_id
        if request is None:
            return "refused"
        return self._rare(
            call_id,
            lambda: answering.give(
                self.world, request, person, op_hash, verdict, comment="", at_us=at, confirmed=BY_PASSWORD
            ),
        )

    def revoke(self, call_id: str, who: str, at: int) -> str:
        """Take a person's yes back."""
        person, request = self.world.house.operators[who], self.world.calls[call_id].approval_id
        if request is None or not person.active:
            return "refused"
        return self._rare(
            call_id, lambda: answering.revoke(self.world, request, person, comment="", at_us=at)
        )

    def cancel(self, call_id: str, at: int) -> str:
        """Take a call back."""
        return self._rare(
            call_id, lambda: answering.cancel(self.world, call_id, "agent:scout", message="", at_us=at)
        )

    def edit(self, old_id: str, call: PlainCall, who: str, op_hash: str, at: int) -> str:
        """Turn a waiting call into another one; what is refused is rolled back, as its transaction is."""
        self._know_earnings(at)
        person, kept = self.world.house.operators[who], self._copy()
        admission = _admission(call, at, self._process("one", call.mode))
        try:
            answering.edit(self.world, old_id, admission, person, op_hash, admit=plan_admission)
        except CallRefused:
            self.world = kept
            return "refused"
        self._commit("edit")
        return self.world.calls[call.call_id].state

    def _copy(self) -> World:
        """Return the World as it is now."""
        kept = copy.copy(self.world)
        for name in kept.__struct_fields__:
            value = getattr(kept, name)
            if isinstance(value, dict | list | set):
                setattr(kept, name, _rows_of(value))
        return kept

    def resolve(self, call_id: str, who: str, outcome: str, at: int) -> str:
        """Let a person say what became of an unknown call."""
        person = self.world.house.operators[who]
        return self._rare(
            call_id,
            lambda: answering.resolve(
                self.world,
                call_id,
                person,
                Outcome(outcome),
                evidence="seen",
                at_us=at,
                settle_after_s=self.planners.person_waits_s,
            ),
        )

    def give_back(self, call_id: str, amount: int, at: int) -> str:
        """Book a refund of a call."""
        row = self.world.calls[call_id]
        return self._rare(
            call_id,
            lambda: adjust(
                self.world, row, amount_minor=-amount, currency=row.currency or "", reason="refund", at_us=at
            ),
        )

    def sweep(self, at: int) -> str:
        """Let time pass."""
        for row in list(self.world.calls.values()):
            sweeping.sweep_call(self.world, row, at, sweeping.Swept())
        self._commit("sweep")
        return "swept"

    def _hot(self, command: Admission | Claim | Settlement) -> object:
        if not isinstance(command, Settlement):
            self._know_earnings(to_us(command.at))
        changed = self.planners.before(self.world, command)
        touched = self.world.touched
        try:
            found = plan(self.world, changed)  # type: ignore[arg-type]  # a twin gives back a command of the same kind
        except CallRefused as refused:
            if self.world.touched != touched:
                raise Disagreed("a refusal changed something") from refused
            return refused
        self._commit(command)
        return found

    def _rare(self, call_id: str, work: Callable[[], object]) -> str:
        touched = self.world.touched
        try:
            work()
        except CallRefused as refused:
            if self.world.touched != touched:
                raise Disagreed("a refusal changed something") from refused
            return "refused"
        self._commit("rare")
        return self.world.calls[call_id].state

    def _process(self, instance: str, mode: str) -> ProcessFacts:
        identity = ProviderIdentity("acct_sim", Mode(mode), instance)
        return ProcessFacts(
            live_spend=self.live_spend, ready={"stripe": self.ready}, identities={"stripe": identity}
        )

    def _commit(self, command: object) -> None:
        """Take what the flush would have written as written."""
        world = self.world
        self.planners.after(world, command)
        if world.moves:
            raise Disagreed("usage moved without an audit entry that says so")
        # A sweep may only move the instant of the next alert, which no state rests on.
        if (world.new_calls or world.dirty_calls) and not world.drafts and command != "sweep":
            raise Disagreed("a call changed and the log says nothing")
        for written in (
            world.new_calls, world.dirty_calls, world.new_attempts, world.dirty_attempts,
            world.new_reservations, world.dirty_reservations, world.new_usage, world.moved_usage,
            world.new_approvals, world.dirty_approvals,
            world.new_verdicts, world.dirty_verdicts, world.new_keys, world.new_payees, world.other_rows,
            world.drafts, world.effects,
        ):  # fmt: skip
            written.clear()

    # --- what stands -------------------------------------------------------------------------------------

    def used(self, cap: PlainCap, scope_key: str, mode: str, at: int) -> tuple[int, int]:
        """Return what waits and what is fixed against a cap in its window of now, from the rows of usage."""
        waits = fixed = 0
        for rows in self.world.usage.values():
            for row in rows.values():
                if (row.cap_id, row.scope_key, row.mode) != (cap.id, scope_key, mode):
                    continue
                if min(row.held, row.committed, 0 if cap.restores else row.posted) < 0:
                    raise Disagreed(f"{row.meter} is below zero")
                if row.window_start_us == FLOATING:
                    waits += row.held
                elif _begins_in(cap.window, row.window_start_us, at):
                    fixed += row.held + row.committed + row.posted
        return waits, fixed


def _rows_of(value: Any) -> Any:  # noqa: ANN401 -- tables of tables of rows, as the World keeps them
    """Return a copy of tables with a copy of each of their rows."""
    if isinstance(value, dict):
        made = copy.copy(value)
        made.update({key: _rows_of(each) for key, each in value.items()})
        return made
    if isinstance(value, list):
        return [_rows_of(each) for each in value]
    return copy.copy(value) if isinstance(value, (set, *ROWS)) else value


def _begins_in(window: str, start: int, at: int) -> bool:
    return window == "run" or counts(window, start, at)


def _admission(call: PlainCall, at: int, process: ProcessFacts) -> Admission:
    money = None if call.amount is None or call.currency is None else Money(call.amount, call.currency)
    effect = Effect(
        kind=Kind(call.kind), operation="refund" if call.kind == "human_only" else "card",
        provider="stripe", mode=Mode(call.mode), payee=call.payee,
        payee_basis=PayeeBasis.CLAIMED, amount=money,
    )  # fmt: skip
    asked = Call(
        tool=call.tool, effect=effect, account=ACCOUNT, project=call.project, run=call.run, agent=call.agent
    )
    return Admission(
        call_id=call.call_id, at=from_us(at), call=asked, agent_id=call.agent, tool_hash="hash",
        provider_account="acct_sim", op_hash=call.op_hash, fingerprint=call.fingerprint, args=b"{}",
        process=process, key_required=call.kind in KEYED, idempotency_key=call.key,
        replay_key=f"replay-{call.call_id}", replay_lifetime_s=KEY_LIFE // SECOND,
        local=Local(lambda _records, _at: Changed({})) if call.local else None,
    )  # fmt: skip


def states(rows: dict[str, CallRow]) -> dict[str, str]:
    """Return every call's state."""
    return {call_id: row.state for call_id, row in rows.items()}
