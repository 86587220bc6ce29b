"""How much strangers may ask: so many requests per address, and so many in all, kept in memory.

Behind a reverse proxy on this machine every buyer has the proxy's address, and nothing here believes a header
about it; there the limit for all is the only one.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

_MOST_REMEMBERED: Final = 10_000  # Addresses and requests kept in mind; the oldest are forgotten first.


class StrangerLimits(Struct, frozen=True, kw_only=True):
    """The numbers: far above a person who writes, far below what an owner could not read in a day."""

    per_address: int = 5
    in_all: int = 60
    window_s: float = 600.0


class Strangers:
    """Counts requests from outside; `monotonic` is in seconds."""

    def __init__(
        self, monotonic: Callable[[], float], limits: StrangerLimits | None = None, *, proxied: bool = False
    ) -> None:
        self._monotonic = monotonic
        self._limits = limits or StrangerLimits()
        self._proxied = proxied
        self._by_address: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque()
        self._known: OrderedDict[str, float] = OrderedDict()

    def may_ask(self, address: str) -> bool:
        """Count one request of an address; say whether it may be taken."""
        now, limits = self._monotonic(), self._limits
        own = self._own(address)
        recent = [self._recent(times, now) for times in (own, self._all)]
        if recent[1] >= limits.in_all or (self._counts(address) and recent[0] >= limits.per_address):
            return False
        own.append(now)
        self._all.append(now)
        return True

    def is_again(self, said: Mapping[str, str]) -> bool:
        """Say whether these very words were taken a moment ago: a second click is not a second request."""
        now = self._monotonic()
        digest = hashlib.sha256(repr(sorted(said.items())).encode("utf-8", "replace")).hexdigest()
        at = self._known.get(digest)
        if at is not None and now - at < self._limits.window_s:
            return True
        self._known[digest] = now
        self._known.move_to_end(digest)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return False

    def _own(self, address: str) -> deque[float]:
        times = self._by_address.setdefault(address, deque())
        self._by_address.move_to_end(address)
        if len(self._by_address) > _MOST_REMEMBERED:
            self._by_address.popitem(last=False)
        return times

    def _recent(self, times: deque[float], now: float) -> int:
        while times and now - times[0] >= self._limits.window_s:
            times.popleft()
        return len(times)

    def _counts(self, address: str) -> bool:
        return tells_apart(address, proxied=self._proxied)


def tells_apart(address: str, *, proxied: bool) -> bool:
    """Say whether an address tells one stranger from another: a proxy on this machine has one for all."""
    return not (proxied and _is_loopback(address))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
