"""What one agent may ask of this process at once, kept in memory; money has its own limits in the ledger.

A refusal here is cheap and comes before anything durable is written (M36). It is kept per agent, never per
address: addresses are forged and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct


class Limits(Struct, frozen=True, kw_only=True):
    """The numbers; each is far above an honest agent and far below what would hurt the others."""

    body_bytes: int = 262_144  # Arguments are at most 64 KiB; the rest is the envelope and room for drafts.
    body_seconds: float = 10.0  # A body that trickles in longer than this is no client we know.
    answer_seconds: float = 30.0  # The longest poll is 20 s; past this the process is stuck, and says so.
    calls_per_second: float = 20.0  # Sustained tool calls of one agent.
    calls_at_once: int = 100  # The burst an agent may open with.
    requests_per_second: float = 60.0  # Of any method; beyond it HTTP says 429 before the body is read.
    requests_at_once: int = 300  # The burst of those.
    open_per_agent: int = 32  # Requests of one agent being answered now, long polls included.
    open_in_all: int = 2_048  # Of all agents; beyond it memory, not fairness, is at stake.


class _Bucket:
    """A token bucket: `burst` at once, `rate` per second after that."""

    __slots__ = ("at", "left")

    def __init__(self, left: float, at: float) -> None:
        self.left = left
        self.at = at

    def take(self, now: float, rate: float, burst: int) -> bool:
        """Take one, or leave the bucket as it is where there is none."""
        self.left = min(float(burst), self.left + (now - self.at) * rate)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class Meter:
    """Counts what each agent asks; `monotonic` is in seconds."""

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._requests: dict[str, _Bucket] = {}
        self._calls: dict[str, _Bucket] = {}
        self._open: dict[str, int] = {}
        self.open_now = 0

    def may_request(self, agent_id: str) -> bool:
        """Say whether this agent may send another request of any kind now."""
        limits = self._limits
        return self._take(self._requests, agent_id, limits.requests_per_second, limits.requests_at_once)

    def may_call(self, agent_id: str) -> bool:
        """Say whether this agent may make another tool call now."""
        return self._take(self._calls, agent_id, self._limits.calls_per_second, self._limits.calls_at_once)

    def has_room(self, agent_id: str) -> bool:
        """Say whether one more request of this agent can be kept open."""
        alone = self._open.get(agent_id, 0) < self._limits.open_per_agent
        return alone and self.open_now < self._limits.open_in_all

    @contextmanager
    def opened(self, agent_id: str) -> Iterator[None]:
        """Count one request as open for as long as the block runs."""
        self._open[agent_id] = self._open.get(agent_id, 0) + 1
        self.open_now += 1
        try:
            yield
        finally:
            self.open_now -= 1
            left = self._open[agent_id] - 1
            if left:
                self._open[agent_id] = left
            else:
                del self._open[agent_id]

    def _take(self, buckets: dict[str, _Bucket], agent_id: str, rate: float, burst: int) -> bool:
        now = self._monotonic()
        bucket = buckets.get(agent_id)
        if bucket is None:
            bucket = buckets[agent_id] = _Bucket(float(burst), now)
        return bucket.take(now, rate, burst)
