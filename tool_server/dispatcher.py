"""What runs, and when: calls that may run now, unknowns whose turn has come, clocks that are over.

Any number of processes may run one each on the same ledger: whatever is done here is claimed there first,
and one claim wins. Nothing is remembered here that a crash would lose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, Settled
from ledger.records import CallRecord, CallState
from plugins.registry import LoadedTool, Registry
from policy.errors import CallRefused, Unavailable
from tool_server.attempt import AttemptBooks, AttemptParts, attempt, carried_out, claim_of
from tool_server.loops import every, wait
from tool_server.reconcile import Reconciler
from tool_server.waiting import Waiting

MOST_AT_ONCE: Final = 64  # Executions under way; more would only wait at the provider, on leases that run.
MOST_LOOKED_AT: Final = 256  # Calls in one look at the queue.
COALESCE_S: Final = (
    0.03  # Commits come in bursts; one look serves those of this long, within 100 ms of an approval.
)
TICK_S: Final = 1.0  # Clocks (expiry, leases, alerts) and held calls are looked at this often.
BEAT_S: Final = 5.0  # A process that said nothing for 30 s is taken for dead.
LAST_WORDS_S: Final = 5.0  # To write down that something was stopped; a lease that ends says so anyway.
HELD_AGAIN_S: Final = 2.0  # A call that could not be claimed for now is tried again after this.

_log = structlog.get_logger("bursar.dispatcher")


Begun = tuple[Admitted, Claimed | NotClaimed | None]


class DispatcherBooks(AttemptBooks, Protocol):
    """What the dispatcher asks of the ledger."""

    async def admit_and_claim(self, admission: Admission, claim: Claim) -> Begun: ...  # noqa: D102 -- the Ledger tells
    async def runnable(self, limit: int) -> Sequence[str]: ...  # noqa: D102 -- ledger.ledger.Ledger tells
    async def unknowns(self, limit: int) -> Sequence[str]: ...  # noqa: D102 -- the Ledger tells
    async def find_call(self, call_id: str) -> CallRecord | None: ...  # noqa: D102 -- the Ledger tells
    async def wait_changes(self, since: int, timeout_s: float) -> int: ...  # noqa: D102 -- the Ledger tells
    async def sweep(self, at: datetime) -> Mapping[str, int]: ...  # noqa: D102 -- the Ledger tells
    async def heartbeat(self, process_id: str, *, live_spend: bool, at: datetime) -> None: ...  # noqa: D102 -- the Ledger tells


class Dispatcher:
    """The running part of the house."""

    def __init__(
        self,
        books: DispatcherBooks,
        parts: AttemptParts,
        registry: Registry,
        *,
        waiting: Waiting,
        reconciler: Reconciler,
        deliver: Callable[[], Awaitable[object]] | None = None,
        held_again_s: float = HELD_AGAIN_S,
    ) -> None:
        self._books = books
        self._parts = parts
        self._registry = registry
        self._waiting = waiting
        self.reconciler = reconciler
        self._deliver = deliver
        self._held_again_s = held_again_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._stop = asyncio.Event()
        self._changes = 0
        self._works = False  # Until `run`: a gate without a running dispatcher only queues.

    def offer(self, call: CallRecord) -> None:
        """Start a call that may run, unless it runs here already, is not ours to run, or the house stops."""
        if not self._at_work or call.call_id in self._tasks or call.tool not in self._registry.tools:
            return
        if self._waiting.newest(call).state is CallState.QUEUED:
            self._start(call.call_id, self._execute(call))

    def begin(self, command: Admission) -> Awaitable[Admitted] | None:
        """Have a call admitted and, where it may run, claimed in the same transaction and carried out.

        None where nothing runs at once here: no room, a provider that was not measured just now, no work.
        Whoever stops waiting for the answer stops nothing.
        """
        loaded = self._registry.tools.get(command.call.tool)
        # Counted as they are begun, not as they get in: who waited for room would not even be admitted, and
        # would claim later on a readiness that was fresh once.
        if not self._at_work or len(self._tasks) >= MOST_AT_ONCE or loaded is None:
            return None
        if loaded.tool.execute is None or not self._parts.providers.is_fresh(loaded.tool.provider):
            return None
        told: asyncio.Future[Admitted] = asyncio.get_running_loop().create_future()
        told.add_done_callback(_heard)
        self._start(command.call_id, self._admit_and_execute(command, loaded, told))
        # Stopped before it is admitted, or even begun: nobody else would tell whoever asked.
        self._tasks[command.call_id].add_done_callback(lambda _done: _stopped(told))
        return told

    @property
    def _at_work(self) -> bool:
        return self._works and not self._stop.is_set()

    async def run(self, *, work: bool = True) -> None:
        """Do all that comes round until `drain`; without `work` only notice what other processes do."""
        self._works = work
        await self.beat()
        async with asyncio.TaskGroup() as group:
            group.create_task(every("queue", 0.0, self._on_change, stop=self._stop))
            group.create_task(every("beat", BEAT_S, self.beat, stop=self._stop))
            if not work:
                return
            group.create_task(every("held", TICK_S, self._look, stop=self._stop))
            group.create_task(every("unknowns", TICK_S, self._reconcile, stop=self._stop))
            group.create_task(every("clocks", TICK_S, self._sweep, stop=self._stop))
            if self._deliver is not None:
                group.create_task(every("outbox", TICK_S, self._deliver, stop=self._stop))

    async def drain(self, timeout_s: float) -> None:
        """Claim nothing more, let what runs settle, and after `timeout_s` record the rest as unknown."""
        self._stop.set()
        if self._tasks:
            _, late = await asyncio.wait(tuple(self._tasks.values()), timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=LAST_WORDS_S)

    async def beat(self) -> None:
        """Tell the other processes what this one may do (M6)."""
        await self._books.heartbeat(
            self._parts.holder, live_spend=self._parts.live_spend, at=self._parts.now()
        )

    async def idle(self) -> None:
        """Return once nothing runs here."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    @property
    def running(self) -> int:
        """How many calls run here now."""
        return len(self._tasks)

    # --- what comes round -----------------------------------------------------------------------------------

    async def _on_change(self) -> None:
        """Look at the queue, and at what others wait for, once after each burst of commits, ours or not."""
        changed = await self._books.wait_changes(self._changes, TICK_S)
        if changed == self._changes or self._stop.is_set():
            return
        await wait(self._stop, COALESCE_S)
        self._changes = changed
        if self._works:
            await self._look()
        await self._waiting.recheck()

    async def _look(self) -> None:
        """Offer every call that may run now, but those that could not just now."""
        now_s = self._parts.monotonic()
        ids = await self._books.runnable(MOST_LOOKED_AT)
        self._not_before = {call_id: at_s for call_id, at_s in self._not_before.items() if at_s > now_s}
        for call_id in ids:
            if call_id in self._tasks or call_id in self._not_before:
                continue
            call = await self._books.find_call(call_id)
            if call is not None and call.state is CallState.QUEUED:
                self.offer(call)

    async def _reconcile(self) -> None:
        """Give every unknown call its turn."""
        found = [
            await self._books.find_call(call_id) for call_id in await self._books.unknowns(MOST_LOOKED_AT)
        ]
        unknown = tuple(call for call in found if call is not None and call.state is CallState.UNKNOWN)
        for call in self.reconciler.due(unknown):
            if call.call_id not in self._tasks and not self._stop.is_set():
                self._start(call.call_id, self._learn(call))

    async def _sweep(self) -> None:
        """Let the clocks speak: expiries, leases that ended, alerts, midnight."""
        counts = await self._books.sweep(self._parts.now())
        if any(counts.values()):
            _log.info("clocks", **{name: count for name, count in counts.items() if count})

    # --- one call -------------------------------------------------------------------------------------------

    def _start(self, call_id: str, work: Any) -> None:  # noqa: ANN401 -- a coroutine
        task = asyncio.create_task(self._guarded(call_id, work))
        self._tasks[call_id] = task
        task.add_done_callback(lambda _done: self._tasks.pop(call_id, None))

    async def _guarded(self, call_id: str, work: Awaitable[None]) -> None:
        """Do one call's work; what goes wrong is said, and the call is left to the queue or its lease."""
        async with self._room:
            try:
                await work
            except CallRefused as refused:
                _log.warning("a call could not be taken up", call_id=call_id, code=refused.code)
                self._not_before[call_id] = self._parts.monotonic() + self._held_again_s
            except Exception:  # noqa: BLE001 -- nobody awaits this task, so nobody else would hear of it
                _log.exception("a call's work broke", call_id=call_id)
                self._not_before[call_id] = self._parts.monotonic() + self._held_again_s

    async def _execute(self, call: CallRecord) -> None:
        result = await attempt(self._parts, call, self._registry.tools[call.tool])
        await self._tell(call.call_id, result)

    async def _admit_and_execute(
        self, command: Admission, loaded: LoadedTool, told: asyncio.Future[Admitted]
    ) -> None:
        begun_s = self._parts.monotonic()
        claim = claim_of(self._parts, command.call_id, loaded, references=command.references)
        try:
            admitted, claimed = await self._books.admit_and_claim(command, claim)
        except Exception as error:  # noqa: BLE001 -- whoever asked hears of it, whatever it is
            if not told.done():
                told.set_exception(error)
            return
        if not told.done():
            told.set_result(admitted)
        if isinstance(claimed, Claimed):
            await self._tell(
                command.call_id, await carried_out(self._parts, claimed, loaded, begun_s=begun_s)
            )
        elif claimed is not None and claimed.state is CallState.QUEUED:
            self._not_before[command.call_id] = self._parts.monotonic() + self._held_again_s

    async def _learn(self, call: CallRecord) -> None:
        result = await self.reconciler.step(call)
        if result is not None:
            await self._tell(call.call_id, result)

    async def _tell(self, call_id: str, result: Settled | NotClaimed) -> None:
        """Tell those who wait; a call that stays or comes back queued is tried again a little later."""
        call = result.call if isinstance(result, Settled) else await self._books.find_call(call_id)
        if call is None:
            return
        if call.state is CallState.QUEUED:
            self._not_before[call_id] = self._parts.monotonic() + self._held_again_s
        self._waiting.notify(call)


def _stopped(told: asyncio.Future[Admitted]) -> None:
    """Say that the house stopped before it knew; the same key finds what was admitted all the same."""
    if not told.done():
        told.set_exception(Unavailable("the server is stopping; call again in a minute with the same key"))


def _heard(told: asyncio.Future[Admitted]) -> None:
    """Take note of a refusal: its caller may have hung up, and then nobody else would."""
    if not told.cancelled():
        told.exception()
