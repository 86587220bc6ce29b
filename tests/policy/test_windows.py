"""Windows begin and end where a person with a calendar in that town would say they do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy import windows
from policy.language import Hours, Window, WindowKind
from tests.policy.build import DAY, HOUR, MONTH, at

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",  # Skipped midnights in its day.
    "America/St_Johns",  # Went back at 00:01, so one midnight came twice.
    "Asia/Beirut",
    "Africa/Cairo",
    "Australia/Lord_Howe",  # Half an hour of daylight saving.
    "Pacific/Apia",  # Skipped a whole day in 2011.
    "America/Havana",
)
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(
    INSTANTS, st.sampled_from(ZONES), st.sampled_from((DAY, MONTH, HOUR, Window(WindowKind.ROLLING, 604_800)))
)
def test_every_instant_lies_in_its_window(now: datetime, name: str, window: Window) -> None:
    """An instant outside its own window would be counted nowhere."""
    tz = windows.zone(name)
    start, end = windows.start(window, now, tz), windows.end(window, now, tz)
    assert start is not None
    assert end is not None
    assert start <= now < end


@given(INSTANTS, st.sampled_from(ZONES), st.sampled_from((DAY, MONTH)))
@example(at("2015-10-02T00:00"), "America/Havana", MONTH)  # One o'clock became midnight on the first.
@example(at("2006-10-29T03:00"), "America/St_Johns", DAY)  # A minute past midnight became 23:01.
def test_the_key_changes_at_the_end_and_not_before(now: datetime, name: str, window: Window) -> None:
    """The row a payment is kept in and the room that comes back must agree on when the window ends."""
    tz = windows.zone(name)
    end = windows.end(window, now, tz)
    assert end is not None
    second = timedelta(seconds=1)
    assert windows.key(window, end - second, tz) == windows.key(window, now, tz)
    assert windows.key(window, end, tz) != windows.key(window, now, tz)


@pytest.mark.parametrize(
    ("now", "start", "end", "hours"),
    [
        ("2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00", 23),
        ("2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00", 25),
        ("2026-11-20T12:00", "2026-11-19T23:00", "2026-11-20T23:00", 24),
    ],
)
def test_a_day_in_berlin_may_have_23_or_25_hours(now: str, start: str, end: str, hours: int) -> None:
    """A day cap follows the wall clock; 24 hours from midnight would start the next day at one o'clock."""
    tz = windows.zone("Europe/Berlin")
    found_start, found_end = windows.start(DAY, at(now), tz), windows.end(DAY, at(now), tz)
    assert (found_start, found_end) == (at(start), at(end))
    assert at(end) - at(start) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("2026-01-31T12:00", "2026-01-01T00:00", "2026-02-01T00:00"),
    ],
)
def test_months_end_where_the_calendar_says(now: str, start: str, end: str) -> None:
    """Leap days and Decembers."""
    assert windows.start(MONTH, at(now), UTC) == at(start)
    assert windows.end(MONTH, at(now), UTC) == at(end)


def test_midnight_that_comes_twice_ends_the_day_the_second_time() -> None:
    """St. John's put its clocks back at 00:01: the old day went on for another hour."""
    tz = windows.zone("America/St_Johns")
    now = at("2004-10-31T03:00")
    assert windows.key(DAY, now, tz) == "2004-10-30"
    assert windows.end(DAY, now, tz) == at("2004-10-31T03:30")


def test_a_call_and_a_run_have_no_calendar() -> None:
    """A run's window is its life, and only the ledger knows that."""
    for kind in (WindowKind.CALL, WindowKind.RUN):
        assert windows.start(Window(kind), at("2026-11-20T12:00"), UTC) is None
        assert windows.end(Window(kind), at("2026-11-20T12:00"), UTC) is None
        assert windows.key(Window(kind), at("2026-11-20T12:00"), UTC) == ""


