"""Instants as the tables keep them: whole microseconds since 1970 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, overload

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US: Final = 1_000_000
NEVER_US: Final = 2**62  # "Until it is closed": later than any clock, and still an exact 64 bit integer.
_MICROSECOND: Final = timedelta(microseconds=1)


def to_us(at: datetime) -> int:
    """Return an aware instant in microseconds. Raises TypeError for a naive one."""
    return (at - EPOCH) // _MICROSECOND


@overload
def from_us(us: int) -> datetime: ...
@overload
def from_us(us: None) -> None: ...
def from_us(us: int | None) -> datetime | None:
    """Return the instant of so many microseconds."""
    return None if us is None else _instant(us)


@lru_cache(maxsize=4_096)  # A call's instants are shown again with each of its steps.
def _instant(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)
