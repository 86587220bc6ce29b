"""Fresh ids: a prefix that says what it names, the millisecond, and 128 random bits that nobody guesses.

    call_06fw3k0q8s5d2h7r9v1c4m6n8p0t3x5z7b9d
The time comes first, so that rows of one hour lie together; letters and digits without i, l, o, u
(Crockford's base 32) survive being read aloud. An id opens nothing: whoever shows one is still asked who he
is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [high + low for high in _DIGITS for low in _DIGITS]
_TIME_CHARS: Final = 10  # 50 bits of milliseconds: until the year 37,000.
_RANDOM_CHARS: Final = 26  # 130 bits hold 128.
_RANDOM_BYTES: Final = 16


def id_maker(
    now: Callable[[], datetime], random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Callable[[str], str]:
    """Return a function that makes a fresh id for a prefix: new_id("call") -> "call_..."."""

    def new_id(prefix: str) -> str:
        millis = int(now().timestamp() * 1_000)
        random = int.from_bytes(random_bytes(_RANDOM_BYTES), "big")
        return f"{prefix}_{_base32(millis, _TIME_CHARS)}{_base32(random, _RANDOM_CHARS)}"

    return new_id


def _base32(number: int, chars: int) -> str:
    """Write a number in an even count of digits, two at a time: several ids are made for every call."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(5 * chars - 10, -10, -10)])
