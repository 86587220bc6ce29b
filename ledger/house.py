"""Accounts, projects, runs, agents, enforcers: rare commands, each one function in one transaction.

Each writes its rows, says so in the log, and raises `house_version` where a decision could come out
otherwise, so that every process reads the house again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import insert, select, update

from ledger import schema_house as h
from ledger import schema_log as g
from ledger import statements as sql
from ledger.audit.house_kinds import AccountOpened, AgentChanged, EnforcerChanged, ProjectChanged, RunChanged
from ledger.engines.tx import Tx
from ledger.house_rows import agent_record, enforcer_record, run_record
from ledger.records import AgentRecord, EnforcerRecord, ProjectRecord, RunRecord
from ledger.times import EPOCH, to_us
from ledger.world import World
from policy import windows
from policy.errors import ConfigurationError, RecordMissing
from policy.language import Window, WindowKind

_DAY: Final = Window(WindowKind.DAY)


def changed(tx: Tx, world: World) -> None:
    """Let every process read the house again before its next decision."""
    tx.run(sql.SET_HOUSE, account=world.account_id)


def open_account(tx: Tx, account_id: str, name: str, instance_id: str, at: datetime) -> None:
    """Make an account with an empty log; its first entry is written by the caller's World."""
    tx.connection.execute(
        insert(h.accounts).values(
            account_id=account_id,
            name=name,
            instance_id=instance_id,
            house_version=1,
            next_ordinal=1,
            created_at_us=to_us(at),
        )
    )
    tx.connection.execute(insert(g.log_head).values(account_id=account_id, size=0, epoch=0, frontier=b""))


def log_account(world: World, name: str, instance_id: str, at: datetime) -> None:
    """Write the first entry of an account's log."""
    world.log(AccountOpened(instance=instance_id), world.account_id, "system:init", to_us(at), {"name": name})


# --- projects and runs -----------------------------------------------------------------------------------


def add_project(tx: Tx, world: World, name: str, by: str, at: datetime) -> ProjectRecord:
    """Open a project. Raises ConfigurationError where the name is taken."""
    known = select(h.projects.c.name).where(
        h.projects.c.account_id == world.account_id, h.projects.c.name == name
    )
    if tx.connection.execute(known).first() is not None:
        raise ConfigurationError(f"there is a project {name!r} already")
    row = {"account_id": world.account_id, "name": name, "state": "open", "created_at_us": to_us(at)}
    tx.connection.execute(insert(h.projects).values(row))
    world.log(ProjectChanged(state="open"), name, by, to_us(at), {"name": name})
    changed(tx, world)
    return ProjectRecord(name=name, account_id=world.account_id, created_at=at)


def need_project(tx: Tx, world: World, name: str) -> None:
    """Raise RecordMissing unless the project is open."""
    known = select(h.projects.c.state).where(
        h.projects.c.account_id == world.account_id, h.projects.c.name == name
    )
    row = tx.connection.execute(known).first()
    if row is None or row[0] != "open":
        raise RecordMissing(f"there is no open project {name!r}; make one with `bursar project add {name}`")


def open_run(
    tx: Tx,
    world: World,
    project: str,
    title: str,
    *,
    by: str,
    at: datetime,
    standing: bool = False,
    order_id: str | None = None,
) -> RunRecord:
    """Open a run of a project."""
    need_project(tx, world, project)
    run_id = world.new_id("run")
    row = {
        "account_id": world.account_id,
        "run_id": run_id,
        "project": project,
        "title": title,
        "state": "open",
        "standing": int(standing),
        "opened_at_us": to_us(at),
        "closed_at_us": None,
        "order_id": order_id,
    }
    tx.connection.execute(insert(h.runs).values(row))
    fact = RunChanged(state="open", project=project, order_id=order_id)
    world.log(fact, run_id, by, to_us(at), {"title": title})
    return run_record(tuple(row.values()))


