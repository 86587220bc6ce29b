"""What another policy would have answered: the log is played again, and each admission is judged again.

One pass over the log, in its order. Every policy of then, and the candidate, has a World of its own, in which
the functions of `ledger.caps` book what really happened: a call that was admitted holds, its claim fixes it,
its end posts it or lets go. On those facts the policy of then and the candidate judge the same call.

Where the policy of then no longer comes to the answer that the log has, the log does not hold enough to judge
that call again: its words were erased, a policy of then does not load any more, or what happened after a
call's end (an adjustment, a card that took less) weighs. Such calls are counted and left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct, structs
from sqlalchemy import select

from ledger import caps
from ledger import schema_house as h
from ledger import statements as sql
from ledger.audit.call_kinds import (
    CallAdmitted,
    CallApproved,
    CallCancelled,
    CallClaimed,
    CallDenied,
    CallExpired,
    CallRequeued,
    CallReturned,
    CallSettled,
)
from ledger.audit.entries import EntryCheck
from ledger.audit.entry import Entry
from ledger.audit.fact import Fact
from ledger.audit.house_kinds import PostureMoved
from ledger.audit.stored import StoredSource
from ledger.commands import ProcessFacts
from ledger.engines.tx import Tx
from ledger.gather import gather
from ledger.judge import Judge, Law, law_of
from ledger.rows import CallRow
from ledger.schema import earnings, known_payees, tool_calls
from ledger.times import SECOND_US
from ledger.world import House, World
from policy.errors import LiveSpendOff, PolicyError
from policy.language import Answer, Policy, Posture, Scope
from policy.model import Decision, Effect, Needs
from policy.money import dec_hook

_DECISION: Final = msgspec.json.Decoder(Decision, dec_hook=dec_hook)
_SAID: Final = {"denied": Answer.DENY, "awaiting_approval": Answer.REQUIRE_APPROVAL}
_CANDIDATE: Final = "candidate"
ENDS: Final = (CallSettled, CallDenied, CallCancelled, CallExpired)


class Otherwise(Struct, frozen=True, kw_only=True):
    """A call that the candidate would have answered otherwise; `was` is what the log has."""

    call_id: str
    at_us: int
    tool: str
    agent: str
    effect: Effect
    was: Decision
    would: Decision


class JudgedAgain(Struct, frozen=True):
    """What came of it: calls judged, those answered otherwise, and how many could not be judged again."""

    judged: int
    otherwise: tuple[Otherwise, ...]
    unclear: int


def judge_again(
    source: StoredSource,
    account: str,
    judge: Judge,
    candidate: Policy,
    *,
    since_us: int,
    progress: Callable[[int], None] = lambda _: None,
) -> JudgedAgain:
    """Judge every call admitted since then by another policy, on what the ledger knew at its admission.

    Raises BadRow for an entry of the log that is not what was written.
    """
    past = _Past(Tx(source.connection), account, judge, candidate, since_us)
    check = EntryCheck(account, source.payloads(account))
    for row in source.entries(account):
        _, entry, fact, payload = check.take(row)
        past.take(entry, fact, payload)
        progress(entry.seq + 1)
    return JudgedAgain(past.judged, tuple(past.otherwise), past.unclear)


class _Past:
    """The account at one instant of its past, as each policy would have counted it."""

    def __init__(self, tx: Tx, account: str, judge: Judge, candidate: Policy, since_us: int) -> None:
        self._tx, self._account, self._since_us = tx, account, since_us
        self._worlds = {
            name: World(
                account_id=account, judge=judge, law=law, house=House(version=0), next_ordinal=0, new_id=str
            )
            for name, law in _laws(tx, account, judge, candidate, since_us).items()
        }
        self._open: dict[str, CallRow] = {}
        p, e = known_payees.c, earnings.c
        met = select(p.at_us, p.mode, p.payee).where(p.account_id == account)
        self._payees = deque(tx.connection.execute(met.order_by(p.at_us)))
        booked = select(e.booked_at_us, e.project, e.currency, e.mode, e.amount_minor)
        # Only what the evidence shows to be as real as the mode, as in `statements.EARNED`.
        booked = booked.where(e.account_id == account, e.proof_level == e.mode)
        self._earned = tuple(tx.connection.execute(booked))
        self.judged, self.unclear = 0, 0
        self.otherwise: list[Otherwise] = []

    def take(self, entry: Entry, fact: Fact, payload: bytes | None) -> None:
        """Let one entry happen again."""
        if isinstance(fact, PostureMoved):
            self._move_posture(entry.subject_id, Posture(fact.posture))
        elif isinstance(fact, CallAdmitted):
            self._admit(entry, fact, payload)
        elif (row := self._open.get(entry.subject_id)) is not None:
            self._move(row, entry.at_us, fact)
        else:
            return
        for world in self._worlds.values():
            world.written()  # Nothing of it is.
            world.moves.clear()
            world.asked.clear()
            world.policy_calls.clear()

    def _move_posture(self, subject: str, posture: Posture) -> None:
        scope, _, key = subject.partition(":")
        for world in self._worlds.values():
            world.house = structs.replace(
                world.house, postures={**world.house.postures, (scope, key): posture}
            )

    def _move(self, row: CallRow, at_us: int, fact: Fact) -> None:
        """Let something happen to a call that was admitted before."""
        for world in self._worlds.values():
            if isinstance(fact, CallApproved):
                world.waiting[row.agent].pop(row.call_id, None)
            elif isinstance(fact, CallReturned):
                _wait(world, row)
            elif isinstance(fact, CallClaimed) and fact.purpose == "execute":
                caps.fix(world, row, caps.held_readings(world, row), at_us)
            elif isinstance(fact, CallRequeued):
                caps.float_again(world, row)
            elif isinstance(fact, ENDS):
                actual_minor = fact.actual_minor if isinstance(fact, CallSettled) else None
                _end(world, row, fact.state, actual_minor, at_us)
        if isinstance(fact, ENDS):
            del self._open[row.call_id]

    def _admit(self, entry: Entry, fact: CallAdmitted, payload: bytes | None) -> None:
        found = self._tx.listed(sql.CALLS, (entry.subject_id,), account=self._account)
        row = CallRow(*found[0])
        row.state = fact.state
        while self._payees and self._payees[0].at_us < entry.at_us:
            known = self._payees.popleft()
            for world in self._worlds.values():
                world.known_payees.add((known.mode, known.payee))
        if entry.at_us >= self._since_us:
            self._judge(row, fact, payload)
        if fact.state == "denied":
            return
        for world in self._worlds.values():
            # What it holds under the policy of this world, whatever that policy thinks of it.
            call = world.policy_call(row)
            caps.reserve(world, row, caps.holds_of(world, call, world.needs(row.call_id, call).usage))
            if fact.state == "awaiting_approval":
                _wait(world, row)
            elif fact.state == "succeeded":  # A local tool's.
                caps.fix(world, row, caps.held_readings(world, row), entry.at_us)
                _end(world, row, fact.state, fact.actual_minor, entry.at_us)
        if fact.state != "succeeded":
            self._open[row.call_id] = row

    # --- judging -----------------------------------------------------------------------------------------

    def _judge(self, row: CallRow, fact: CallAdmitted, payload: bytes | None) -> None:
        then = self._worlds.get(fact.policy_sha256 or "")
        if payload is None or not row.args or then is None:
            self.unclear += 1
            return
        was = _DECISION.decode(msgspec.json.decode(payload)["decision"])
        again = self._decision(then, row, was)
        if _answer(again) != _answer(was) or was.answer is not _SAID.get(fact.state, Answer.ALLOW):
            self.unclear += 1
            return
        self.judged += 1
        would = self._decision(self._worlds[_CANDIDATE], row, was)
        if _answer(would) != _answer(was):
            self.otherwise.append(
                Otherwise(
                    call_id=row.call_id,
                    at_us=row.admitted_at_us,
                    tool=row.tool,
                    agent=row.agent,
                    effect=then.policy_call(row).effect,
                    was=was,
                    would=would,
                )
            )

    def _decision(self, world: World, row: CallRow, was: Decision) -> Decision:
        """Return what a policy answers to a call; what only the process knew is as its decision shows it."""
        if world.law is None:
            raise AssertionError("a world of the past has a policy")
        at_us, call = row.admitted_at_us, world.policy_call(row)
        needs = world.needs(row.call_id, call)
        self._earn(world, needs, at_us)
        provider = call.effect.provider
        process = ProcessFacts(
            live_spend=was.code != LiveSpendOff.code,
            ready={provider: not was.missing},
            missing={provider: was.missing},
        )
        facts = gather(world, call, needs, process, at_us, own=None)
        facts = structs.replace(facts, twin=was.twin, twin_checked=True)
        return world.judge.decide(world.law.policy, call, facts)

    def _earn(self, world: World, needs: Needs, at_us: int) -> None:
        """Count what was earned by then: gains once they were old enough, losses at once (M15)."""
        for need in needs.earned:
            project = "" if need.scope is Scope.ACCOUNT else need.scope_key
            until_us = at_us - need.after_s * SECOND_US
            world.earned[project, need.currency, need.mode, need.after_s] = sum(
                each.amount_minor
                for each in self._earned
                if (each.currency, each.mode) == (need.currency, need.mode)
                and (not project or each.project == project)
                and each.booked_at_us <= (until_us if each.amount_minor > 0 else at_us)
            )


def _wait(world: World, row: CallRow) -> None:
    """Count a call among those of its agent that wait for a person (M17)."""
    held = world.reservations[row.call_id].values()
    world.waiting[row.agent][row.call_id] = {each.meter: each.amount for each in held}


def _end(world: World, row: CallRow, state: str, actual_minor: int | None, at_us: int) -> None:
    row.state = state
    if state == "succeeded":
        caps.post(world, row, actual_minor, committed=False)
    else:
        caps.release(world, row)
    if state in {"succeeded", "failed"}:
        caps.count_outcome(world, row, at_us)
    world.waiting[row.agent].pop(row.call_id, None)
    world.reservations.pop(row.call_id, None)


def _answer(decision: Decision) -> tuple[Answer, tuple[str, ...]]:
    """Return what of a decision somebody would notice: the answer, and who is asked."""
    return decision.answer, tuple(sorted(ask.desk.id for ask in decision.asks))


def _laws(tx: Tx, account: str, judge: Judge, candidate: Policy, since_us: int) -> dict[str, Law]:
    """Return the candidate, and by hash each policy that judged since then and still loads."""
    c, v = h.policy_versions.c, tool_calls.c
    judged = select(v.policy_sha256).where(v.account_id == account, v.admitted_at_us >= since_us).distinct()
    texts = select(c.sha256, c.text, c.file).where(c.account_id == account, c.sha256.in_(judged))
    laws = {_CANDIDATE: law_of(candidate)}
    for sha256, text, file in tx.connection.execute(texts):
        try:
            laws[sha256] = law_of(judge.load(text, file))
        except PolicyError:
            continue  # Its calls are counted as unclear.
    return laws
