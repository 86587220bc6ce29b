"""The small notations of policy and cases files: durations, windows, limits, shares, times of day, patterns.

Each function reads one and raises ValueError with what was met and what is expected.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from policy.errors import MoneyError
from policy.model import Limit, Window, WindowKind
from policy.money import EXPONENTS, Money

LONGEST_NAME: Final = 253  # A domain name has no more (RFC 1035), and nobody reads a longer one.
MAX_DURATION_S: Final = 366 * 86_400  # Usage is kept for a year; a longer window could not be added up.

DURATION_PATTERN: Final = r"^[1-9][0-9]{0,8}[smhd]$"
WINDOW_PATTERN: Final = r"^(call|run|day|month|[1-9][0-9]{0,8}[smhd])$"
CALLS_PATTERN: Final = r"^(0|[1-9][0-9]{0,8}) calls?$"
EARNED_PATTERN: Final = r"^(100|[1-9]?[0-9])% of earned( [A-Z]{3})?$"
SHARE_PATTERN: Final = r"^(100|[1-9]?[0-9])%$"
CLOCK_PATTERN: Final = r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$"
ZONE_PATTERN: Final = r"^(UTC|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2})$"
ID_PATTERN: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"

_SHOWN: Final = 40  # Enough of what was met to find it.
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPANS: Final = {"hour": "1h", "week": "7d", "fortnight": "14d", "year": "365d"}
_DURATION: Final = re.compile(DURATION_PATTERN)
_CALLS: Final = re.compile(CALLS_PATTERN)
_EARNED: Final = re.compile(EARNED_PATTERN)
_SHARE: Final = re.compile(SHARE_PATTERN)
_CLOCK: Final = re.compile(CLOCK_PATTERN)
_ZONE: Final = re.compile(ZONE_PATTERN)
_INSTANT: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$")
_EXACT_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")  # As agents, projects and operators are added.
# Several names in one text, a comment stuck to a name, an address: a deny that names these stops nobody.
# Where a country's registry keeps names below a second word: `co.uk` is nobody's name.
_REGISTRY: Final = re.compile(
    r"(ac|co|com|edu|go|gob|gouv|gov|gv|ltd|mil|ne|net|nom|or|org|plc|sch)[.][a-z]{2}"
)
_NO_PAYEE: Final = re.compile(r"[,;#/\\]|\.\S+\s+\S+\.")


def duration_s(text: str) -> int:
    """Return the seconds of `30m`, `24h` or `7d`."""
    if _DURATION.fullmatch(text) is None:
        raise ValueError(f"{_met(text)} is no duration; write one like 30m, 24h or 7d")
    seconds = int(text[:-1]) * _UNITS[text[-1]]
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{_met(text)} is longer than 366 days")
    return seconds


def window(text: str) -> Window:
    """Return the window of `call`, `run`, `day`, `month` or a duration."""
    if text in {"call", "run", "day", "month"}:
        return Window(WindowKind(text))
    if _DURATION.fullmatch(text) is None:
        right = _SPANS.get(text, "call, run, day, month or a duration like 24h")
        raise ValueError(f"{_met(text)} is no window; write {right}")
    return Window(WindowKind.ROLLING, duration_s(text))


def limit(text: str) -> Limit:
    """Return the limit of `"25.00 USD"`, `60 calls` or `20% of earned`."""
    if calls := _CALLS.fullmatch(text):
        return Limit(calls=int(calls.group(1)))
    if earned := _EARNED.fullmatch(text):
        currency = (earned.group(2) or "").strip() or None
        if currency is not None and currency not in EXPONENTS:
            raise ValueError(f"unknown currency {currency!r} in {_met(text)}")
        return Limit(percent_of_earned=int(earned.group(1)), currency=currency)
    if "%" in text:
        raise ValueError(f"{_met(text)} is no share; write one from '0% of earned' to '100% of earned'")
    try:
        return Limit(money=Money.parse(text))
    except MoneyError as error:
        raise ValueError(f"{error}; a limit may also be '60 calls' or '20% of earned'") from None


def share_percent(text: str) -> int:
    """Return the per cent of `25%`."""
    found = _SHARE.fullmatch(text)
    if found is None:
        raise ValueError(f"{_met(text)} is no share; write one from 0% to 100%")
    return int(found.group(1))


def minute_of_day(text: str) -> int:
    """Return the minute of `09:30`; `24:00` is the end of the day."""
    if _CLOCK.fullmatch(text) is None:
        raise ValueError(f"{_met(text)} is no time of day; write one like 09:30, up to 24:00")
    return int(text[:2]) * 60 + int(text[3:])


def zone(text: str) -> ZoneInfo:
    """Return the time zone of an IANA name such as `Europe/Berlin`."""
    try:
        if _ZONE.fullmatch(text):  # Names such as `localtime` mean something else on each machine.
            return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        pass  # Absent, or a folder of the zone database: the same answer for both, below.
    raise ValueError(f"unknown time zone {_met(text)}; write an IANA name such as Europe/Berlin, or UTC")


def instant(text: str) -> datetime:
    """Return the aware UTC instant of `2026-11-20T10:00:00Z`."""
    expected = "write an instant with its zone, such as 2026-11-20T10:00:00Z"
    if _INSTANT.fullmatch(text) is None:
        raise ValueError(f"{_met(text)} is no instant; {expected}")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{_met(text)} is no day or time that exists; {expected}") from None


def payee_pattern(text: str) -> str:
    """Return a payee's name or glob; a `*` stands for whole labels of a domain only.

    `*porkbun.com` would also match evilporkbun.com, which is what a stray star means and nobody wants.
    """
    pattern(text)
    if _NO_PAYEE.search(text) or (text.endswith(".") and " " not in text):
        raise ValueError(
            f"{_met(text)} is no one payee; write example.com, several as a list, '?' for a comma in a name"
        )
    if "*" in text and "." in text and any("*" in label and label != "*" for label in text.split(".")):
        raise ValueError(
            f"{_met(text)} also matches names of strangers; let '*' stand for a whole part, as in '*.host'"
        )
    return text


def is_registry(name: str) -> bool:
    """Say whether a name is one that registries sell names under, as far as its form tells.

    The list of all of them (publicsuffix.org) changes every week; the second words of most countries do not.
    """
    return _REGISTRY.fullmatch(name.lower()) is not None


def pattern(text: str) -> str:
    """Return a glob in which `*` and `?` are the only wildcards."""
    _check_length(text)
    if not text or text != text.strip():
        raise ValueError(f"{_met(text)} is no name; it may not be empty or begin or end with a space")
    if "[" in text or "]" in text or "\n" in text:
        raise ValueError(f"{_met(text)} is no pattern; '*' and '?' are the only wildcards")
    return text


def exact_name(text: str) -> str:
    """Return the name of an agent, project or person, which knows no wildcards."""
    _check_length(text)
    if not text or text != text.strip() or "\n" in text:
        raise ValueError(f"{_met(text)} is no name; it may not be empty or begin or end with a space")
    if set(text) & set("*?[]"):
        raise ValueError(f"{_met(text)} is no name; wildcards are not known here, write each name out")
    if _EXACT_NAME.fullmatch(text) is None:
        raise ValueError(
            f"{_met(text)} is nobody's name; one is small letters, digits, '-' and '_', several are a list"
        )
    return text


def _check_length(text: str) -> None:
    if len(text) > LONGEST_NAME:
        raise ValueError(f"a name of {len(text):,} characters; at most {LONGEST_NAME} are compared")


def _met(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
