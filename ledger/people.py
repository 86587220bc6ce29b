"""Operators, their links and sessions, and the brake on guessed passwords: rare commands.

Passwords and links arrive hashed; the hashing is the console's and the command line's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import delete, insert, select, update

from ledger import schema_house as h
from ledger.audit.house_kinds import OperatorChanged, OperatorSignedIn
from ledger.engines.tx import Tx
from ledger.house import changed
from ledger.house_rows import operator_record
from ledger.records import OperatorRecord, Role
from ledger.times import SECOND_US, to_us
from ledger.world import World
from policy.errors import ConfigurationError, RecordMissing

FREE_FAILURES: Final = 5  # Mistyped passwords before the first pause.
FREE_IN_ALL: Final = 50  # The same for one name from all addresses together.
LONGEST_PAUSE_S: Final = 900  # Doubling from one second, a guesser gets four tries an hour.
FORGET_FAILURES_S: Final = 86_400
_DOUBLINGS: Final = 10  # 1,024 s is above the longest pause; without it a long night makes a number too long.


class Throttle(Struct, frozen=True):
    """How often an operator or an address failed to sign in, and until when it must wait."""

    failures: int = 0
    blocked_until_us: int = 0


def add_operator(
    tx: Tx, world: World, *, name: str, role: Role, by: str, at: datetime, password_hash: str | None = None
) -> OperatorRecord:
    """Add a person who answers; without a password the first sign-in is by a one-time link."""
    if any(operator.name == name for operator in world.house.operators.values()):
        raise ConfigurationError(f"there is or was an operator {name!r}; names are never given twice")
    row = {
        "account_id": world.account_id,
        "operator_id": world.new_id("opr"),
        "name": name,
        "role": role.value,
        "state": "active",
        "password_hash": password_hash,
        "made_by": by,
        "created_at_us": to_us(at),
    }
    tx.connection.execute(insert(h.operators).values(row))
    _log(world, str(row["operator_id"]), "active", role, "added", by=by, at=at, name=name)
    changed(tx, world)
    return operator_record(tuple(row.values()))


def need_operator(world: World, operator_id: str) -> OperatorRecord:
    """Return an operator by id or by name. Raises RecordMissing."""
    found = world.house.operators.get(operator_id)
    if found is None:
        found = next((each for each in world.house.operators.values() if each.name == operator_id), None)
    if found is None:
        raise RecordMissing(f"there is no operator {operator_id!r}; `bursar operator list` names them")
    return found


def set_password_hash(
    tx: Tx,
    world: World,
    operator_id: str,
    password_hash: str,
    *,
    by: str,
    at: datetime,
    session: str | None = None,
) -> bool:
    """Give an operator a password, and end every session and link of theirs.

    Where a session asks, it must not have ended: says whether the password is theirs now.
    """
    operator = need_operator(world, operator_id)
    if session is not None and not _is_open(tx, world.account_id, session):
        return False
    _set(tx, world, operator.operator_id, password_hash=password_hash)
    # Whoever else is signed in with the old password, or with a stolen cookie, is out.
    _end_ways_in(tx, world.account_id, operator.operator_id)
    _log(world, operator.operator_id, _state(operator), operator.role, "password", by=by, at=at)
    changed(tx, world)
    return True


def change_operator(
    tx: Tx,
    world: World,
    operator_id: str,
    *,
    by: str,
    at: datetime,
    role: Role | None = None,
    active: bool | None = None,
) -> OperatorRecord:
    """Give another role, disable, or let in again.

    Verdicts not yet claimed count as what their giver is now (M27). Raises ConfigurationError where no active
    owner would be left.
    """
    operator = need_operator(world, operator_id)
    new = msgspec.structs.replace(
        operator,
        role=operator.role if role is None else role,
        active=operator.active if active is None else active,
    )
    others = [each for each in world.house.operators.values() if each.operator_id != operator.operator_id]
    if not any(each.active and each.role is Role.OWNER for each in (*others, new)):
        raise ConfigurationError("the last active owner can be neither disabled nor given another role")
    state = _state(new)
    _set(tx, world, operator.operator_id, role=new.role.value, state=state)
    if not new.active:
        _end_ways_in(tx, world.account_id, operator.operator_id)
    _log(
        world,
        operator.operator_id,
        state,
        new.role,
        "disabled" if active is False else "changed",
        by=by,
        at=at,
    )
    changed(tx, world)
    return new


def _state(operator: OperatorRecord) -> str:
    return "active" if operator.active else "disabled"


def _set(tx: Tx, world: World, operator_id: str, **columns: str) -> None:
    tx.connection.execute(
        update(h.operators)
        .where(h.operators.c.account_id == world.account_id, h.operators.c.operator_id == operator_id)
        .values(**columns)
    )


def _log(
    world: World,
    operator_id: str,
    state: str,
    role: Role,
    what: str,
    *,
    by: str,
    at: datetime,
    name: str = "",
) -> None:
    payload: dict[str, object] = {"made_by": by}
    if name:
        payload["name"] = name
    actor = by if ":" in by else f"operator:{by}"
    world.log(
        OperatorChanged(state=state, role=role.value, what=what), operator_id, actor, to_us(at), payload
    )


# --- links -----------------------------------------------------------------------------------------------


def make_link(
    tx: Tx, world: World, operator_id: str, link_sha256: str, *, by: str, at: datetime, expires_at: datetime
) -> None:
    """Make a one-time sign-in link; only its hash is kept."""
    operator = need_operator(world, operator_id)
    tx.connection.execute(
        insert(h.operator_links).values(
            account_id=world.account_id,
            link_sha256=link_sha256,
            operator_id=operator.operator_id,
            made_by=by,
            expires_at_us=to_us(expires_at),
        )
    )
    _log(world, operator.operator_id, _state(operator), operator.role, "link", by=by, at=at)


def use_link(
    tx: Tx, world: World, link_sha256: str, at: datetime
) -> tuple[OperatorRecord, str | None] | None:
    """Spend a link, once, and return whose it is with the hash of their password.

    None where it is unknown, spent, too old, or its operator disabled.
    """
    links = h.operator_links
    spent = tx.connection.execute(
        update(links)
        .where(
            links.c.account_id == world.account_id,
            links.c.link_sha256 == link_sha256,
            links.c.used_at_us.is_(None),
            links.c.expires_at_us > to_us(at),
        )
        .values(used_at_us=to_us(at))
        .returning(links.c.operator_id)
    ).first()
    operator = None if spent is None else world.house.operators.get(spent[0])
    if operator is None or not operator.active:
        return None
    return operator, _password_hash(tx, world.account_id, operator.operator_id)


def signed_in(
    world: World, outcome: str, at: datetime, *, operator_id: str | None, address: str = "", session: str = ""
) -> None:
    """Say in the log that somebody signed in, stepped up, or was refused."""
    payload: dict[str, object] | None = {"address": address} if address else None
    fact = OperatorSignedIn(outcome=outcome, operator=operator_id)
    world.log(fact, session or "none", f"operator:{operator_id or 'unknown'}", to_us(at), payload)


# --- sessions --------------------------------------------------------------------------------------------


class NewSession(Struct, frozen=True, kw_only=True):
    """A session to begin, and what the proof of identity that begins it was checked against."""

    key: str
    data: bytes
    operator_id: str
    password_hash: str | None
    expires_at_us: int


def open_session(tx: Tx, world: World, new: NewSession) -> bool:
    """Begin a session, unless the operator was disabled or given another password since they proved theirs.

    Checking a password takes a while; whoever changes it in that while means to keep the old one out. Needs
    the account's lock, which orders the two.
    """
    operator = world.house.operators.get(new.operator_id)
    stands = operator is not None and operator.active
    if not stands or _password_hash(tx, world.account_id, new.operator_id) != new.password_hash:
        return False
    tx.connection.execute(
        insert(h.operator_sessions).values(
            account_id=world.account_id,
            session_key=new.key,
            data=new.data,
            expires_at_us=new.expires_at_us,
            operator_id=new.operator_id,
        )
    )
    return True


def _password_hash(tx: Tx, account: str, operator_id: str) -> str | None:
    table = h.operators
    mine = (table.c.account_id == account) & (table.c.operator_id == operator_id)
    found: str | None = tx.connection.execute(select(table.c.password_hash).where(mine)).scalar_one()
    return found


def _is_open(tx: Tx, account: str, key: str) -> bool:
    mine = (h.operator_sessions.c.account_id == account) & (h.operator_sessions.c.session_key == key)
    return tx.connection.execute(select(h.operator_sessions.c.session_key).where(mine)).first() is not None


def keep_session(tx: Tx, account: str, key: str, data: bytes, expires_at_us: int) -> bool:
    """Store what a session holds, in place of what it held; say whether there still is one.

    It never makes one: a page that was asked for before a sign-out must not undo it.
    """
    mine = (h.operator_sessions.c.account_id == account) & (h.operator_sessions.c.session_key == key)
    values = {"data": data, "expires_at_us": expires_at_us}
    return tx.connection.execute(update(h.operator_sessions).where(mine).values(values)).rowcount == 1


def _end_ways_in(tx: Tx, account: str, operator_id: str) -> None:
    """End every session of one operator, and every link that nobody used yet."""
    sessions, links = h.operator_sessions.c, h.operator_links.c
    theirs = (sessions.account_id == account) & (sessions.operator_id == operator_id)
    tx.connection.execute(delete(h.operator_sessions).where(theirs))
    unused = (links.account_id == account) & (links.operator_id == operator_id) & links.used_at_us.is_(None)
    tx.connection.execute(delete(h.operator_links).where(unused))


def delete_session(tx: Tx, account: str, key: str) -> None:
    """End one session."""
    mine = (h.operator_sessions.c.account_id == account) & (h.operator_sessions.c.session_key == key)
    tx.connection.execute(delete(h.operator_sessions).where(mine))


def delete_sessions(tx: Tx, account: str, before_us: int | None = None) -> None:
    """End all sessions, or those that ended before an instant."""
    mine = h.operator_sessions.c.account_id == account
    if before_us is not None:
        mine = mine & (h.operator_sessions.c.expires_at_us < before_us)
    tx.connection.execute(delete(h.operator_sessions).where(mine))


# --- the brake -------------------------------------------------------------------------------------------


def begin_login(tx: Tx, account: str, brakes: Mapping[str, int], at_us: int) -> bool:
    """Count one try against every subject, each with its free failures, unless one of them has to wait.

    The try counts as a failure before anybody looks at the password, in one transaction, so that guesses
    which arrive together wait for each other; `count_login` with `ok` forgets them.
    """
    known = {subject: _row_of(tx, account, subject) for subject in brakes}
    if any(row is not None and row.blocked_until_us > at_us for row in known.values()):
        return False
    for subject, free in brakes.items():
        _fail(tx, account, subject, at_us, row=known[subject], free=free)
    return True


def count_login(tx: Tx, account: str, subject: str, at_us: int, *, ok: bool) -> Throttle:
    """Count a sign-in that failed, or forget the failures after one that did not."""
    if ok:
        _forget(tx, account, subject)
        return Throttle()
    return _fail(tx, account, subject, at_us, row=_row_of(tx, account, subject), free=FREE_FAILURES)


def _row_of(tx: Tx, account: str, subject: str) -> Any:  # noqa: ANN401 -- SQLAlchemy's row, or None
    table = h.login_throttles
    mine = (table.c.account_id == account) & (table.c.subject == subject)
    return tx.connection.execute(select(table).where(mine)).first()


def _forget(tx: Tx, account: str, subject: str) -> None:
    table = h.login_throttles
    tx.connection.execute(delete(table).where(table.c.account_id == account, table.c.subject == subject))


def _fail(
    tx: Tx,
    account: str,
    subject: str,
    at_us: int,
    *,
    row: Any,  # noqa: ANN401 -- SQLAlchemy's row, or None
    free: int,
) -> Throttle:
    known = 0 if row is None or row.last_at_us < at_us - FORGET_FAILURES_S * SECOND_US else row.failures
    failures = known + 1
    pause_s = 0 if failures < free else min(LONGEST_PAUSE_S, 2 ** min(failures - free, _DOUBLINGS))
    until = at_us + pause_s * SECOND_US
    _forget(tx, account, subject)
    tx.connection.execute(
        insert(h.login_throttles).values(
            account_id=account, subject=subject, failures=failures, blocked_until_us=until, last_at_us=at_us
        )
    )
    return Throttle(failures, until)
