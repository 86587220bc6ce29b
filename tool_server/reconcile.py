"""Step 7: how an unknown becomes known, tool by tool, without ever doing a thing twice.

`replay` sends the same provider key again while the provider still knows it; `lookup` finds our reference
and believes "absent" only after the last lease, the request's time and the declared delay (M3); `manual`
waits for a person. The ledger judges each attempt; here is only the order in which they are tried, and
when.
"""

from __future__ import annotations

import random
from datetime import datetime
from typing import Final

from msgspec import Struct

from ledger.commands import NotClaimed, Settled
from ledger.records import CallRecord, CallState
from plugins.registry import LoadedTool, Registry
from plugins.tool import Replay
from policy.model import Kind
from tool_server.attempt import AttemptParts, attempt, finder

FIRST_LOOK_S: Final = 1.0  # After the doubt; most lost answers are there a second later.
LAST_LOOK_S: Final = 300.0  # Between later looks; a person may look at any time.
JITTER: Final = 0.2  # Share of a pause by which processes differ, so that they do not ask at once.
SEEN_FOR_S: Final = 60.0  # An answer is given up after half of that, and its call is unknown then.
MOST_SEEN: Final = 4_096  # Effects seen within that time and remembered; the rest waits for its turn.


class Turn(Struct):
    """When a call is looked at next, and how often it was."""

    at_s: float
    tries: int = 0


class Reconciler:
    """The unknown calls of this process and when each one's turn comes."""

    def __init__(
        self,
        parts: AttemptParts,
        registry: Registry,
        *,
        rand: random.Random,
        first_look_s: float = FIRST_LOOK_S,
    ) -> None:
        self._parts = parts
        self._registry = registry
        self._rand = rand
        self._first_look_s = first_look_s
        self._turns: dict[str, Turn] = {}
        self._seen: dict[str, float] = {}  # Calls whose effect was seen, and when.

    def due(self, calls: tuple[CallRecord, ...]) -> tuple[CallRecord, ...]:
        """Return those whose turn it is.

        A call first seen now comes soon, one no longer unknown is forgotten.
        """
        now_s = self._parts.monotonic()
        known = {call.call_id for call in calls}
        self._turns = {call_id: turn for call_id, turn in self._turns.items() if call_id in known}
        for call in calls:
            first_s = 0.0 if call.call_id in self._seen else now_s + self._first_look_s
            self._turns.setdefault(call.call_id, Turn(first_s))
        self._seen = {call_id: at_s for call_id, at_s in self._seen.items() if now_s - at_s < SEEN_FOR_S}
        return tuple(call for call in calls if self._turns[call.call_id].at_s <= now_s)

    def hurry(self, call_id: str) -> bool:
        """Give an unknown call its turn now: its effect was seen at the provider. Say whether it is one here.

        What was seen is no settlement; the call's own way of finding out is, with all that it checks.
        """
        turn = self._turns.get(call_id)
        if turn is not None:
            turn.at_s = 0.0
        elif len(self._seen) < MOST_SEEN:
            self._seen[call_id] = self._parts.monotonic()  # It may be in doubt only in a moment.
        return turn is not None

    async def step(self, call: CallRecord) -> Settled | NotClaimed | None:
        """Try once to learn what became of a call; None where only a person or a webhook can tell."""
        self._later(call.call_id)
        loaded = self._registry.tools.get(call.tool)
        if loaded is None:
            return None
        for purpose in _purposes(call, loaded, self._parts.now()):
            result = await attempt(self._parts, call, loaded, purpose=purpose)
            if isinstance(result, Settled) or result.state is not CallState.UNKNOWN:
                return result
        return None

    def _later(self, call_id: str) -> None:
        turn = self._turns.setdefault(call_id, Turn(0.0))
        turn.tries += 1
        pause_s = min(LAST_LOOK_S, self._first_look_s * 2**turn.tries)
        turn.at_s = self._parts.monotonic() + pause_s * (1 + JITTER * self._rand.random())


def _purposes(call: CallRecord, loaded: LoadedTool, now: datetime) -> tuple[str, ...]:
    """Return what may be tried, in order. A person's own effects are never sent again without one (M29)."""
    looks: tuple[str, ...] = ("lookup",) if finder(loaded) is not None else ()
    if not isinstance(loaded.tool.reconcile, Replay) or call.kind is Kind.HUMAN_ONLY:
        return looks
    until = call.provider_key_until
    if until is None or (until - now).total_seconds() <= loaded.tool.timeout_s:
        return looks
    return ("replay", *looks)