def close_run(tx: Tx, world: World, run_id: str, by: str, at: datetime, *, reason: str = "") -> RunRecord:
    """Close a run; what waits or is queued in it is cancelled when it is claimed (M5)."""
    run = need_run(tx, world, run_id)
    if run.state == "closed":
        return run
    tx.connection.execute(
        update(h.runs)
        .where(h.runs.c.account_id == world.account_id, h.runs.c.run_id == run_id)
        .values(state="closed", closed_at_us=to_us(at))
    )
    fact = RunChanged(state="closed", project=run.project, order_id=run.order_id)
    world.log(fact, run_id, by, to_us(at), {"reason": reason} if reason else None)
    return msgspec.structs.replace(run, state="closed", closed_at=at)


def need_run(tx: Tx, world: World, run_id: str) -> RunRecord:
    """Return a run. Raises RecordMissing."""
    found = select(h.runs).where(h.runs.c.account_id == world.account_id, h.runs.c.run_id == run_id)
    row = tx.connection.execute(found).first()
    if row is None:
        raise RecordMissing(f"there is no run {run_id!r}", field="run_id")
    return run_record(tuple(row))


def standing_run(tx: Tx, world: World, project: str, at: datetime) -> RunRecord:
    """Return the project's standing run of today, closing yesterday's.

    It changes at midnight in the policy's zone.
    """
    open_one = select(h.runs).where(
        h.runs.c.account_id == world.account_id,
        h.runs.c.project == project,
        h.runs.c.standing == 1,
        h.runs.c.state == "open",
    )
    row = tx.connection.execute(open_one).first()
    if row is not None:
        run = run_record(tuple(row))
        if run.opened_at >= midnight(world, at):
            return run
        close_run(tx, world, run.run_id, "system:ledger", at, reason="a new day began")
    title = f"standing run of {midnight(world, at):%Y-%m-%d}"
    return open_run(tx, world, project, title, by="system:ledger", at=at, standing=True)


def midnight(world: World, at: datetime) -> datetime:
    """Return the beginning of the day that `at` falls into, in the policy's zone."""
    timezone = "UTC" if world.law is None else world.law.policy.timezone
    return windows.start(_DAY, at, windows.zone(timezone)) or EPOCH


# --- agents and enforcers --------------------------------------------------------------------------------


def add_agent(  # noqa: PLR0913 -- all of them are what it is, by name
    tx: Tx,
    world: World,
    *,
    name: str,
    project: str,
    kits: tuple[str, ...],
    token_sha256: str,
    by: str,
    at: datetime,
    run_id: str | None = None,
    expires_at: datetime | None = None,
    strict_errors: bool = False,
) -> AgentRecord:
    """Register an agent. A name is given once for ever: keys and caps are kept by it."""
    need_project(tx, world, project)
    if name in world.house.agents:
        raise ConfigurationError(f"there is or was an agent {name!r}; names are never given twice")
    row = {
        "account_id": world.account_id,
        "agent_id": world.new_id("agt"),
        "name": name,
        "project": project,
        "kits": msgspec.json.encode(list(kits)).decode(),
        "run_id": run_id,
        "expires_at_us": None if expires_at is None else to_us(expires_at),
        "made_by": by,
        "strict_errors": int(strict_errors),
        "state": "active",
        "token_sha256": token_sha256,
        "created_at_us": to_us(at),
        "last_seen_at_us": None,
    }
    tx.connection.execute(insert(h.agents).values(row))
    made = agent_record(tuple(row.values()))
    _log_agent(world, made, "added", by, at)
    changed(tx, world)
    return made


def rotate_agent(tx: Tx, world: World, name: str, token_sha256: str, *, by: str, at: datetime) -> AgentRecord:
    """Give an agent another token; its keys, caps and calls stay its own (M24)."""
    agent = need_agent(world, name)
    _set_agent(tx, world, name, token_sha256=token_sha256)
    _log_agent(world, agent, "rotated", by, at)
    changed(tx, world)
    return agent


