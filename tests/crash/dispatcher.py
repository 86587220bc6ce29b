"""The test's own dispatcher: claim, send, settle; after a start, look at what a dead process left.

It lives in a forked process and may be killed anywhere. `Twin` says which mistake a broken copy makes.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from msgspec import Struct

from ledger.commands import Claimed
from ledger.ledger import Ledger
from ledger.records import CallRecord, Outcome
from policy.errors import BursarError
from tests.crash.provider import Line
from tests.crash.server import kill_postgres
from tests.ledger.till import NOON, Till

PAST_LEASE_S: Final = 40.0  # Between two starts: longer than a lease, so that the next process sees it ended.
SETTLE_DELAY_S: Final = 5.0
PLAIN: Final = 2  # Every second intention goes to a provider call without an idempotency key.
DECLINED: Final = 7  # Every seventh is refused there.
APPROVED: Final = 3  # Every third needs a person.
TOGETHER: Final = 4  # Every fourth is admitted and claimed in one commit, where nobody is asked.
LOSES: Final = 5  # Every fifth answer is lost on its way.


class Plan(Struct, frozen=True, kw_only=True):
    """What one process is to do, and where it dies: at the n-th time it reaches a point."""

    number: int
    point: str
    nth: int
    twin: str = ""
    open_intentions: tuple[int, ...]
    alarm_s: float = 0.0  # Dies then, wherever it is; 0 is never.
    victim: str = ""  # Who dies at the point: this process, or PostgreSQL's "server" or a "backend" of it.
    postmaster: int = 0


class Shop:
    """One process: the agent, the person and the dispatcher in one."""

    def __init__(
        self, ledger: Ledger, till: Till, line: Line, plan: Plan, say: Callable[[str], None]
    ) -> None:
        self.ledger, self.till, self.line, self.plan, self.say = ledger, till, line, plan, say
        self.seen = 0

    def reached(self, stage: str, work: str = "shop") -> None:
        """Die here, where this is the place."""
        if f"{work}:{stage}" == self.plan.point:
            self.seen += 1
            if self.seen == self.plan.nth:
                self.die()

    def die(self) -> None:
        """End at once, or end the database under us."""
        if not self.plan.victim:
            os.kill(os.getpid(), signal.SIGKILL)
        killed = kill_postgres(self.plan.victim, self.plan.postmaster)
        self.say(f"pulled {' '.join(map(str, killed))}")

    async def live(self, operator: str) -> None:
        """Do a little of everything."""
        self.till.now = NOON + timedelta(seconds=self.plan.number * PAST_LEASE_S)
        await self.ledger.sweep(self.till.now)
        await self.reconcile()
        await asyncio.gather(*(self.intend(intention, operator) for intention in self.plan.open_intentions))
        for call_id in await self.ledger.runnable():
            await self.dispatch(await self.ledger.call(call_id))

    async def intend(self, intention: int, operator: str) -> None:
        """Ask for one intention, again under its key; let the person answer where one is asked."""
        call_id = self.till.ids("call")
        amount = "3.00 USD" if intention % APPROVED == 0 else "1.00 USD"
        admission = self.till.admission(
            amount,
            call_id=call_id,
            key=f"key-{intention}",
            payee=f"shop-{intention}.example",
            args={"intention": intention},
            replay_key=None if intention % PLAIN else f"bursar:{call_id}",
            replay_lifetime_s=0 if intention % PLAIN else 86_400,
            run_by_s=86_400,
        )
        claimed = None
        if intention % TOGETHER == 1:
            admitted, claimed = await self.ledger.admit_and_claim(admission, self.till.claiming(call_id))
        else:
            admitted = await self.ledger.admit(admission)
        self.say(f"admitted {intention} {admitted.call.call_id} {admitted.call.state}")
        if isinstance(claimed, Claimed):
            await self.end(claimed, self.send(admitted.call))
        request = admitted.approval
        if request is not None and admitted.call.state == "awaiting_approval":
            if self.plan.twin == "says yes before it is stored":
                self.say(f"approved {intention} {admitted.call.call_id}")
            await self.ledger.answer(
                request.approval_id, operator, admitted.call.op_hash, "approve", at=self.till.now
            )
            self.say(f"approved {intention} {admitted.call.call_id}")

    async def dispatch(self, call: CallRecord) -> None:
        """Claim, send, settle: the claim is durable before a byte leaves."""
        answer = self.send(call) if self.plan.twin == "sends before the claim" else None
        claimed = await self.ledger.claim(self.till.claiming(call.call_id))
        if isinstance(claimed, Claimed):
            await self.end(claimed, answer or self.send(call))

    def send(self, call: CallRecord) -> dict[str, Any]:
        """Ask the provider for the effect."""
        key = call.provider_key
        if self.plan.twin == "keys change with each try" and key is not None:
            key = f"{key}:{self.plan.number}"
        intention = intention_of(call)
        self.reached("sending")
        answer = self.line.ask(
            do="charge", key=key, call_id=call.call_id, intention=intention, amount=100,
            declines=intention % DECLINED == 0,
        )  # fmt: skip
        self.reached("effected")
        return {"lost": True} if intention % LOSES == 0 and not answer["replayed"] else answer

    async def end(self, claimed: Claimed, answer: dict[str, Any]) -> None:
        """Settle by the provider's answer; no answer is no knowledge."""
        if answer.get("lost"):
            await self.till.settle(claimed, Outcome.UNKNOWN, identity=None)
        elif answer["ok"]:
            await self.till.settle(claimed)
        else:
            await self.till.settle(claimed, Outcome.FAILED, stored_answer=answer["replayed"])
        self.reached("answered")

    async def reconcile(self) -> None:
        """Settle unknown calls: by a replay under the same key, else by looking."""
        for call_id in await self.ledger.unknowns():
            call = await self.ledger.call(call_id)
            if self.plan.twin == "an unknown call is sent again":
                self.send(call)
            purpose = "replay" if call.provider_key else "lookup"
            claimed = await self.ledger.claim(self.till.claiming(call_id, purpose=purpose))
            if not isinstance(claimed, Claimed):
                continue
            if purpose == "replay":
                await self.end(claimed, self.send(call))
                continue
            found = self.line.ask(do="find", call_id=call_id)["found"]
            outcome = Outcome.SUCCEEDED if found else Outcome.FAILED
            await self.till.settle(claimed, outcome, settle_after_s=SETTLE_DELAY_S)


def intention_of(call: CallRecord) -> int:
    """Return which intention a call is."""
    return int((call.idempotency_key or "key-0").removeprefix("key-"))


async def alive(shop: Shop, operator: str) -> None:
    """Live, and let go of the ledger; a refusal says nothing about a crash."""
    try:
        await shop.live(operator)
    except BursarError as refused:
        shop.say(f"refused {type(refused).__name__} {refused}")
        raise
    finally:
        await shop.ledger.close()
