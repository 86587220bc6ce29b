"""What this process counts, in the form Prometheus reads; names and labels are promises to dashboards.

Labels hold only words of ours (tools, statuses, reasons), never a caller's text, so their number is bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


class Metrics:
    """Counters of one process, in a registry of its own so that tests and servers never share one."""

    def __init__(self, monotonic: Callable[[], float] = time.perf_counter) -> None:
        self.registry = CollectorRegistry()
        self._monotonic = monotonic
        self._calls = Counter(
            "bursar_calls_total", "Tool calls answered", ("tool", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "bursar_call_seconds",
            "Seconds until a tool call was answered",
            ("tool",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._refused = Counter(
            "bursar_requests_refused_total",
            "Requests refused before the gate",
            ("listener", "reason"),
            registry=self.registry,
        )
        self._known: dict[tuple[str, str], tuple[Histogram, Counter]] = {}
        self._open = Gauge("bursar_open_requests", "Requests being answered now", registry=self.registry)

    def now(self) -> float:
        """Return the instant to measure from, in seconds."""
        return self._monotonic()

    def answered(self, tool: str, status: str, *, since: float) -> None:
        """Count and time one answered tool call; `tool` is a name from the catalogue."""
        known = self._known.get((tool, status))
        if known is None:  # Looking labels up takes longer than counting; there are few pairs.
            known = self._known[tool, status] = self._seconds.labels(tool), self._calls.labels(tool, status)
        known[0].observe(self._monotonic() - since)
        known[1].inc()

    def refused(self, listener: str, reason: str) -> None:
        """Count one request that was refused before the gate."""
        self._refused.labels(listener, reason).inc()

    def watch_open(self, now: Callable[[], int]) -> None:
        """Show how many requests are open, asked for when somebody looks."""
        self._open.set_function(now)

    def text(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
