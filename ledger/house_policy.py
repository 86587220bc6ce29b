"""Policies, postures, processes, accepted tools: rare commands that decide what the gate may let through."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

from msgspec import Struct
from sqlalchemy import insert, select, update

from ledger import schema_house as h
from ledger import statements as sql
from ledger.audit.house_kinds import (
    PluginAccepted,
    PolicyActivated,
    PolicyLoaded,
    PolicyRetired,
    PostureMoved,
    ProcessStarted,
    ProcessStopped,
    ReadsLost,
)
from ledger.backfill import count_anew
from ledger.engines.tx import Tx
from ledger.gather import BEAT_LIVES_US, STRICTNESS
from ledger.house import changed, need_project
from ledger.judge import Law, law_of
from ledger.rows import CallRow
from ledger.schema import tool_calls
from ledger.times import to_us
from ledger.world import World
from policy.errors import ConfigurationError, InvalidArguments, PolicyDenied, RecordMissing
from policy.language import Posture


class Activation(Struct, frozen=True):
    """What became of a policy's text: it is active now, or a candidate that an owner has to accept."""

    sha256: str
    state: str  # "active" or "candidate".
    replaces: str | None = None


def activate(
    tx: Tx, world: World, text: str, file: str, *, by: str, at: datetime, accept: bool = False
) -> tuple[Activation, Law | None]:
    """Make a loaded policy the account's active one, or a candidate while live spending is at stake.

    While the active or the new file has `live_spend.enabled`, only an owner who has seen it (`accept`)
    activates it. Raises PolicyError for a text that does not load. Returns the new law where it changed.
    """
    digest = sha256(text.encode()).hexdigest()
    current = None if world.law is None else world.law.policy
    if current is not None and current.sha256 == digest:
        return Activation(digest, "active"), None
    law = law_of(world.judge.load(text, file))
    _remember(tx, world, digest, text, file, by=by, at=at)
    live = law.policy.live_spend.enabled or (current is not None and current.live_spend.enabled)
    if live and current is not None and not accept:
        return Activation(digest, "candidate"), None
    count_anew(tx, world, law, world.law, to_us(at))
    return _switch(tx, world, digest, by=by, at=at, replaces=None if current is None else current.sha256), law


def _remember(tx: Tx, world: World, digest: str, text: str, file: str, *, by: str, at: datetime) -> None:
    mine = (h.policy_versions.c.account_id == world.account_id) & (h.policy_versions.c.sha256 == digest)
    if tx.connection.execute(select(h.policy_versions.c.state).where(mine)).first() is not None:
        tx.connection.execute(update(h.policy_versions).where(mine).values(state="candidate", file=file))
    else:
        tx.connection.execute(
            insert(h.policy_versions).values(
                account_id=world.account_id,
                sha256=digest,
                file=file,
                text=text,
                state="candidate",
                loaded_by=by,
                loaded_at_us=to_us(at),
            )
        )
    world.log(PolicyLoaded(), digest, _actor(by), to_us(at), {"source": text})


def _switch(tx: Tx, world: World, digest: str, *, by: str, at: datetime, replaces: str | None) -> Activation:
    versions = h.policy_versions
    others = (versions.c.account_id == world.account_id) & (versions.c.sha256 != digest)
    tx.connection.execute(
        update(versions).where(others, versions.c.state == "active").values(state="retired")
    )
    if replaces is not None:
        world.log(PolicyRetired(), replaces, _actor(by), to_us(at))
    tx.connection.execute(
        update(versions)
        .where(versions.c.account_id == world.account_id, versions.c.sha256 == digest)
        .values(state="active", activated_by=by, activated_at_us=to_us(at))
    )
    tx.connection.execute(
        update(h.accounts).where(h.accounts.c.account_id == world.account_id).values(policy_sha256=digest)
    )
    world.log(PolicyActivated(replaces=replaces), digest, _actor(by), to_us(at))
    changed(tx, world)
    return Activation(digest, "active", replaces)


