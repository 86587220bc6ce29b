"""The simulator's clock: some base clock plus what a test advanced it by."""

from collections.abc import Callable
from datetime import UTC, datetime


class SimClock:
    """Seconds since 1970 of the simulated world; it only ever moves forward by `advance`."""

    def __init__(self, base: Callable[[], float]) -> None:
        self._base = base
        self.offset_s = 0.0

    def time(self) -> float:
        """Give the instant in seconds since 1970, with fractions."""
        return self._base() + self.offset_s

    def wall(self) -> float:
        """Give the base clock's instant, which receivers of signatures share; `advance` does not move it."""
        return self._base()

    def now(self) -> int:
        """Give the instant in whole seconds since 1970, as v1 objects carry it."""
        return int(self.time())

    def iso(self) -> str:
        """Give the instant as RFC 3339 with milliseconds, as v2 objects carry it."""
        stamp = datetime.fromtimestamp(self.time(), UTC).isoformat(timespec="milliseconds")
        return stamp.replace("+00:00", "Z")

    def advance(self, seconds: float) -> None:
        """Move the world forward. Raises ValueError for a step back, which no Stripe ever takes."""
        if seconds < 0:
            raise ValueError(f"advance by {seconds} s: the clock only moves forward, give a positive number")
        self.offset_s += seconds
