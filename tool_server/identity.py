"""Who is asking: the form of the two kinds of token, and the principal a valid one stands for.

    bur_agent_<43 letters and digits: 256 random bits><6: CRC-32 of all before>      opens /mcp only
    bur_enf_<the same>                                                               opens the sidecar only

The prefix lets secret scanners find a leaked token, the checksum tells a typing mistake from a wrong token
without asking the ledger. Only the SHA-256 of a token is ever stored; 256 random bits need no slow hash.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from ledger.records import AgentRecord
from tool_server.envelope import Principal

RANDOM_BYTES: Final = 32
_SECRET_CHARS: Final = 43  # 62^43 > 2^256: room for every 256-bit number.
_CHECK_CHARS: Final = 6  # 62^6 > 2^32: room for every CRC-32.
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class TokenKind(StrEnum):
    """Which door a token opens; the value is its prefix."""

    AGENT = "bur_agent_"
    ENFORCER = "bur_enf_"


_SHAPE: Final = re.compile(r"(bur_agent_|bur_enf_)[0-9A-Za-z]{49}")


class Refused(StrEnum):
    """Why a credential opens nothing. Callers hear one answer for all; the log and doctor tell them apart."""

    MISSING = "missing"
    MALFORMED = "malformed"
    WRONG_KIND = "wrong_kind"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Closed(Struct, frozen=True):
    """A credential that opens nothing; `agent` is whose it was, where that is known."""

    why: Refused
    agent: AgentRecord | None = None


FindAgent = Callable[[str], Awaitable[AgentRecord | None]]  # By the SHA-256 of its token, in hex.


def mint(kind: TokenKind, random_bytes: Callable[[int], bytes]) -> str:
    """Return a new token; show it once and keep only `token_sha256` of it."""
    body = kind.value + _base62(int.from_bytes(random_bytes(RANDOM_BYTES), "big"), _SECRET_CHARS)
    return body + _checksum(body)


def token_sha256(token: str) -> str:
    """Return what is stored of a token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def kind_of(token: str) -> TokenKind | None:
    """Return the kind of a well-formed token, None for anything else; asks no ledger."""
    shape = _SHAPE.fullmatch(token)
    if shape is None or _checksum(token[:-_CHECK_CHARS]) != token[-_CHECK_CHARS:]:
        return None
    return TokenKind(shape.group(1))


def bearer(header: str | None) -> str | None:
    """Return the token of an Authorization header (RFC 6750), None where there is none."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def identify(token: str | None, find: FindAgent, now: datetime) -> Principal | Closed:
    """Return the principal of an agent's token, or why it opens nothing.

    Whatever `find` raises passes through: doubt about a credential never opens a door.
    """
    if token is None:
        return Closed(Refused.MISSING)
    kind = kind_of(token)
    if kind is None:
        return Closed(Refused.MALFORMED)
    if kind is not TokenKind.AGENT:
        return Closed(Refused.WRONG_KIND)
    agent = await find(token_sha256(token))
    return _opened(agent, now) if agent is not None else Closed(Refused.UNKNOWN)


def _opened(agent: AgentRecord, now: datetime) -> Principal | Closed:
    if not agent.active:
        return Closed(Refused.REVOKED, agent)
    if agent.expires_at is not None and not now < agent.expires_at:
        return Closed(Refused.EXPIRED, agent)
    return Principal.of(agent)


def _checksum(body: str) -> str:
    """Return the CRC-32 of the text; it guards against mistakes, not against people."""
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)


def _base62(number: int, width: int) -> str:
    """Write a number in letters and digits, with leading zeros."""
    digits = []
    for _ in range(width):
        number, rest = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))