def candidate_text(tx: Tx, world: World, digest: str) -> tuple[str, str]:
    """Return the text and file of a policy the ledger holds, by its hash or the beginning of it."""
    versions = h.policy_versions
    found = tx.connection.execute(
        select(versions.c.text, versions.c.file).where(
            versions.c.account_id == world.account_id, versions.c.sha256.startswith(digest, autoescape=True)
        )
    ).all()
    if len(found) != 1:
        raise RecordMissing(f"there is no one policy {digest!r} in the ledger")
    return found[0][0], found[0][1]


# --- postures --------------------------------------------------------------------------------------------


def set_posture(  # noqa: PLR0913 -- all of them are what it is, by name
    tx: Tx,
    world: World,
    scope: str,
    scope_key: str,
    posture: Posture,
    *,
    because: str,
    by: str,
    at: datetime,
    owner: bool,
) -> tuple[CallRow, ...]:
    """Move a scope's posture and return what is in flight under it.

    Raises PolicyDenied where somebody other than an owner loosens it, or no reason is given for doing so, and
    InvalidArguments for a scope or a name that nothing has: a switch under it would stop nobody.
    """
    scope_key = _scope_key(tx, world, scope, scope_key)
    was = world.house.postures.get((scope, scope_key), Posture.NORMAL)
    if STRICTNESS[posture] < STRICTNESS[was]:
        if not owner:
            raise PolicyDenied(f"{was} is loosened by an owner only")
        if not because.strip():
            raise PolicyDenied("say why: loosening a posture needs a reason")
    tx.run(
        sql.UPSERT_POSTURE,
        account_id=world.account_id,
        scope=scope,
        scope_key=scope_key,
        posture=posture.value,
        because=because,
        set_by=by,
        at_us=to_us(at),
    )
    running = in_flight(tx, world, scope, scope_key)
    subject = f"{scope}:{scope_key}"
    payload: dict[str, object] = {"reason": because, "in_flight": [row.call_id for row in running]}
    world.log(PostureMoved(posture=posture, was=was), subject, _actor(by), to_us(at), payload)
    changed(tx, world)
    return running


def _scope_key(tx: Tx, world: World, scope: str, key: str) -> str:
    """Return the one name a scope's switch goes by. Providers are named by plugins."""
    if scope == "account":
        return world.account_id
    if scope not in {"project", "agent", "provider"} or not key:
        raise InvalidArguments("a posture is for the account, a project, an agent or a provider, by its name")
    if scope == "project":
        need_project(tx, world, key)
    if scope == "agent" and key not in world.house.agents:
        raise RecordMissing(f"there is no agent {key!r}; `bursar agent list` names them")
    return key


def in_flight(tx: Tx, world: World, scope: str, scope_key: str) -> tuple[CallRow, ...]:
    """Return the calls of a scope that are executing or unknown: nothing recalls them."""
    column = {"project": "project", "agent": "agent", "provider": "provider"}.get(scope)
    asked = select(tool_calls).where(
        tool_calls.c.account_id == world.account_id,
        tool_calls.c.state.in_(("executing", "unknown")),
        tool_calls.c.settled_at_us.is_(None),
    )
    if column is not None:
        asked = asked.where(tool_calls.c[column] == scope_key)
    return tuple(CallRow(*row) for row in tx.connection.execute(asked.order_by(tool_calls.c.ordinal)))


# --- processes and tools ---------------------------------------------------------------------------------


def beat(
    tx: Tx,
    world: World,
    process_id: str,
    *,
    live_spend: bool,
    policy_sha256: str | None,
    version: str,
    at: datetime,
) -> None:
    """Note that a process lives, with its LIVE_SPEND (M6); its first beat is said in the log.

    The first beat also says of processes that are dead by then what they may have lost (M36).
    """
    mine = (h.processes.c.account_id == world.account_id) & (h.processes.c.process_id == process_id)
    values = {"live_spend": int(live_spend), "policy_sha256": policy_sha256, "beat_at_us": to_us(at)}
    found = tx.connection.execute(update(h.processes).where(mine).values(**values, stopped_at_us=None))
    if found.rowcount:
        return
    tx.connection.execute(
        insert(h.processes).values(
            account_id=world.account_id,
            process_id=process_id,
            version=version,
            started_at_us=to_us(at),
            **values,
        )
    )
    bury(tx, world, _dead(tx, world.account_id, process_id, at), at)
    fact = ProcessStarted(live_spend=int(live_spend), version=version, policy_sha256=policy_sha256)
    world.log(fact, process_id, f"system:{process_id}", to_us(at))


