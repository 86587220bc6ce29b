"""Calls, faults, crashes and deliveries in any order: one house on the simulator, its processes run by hand.

A process dies as by a power cut: at a random command of the ledger or request to Stripe, before or after it
took effect, everything it does ends at once. The next one finds what it left. TWINS are broken on purpose.
"""
# ruff: noqa: ANN401 -- Stripe's JSON, ASGI's messages

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from msgspec import structs

from ledger.commands import Claim, Claimed, NotClaimed, Settled, Settlement
from ledger.records import CallRecord, CallState, Outcome
from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.simulator.world import WorldSettings
from policy.errors import BursarError
from tests.plugins.payments.desk import POLICY, StripeDesk
from tool_server.attempt import AttemptParts, attempt
from tool_server.reconcile import Reconciler

WIDE: Final = POLICY.replace("500.00 USD", "90000000.00 USD").replace("100.00 USD", "90000000.00 USD")
DEATHS: Final = 0.02  # Of all commands and requests, before and after each.
FAULTS: Final = tuple(
    Fault(kind, match=match, after_commit=after)
    for match in ("POST *",)
    for kind, after in (
        ("lost_before_commit", False),
        ("lost_after_commit", False),
        ("reset", False),
        ("reset", True),
        ("rate_limited", False),
        ("unreachable", False),
        ("stored_500", False),
        ("stored_500", True),
        ("html_502", False),
        ("html_502", True),
        ("key_rotated", False),
    )
)
OPEN: Final = {CallState.QUEUED, CallState.EXECUTING, CallState.UNKNOWN, CallState.AWAITING_APPROVAL}
TWINS: Final = ("keys change with each attempt", "a lost answer is a no", "every authorization is approved")
PROCESS: Final[ContextVar[Process | None]] = ContextVar("process", default=None)


class Died(BaseException):
    """The process is gone; nothing of it catches this."""


class Wrong(Exception):  # noqa: N818 -- it says what was found
    """The ledger and the simulator tell two stories."""


class Clock:
    """The house's clock and the simulator's, which stand still until they are moved."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        """Give the instant."""
        return datetime(2026, 11, 20, 10, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        """Give the seconds that have passed."""
        return self.passed_s


def a_simulator(clock: Clock, *, seed: int, lags: bool) -> Simulator:
    """Make a simulator with money enough; where its cards' own limits lag, only our answer holds them."""
    plenty = 10**12
    settings = WorldSettings(issuing_balance=plenty, outbound_balance=plenty, limits_lag=lags)
    return Simulator(seed, lambda: clock.now().timestamp(), settings=settings)


class Process:
    """One process's side of the ledger; it may die at each command, and a twin of it lies."""

    def __init__(self, books: Any, dice: random.Random, *, deaths: float, twin: str) -> None:
        self._books, self._dice, self._deaths, self._twin = books, dice, deaths, twin
        self.dead = False

    async def step(self) -> None:
        """Let others go first, now and then, and perhaps die."""
        for _ in range(self._dice.choice((0, 0, 1, 3))):
            await asyncio.sleep(0)
        if self.dead or self._dice.random() < self._deaths:
            self.dead = True
            raise Died

    async def claim(self, command: Claim) -> Claimed | NotClaimed:
        """Claim, as the ledger does."""
        await self.step()
        found: Claimed | NotClaimed = await self._books.claim(command)
        await self.step()
        if self._twin == TWINS[0] and isinstance(found, Claimed):
            call = structs.replace(found.call, provider_key=secrets.token_hex(8))
            return structs.replace(found, call=call)
        return found

    async def settle(self, command: Settlement) -> Settled:
        """Settle, as the ledger does."""
        await self.step()
        if self._twin == TWINS[1] and command.outcome is Outcome.UNKNOWN:
            command = structs.replace(command, outcome=Outcome.FAILED, stored_answer=True)
        found: Settled = await self._books.settle(command)
        await self.step()
        return found


