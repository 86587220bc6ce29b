"""An adversary who wants more without a person than the policy lets through: splits, many names, edges.

It plays against the ledger's planners in memory: many agents, payees, tools and runs, currencies, amounts
that just fit, clocks at the very edges of windows and of their buckets. The judge beside it knows nothing of
meters: it keeps every purchase that ran without a person, and adds up each window over. TWINS are broken on
purpose.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from ledger.meters import FLOATING
from ledger.rows import UsageRow
from ledger.world import World
from policy.windows import bucket_s
from tests.ledger.memory import START, Memory, Planners
from tests.ledger.model import OURS, SECOND, PlainCall
from tests.ledger.model_life import Said

ZONE: Final = "Europe/Berlin"
STEPS: Final = 24
LIMIT: Final = 1_000  # Minor units: what may go out in one window without a person.
ROLLING: Final = {"1h": 3_600, "24h": 86_400, "7d": 604_800}
AGENTS: Final = {"scout": "shop", "maker": "shop", "third": "lab"}
RUNS: Final = {"run-a": "shop", "run-b": "shop", "run-c": "lab"}
PAYEES: Final = ("one.example", "two.example", "ONE.example", "three.example")
NOON: Final = int(START.timestamp()) * SECOND
TWINS: Final = (
    "what runs counts for nothing",
    "each agent has a threshold of its own",
    "windows are half as long",
    "euros are not dollars",
    "the claim does not look again",
)


class TooMuch(AssertionError):  # noqa: N818 -- it says what was met
    """More went out without a person than the policy lets through."""


class Threshold(Struct, frozen=True):
    """A policy with one sum rule and one count rule, as a person writes it; in the plain model's place."""

    per: str
    window: str
    count_per: str
    count_window: str
    count: int
    amount: str = '"10.00 USD"'
    caps: tuple[()] = ()

    def text(self) -> str:
        """Write it."""
        asks = "effect: require_approval, approval: desk"
        money = "kind: [spend, provision]"
        many = f"sum_above: {{amount: {self.amount}, per: {self.per}, window: {self.window}}}"
        often = f"count_above: {{count: {self.count}, per: {self.count_per}, window: {self.count_window}}}"
        return (
            f"version: 1\ntimezone: {ZONE}\n"
            'limits: {open_requests: 200, held_share: "100%"}\n'
            "approvals:\n  - {id: desk, who: [role:approver], quorum: 1, expires_in: 30d, run_within: 7d}\n"
            "rules:\n"
            f"  - {{id: go, match: {{{money}}}, effect: allow}}\n"
            f"  - {{id: many, match: {{{money}, {many}}}, {asks}}}\n"
            f"  - {{id: often, match: {{{money}, {often}}}, {asks}}}\n"
        )


class Ran(Struct):
    """One purchase that ran without a person."""

    call: PlainCall
    at: int
    failed: bool = False


def policies() -> list[Threshold]:
    """Return every scope with every window."""
    windows = (*ROLLING, "day", "month", "run")
    pers = ("account", "project", "agent", "payee", "tool", "run")
    made = []
    for number, per in enumerate(pers):
        for place, window in enumerate(windows):
            other = pers[(number + place + 1) % len(pers)]
            made.append(Threshold(per, window, other, windows[(place + 2) % len(windows)], 4 + place))
    return made


POLICIES: Final = policies()


