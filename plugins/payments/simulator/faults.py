"""Faults on purpose: a script of what shall go wrong, and a seeded stream of the same.

A fault names a kind, a glob it applies to (`POST /v1/refunds`, or an event type for webhook faults), how many
matches it skips first and how many it takes.
"""

import fnmatch
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

API_KINDS = frozenset(
    {
        "latency",  # waits `seconds` before executing (after_commit: after it); the key is in use meanwhile
        "lost_before_commit",  # the connection breaks and nothing was executed
        "lost_after_commit",  # the connection breaks although it was executed
        "reset",  # RST instead of an answer; nothing was executed unless after_commit
        "unreachable",  # in process only: the connection is refused, provably nothing was sent
        "rate_limited",  # 429 before anything, not stored under the key
        "stored_500",  # 500, stored under the key; executed nothing unless after_commit
        "html_502",  # a proxy's page instead of JSON; executed nothing unless after_commit
        "key_rotated",  # 401, as if the key had been rotated away
        "account_swapped",  # the key now belongs to another, empty account, until swapped back
    }
)
WEBHOOK_KINDS = frozenset(
    {
        "webhook_duplicated",  # `copies` more deliveries of the same event
        "webhook_reordered",  # held until another delivery overtook it, five seconds at most
        "webhook_delayed",  # held for `seconds`
        "webhook_dropped",  # the attempt is lost on the way and retried later; never retried with for_ever
        "webhook_stale",  # signed `seconds` ago (600)
        "webhook_wrong_mode",  # says livemode true
        "webhook_old_version",  # says an api_version of years ago
        "webhook_rotated_secret",  # signed with a secret the receiver does not know yet
    }
)
_BREAKS = frozenset({"disconnect", "timeout", "reset"})


@dataclass
class Fault:
    """One thing that shall go wrong; `how` is the way a connection breaks: disconnect, timeout or reset."""

    kind: str
    match: str = "*"
    count: int = 1
    skip: int = 0
    seconds: float | None = None
    after_commit: bool = False
    how: str = "disconnect"
    copies: int = 1
    for_ever: bool = False

    def __post_init__(self) -> None:
        if self.kind not in API_KINDS | WEBHOOK_KINDS:
            known = ", ".join(sorted(API_KINDS | WEBHOOK_KINDS))
            raise ValueError(f"fault kind '{self.kind}' is not known, choose one of: {known}")
        if self.kind in {"reset", "unreachable"}:
            self.how = self.kind
        elif self.how not in _BREAKS:
            raise ValueError(f"how '{self.how}' is not known, choose one of: {', '.join(sorted(_BREAKS))}")


@dataclass
class _Stream:
    rng: random.Random
    rate: float
    faults: Sequence[Fault] = field(default_factory=tuple)


class FaultPlan:
    """Scripted faults, taken in order, and a seeded stream beside them."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._stream: _Stream | None = None
        self.taken: list[tuple[str, str]] = []

    def add(self, *faults: Fault) -> None:
        """Append to the script."""
        self._script.extend(faults)

    def by_seed(self, seed: int, *, rate: float, faults: Sequence[Fault]) -> None:
        """From now on let each request or delivery meet one of `faults` with probability `rate`."""
        self._stream = _Stream(random.Random(seed), rate, tuple(faults))  # noqa: S311  repeats, secures nothing

    def clear(self) -> None:
        """Let nothing more go wrong."""
        self._script.clear()
        self._stream = None

    def pending(self) -> list[Fault]:
        """Give the scripted faults that have not been taken up yet."""
        return list(self._script)

    def take(self, subject: str, kinds: frozenset[str]) -> list[Fault]:
        """Give and use up the faults that apply to `subject`, a "METHOD /path" or an event type."""
        hit: dict[str, Fault] = {}
        for fault in list(self._script):
            if fault.kind not in kinds or not fnmatch.fnmatchcase(subject, fault.match):
                continue
            # One of each group at a time, so that two lost answers are two requests; latency adds to either.
            if _group(fault) not in hit and self._use(fault):
                hit[_group(fault)] = fault
        drawn = self._draw(subject, kinds)
        if drawn is not None:
            hit.setdefault(_group(drawn), drawn)
        self.taken.extend((fault.kind, subject) for fault in hit.values())
        return list(hit.values())

    def _use(self, fault: Fault) -> bool:
        if fault.skip > 0:
            fault.skip -= 1
            return False
        fault.count -= 1
        if fault.count <= 0:
            self._script.remove(fault)
        return True

    def _draw(self, subject: str, kinds: frozenset[str]) -> Fault | None:
        stream = self._stream
        if stream is None:
            return None
        fitting = [f for f in stream.faults if f.kind in kinds and fnmatch.fnmatchcase(subject, f.match)]
        if not fitting or stream.rng.random() >= stream.rate:
            return None
        return replace(stream.rng.choice(fitting))


def _group(fault: Fault) -> str:
    return fault.kind if fault.kind in {"latency", "webhook_duplicated"} else "main"
