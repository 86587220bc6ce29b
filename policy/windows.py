"""Where windows of time begin and end: calendar days and months in a zone, rolling spans in buckets, hours.

Pure arithmetic on an instant that is handed in. Calendar windows follow the local calendar through month ends
and daylight saving, so a day may have 23 or 25 hours. Rolling windows add up buckets of whole UTC seconds and
count the oldest bucket whole: they may look back up to one bucket too far, never too short.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from policy.language import Hours, Window, WindowKind

# A rolling window has 24 buckets or more, so it looks back at most 1/24 too far and a sum reads few rows.
_BUCKETS_S: Final = (86_400, 21_600, 3_600, 900, 300, 60, 15, 5, 1)
_FEWEST_BUCKETS: Final = 24
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_WEEK_AND_A_DAY: Final = 9  # Days in which any weekly pattern has shown every change it makes.


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name. Raises KeyError (ZoneInfoNotFoundError) or ValueError."""
    return UTC if name == "UTC" else ZoneInfo(name)


def start(window: Window, at: datetime, tz: tzinfo) -> datetime | None:
    """Return the UTC instant the window holding `at` begins; None for a call's or a run's window.

    A rolling window begins with the bucket that `at - seconds` falls into.
    """
    if window.kind is WindowKind.DAY:
        return _midnight(at.astimezone(tz).date(), tz)
    if window.kind is WindowKind.MONTH:
        return _midnight(at.astimezone(tz).date().replace(day=1), tz)
    if window.kind is WindowKind.ROLLING:
        return _instant(bucket(at - timedelta(seconds=window.seconds), window.seconds))
    return None


def end(window: Window, at: datetime, tz: tzinfo) -> datetime | None:
    """Return the first UTC instant at which what is booked at `at` counts no more; None if it always will."""
    if window.kind is WindowKind.DAY:
        return _last_midnight(at.astimezone(tz).date() + _DAY, tz)
    if window.kind is WindowKind.MONTH:
        return _last_midnight(_next_month(at.astimezone(tz).date()), tz)
    if window.kind is WindowKind.ROLLING:
        size = bucket_s(window.seconds)
        return _instant(bucket(at, window.seconds) + size + window.seconds)
    return None


def key(window: Window, at: datetime, tz: tzinfo) -> str:
    """Name the row that usage booked at `at` is kept in: a date, a month, a bucket's second, or nothing."""
    if window.kind is WindowKind.DAY:
        return at.astimezone(tz).strftime("%Y-%m-%d")
    if window.kind is WindowKind.MONTH:
        return at.astimezone(tz).strftime("%Y-%m")
    if window.kind is WindowKind.ROLLING:
        return str(bucket(at, window.seconds))
    return ""


@lru_cache(maxsize=256)
def bucket_s(window_s: int) -> int:
    """Return the bucket's length in seconds for a rolling window of so many seconds."""
    return next((size for size in _BUCKETS_S if size * _FEWEST_BUCKETS <= window_s), 1)


def bucket(at: datetime, window_s: int) -> int:
    """Return the Unix second at which the bucket holding `at` begins."""
    size = bucket_s(window_s)
    return int(at.timestamp() // size) * size


def within(hours: Hours, at: datetime, tz: tzinfo) -> bool:
    """Say whether `at` lies in these hours of the week, by the wall clock of the zone.

    Hours that span midnight belong to the day they begin on: {days: [fri], from: 22:00, to: 02:00} ends on
    Saturday.
    """
    local = at.astimezone(tz)
    minute = local.hour * 60 + local.minute
    today = local.weekday()
    if hours.from_minute < hours.to_minute:
        return today in hours.days and hours.from_minute <= minute < hours.to_minute
    if hours.from_minute == hours.to_minute:
        return False  # The loader refuses it: nobody can tell whether it means always or never.
    yesterday = (today - 1) % 7
    return (today in hours.days and minute >= hours.from_minute) or (
        yesterday in hours.days and minute < hours.to_minute
    )


def next_change(hours: Hours, at: datetime, tz: tzinfo, *, to: bool) -> datetime | None:
    """Return the first edge after `at` from which `within` is `to`; None if there is none.

    Where daylight saving skips the edge itself, the answer is the edge as the old offset would have it.
    """
    first = at.astimezone(tz).date() - _DAY
    edges = sorted(
        _instant_of(first + index * _DAY, minute, tz)
        for index in range(_WEEK_AND_A_DAY + 1)
        for minute in (0, hours.from_minute, hours.to_minute)
    )
    return next((edge for edge in edges if edge > at and within(hours, edge, tz) is to), None)


def _midnight(day: date, tz: tzinfo) -> datetime:
    return _instant_of(day, 0, tz)


def _last_midnight(day: date, tz: tzinfo) -> datetime:
    """Return the midnight after which the day before never comes back.

    Where clocks go back across it (St. John's) the old day goes on until the later of two; where they go back
    to it (Havana) the new day has begun at the earlier one.
    """
    first = _midnight(day, tz)
    second = datetime(day.year, day.month, day.day, tzinfo=tz, fold=1).astimezone(UTC)
    comes_back = second > first and (second - _SECOND).astimezone(tz).date() < day
    return second if comes_back else first


def _instant_of(day: date, minute: int, tz: tzinfo) -> datetime:
    """Return the UTC instant of a wall clock time; the earlier one of two, the later edge of a gap."""
    wall = datetime(day.year, day.month, day.day, tzinfo=tz) + timedelta(minutes=minute)
    return wall.astimezone(UTC)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _instant(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)