class Adversary:
    """One seeded sequence against one policy."""

    def __init__(self, seed: int, *, twin: str = "") -> None:
        self.dice = random.Random(seed)
        self.policy = POLICIES[seed % len(POLICIES)]
        self.at = NOON + self.dice.randrange(86_400) * SECOND
        self.number = 0
        self.ran: list[Ran] = []
        self.calls: dict[str, PlainCall] = {}
        self.asked: set[str] = set()  # Calls that a person has approved.
        self.twin = twin
        self.memory = Memory(_bent(self.policy, twin), Planners())  # type: ignore[arg-type]  # it reads its text only
        for name, project in AGENTS.items():
            self.memory.agent(name, project)
        for run, project in RUNS.items():
            self.memory.run(run, project)
        self.memory.operator("ann", "approver")

    @property
    def world(self) -> World:
        """The ledger's rows."""
        return self.memory.world

    def play(self) -> list[Ran]:
        """Play the sequence; give what ran without a person."""
        moves = (self.ask, self.ask, self.run, self.run, self.run_all, self.end, self.person, self.wait)
        for _ in range(STEPS):
            self.dice.choice(moves)()
        self.run_all()
        return self.ran

    # --- moves -------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask for something, or for one thing in many parts, before any of it runs."""
        whole = self.dice.choice((LIMIT, LIMIT + 1, 2 * LIMIT, self.dice.randrange(1, 2 * LIMIT)))
        parts = self.dice.choice((1, 1, 2, 3, 7))
        for number in range(parts):
            # Amounts that differ a little are nobody's twins (M26), and a person is not asked for that.
            self._ask(max(1, whole // parts + self.dice.choice((0, 0, 1, -1)) + number % 3))

    def _ask(self, amount: int) -> None:
        self.number += 1
        agent = self.dice.choice(tuple(AGENTS))
        name = f"call-{self.number}"
        call = PlainCall(
            call_id=name,
            ordinal=self.world.next_ordinal,
            agent=agent,
            project=AGENTS[agent],
            run=self.dice.choice([run for run, project in RUNS.items() if project == AGENTS[agent]]),
            kind=self.dice.choice(("spend", "spend", "provision")),
            tool=self.dice.choice(("buy", "pay")),
            amount=amount,
            currency=self.dice.choice(("USD",) * 9 + ("EUR",)),
            mode=self.dice.choice(("simulated", "simulated", "simulated", "test")),
            payee=self.dice.choice(PAYEES),
            key=name,
            fingerprint=name,
            op_hash=name,
            at=self.at,
        )
        self.calls[name] = call
        self.memory.admit(call, self.at)

    def run(self) -> None:
        """Run one queued call."""
        queued = [name for name in self.calls if self._state(name) == "queued"]
        if queued:
            self._run(self.dice.choice(queued))

    def run_all(self) -> None:
        """Run everything that is queued, in any order."""
        queued = [name for name in self.calls if self._state(name) == "queued"]
        self.dice.shuffle(queued)
        for name in queued:
            self._run(name)

    def _run(self, name: str) -> None:
        if self.twin == TWINS[4]:
            self._looks_away()
        said = self.memory.claim(name, "execute", OURS, 600 * SECOND, self.at)
        if said.startswith("claimed") and name not in self.asked:
            self.ran.append(Ran(self.calls[name], self.at))
            self.judge()
        if self.twin == TWINS[0]:
            self._forgets()

    def _forgets(self) -> None:
        """Let what runs count for nothing; only what waits does."""
        for rows in self.world.usage.values():
            rows.update({start: _unheld(row) for start, row in rows.items() if start != FLOATING})

    def _looks_away(self) -> None:
        """Let a claim see nothing of what went before it: then only the admission decides."""
        for rows in self.world.usage.values():
            for row in rows.values():
                row.held = row.posted = row.committed = 0
        self.world.floating.clear()

    def end(self) -> None:
        """End something that runs: well, badly, or in doubt; a doubt counts like what went well."""
        running = [each for each in self.ran if self._state(each.call.call_id) == "executing"]
        if not running:
            return
        found = self.dice.choice(running)
        row = self.world.calls[found.call.call_id]
        outcome = self.dice.choice(("succeeded", "succeeded", "failed", "unknown"))
        said = Said(row.attempts, row.lease_token, outcome)
        state = self.memory.settle(row.call_id, said, self.at)
        found.failed = state == "failed"

    def person(self) -> None:
        """Let a person approve something."""
        waiting = [name for name in self.calls if self._state(name) == "awaiting_approval"]
        if waiting:
            name = self.dice.choice(waiting)
            self.memory.answer(name, "ann", "approve", self.calls[name].op_hash, self.at)
            self.asked.add(name)

    def wait(self) -> None:
        """Let time pass: a little, or to the edge of a window or bucket, a second before, at it, or after."""
        edges = [self.dice.choice((1, 30, 240, 1_800)) * SECOND + self.at]
        seconds = [
            ROLLING[each] for each in (self.policy.window, self.policy.count_window) if each in ROLLING
        ]
        for window in seconds:
            size = bucket_s(window) * SECOND
            edges += [each.at + window * SECOND for each in self.ran[-6:]]
            edges += [(each.at // size * size) + window * SECOND for each in self.ran[-6:]]
            edges += [(each.at // size + 1) * size + window * SECOND for each in self.ran[-6:]]
        edges.append(_midnight_after(self.at))
        to = self.dice.choice(edges) + self.dice.choice((-1, 0, 1)) * self.dice.choice((1, SECOND))
        self.at = max(self.at, to)
        self.memory.sweep(self.at)

    def _state(self, name: str) -> str:
        row = self.world.calls.get(name)
        return "" if row is None else str(row.state)

    # --- the judge ---------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Add each window over that ends with the last of what ran."""
        good = [each for each in self.ran if not each.failed]
        if not good:
            return
        last = good[-1]
        if last.call.currency != "USD":
            raise TooMuch(
                f"{last.call.currency} went out without a person, the rule names dollars only (M16)"
            )
        policy = self.policy
        alike = [each for each in good if each.call.mode == last.call.mode]
        of_sum = [each for each in alike if _same(policy.per, policy.window, each, last)]
        total = sum(each.call.amount or 0 for each in of_sum)
        if total > LIMIT:
            raise TooMuch(f"{total} in one {policy.window} per {policy.per}")
        counted = [each for each in alike if _same(policy.count_per, policy.count_window, each, last)]
        if len(counted) > policy.count:
            raise TooMuch(f"{len(counted)} calls in one {policy.count_window} per {policy.count_per}")


def _same(per: str, window: str, one: Ran, last: Ran) -> bool:
    """Say whether one purchase counts in the window that the last one closes."""
    if per != "account" and _key(per, one.call) != _key(per, last.call):
        return False
    if window in ROLLING:
        return last.at - one.at < ROLLING[window] * SECOND
    if window == "run":
        return one.call.run == last.call.run or per != "run"
    return _date(one.at)[: 3 if window == "day" else 2] == _date(last.at)[: 3 if window == "day" else 2]


def _key(per: str, call: PlainCall) -> Any:  # noqa: ANN401 -- any field of a call
    return str(call.payee).casefold() if per == "payee" else getattr(call, per)


def _date(at: int) -> tuple[int, int, int]:
    found = datetime.fromtimestamp(at / SECOND, UTC).astimezone(ZoneInfo(ZONE))
    return found.year, found.month, found.day


def _midnight_after(at: int) -> int:
    here = datetime.fromtimestamp(at / SECOND, UTC).astimezone(ZoneInfo(ZONE))
    begun = here.replace(hour=0, minute=0, second=0, microsecond=0)
    return int(begun.timestamp() + 86_400) * SECOND


def _unheld(row: UsageRow) -> UsageRow:
    row.held = 0
    return row


def _bent(policy: Threshold, twin: str) -> Threshold:
    """Return the policy as a twin's ledger hears it."""
    parts = {name: getattr(policy, name) for name in policy.__struct_fields__}
    if twin == TWINS[1] and policy.per in {"account", "project", "payee", "tool"}:
        parts["per"] = "agent"
    if twin == TWINS[2]:
        halves = {"1h": "30m", "24h": "12h", "7d": "3d"}
        parts["window"] = halves.get(policy.window, policy.window)
    if twin == TWINS[3]:
        parts["amount"] = '["10.00 USD", "10.00 EUR"]'
    return Threshold(**parts)
