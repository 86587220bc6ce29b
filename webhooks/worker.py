"""The webhook worker: fetches what events speak of, books it, and looks for what no event told.

One round takes the events that are due, fetches each object once, and books its events in one transaction.
The reconciler lists Stripe's events since its cursor, and looks at sessions and instruments that are open for
long; both go through the same door. Cards follow posture and LIVE_SPEND, also after a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from ledger.booking import Verdict
from ledger.events import needs_no_object
from ledger.inbox import Due
from ledger.records_revenue import Shown
from ledger.side_revenue import ASKED
from plugins.hookspecs import Provider
from policy.errors import BursarError
from policy.money import enc_hook
from webhooks.signatures import Refused
from webhooks.stripe_events import StripeDeps, read_event

LOOK_S: Final = 1.0  # How late another process's event, or one whose pause is over, may be noticed.
RECONCILE_S: Final = 300.0
SWITCH_S: Final = 2.0  # How late cards follow a posture.
CALL_MARK: Final = "bursar_call"  # In the metadata of whatever a call makes at the provider.
OVERLAP: Final = timedelta(hours=1)  # Stripe's list may show an event a little late.
FIRST_LOOK_BACK: Final = timedelta(days=29)  # Stripe lists events for 30 days.
OPEN_FOR: Final = timedelta(minutes=2)  # Sessions and instruments younger than this have told all there is.
AT_ONCE: Final = 16  # Fetches under way together: Stripe takes 100 ms and more for each.
TAKEN: Final = 100  # Events taken in one round.
FETCH_WITHIN_S: Final = 30.0
_MOST_FOLLOWED: Final = 3  # From a charge to its session, and no further.

_log = structlog.get_logger("bursar.worker")


class Reconciled(Struct, frozen=True):
    """What a reconciliation found."""

    events: int
    new: int
    looked_at: int


class WebhookWorker:
    """Works the inbox of one process; any number of them may run beside each other."""

    def __init__(
        self,
        deps: StripeDeps,
        provider: Provider,
        *,
        reconcile_s: float = RECONCILE_S,
        look_s: float = LOOK_S,
        switch_s: float = SWITCH_S,
    ) -> None:
        self._deps = deps
        self._provider = provider
        self._reconcile_s, self._look_s, self._switch_s = reconcile_s, look_s, switch_s
        self._arrived = asyncio.Event()
        self._stop = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._reconciling = asyncio.Lock()
        self._reconciled_at: datetime | None = None

    def wake(self) -> None:
        """Say that an event arrived."""
        self._arrived.set()

    async def run(self) -> None:
        """Work until closed; the first reconciliation comes at once."""
        loops = (self._inbox(), self._schedule(self._reconcile_s, self._reconcile_quietly))
        await asyncio.gather(*loops, self._schedule(self._switch_s, self._switch_quietly))

    async def close(self) -> None:
        """Let the rounds under way end, and begin no more."""
        self._stop.set()
        self._arrived.set()

    # --- events ------------------------------------------------------------------------------------------

    async def _inbox(self) -> None:
        while not self._stop.is_set():
            self._arrived.clear()
            worked = await _quietly("inbox", self.work_due)
            if not worked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), self._look_s)

    async def work_due(self) -> int:
        """Work the events that are due now; return how many."""
        taken = await self._deps.ledger.take_events(self._deps.now(), TAKEN)
        groups: dict[str, list[Due]] = defaultdict(list)
        for due in taken:
            groups[due.object_ref].append(due)
        await asyncio.gather(*(self._work(ref, group) for ref, group in groups.items()))
        return len(taken)

    async def _work(self, ref: str, group: Sequence[Due]) -> None:
        ids = [due.event_id for due in group]
        try:
            shown = await self._shown(ref, group)
            await self._apply(ids, shown)
        except Exception as error:  # noqa: BLE001 -- whatever the provider did, the events are tried again
            _log.warning("events wait", object=ref, error=type(error).__name__)
            await self._deps.ledger.postpone_events(ids, f"{type(error).__name__}", self._deps.now())

    async def _apply(self, ids: Sequence[str], shown: Shown) -> None:
        verdicts = await self._deps.ledger.apply_events(ids, shown, self._deps.now())
        again: dict[str, list[str]] = defaultdict(list)
        for event_id, verdict in verdicts.items():
            if verdict.more:
                again[verdict.more].append(event_id)
        for ref, waiting in again.items():
            looked = await self._book(ref, _MOST_FOLLOWED)
            await self._deps.ledger.apply_events(waiting, shown, self._deps.now(), looked=looked)

    async def _book(self, ref: str, more: int) -> Verdict:
        """Book an object that no event told of, and first what it leads to: a charge's session."""
        shown = await self._fetch(ref)
        verdict = await self._deps.ledger.apply_seen(shown, self._deps.now())
        if not verdict.more or more == 0:
            return verdict
        first = await self._book(verdict.more, more - 1)
        if first.state != "processed":
            return first
        return await self._deps.ledger.apply_seen(shown, self._deps.now())

    async def _shown(self, ref: str, group: Sequence[Due]) -> Shown:
        if not ref or all(needs_no_object(due.event_type) for due in group):
            return Shown(ref=ref, found=False, asked_at=self._deps.now())
        return await self._fetch(ref)

    async def _fetch(self, ref: str) -> Shown:
        async with self._slots, asyncio.timeout(FETCH_WITHIN_S):
            asked_at = self._deps.now()
            seen = await self._provider.fetch(ref)
        if call_id := _call_of(seen.data):
            self._deps.seen(call_id)
        return Shown(
            ref=ref,
            found=seen.found,
            asked_at=asked_at,
            identity=seen.identity,
            proof=seen.proof,
            data=seen.data,
        )

    # --- what no event told ------------------------------------------------------------------------------

    async def reconcile(self) -> Reconciled:
        """List the events since the cursor and look at what is open for long, once."""
        async with self._reconciling:
            began = self._deps.now()
            listed, new = await self._list_events()
            looked_at = await self._look_at_open()
            await self._deps.ledger.close_purchases(self._deps.now())
            self._reconciled_at = began
        self.wake()
        return Reconciled(listed, new, looked_at)

    async def _list_events(self) -> tuple[int, int]:
        name = f"{self._deps.provider}:events"
        now = self._deps.now()
        cursor = await self._deps.ledger.cursor(name)
        since = now - FIRST_LOOK_BACK if cursor is None else cursor - OVERLAP
        found = await self._provider.events(since)
        bodies = [msgspec.json.encode(each.data, enc_hook=enc_hook) for each in found]
        arrivals = []
        for body in bodies:
            try:
                arrivals.append(read_event(self._deps, body, None, route="stripe", source="reconciler"))
            except Refused:
                _log.warning("a listed event could not be read")
        new = 0
        for start in range(0, len(arrivals), TAKEN):
            fresh = await self._deps.ledger.receive_all(arrivals[start : start + TAKEN], now)
            new += sum(fresh)
        latest = max((each.created_at for each in arrivals), default=None)
        if latest is not None:
            await self._deps.ledger.set_cursor(name, min(latest, now))
        return len(arrivals), new

    async def _look_at_open(self) -> int:
        before = self._deps.now() - OPEN_FOR
        sessions = await self._deps.ledger.open_sales(before)
        instruments = await self._deps.ledger.open_instruments(before)
        await asyncio.gather(*(self._look(ref) for ref in (*sessions, *instruments)))
        return len(sessions) + len(instruments)

    async def _look(self, ref: str) -> None:
        try:
            verdict = await self._book(ref, 0)
        except Exception as error:  # noqa: BLE001 -- the next round looks again
            _log.warning("an open object could not be looked at", object=ref, error=type(error).__name__)
            return
        if verdict.state == "quarantined":
            _log.warning("an open object is not what was recorded", object=ref, code=verdict.code)

    # --- cards -------------------------------------------------------------------------------------------

    async def switch_cards(self) -> int:
        """Switch cards where posture and LIVE_SPEND want them (M20); return how many were."""
        ledger, live_spend = self._deps.ledger, self._deps.live_spend
        wanted = await ledger.instruments_to_switch(live_spend=live_spend, at=self._deps.now())
        done = 0
        for ref, armed in wanted:
            async with asyncio.timeout(FETCH_WITHIN_S):
                switched = await self._provider.set_armed(ref, armed)
            if switched:
                await ledger.note_switched(ref, armed=armed, at=self._deps.now())
                done += 1
        return done

    # --- schedules ---------------------------------------------------------------------------------------

    async def _reconcile_quietly(self) -> None:
        await _quietly("reconcile", self.reconcile)

    async def _switch_quietly(self) -> None:
        await _quietly("cards", self.switch_cards)
        await _quietly("asked", self._as_asked)

    async def _as_asked(self) -> None:
        """Reconcile once where a person asked for it since the last time."""
        asked = await self._deps.ledger.cursor(ASKED)
        if asked is not None and (self._reconciled_at is None or asked > self._reconciled_at):
            await self.reconcile()

    async def _schedule(self, every_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while not self._stop.is_set():
            await work()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), every_s)


def _call_of(data: Mapping[str, Any]) -> str:
    """Return the call whose mark an object, or the card it is about, carries; empty where none does."""
    card = data.get("card")
    marks = data.get("metadata") or (card.get("metadata") if isinstance(card, dict) else None)
    return str(marks.get(CALL_MARK) or "") if isinstance(marks, dict) else ""


async def _quietly(name: str, work: Callable[[], Awaitable[object]]) -> object:
    """Run one round; what goes wrong is logged, and the next round comes all the same."""
    try:
        return await work()
    except BursarError as error:
        _log.warning("a round failed", round=name, error=str(error))
    except Exception:  # noqa: BLE001 -- the loop must outlive whatever one round met
        _log.exception("a round failed", round=name)
    return None
