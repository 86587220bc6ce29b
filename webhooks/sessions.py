"""Operators' sessions: minted here, kept in the ledger by the hash of their id, never adopted from a browser.

An id the server did not mint opens nothing, and signing in always mints a new one, so a planted cookie is
worthless (session fixation). A session ends after half an hour without use, and after twelve hours anyway.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Protocol

import msgspec
from msgspec import Struct

from ledger.people import NewSession
from ledger.records import OperatorRecord, Role
from ledger.times import to_us

IDLE: Final = timedelta(minutes=30)
LONGEST: Final = timedelta(hours=12)
STEP_UP: Final = timedelta(minutes=15)  # How long one proof of identity covers approvals of live money.
_RENEW_AFTER: Final = timedelta(minutes=1)  # Writing on every page view would be one commit per click.
_RANKS: Final = {Role.VIEWER: 0, Role.APPROVER: 1, Role.OWNER: 2}


class Session(Struct, frozen=True, kw_only=True):
    """One signed-in browser."""

    key: str  # SHA-256 of the cookie; the cookie itself is kept nowhere.
    operator_id: str
    by: str  # "password" or "link".
    made_at: datetime
    seen_at: datetime
    stepped_up_at: datetime | None = None

    def is_fresh(self, now: datetime) -> bool:
        """Say whether the person proved who they are within the last quarter of an hour."""
        return self.stepped_up_at is not None and now - self.stepped_up_at < STEP_UP


class SessionLedger(Protocol):
    """What sessions need of the ledger."""

    async def session_get(self, key: str, at: datetime) -> bytes | None:
        """Return what a session holds, or None."""

    async def session_open(self, new: NewSession) -> bool:
        """Begin a session; say whether its operator still stands as they were proved to be."""

    async def session_keep(self, key: str, data: bytes, *, expires_at: datetime) -> bool:
        """Store what a session holds; say whether there still is one."""

    async def session_delete(self, key: str) -> None:
        """End one session."""

    async def operator(self, operator: str) -> OperatorRecord:
        """Return one operator."""


class Sessions:
    """Mint, find, renew and end sessions."""

    def __init__(self, ledger: SessionLedger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now

    async def mint(
        self, operator: OperatorRecord, *, by: str, password_hash: str | None
    ) -> tuple[str, Session] | None:
        """Return a new cookie value and its session. A password proves identity, a link does not step up.

        None where the operator has another password by now, or is disabled: what was proved holds no more.
        """
        cookie, now = secrets.token_urlsafe(32), self._now()
        stepped_up_at = now if by == "password" else None
        session = Session(
            key=hashed_cookie(cookie),
            operator_id=operator.operator_id,
            by=by,
            made_at=now,
            seen_at=now,
            stepped_up_at=stepped_up_at,
        )
        new = NewSession(
            key=session.key,
            data=_written(session),
            operator_id=operator.operator_id,
            password_hash=password_hash,
            expires_at_us=to_us(_ends(session)),
        )
        return (cookie, session) if await self._ledger.session_open(new) else None

    async def find(self, cookie: str | None) -> tuple[Session, OperatorRecord] | None:
        """Return the session a cookie opens and its operator as they are now; None where it opens nothing."""
        if not cookie:
            return None
        now, key = self._now(), hashed_cookie(cookie)
        data = await self._ledger.session_get(key, now)
        if data is None:
            return None
        session = msgspec.json.decode(data, type=Session)
        operator = await self._ledger.operator(session.operator_id)
        if not operator.active or now - session.seen_at > IDLE or now - session.made_at > LONGEST:
            await self._ledger.session_delete(key)
            return None
        seen = await self._seen(session, now)
        return None if seen is None else (seen, operator)

    async def step_up(self, session: Session) -> None:
        """Note that the person has just proved who they are."""
        await self._kept(msgspec.structs.replace(session, stepped_up_at=self._now()))

    async def end(self, session: Session) -> None:
        """Sign out."""
        await self._ledger.session_delete(session.key)

    async def _seen(self, session: Session, now: datetime) -> Session | None:
        """Note that it is in use; None where it ended in the meantime, which nothing undoes."""
        if now - session.seen_at < _RENEW_AFTER:
            return session
        renewed = msgspec.structs.replace(session, seen_at=now)
        return renewed if await self._kept(renewed) else None

    async def _kept(self, session: Session) -> bool:
        return await self._ledger.session_keep(session.key, _written(session), expires_at=_ends(session))


def _written(session: Session) -> bytes:
    return msgspec.json.encode(session)


def _ends(session: Session) -> datetime:
    return min(session.seen_at + IDLE, session.made_at + LONGEST)


def hashed_cookie(cookie: str) -> str:
    """Return the key under which a cookie's session is kept."""
    return hashlib.sha256(cookie.encode()).hexdigest()


def may(operator: OperatorRecord, role: Role) -> bool:
    """Say whether an operator has a role; each includes those before it."""
    return operator.active and _RANKS[operator.role] >= _RANKS[role]