def stop(tx: Tx, world: World, process_id: str, at: datetime) -> None:
    """Note that a process ended in good order: its LIVE_SPEND counts no more."""
    mine = (h.processes.c.account_id == world.account_id) & (h.processes.c.process_id == process_id)
    tx.connection.execute(update(h.processes).where(mine).values(stopped_at_us=to_us(at)))
    world.log(ProcessStopped(), process_id, f"system:{process_id}", to_us(at))


def silent(tx: Tx, account: str, at: datetime) -> tuple[tuple[str, int], ...]:
    """Return the processes that neither beat nor stopped: id and last beat."""
    p = h.processes.c
    asked = select(p.process_id, p.beat_at_us).where(
        p.account_id == account, p.stopped_at_us.is_(None), p.beat_at_us <= to_us(at) - BEAT_LIVES_US
    )
    return tuple((row[0], row[1]) for row in tx.connection.execute(asked))


def _dead(tx: Tx, account: str, starting: str, at: datetime) -> tuple[tuple[str, int], ...]:
    """Return who is dead when another process starts.

    On SQLite one process writes, and it is the one that starts. On PostgreSQL the others may well live, and
    those that are silent are dead; of one that fell silent a moment ago the next sweep says so.
    """
    if tx.connection.dialect.name != "sqlite":
        return silent(tx, account, at)
    p = h.processes.c
    asked = select(p.process_id, p.beat_at_us).where(
        p.account_id == account, p.stopped_at_us.is_(None), p.process_id != starting
    )
    return tuple((row[0], row[1]) for row in tx.connection.execute(asked))


def bury(tx: Tx, world: World, lost: tuple[tuple[str, int], ...], at: datetime) -> None:
    """Say of processes that died what may be missing: the reads they had not yet written (M36)."""
    for process_id, beat_at_us in lost:
        mine = (h.processes.c.account_id == world.account_id) & (h.processes.c.process_id == process_id)
        still = (h.processes.c.stopped_at_us.is_(None)) & (h.processes.c.beat_at_us == beat_at_us)
        found = tx.connection.execute(update(h.processes).where(mine, still).values(stopped_at_us=to_us(at)))
        if found.rowcount:
            fact = ReadsLost(since_us=beat_at_us, until_us=to_us(at))
            world.log(fact, process_id, "system:ledger", to_us(at))


KIND_ORDER = ("read", "draft", "withdraw", "earn", "provision", "spend", "human_only")


def accept_tool(
    tx: Tx,
    world: World,
    tool: str,
    definition_hash: str,
    kind: str,
    *,
    by: str,
    at: datetime,
    definition: str = "",
) -> None:
    """Accept a tool's definition. Raises ConfigurationError for a kind below the accepted one (M30)."""
    mine = (h.tool_acceptances.c.account_id == world.account_id) & (h.tool_acceptances.c.tool == tool)
    known = tx.connection.execute(select(h.tool_acceptances.c.accepted_kind).where(mine)).first()
    if known is not None and KIND_ORDER.index(kind) < KIND_ORDER.index(known[0]):
        raise ConfigurationError(
            f"tool {tool!r} was accepted as {known[0]} and now says {kind}: that is refused"
        )
    values = {
        "definition_hash": definition_hash,
        "accepted_kind": kind,
        "accepted_by": by,
        "at_us": to_us(at),
    }
    if known is None:
        tx.connection.execute(
            insert(h.tool_acceptances).values(account_id=world.account_id, tool=tool, **values)
        )
    else:
        tx.connection.execute(update(h.tool_acceptances).where(mine).values(**values))
    fact = PluginAccepted(definition_hash=definition_hash, accepted_kind=kind)
    world.log(fact, tool, _actor(by), to_us(at), {"definition": definition} if definition else None)
    changed(tx, world)


def _actor(by: str) -> str:
    return by if ":" in by else f"operator:{by}"
