"""The people side of the facade: operators, links, sessions, the brake on guessed passwords."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from ledger import people
from ledger import schema_house as h
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.house_rows import operator_record
from ledger.people import NewSession, Throttle
from ledger.records import OperatorRecord, Role
from ledger.times import to_us
from ledger.world import World
from policy.errors import RecordMissing


class PeopleSide:
    """Operators and how they get in. Passwords and links arrive hashed."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def add_operator(
        self, *, name: str, role: Role, by: str, at: datetime, password_hash: str | None = None
    ) -> OperatorRecord:
        """Add a person who answers."""
        return await self._core.rare(
            "add_operator",
            lambda tx, world: people.add_operator(
                tx, world, name=name, role=role, by=by, at=at, password_hash=password_hash
            ),
        )

    async def operators(self) -> tuple[OperatorRecord, ...]:
        """Return all operators, active and disabled."""
        mine = h.operators.c.account_id == self._core.account_id
        asked = select(h.operators).where(mine).order_by(h.operators.c.name)
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return tuple(operator_record(tuple(row)) for row in rows)

    async def operator(self, operator: str) -> OperatorRecord:
        """Return one operator by id or name. Raises RecordMissing."""
        found = [each for each in await self.operators() if operator in {each.operator_id, each.name}]
        if not found:
            raise RecordMissing(f"there is no operator {operator!r}; `bursar operator list` names them")
        return found[0]

    async def password_hash(self, operator: str) -> tuple[OperatorRecord, str | None] | None:
        """Return an operator with the hash of the password, by id or name; None for nobody of that name."""
        table = h.operators
        asked = select(table).where(
            table.c.account_id == self._core.account_id,
            (table.c.operator_id == operator) | (table.c.name == operator),
        )
        row = await self._core.read(lambda tx: tx.connection.execute(asked).first())
        return None if row is None else (operator_record(tuple(row)), row.password_hash)

    async def set_password_hash(
        self, operator: str, password_hash: str, *, by: str, at: datetime, session: str | None = None
    ) -> bool:
        """Give an operator a password, unless the session that asks has ended; say whether it was done."""
        return await self._core.rare(
            "set_password_hash",
            lambda tx, world: people.set_password_hash(
                tx, world, operator, password_hash, by=by, at=at, session=session
            ),
        )

    async def change_operator(
        self, operator: str, *, by: str, at: datetime, role: Role | None = None, active: bool | None = None
    ) -> OperatorRecord:
        """Give another role, disable, or let in again.

        Raises ConfigurationError for the last active owner.
        """
        return await self._core.rare(
            "change_operator",
            lambda tx, world: people.change_operator(
                tx, world, operator, by=by, at=at, role=role, active=active
            ),
        )

    async def disable_operator(self, operator: str, *, by: str, at: datetime) -> OperatorRecord:
        """Disable an operator: verdicts not yet claimed on count no more (M27)."""
        return await self.change_operator(operator, by=by, at=at, active=False)

    # --- links and sessions ------------------------------------------------------------------------------

    async def make_link(
        self, operator: str, *, link_sha256: str, by: str, at: datetime, expires_at: datetime
    ) -> None:
        """Make a one-time sign-in link."""
        await self._core.rare(
            "make_link",
            lambda tx, world: people.make_link(
                tx, world, operator, link_sha256, by=by, at=at, expires_at=expires_at
            ),
        )

    async def use_link(self, link_sha256: str, at: datetime) -> tuple[OperatorRecord, str | None] | None:
        """Spend a one-time link; return whose it is, with the hash of the password, or None."""
        return await self._core.rare(
            "use_link", lambda tx, world: people.use_link(tx, world, link_sha256, at)
        )

    async def signed_in(
        self,
        outcome: str,
        at: datetime,
        *,
        operator_id: str | None = None,
        address: str = "",
        session: str = "",
    ) -> None:
        """Say in the log who signed in, stepped up, or was refused; `session` is a hash, never the key."""

        def work(_tx: Tx, world: World) -> None:
            people.signed_in(world, outcome, at, operator_id=operator_id, address=address, session=session)

        await self._core.rare("signed_in", work)

    async def session_get(self, key: str, at: datetime) -> bytes | None:
        """Return what a session holds; None where it is unknown or over."""
        table = h.operator_sessions
        asked = select(table.c.data).where(
            table.c.account_id == self._core.account_id,
            table.c.session_key == key,
            table.c.expires_at_us > to_us(at),
        )
        row = await self._core.read(lambda tx: tx.connection.execute(asked).first())
        return None if row is None else bytes(row[0])

    async def session_open(self, new: NewSession) -> bool:
        """Begin a session; say whether its operator still stands as they were proved to be."""
        return await self._core.rare("session_open", lambda tx, world: people.open_session(tx, world, new))

    async def session_keep(self, key: str, data: bytes, *, expires_at: datetime) -> bool:
        """Store what a session holds; say whether there still is one. It never makes one."""
        account = self._core.account_id
        return await self._core.plain(
            "session_keep", lambda tx: people.keep_session(tx, account, key, data, to_us(expires_at))
        )

    async def session_delete(self, key: str) -> None:
        """End one session."""
        await self._core.plain(
            "session_delete", lambda tx: people.delete_session(tx, self._core.account_id, key)
        )

    async def sessions_delete(self, before: datetime | None = None) -> None:
        """End all sessions, or sweep away those that were over before an instant."""
        limit = None if before is None else to_us(before)
        await self._core.plain(
            "sessions_delete", lambda tx: people.delete_sessions(tx, self._core.account_id, limit)
        )

    # --- the brake ---------------------------------------------------------------------------------------

    async def begin_login(self, brakes: Mapping[str, int], at: datetime) -> bool:
        """Count a try as a failure before it is looked at, unless one of these subjects has to wait.

        `brakes` says how many failures each subject has for free. Says whether the try may go on.
        """
        account = self._core.account_id
        return await self._core.plain(
            "begin_login", lambda tx: people.begin_login(tx, account, brakes, to_us(at))
        )

    async def count_login(self, subject: str, at: datetime, *, ok: bool) -> Throttle:
        """Count a sign-in for an operator's name or an address; pauses double from the fifth failure on."""
        account = self._core.account_id
        return await self._core.plain(
            "count_login", lambda tx: people.count_login(tx, account, subject, to_us(at), ok=ok)
        )

    async def login_throttle(self, subject: str) -> Throttle:
        """Return how a name or an address stands."""
        table = h.login_throttles
        asked = select(table.c.failures, table.c.blocked_until_us).where(
            table.c.account_id == self._core.account_id, table.c.subject == subject
        )
        row = await self._core.read(lambda tx: tx.connection.execute(asked).first())
        return Throttle() if row is None else Throttle(row[0], row[1])
