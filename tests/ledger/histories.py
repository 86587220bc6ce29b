"""One seeded history of many calls, agents, windows, currencies, modes and people: planners beside model.

Every command goes to both; they must answer with the same word, leave the same states and the same usage.
Beside that, no claim may take any cap's window above its limit of now.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ledger.records import Outcome
from tests.ledger.memory import MODES as PLAIN_MODES
from tests.ledger.memory import Disagreed, Memory, Planners, states
from tests.ledger.model import (
    DAY,
    MONEY_KINDS,
    OTHER,
    OURS,
    SECOND,
    PlainAttempt,
    PlainCall,
    PlainCap,
    PlainEarning,
    PlainPolicy,
)
from tests.ledger.model_life import KEYED, Life, Said

MODES: Final = (PLAIN_MODES[0], *PLAIN_MODES)
STEPS: Final = 16
STARTS: Final = tuple(  # Plain days, both changes of the clocks there, the turns of a month and of a year.
    int(datetime(*day, 17, tzinfo=UTC).timestamp()) * SECOND
    for day in ((2025, 11, 20), (2025, 11, 1), (2026, 3, 7), (2026, 2, 28), (2025, 12, 31))
)
AMOUNTS: Final = (100, 250, 400, 600, 900)
PAYEES: Final = ("one.example", "two.example", "evil.example")
PEOPLE: Final = {"ann": "approver", "bob": "approver", "olga": "owner"}
AGENTS: Final = {"scout": "shop", "maker": "shop", "third": "lab"}
RUNS: Final = {"run-a": "shop", "run-b": "shop", "run-c": "lab"}
OUTCOMES: Final = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_SENT)
SCOPES: Final = (("account", "acct"), ("project", "shop"), ("agent", "scout"), ("provider", "stripe"))
SPANS: Final = (0, 1, 20, 120, 1_000, 4_000, 3 * 3_600, 9 * 3_600, 25 * 3_600, 40 * 86_400, -30)
PERS: Final = ("account", "project", "run", "agent", "payee", "tool")
WINDOWS: Final = ("run", "day", "month", "1h", "24h")
KINDS: Final = {"spend": 16, "provision": 4, "earn": 2, "draft": 2, "human_only": 3, "withdraw": 1}


def policies(count: int = 48) -> list[PlainPolicy]:
    """Return the policies histories are drawn under; each kind of cap is in some."""
    dice = random.Random(7)
    out = []
    for _ in range(count):
        limits = (("USD", dice.choice((500, 1_000, 1_500))), ("USD", 1_200), ("EUR", 1_000), ("calls", 4))
        picked = [
            PlainCap(
                f"cap-{place}", dice.choice(PERS), dice.choice(WINDOWS), unit, limit,
                restores=unit != "calls" and dice.random() < 0.2,
            )
            for place, (unit, limit) in enumerate(limits)
        ]  # fmt: skip
        if dice.random() < 0.8:  # Without such a cap no live money leaves.
            picked.append(PlainCap("wide", "account", dice.choice(WINDOWS[1:]), "USD", 4_000))
        if dice.random() < 0.4:
            per, after = dice.choice(("account", "project")), dice.choice((3_600, 604_800))
            picked.append(PlainCap("share", per, dice.choice(WINDOWS[1:]), "USD", 50, after=after))
        out.append(
            PlainPolicy(
                caps=tuple(picked),
                live=dice.random() < 0.8,
                allow_self=dice.random() < 0.5,
                not_by_owner=dice.random() < 0.3,
                refunds_at_desk=dice.random() < 0.5,
                ask_above=dice.choice((200, 500, 5_000)),
                boss_above=dice.choice((700, 5_000)),
                sum_above=dice.choice((None, None, 1_000)),
                quorum=dice.choice((1, 2)),
                open_requests=dice.choice((2, 20)),
                held_share=dice.choice((25, 100)),
            )
        )
    return out


POLICIES: Final = policies()


class History:
    """One seeded history: the ledger's planners and the model side by side."""

    def __init__(self, seed: int, planners: Planners) -> None:
        self.dice = random.Random(seed)
        self.at = self.dice.choice(STARTS) + self.dice.randrange(DAY)
        policy = self.dice.choice(POLICIES)
        self.model, self.memory = Life(policy), Memory(policy, planners)
        self.number = 0
        for name, project in AGENTS.items():
            self.model.agents[name] = project
            self.memory.agent(name, project)
        for run, project in RUNS.items():
            self.model.runs[run] = project
            self.memory.run(run, project)
        for name, role in PEOPLE.items():
            self.model.operators[name] = role
            self.memory.operator(name, role)
        if any(cap.after is not None for cap in policy.caps):
            for project in ("shop", "lab"):
                for mode in PLAIN_MODES:
                    since = self.at - self.dice.choice((0, 2, 8, 8)) * DAY
                    self.earned(PlainEarning(project, 1_000, "USD", mode, mode, since))

    def play(self) -> None:
        """Run the history, comparing after every command."""
        for _ in range(self.dice.randrange(2, 5)):
            self.admit()
        for step in range(STEPS):
            self.move()
            if step == STEPS // 2:
                self.compare_usage()
        self.compare_usage()

    def move(self) -> None:
        """Make one move; one that would find nothing to work on is mostly drawn again."""
        open_states = {call.state for call in self.model.calls.values()}
        move: Move = History.admit
        for _ in range(REDRAWS):
            move = self.dice.choices(MOVES, WEIGHTS)[0]
            if not (wants := WORKS_ON.get(move)) or wants & open_states:
                break
        move(self)

    # --- moves -------------------------------------------------------------------------------------------

    def admit(self) -> None:
        """Admit a new call, or an old intention anew."""
        call = self.asked(
            self.dice.choice(tuple(AGENTS)), self.dice.choices(*zip(*KINDS.items(), strict=True))[0]
        )
        self.say("admit", self.model.admit(call, self.at), self.memory.admit(call, self.at), call)

    def asked(self, agent: str, kind: str) -> PlainCall:
        """Draw a call on its way in."""
        dice = self.dice
        self.number += 1
        run = dice.choice([run for run, project in RUNS.items() if project == AGENTS[agent]])
        money = kind in {*MONEY_KINDS, "human_only"} or dice.random() < 0.5
        intention = dice.choice((self.number, self.number, self.number, 1))
        keyed = kind in KEYED and dice.random() < 0.97
        return PlainCall(
            call_id=f"call-{self.number}", ordinal=self.memory.world.next_ordinal, agent=agent,
            project=AGENTS[agent], run=run, kind=kind, tool=dice.choice(("buy", "pay")),
            amount=dice.choice(AMOUNTS) if money else None,
            currency=dice.choice(("USD", "USD", "EUR")) if money else None,
            mode=dice.choice(MODES), payee=dice.choice(PAYEES[:2] * 4 + PAYEES),
            key=f"key-{intention}" if keyed else None, fingerprint=f"intention-{intention}",
            op_hash=f"op-{self.number}", at=self.at, local=kind == "draft",
        )  # fmt: skip

    def edit(self) -> None:
        """Let a person edit a waiting call, most often into a like one under a fresh key."""
        old, who = self.pick("awaiting_approval"), self.dice.choice(tuple(PEOPLE))
        new = self.asked(old.agent, old.kind)
        if self.dice.random() < 0.8:
            new.tool, new.run, new.mode, new.currency = old.tool, old.run, old.mode, old.currency
        op_hash = old.op_hash if self.dice.random() < 0.95 else "op-other"
        said = self.model.edit(old, new, who, op_hash, self.at)
        self.say("edit", said, self.memory.edit(old.call_id, new, who, op_hash, self.at), new)

    def resolve(self) -> None:
        """Let a person say what became of a call nobody knows of."""
        call, who = self.pick("unknown"), self.dice.choice(tuple(PEOPLE))
        outcome = self.dice.choice(("succeeded", "failed"))
        said = self.model.resolve(call, who, outcome, self.at)
        self.say("resolve", said, self.memory.resolve(call.call_id, who, outcome, self.at), call)

    def give_back(self) -> None:
        """Book a refund of a call that succeeded."""
        call = self.pick("succeeded")
        if call.state != "succeeded" or call.amount is None or call.committed:
            return
        amount = self.dice.choice((50, call.amount))
        said = self.model.give_back(call, amount, self.at)
        self.say("refund", said, self.memory.give_back(call.call_id, amount, self.at), call)

    def earn(self) -> None:
        """Book what was earned or lost; sometimes its evidence is weaker than its mode."""
        dice = self.dice
        mode = dice.choice(MODES)
        self.earned(
            PlainEarning(
                dice.choice(("shop", "shop", "lab")), dice.choice((500, 1_000, -400, -1_200, -7_000)),
                dice.choice(("USD", "USD", "USD", "EUR")), mode,
                mode if dice.random() < 0.9 else "simulated", self.at,
            )
        )  # fmt: skip

    def earned(self, earning: PlainEarning) -> None:
        """Book one earning on both sides."""
        self.model.earnings.append(earning)
        self.memory.earn(earning)

    def live(self) -> None:
        """Start this process or another one with another LIVE_SPEND."""
        if self.dice.random() < 0.5:
            self.model.live_spend = self.memory.live_spend = self.dice.random() < 0.6
            return
        said = self.dice.random() < 0.5
        self.model.beat = (said, self.at)
        self.memory.beat(said, self.at)

    def claim(self) -> None:
        """Claim a call, most often one that waits for it."""
        call = self.pick(self.dice.choice(("queued", "unknown")))
        purposes = ("execute", "replay", "replay", "lookup")
        purpose = "execute" if call.state != "unknown" else self.dice.choice(purposes)
        instance = OTHER if self.dice.random() < 0.05 else OURS
        lease = self.dice.choice((30, 600)) * SECOND
        said = self.model.claim(call, purpose, instance, lease, self.at)
        met = self.memory.claim(call.call_id, purpose, instance, lease, self.at)
        self.say("claim", said, met, call)
        if met.startswith("claimed") and purpose == "execute":
            self.hold_to_limits(call)

    def settle(self) -> None:
        """Settle the newest attempt of a call, an older one, or none."""
        dice, call = self.dice, self.pick(settled_next(self.dice))
        tried: list[PlainAttempt | None] = [*call.attempts, *call.attempts[-1:] * 3, None]
        attempt = dice.choice(tried)
        outcome = dice.choices(OUTCOMES, (4, 3, 3, 2))[0]
        number, token = (0, 0) if attempt is None else (attempt.number, attempt.token)
        instance = OTHER if dice.random() < 0.04 else None if attempt is None else attempt.instance
        said = Said(number, token, outcome.value, instance=instance)
        if outcome is Outcome.SUCCEEDED and call.amount is not None:
            said.actual = dice.choice((None, call.amount, call.amount - 50, call.amount + 300))
            said.committed = (
                call.kind == "spend" and said.actual in {None, call.amount} and dice.random() < 0.1
            )
        said.stored = dice.random() < 0.3
        said.after = dice.choice((None, 60 * SECOND))
        met = self.memory.settle(call.call_id, said, self.at)
        self.say("settle", self.model.settle(call, said, self.at), met, call)

    def answer(self) -> None:
        """Let a person answer, sometimes for another operation than the stored one."""
        call, who = self.pick("awaiting_approval"), self.dice.choice(tuple(PEOPLE))
        verdict = self.dice.choices(("approve", "deny"), (6, 1))[0]
        op_hash = call.op_hash if self.dice.random() < 0.9 else "op-other"
        said = self.model.answer(call, who, verdict, op_hash, self.at)
        self.say("answer", said, self.memory.answer(call.call_id, who, verdict, op_hash, self.at), call)

    def revoke(self) -> None:
        """Let a person take a yes back."""
        given = [call for call in self.model.calls.values() if call.verdicts] or [self.pick("queued")]
        call, who = self.dice.choice(given), self.dice.choice(tuple(PEOPLE))
        said = self.model.revoke(call, who, self.at)
        self.say("revoke", said, self.memory.revoke(call.call_id, who, self.at), call)

    def cancel(self) -> None:
        """Take a call back."""
        call = self.pick("queued")
        self.say("cancel", self.model.cancel(call, self.at), self.memory.cancel(call.call_id, self.at), call)

    def jump(self) -> None:
        """Move the clock, sometimes over midnight, sometimes a little back; usually sweep then."""
        self.at += self.dice.choice(SPANS) * SECOND
        if self.dice.random() < 0.7:
            self.say("sweep", self.model.sweep(self.at), self.memory.sweep(self.at), None)

    def posture(self) -> None:
        """Move a posture."""
        scope, posture = (
            self.dice.choice(SCOPES),
            self.dice.choice(("normal", "normal", "no_spend", "draft_only", "read_only")),
        )
        self.model.postures[scope] = posture
        self.memory.posture(scope, posture)

    def policy(self) -> None:
        """Activate a policy with other limits and thresholds; caps keep what they speak of."""
        old, dice = self.model.policy, self.dice
        factor = dice.choice((50, 100, 100, 200))
        new = dataclasses.replace(
            old,
            caps=tuple(dataclasses.replace(cap, limit=self.new_limit(cap, factor)) for cap in old.caps),
            ask_above=dice.choice((200, 5_000)),
            quorum=dice.choice((1, 2)),
            live=dice.choice((old.live, True, False)),
        )
        self.model.policy = new
        self.memory.law(new)

    def new_limit(self, cap: PlainCap, factor: int) -> int:
        """Return another limit of a cap in its own unit."""
        if cap.after is not None:
            return self.dice.choice((20, 50, 100))
        return self.dice.choice((2, 4, 8)) if cap.unit == "calls" else 10 * factor

    def people(self) -> None:
        """Disable, demote or bring back a person; revoke an agent; close a run; break the provider."""
        what = self.dice.randrange(4)
        if what == 0:
            who, role = self.dice.choice(tuple(PEOPLE)), self.dice.choice(("viewer", "approver", "owner", ""))
            self.model.operators.pop(who, None)
            if role:
                self.model.operators[who] = role
            self.memory.operator(who, role or "owner", active=bool(role))
        elif what == 1:
            name, active = self.dice.choice(tuple(AGENTS)), self.dice.random() < 0.5
            self.model.agents.pop(name, None)
            if active:
                self.model.agents[name] = AGENTS[name]
            self.memory.agent(name, AGENTS[name], active=active)
        elif what == 2:
            run, opened = self.dice.choice(tuple(RUNS)), self.dice.random() < 0.5
            self.model.runs.pop(run, None)
            if opened:
                self.model.runs[run] = RUNS[run]
            self.memory.run(run, RUNS[run], "open" if opened else "closed")
        else:
            self.model.ready = self.memory.ready = not self.model.ready

    # --- comparisons -------------------------------------------------------------------------------------

    def pick(self, state: str) -> PlainCall:
        """Return a call, most often one in a state."""
        calls = list(self.model.calls.values())
        while not calls:
            self.admit()
            calls = list(self.model.calls.values())
        liked = [call for call in calls if call.state == state]
        return self.dice.choice(liked if liked and self.dice.random() < 0.85 else calls)

    def say(self, what: str, model: str, ledger: str, call: PlainCall | None) -> None:
        """Compare two answers, and every state after them."""
        if model != ledger:
            raise Disagreed(f"{what} of {call}: the rules say {model!r}, the ledger {ledger!r}")
        met = states(self.memory.world.calls)
        said = {call_id: each.state for call_id, each in self.model.calls.items()}
        if met != said:
            raise Disagreed(f"after {what}: the rules say {said}, the ledger {met}")

    def hold_to_limits(self, call: PlainCall) -> None:
        """No claim takes a window above its limit of now, at any level."""
        for cap in self.model.binding(call):
            key = "acct" if cap.per == "account" else str(getattr(call, cap.per))
            _, fixed = self.memory.used(cap, key, call.mode, self.at)
            if fixed > self.model.limit(cap, call, self.at):
                raise Disagreed(f"{cap} of {key} stands at {fixed} after the claim of {call.call_id}")

    def compare_usage(self) -> None:
        """Compare usage as the rows have it with the sum over all calls."""
        seen = set()
        for call in self.model.calls.values():
            for cap in self.model.binding(call):
                key = "acct" if cap.per == "account" else str(getattr(call, cap.per))
                if (cap.id, key, call.mode) in seen:
                    continue
                seen.add((cap.id, key, call.mode))
                met = sum(self.memory.used(cap, key, call.mode, self.at))
                said = self.model.used(cap, call, self.at, None)
                if met != said:
                    raise Disagreed(f"{cap} of {key}: the calls add up to {said}, the rows say {met}")


def settled_next(dice: random.Random) -> str:
    """Return which calls are settled next."""
    return dice.choices(("executing", "unknown", "failed"), (6, 3, 1))[0]


Move = Callable[[History], None]
MOVES: Final[tuple[Move, ...]] = (
    History.admit, History.claim, History.settle, History.answer, History.revoke, History.cancel,
    History.jump, History.posture, History.policy, History.people,
    History.edit, History.resolve, History.give_back, History.earn, History.live,
)  # fmt: skip
WEIGHTS: Final = (12, 20, 18, 12, 2, 2, 6, 2, 2, 2, 3, 2, 1, 2, 2)
REDRAWS: Final = 4
WORKS_ON: Final[dict[Move, set[str]]] = {  # In which states a move finds something to do.
    History.claim: {"queued", "unknown"},
    History.settle: {"executing", "unknown"},
    History.answer: {"awaiting_approval"},
    History.revoke: {"awaiting_approval", "queued"},
    History.cancel: {"queued"},
    History.edit: {"awaiting_approval"},
    History.resolve: {"unknown"},
    History.give_back: {"succeeded"},
}