def revoke_agent(tx: Tx, world: World, name: str, by: str, at: datetime) -> AgentRecord:
    """Revoke an agent: what it has queued is cancelled at the claim (M5)."""
    agent = need_agent(world, name)
    _set_agent(tx, world, name, state="revoked")
    revoked = msgspec.structs.replace(agent, active=False)
    _log_agent(world, revoked, "revoked", by, at)
    changed(tx, world)
    return revoked


def need_agent(world: World, name: str) -> AgentRecord:
    """Return an agent by name. Raises RecordMissing."""
    agent = world.house.agents.get(name)
    if agent is None:
        raise RecordMissing(f"there is no agent {name!r}; `bursar agent list` names them")
    return agent


def _set_agent(tx: Tx, world: World, name: str, **columns: str) -> None:
    tx.connection.execute(
        update(h.agents)
        .where(h.agents.c.account_id == world.account_id, h.agents.c.name == name)
        .values(**columns)
    )


def _log_agent(world: World, agent: AgentRecord, what: str, by: str, at: datetime) -> None:
    state = "active" if agent.active else "revoked"
    fact = AgentChanged(state=state, project=agent.project, what=what)
    payload: dict[str, object] = {"name": agent.name, "made_by": by, "kits": list(agent.kits)}
    world.log(fact, agent.agent_id, _actor(by), to_us(at), payload)


def add_enforcer(
    tx: Tx, world: World, *, name: str, project: str, token_sha256: str, by: str, at: datetime
) -> EnforcerRecord:
    """Register another tool server that may ask for agents of one project."""
    need_project(tx, world, project)
    row = {
        "account_id": world.account_id,
        "enforcer_id": world.new_id("enf"),
        "name": name,
        "project": project,
        "made_by": by,
        "state": "active",
        "token_sha256": token_sha256,
        "created_at_us": to_us(at),
        "last_seen_at_us": None,
    }
    tx.connection.execute(insert(h.enforcers).values(row))
    fact = EnforcerChanged(state="active", project=project, what="added")
    world.log(fact, str(row["enforcer_id"]), _actor(by), to_us(at), {"name": name, "made_by": by})
    return enforcer_record(tuple(row.values()))


def revoke_enforcer(tx: Tx, world: World, name: str, by: str, at: datetime) -> EnforcerRecord:
    """Revoke an enforcer's token."""
    mine = (h.enforcers.c.account_id == world.account_id) & (h.enforcers.c.name == name)
    row = tx.connection.execute(select(h.enforcers).where(mine)).first()
    if row is None:
        raise RecordMissing(f"there is no enforcer {name!r}; `bursar enforcer list` names them")
    tx.connection.execute(update(h.enforcers).where(mine).values(state="revoked"))
    enforcer = enforcer_record(tuple(row))
    fact = EnforcerChanged(state="revoked", project=enforcer.project, what="revoked")
    world.log(fact, enforcer.enforcer_id, _actor(by), to_us(at), {"name": name, "made_by": by})
    return msgspec.structs.replace(enforcer, active=False)


def _actor(by: str) -> str:
    """Return who the log names: an operator's id gets its kind."""
    return by if ":" in by else f"operator:{by}"


def seen(tx: Tx, account: str, names: dict[str, int]) -> None:
    """Note when agents were last seen: nothing depends on it, and all who buy wait for it."""
    # In one order everywhere, so that two processes never wait for each other's rows.
    tx.many_rows(sql.SEEN_AGENTS, [(at_us, account, name) for name, at_us in sorted(names.items())])


def due_standing_runs(tx: Tx, world: World, at: datetime) -> list[str]:
    """Return the projects whose standing run is of an earlier day."""
    stale = select(h.runs.c.project).where(
        h.runs.c.account_id == world.account_id,
        h.runs.c.standing == 1,
        h.runs.c.state == "open",
        h.runs.c.opened_at_us < to_us(midnight(world, at)),
    )
    return [row[0] for row in tx.connection.execute(stale)]
