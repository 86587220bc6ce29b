"""Operators' passwords: argon2id, slow on purpose, so never on the event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from policy.errors import ConfigurationError

if TYPE_CHECKING:
    from pwdlib import PasswordHash

SHORTEST: Final = 10  # Characters; a throttle and argon2id make longer guesses hopeless.
LONGEST: Final = 256  # A longer one is a file pasted by mistake, and costs hashing time.


def check_choice(password: str, name: str) -> None:
    """Refuse a password that is easily guessed. Raises ConfigurationError with what to choose."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigurationError(f"a password has {SHORTEST} to {LONGEST} characters")
    if len(set(password)) < SHORTEST // 2 or name.lower() in password.lower():
        raise ConfigurationError("this password is easily guessed; take several unrelated words")


async def hashed(password: str) -> str:
    """Return what is stored of a password."""
    return await asyncio.to_thread(_hash, password)


async def matches(password: str, stored: str | None) -> bool:
    """Say whether a password is the stored one; without one, take as long and say no."""
    if len(password) > LONGEST:
        return False
    return await asyncio.to_thread(_verify, password, stored)


def _hash(password: str) -> str:
    return str(_hasher().hash(password))


def _verify(password: str, stored: str | None) -> bool:
    # A name nobody has must take as long as one somebody has, or guessing names becomes cheap.
    against = stored if stored is not None else _hasher().hash("no operator has this password")
    found = bool(_hasher().verify(password, against))
    return found and stored is not None


def _hasher() -> PasswordHash:
    from pwdlib import PasswordHash
    from pwdlib.hashers.argon2 import Argon2Hasher

    return PasswordHash((Argon2Hasher(),))