def test_keys_name_the_day_the_month_and_the_bucket() -> None:
    """They are stored, so they must never change their form."""
    now = at("2026-11-20T23:30:30")
    berlin = windows.zone("Europe/Berlin")
    assert windows.key(DAY, now, berlin) == "2026-11-21"
    assert windows.key(MONTH, at("2026-11-30T23:30"), berlin) == "2026-12"
    assert windows.key(HOUR, now, berlin) == str(int(at("2026-11-20T23:30").timestamp()))


@given(st.integers(1, 400 * 86_400))
def test_a_rolling_window_is_cut_finely_enough(seconds: int) -> None:
    """It looks back too far by one bucket at most, which is a 24th of it."""
    size = windows.bucket_s(seconds)
    assert size == 1 or size * 24 <= seconds
    assert seconds // size <= 400 or size == 86_400


@given(INSTANTS, st.sampled_from((60, 3_600, 86_400, 604_800)), st.integers(0, 700_000))
def test_a_rolling_window_never_looks_back_too_short(now: datetime, seconds: int, age: int) -> None:
    """What is younger than the window counts, in whatever bucket; what is one bucket older does not."""
    window = Window(WindowKind.ROLLING, seconds)
    booked = now - timedelta(seconds=age)
    counted = windows.bucket(booked, seconds) >= (windows.start(window, now, UTC) or now).timestamp()
    if age <= seconds:
        assert counted
    if age > seconds + windows.bucket_s(seconds):
        assert not counted
    end = windows.end(window, booked, UTC)
    assert end is not None
    assert counted == (now < end) or now == end


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2026-11-20T20:59", False),  # Friday 21:59 in Berlin.
        ("2026-11-20T21:00", True),
        ("2026-11-21T00:59", True),  # Saturday 01:59: still Friday's.
        ("2026-11-21T01:00", False),
        ("2026-11-21T21:00", False),  # Saturday 22:00 is not Friday's.
    ],
)
def test_hours_over_midnight_belong_to_the_day_they_begin_on(now: str, inside: bool) -> None:  # noqa: FBT001 - expected
    """Who writes "Friday from 22:00 to 02:00" means the night that begins on Friday."""
    hours = Hours(days=(4,), from_minute=22 * 60, to_minute=2 * 60)
    assert windows.within(hours, at(now), windows.zone("Europe/Berlin")) is inside


def test_hours_without_length_hold_never() -> None:
    """What is younger than the window counts, in any bucket; what is one bucket older does not."""
    hours = Hours(from_minute=540, to_minute=540)
    assert not windows.within(hours, at("2026-11-20T09:00"), UTC)
    assert windows.next_change(hours, at("2026-11-20T09:00"), UTC, to=True) is None


def test_a_weekend_ends_on_monday_by_the_wall_clock() -> None:
    """retry_at must be an instant at which the rule is really over."""
    weekend = Hours(days=(5, 6))
    berlin = windows.zone("Europe/Berlin")
    assert windows.next_change(weekend, at("2026-10-24T12:00"), berlin, to=False) == at("2026-10-25T23:00")
    assert windows.next_change(weekend, at("2026-11-20T12:00"), berlin, to=True) == at("2026-11-20T23:00")


@given(
    INSTANTS, st.sampled_from(ZONES), st.booleans(), st.sampled_from([(0, 1_440), (540, 1_020), (1_320, 120)])
)
def test_the_next_change_is_a_change(now: datetime, name: str, to: bool, span: tuple[int, int]) -> None:  # noqa: FBT001 - drawn
    """It lies ahead, within a week and a day, and the hours are then as they were asked to be."""
    hours = Hours(days=(0, 2, 5), from_minute=span[0], to_minute=span[1])
    tz = windows.zone(name)
    change = windows.next_change(hours, now, tz, to=to)
    assert change is not None
    assert now < change <= now + timedelta(days=9)
    assert windows.within(hours, change, tz) is to


def test_an_unknown_zone_is_an_error_of_its_own_kind() -> None:
    """The loader names it; nothing else may guess UTC."""
    with pytest.raises(KeyError):
        windows.zone("Mars/Olympus")