def deadly(app: Any) -> Any:
    """Let the process that asks die before its request arrives, or once it was answered."""

    async def around(scope: Any, receive: Any, send: Any) -> None:
        process = PROCESS.get()
        if process is not None:
            await process.step()
        await app(scope, receive, send)
        if process is not None:
            await process.step()

    return around


class Tangle:
    """One house, on which one random history follows the other."""

    def __init__(self, desk: StripeDesk, clock: Clock, *, seed: int, twin: str = "") -> None:
        self.desk, self.clock, self.twin = desk, clock, twin
        self.dice = random.Random(seed)
        self.asked: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.spent = 0
        self.number = 0
        self.deaths: Counter[bool] = Counter()
        self._begin(DEATHS)

    def _begin(self, deaths: float) -> None:
        """Start a process."""
        self.number += 1
        house = self.desk.house
        self.process = Process(house.books, self.dice, deaths=deaths, twin=self.twin)
        base: AttemptParts = house.dispatcher._parts  # noqa: SLF001  the house's own wiring, run by hand
        self.parts = structs.replace(base, books=self.process, holder=f"process-{self.number}")
        self.reconciler = Reconciler(self.parts, house.registry, rand=self.dice, first_look_s=0.0)

    # --- one history -------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Play one history and hold its end against the simulator's truth."""
        self.asked, self.calls = [], []
        self._begin(DEATHS)
        rate = 0.0 if self.twin == TWINS[2] else self.dice.choice((0.0, 0.2, 0.5))
        self.desk.sim.faults.by_seed(self.dice.randrange(10**9), rate=rate, faults=FAULTS)
        for _ in range(self.dice.randint(1, 3)):
            await self._ask()
        for _ in range(self.dice.randint(4, 9)):
            await asyncio.gather(*(self._act() for _ in range(self.dice.choice((1, 1, 2, 3)))))
            if self.process.dead:
                self.deaths[True] += 1
                self._begin(DEATHS)
            self._hold_cards()
        self.desk.sim.faults.clear()
        self._holder("active")
        await self._calm()
        await self._hold()

    async def _act(self) -> None:
        token = PROCESS.set(self.process)
        acts = [self._run, self._run, self._run, self._again, self._deliver, self._pass, self._shop]
        if self.twin == TWINS[2]:
            acts = [self._run, self._shop]  # Only merchants see it, at cards that were armed.
        else:
            acts.append(self._suspend)
        try:
            await self.dice.choice(acts)()
        except Died:
            pass
        except BursarError:
            pass  # Whatever is refused changed nothing; the end is compared.
        finally:
            PROCESS.reset(token)

    async def _ask(self) -> None:
        """Let the agent ask for something new."""
        self.number += 1
        dollars = self.dice.choice(("1.00", "4.99", "12.00", "60.00"))
        what = self.dice.choice(("card", "card", "payment", "checkout"))
        key = f"key-{self.number}"
        asked: dict[str, Any] = {"tool": "stripe_create_checkout", "deal_id": self.desk.deal_id}
        asked |= {"offer": "snapshot", "key": key}
        if what == "card":
            vendor = f"v{self.number}.example"
            asked = {"tool": "request_card_purchase", "vendor": vendor, "url": f"https://{vendor}/checkout"}
            asked |= {"category": "software", "purpose": "a licence", "amount": f"{dollars} USD", "key": key}
        elif what == "payment":
            # One recipient: equal amounts would be twins, and the second ask a person (M26).
            amount = f"{self.number % 40}.{self.number % 97:02d}"
            asked = {"tool": "pay_vendor", "recipient": "acme", "invoice": key, "purpose": "hosting"}
            asked |= {"amount": f"{amount} USD", "key": key}
        self.asked.append(asked)
        await self._call(asked)

    async def _call(self, asked: dict[str, Any]) -> None:
        result = await self.desk.call(asked["tool"], **{k: v for k, v in asked.items() if k != "tool"})
        call_id = result.envelope.call_id
        if call_id is not None and asked.setdefault("call", call_id) != call_id:
            raise Wrong(f"{asked['key']} is {asked['call']} and {call_id}")
        if call_id is not None and call_id not in self.calls:
            self.calls.append(call_id)

    async def _again(self) -> None:
        """Let the agent ask for the same thing once more, under its key."""
        await self._call(self.dice.choice(self.asked))

    async def _run(self) -> None:
        """Let the process take up a call: approve, execute or reconcile it."""
        if self.calls:
            await self._take_up(await self.desk.ledger.call(self.dice.choice(self.calls)))

    async def _take_up(self, call: CallRecord) -> None:
        if call.state is CallState.AWAITING_APPROVAL and call.approval_id is not None:
            request = await self.desk.ledger.approval(call.approval_id)
            await self.desk.ledger.answer(
                request.approval_id,
                self.desk.owner,
                request.op_hash,
                "approve",
                at=self.clock.now(),
                confirmed_by="password",
            )
        elif call.state is CallState.QUEUED:
            await attempt(self.parts, call, self.desk.house.registry.tools[call.tool])
        elif call.state is CallState.UNKNOWN:
            await self.reconciler.step(call)

    async def _deliver(self) -> None:
        """Let some events arrive, and some of them be worked."""
        await self.desk.sim.deliver_due()
        await self.desk.worker.work_due()

    async def _pass(self) -> None:
        """Let time pass, sometimes past a lease, and the ledger's clocks speak."""
        self.clock.passed_s += self.dice.choice((1, 10, 60, 200))
        await self.desk.ledger.sweep(self.clock.now())

    async def _shop(self) -> None:
        """Let a merchant at a card, or a bank at a payment, within what it may and beyond."""
        cards = self._mine("issuing.card")
        payments = self._mine("v2.money_management.outbound_payment")
        if cards and self.dice.random() < 0.7:
            await self._charge(self.dice.choice(cards))
        elif payments:
            payment = self.dice.choice(payments)
            path = f"/_sim/outbound_payments/{payment['id']}"
            # What cannot become that any more stays as it is.
            await self.desk.web.post(path, json={"status": self.dice.choice(("posted", "failed"))})

    async def _charge(self, card: Any) -> None:
        limit = card["spending_controls"]["spending_limits"][0]["amount"]
        amount = max(1, int(limit * self.dice.choice((0.3, 0.6, 1.0, 1.5))))
        open_ones = [
            row
            for row in self.desk.sim.world.all("issuing.authorization")
            if row["card"]["id"] == card["id"] and row["status"] == "pending" and row["approved"]
        ]
        if open_ones and self.dice.random() < 0.7:
            row = self.dice.choice(open_ones)
            what = self.dice.choice(("increment", "capture", "reverse"))
            form = {"increment_amount": str(amount)} if what == "increment" else {}
            await self._helper(f"{row['id']}/{what}", form)
        else:
            form = {"merchant": "m", "amount": f"{amount // 100}.{amount % 100:02d}", "hold": "1"}
            await self.desk.web.post(f"/cards/{card['id']}", data=form)

    async def _helper(self, path: str, form: dict[str, str]) -> None:
        head = {"authorization": f"Bearer {self.desk.sim.spend_key}"}
        with suppress(httpx.TransportError):  # A merchant's line may break too; what it did is done.
            await self.desk.web.post(
                f"/v1/test_helpers/issuing/authorizations/{path}", data=form, headers=head
            )

    async def _suspend(self) -> None:
        """Let Stripe suspend the cardholder, or allow it again: meanwhile cards are only made."""
        self._holder("active" if self._holder() == "inactive" else "inactive")

    def _holder(self, status: str = "") -> str:
        holder = self.desk.sim.world.all("issuing.cardholder")[-1]
        holder["status"] = status or holder["status"]
        return str(holder["status"])

    # --- the end -----------------------------------------------------------------------------------------

    async def _calm(self) -> None:
        """Let everything come to its end: no more faults, no more deaths."""
        self._begin(0.0)
        calls: list[CallRecord] = []
        for _ in range(12):
            await self.desk.sim.advance(1)
            self.clock.passed_s += 200
            await self.desk.ledger.sweep(self.clock.now())
            calls = [await self.desk.ledger.call(call_id) for call_id in self.calls]
            for call in calls:
                await self._take_up(call)
            worked = await self.desk.worker.work_due()
            if not worked and not any(call.state in OPEN for call in calls):
                return
        states = [(call.tool, call.state, call.code, call.message) for call in calls if call.state in OPEN]
        raise Wrong(f"it comes to no end: {states}")

    def _mine(self, kind: str) -> list[Any]:
        """Give the simulator's objects of this history."""
        mine = set(self.calls)
        rows = self.desk.sim.world.all(kind)[-12:]  # No history makes more.
        return [row for row in rows if row["metadata"].get("bursar_call") in mine]

    def _hold_cards(self) -> None:
        """No card may ever take more than was approved, whatever merchants try."""
        for card in self._mine("issuing.card"):
            limit = card["spending_controls"]["spending_limits"][0]["amount"]
            taken = self._taken(card["id"])
            if taken > limit:
                raise Wrong(f"{card['id']} took {taken} of {limit}")

    def _taken(self, card: str) -> int:
        world = self.desk.sim.world
        held = sum(
            row["amount"]
            for row in world.all("issuing.authorization")[-40:]
            if row["card"]["id"] == card and row["approved"] and row["status"] == "pending"
        )
        rows = [row for row in world.all("issuing.transaction")[-40:] if row["card"] == card]
        return int(held) - sum(int(row["amount"]) for row in rows)

    async def _hold(self) -> None:
        """Hold effects against what is posted, committed and unknown, call by call and in sum."""
        for call_id in self.calls:
            call = await self.desk.ledger.call(call_id)
            effects = self._effects(call)
            if call.state is CallState.SUCCEEDED and len(effects) != 1:
                raise Wrong(f"{call.tool} {call_id} succeeded and did {len(effects)} things")
            if call.state is not CallState.SUCCEEDED and effects:
                raise Wrong(f"{call.tool} {call_id} is {call.state} and did {len(effects)} things")
            if call.amount is None or not effects or call.tool == "stripe_create_checkout":
                continue
            amount = sum(self._amount(each) for each in effects)
            if amount not in {0, call.amount.minor_units}:
                raise Wrong(f"{call_id} was approved for {call.amount} and did {amount}")
            self.spent += amount
            await self._hold_purchase(call, effects[0])
        views = [v for v in await self.desk.ledger.caps(self.clock.now()) if v.cap_id == "account-month"]
        used = sum(view.posted + view.held for view in views)
        if used != self.spent:
            raise Wrong(f"{used} are posted, committed or unknown, {self.spent} were done")
        if await self.desk.ledger.adjustments():
            raise Wrong("something was booked beyond what was approved")

    async def _hold_purchase(self, call: CallRecord, effect: Any) -> None:
        purchase = await self.desk.ledger.purchase(call.call_id)
        if effect["object"] != "issuing.card":
            return
        both = purchase.posted.minor_units + purchase.authorized.minor_units
        if both != self._taken(effect["id"]):
            raise Wrong(f"{effect['id']} took {self._taken(effect['id'])}, the ledger says {both}")

    def _effects(self, call: CallRecord) -> list[Any]:
        """Give what a call did at the simulator; a card that was cancelled unused did nothing."""
        kinds = {
            "request_card_purchase": "issuing.card",
            "pay_vendor": "v2.money_management.outbound_payment",
            "stripe_create_checkout": "checkout.session",
        }
        found = [
            row for row in self._mine(kinds[call.tool]) if row["metadata"]["bursar_call"] == call.call_id
        ]
        return [row for row in found if not self._never_armed(call, row)]

    def _never_armed(self, call: CallRecord, row: Any) -> bool:
        return call.state is CallState.FAILED and row.get("status") == "canceled"

    def _amount(self, effect: Any) -> int:
        if effect["object"] == "issuing.card":
            return int(effect["spending_controls"]["spending_limits"][0]["amount"])
        return 0 if effect["status"] in {"failed", "canceled"} else int(effect["amount"]["value"])
