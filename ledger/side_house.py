"""The house side of the facade: projects, runs, agents, enforcers, policies, postures, processes, tools."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update

from ledger import house, house_policy
from ledger import schema_house as h
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.house_policy import Activation
from ledger.house_rows import (
    agent_record,
    enforcer_record,
    posture_record,
    project_record,
    run_record,
)
from ledger.records import (
    AgentRecord,
    CallRecord,
    EnforcerRecord,
    PostureRecord,
    ProjectRecord,
    Role,
    RunRecord,
)
from ledger.rows import call_record
from ledger.times import to_us
from ledger.world import World
from policy.errors import PolicyDenied, RecordMissing
from policy.language import Posture


class HouseSide:
    """Who and what may. Callers have checked the operator's password; roles are checked here."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # --- projects and runs -------------------------------------------------------------------------------

    async def add_project(self, name: str, *, by: str, at: datetime) -> ProjectRecord:
        """Open a project and its standing run."""

        def work(tx: Tx, world: World) -> ProjectRecord:
            made = house.add_project(tx, world, name, by, at)
            house.standing_run(tx, world, name, at)
            return made

        return await self._core.rare("add_project", work)

    async def projects(self) -> tuple[ProjectRecord, ...]:
        """Return all projects."""
        asked = (
            select(h.projects)
            .where(h.projects.c.account_id == self._core.account_id)
            .order_by(h.projects.c.name)
        )
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return tuple(project_record(tuple(row)) for row in rows)

    async def open_run(
        self, project: str, title: str, *, by: str, at: datetime, order_id: str | None = None
    ) -> RunRecord:
        """Open a run."""
        return await self._core.rare(
            "open_run",
            lambda tx, world: house.open_run(tx, world, project, title, by=by, at=at, order_id=order_id),
        )

    async def close_run(self, run_id: str, *, by: str, at: datetime, reason: str = "") -> RunRecord:
        """Close a run; what waits in it is cancelled at its claim."""
        return await self._core.rare(
            "close_run", lambda tx, world: house.close_run(tx, world, run_id, by, at, reason=reason)
        )

    async def run(self, run_id: str) -> RunRecord:
        """Return one run. Raises RecordMissing."""
        asked = select(h.runs).where(h.runs.c.account_id == self._core.account_id, h.runs.c.run_id == run_id)
        row = await self._core.read(lambda tx: tx.connection.execute(asked).first())
        if row is None:
            raise RecordMissing(f"there is no run {run_id!r}", field="run_id")
        return run_record(tuple(row))

    async def standing_run(self, project: str, at: datetime) -> RunRecord:
        """Return the project's standing run of today; written only where a day began."""
        asked = select(h.runs).where(
            h.runs.c.account_id == self._core.account_id,
            h.runs.c.project == project,
            h.runs.c.standing == 1,
            h.runs.c.state == "open",
        )

        def look(tx: Tx, world: World) -> RunRecord | None:
            row = tx.connection.execute(asked).first()
            run = None if row is None else run_record(tuple(row))
            return run if run is not None and run.opened_at >= house.midnight(world, at) else None

        known = await self._core.read_world(look)
        if known is not None:
            return known
        return await self._core.rare(
            "standing_run", lambda tx, world: house.standing_run(tx, world, project, at)
        )

    # --- agents and enforcers ----------------------------------------------------------------------------

    async def add_agent(  # noqa: PLR0913 -- all of them are what it is, by name
        self,
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
        """Register an agent; the token's hash is all that is kept of it."""

        def work(tx: Tx, world: World) -> AgentRecord:
            return house.add_agent(
                tx,
                world,
                name=name,
                project=project,
                kits=kits,
                token_sha256=token_sha256,
                by=by,
                at=at,
                run_id=run_id,
                expires_at=expires_at,
                strict_errors=strict_errors,
            )

        return await self._core.rare("add_agent", work)

    async def rotate_agent(self, name: str, *, token_sha256: str, by: str, at: datetime) -> AgentRecord:
        """Give an agent another token."""
        return await self._core.rare(
            "rotate_agent", lambda tx, world: house.rotate_agent(tx, world, name, token_sha256, by=by, at=at)
        )

    async def revoke_agent(self, name: str, *, by: str, at: datetime) -> AgentRecord:
        """Revoke an agent."""
        return await self._core.rare(
            "revoke_agent", lambda tx, world: house.revoke_agent(tx, world, name, by, at)
        )

    async def agents(self) -> tuple[AgentRecord, ...]:
        """Return all agents, active and revoked."""
        asked = (
            select(h.agents).where(h.agents.c.account_id == self._core.account_id).order_by(h.agents.c.name)
        )
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return tuple(agent_record(tuple(row)) for row in rows)

    async def agent_by_token(self, token_sha256: str) -> AgentRecord | None:
        """Return the agent a token opens, also a revoked or expired one.

        The caller says why it is refused. A change of the house is seen at once; `last_seen_at` is as it was
        at the last one.
        """
        found = await self._core.house()
        name = found.tokens.get(token_sha256)
        return None if name is None else found.agents[name]

    async def touch(self, agent: str, at: datetime) -> None:
        """Note that an agent was seen."""
        asked = (
            update(h.agents)
            .where(h.agents.c.account_id == self._core.account_id, h.agents.c.name == agent)
            .values(last_seen_at_us=to_us(at))
        )
        await self._core.plain("touch", lambda tx: tx.connection.execute(asked))

    async def add_enforcer(
        self, *, name: str, project: str, token_sha256: str, by: str, at: datetime
    ) -> EnforcerRecord:
        """Register another tool server."""
        return await self._core.rare(
            "add_enforcer",
            lambda tx, world: house.add_enforcer(
                tx, world, name=name, project=project, token_sha256=token_sha256, by=by, at=at
            ),
        )

    async def revoke_enforcer(self, name: str, *, by: str, at: datetime) -> EnforcerRecord:
        """Revoke an enforcer."""
        return await self._core.rare(
            "revoke_enforcer", lambda tx, world: house.revoke_enforcer(tx, world, name, by, at)
        )

    async def enforcers(self) -> tuple[EnforcerRecord, ...]:
        """Return all enforcers."""
        mine = h.enforcers.c.account_id == self._core.account_id
        asked = select(h.enforcers).where(mine).order_by(h.enforcers.c.name)
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return tuple(enforcer_record(tuple(row)) for row in rows)

    async def enforcer_by_token(self, token_sha256: str) -> EnforcerRecord | None:
        """Return the enforcer a token opens, also a revoked one."""
        asked = select(h.enforcers).where(
            h.enforcers.c.account_id == self._core.account_id, h.enforcers.c.token_sha256 == token_sha256
        )
        row = await self._core.read(lambda tx: tx.connection.execute(asked).first())
        return None if row is None else enforcer_record(tuple(row))

    # --- policies ----------------------------------------------------------------------------------------

    async def activate(self, text: str, file: str, *, by: str, at: datetime) -> Activation:
        """Make a text the active policy, or a candidate where live spending is at stake.

        Raises PolicyError.
        """
        return await self._core.rare(
            "activate", lambda tx, world: house_policy.activate(tx, world, text, file, by=by, at=at)[0]
        )

    async def accept_candidate(self, sha256: str, *, by: str, at: datetime) -> Activation:
        """Make a candidate the active policy. Raises PolicyDenied for anybody but an owner."""

        def work(tx: Tx, world: World) -> Activation:
            if not is_owner(world, by):
                raise PolicyDenied("only an owner accepts a policy while live spending is at stake")
            text, file = house_policy.candidate_text(tx, world, sha256)
            return house_policy.activate(tx, world, text, file, by=by, at=at, accept=True)[0]

        return await self._core.rare("accept_candidate", work)

    async def active(self) -> tuple[str, str, str] | None:
        """Return hash, text and file of the active policy; None before the first."""

        def work(tx: Tx, world: World) -> tuple[str, str, str] | None:
            if world.law is None:
                return None
            digest = world.law.policy.sha256
            return (digest, *house_policy.candidate_text(tx, world, digest))

        return await self._core.read_world(work)

    async def policies(self, state: str | None = None) -> tuple[dict[str, object], ...]:
        """Return what the ledger knows of every policy version, newest first, without the texts."""
        versions = h.policy_versions
        columns = [column for column in versions.columns if column.name not in {"account_id", "text"}]
        asked = select(*columns).where(versions.c.account_id == self._core.account_id)
        if state is not None:
            asked = asked.where(versions.c.state == state)
        rows = await self._core.read(
            lambda tx: tx.connection.execute(asked.order_by(versions.c.loaded_at_us.desc())).mappings().all()
        )
        return tuple(dict(row) for row in rows)

    async def policy_text(self, sha256: str) -> tuple[str, str]:
        """Return text and file of a policy the ledger holds. Raises RecordMissing."""
        return await self._core.read_world(lambda tx, world: house_policy.candidate_text(tx, world, sha256))

    # --- postures, processes, tools ----------------------------------------------------------------------

    async def set_posture(
        self, scope: str, key: str, posture: Posture, *, because: str, by: str, at: datetime
    ) -> tuple[CallRecord, ...]:
        """Move a posture and return what is in flight under it.

        Raises PolicyDenied (an owner loosens, with a reason).
        """

        def work(tx: Tx, world: World) -> tuple[CallRecord, ...]:
            rows = house_policy.set_posture(
                tx, world, scope, key, posture, because=because, by=by, at=at, owner=is_owner(world, by)
            )
            return tuple(call_record(row) for row in rows)

        return await self._core.rare("set_posture", work)

    async def postures(self) -> tuple[PostureRecord, ...]:
        """Return every posture that was set."""
        asked = select(h.postures).where(h.postures.c.account_id == self._core.account_id)
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return tuple(posture_record(tuple(row)) for row in rows)

    async def heartbeat(
        self, process_id: str, *, live_spend: bool, policy_sha256: str | None, at: datetime, version: str = ""
    ) -> None:
        """Say that this process lives, with its LIVE_SPEND (M6); every ten seconds."""

        def work(tx: Tx, world: World) -> None:
            house_policy.beat(
                tx,
                world,
                process_id,
                live_spend=live_spend,
                policy_sha256=policy_sha256,
                version=version,
                at=at,
            )

        await self._core.rare("heartbeat", work)

    async def stop_process(self, process_id: str, at: datetime) -> None:
        """Say that this process ends."""
        await self._core.rare("stop_process", lambda tx, world: house_policy.stop(tx, world, process_id, at))

    async def processes(self) -> tuple[dict[str, object], ...]:
        """Return every process that has not stopped, with its last word."""
        table = h.processes
        asked = select(table).where(
            table.c.account_id == self._core.account_id, table.c.stopped_at_us.is_(None)
        )
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).mappings().all())
        return tuple(dict(row) for row in rows)

    async def accept_tool(
        self, tool: str, definition_hash: str, kind: str, *, by: str, at: datetime, definition: str = ""
    ) -> None:
        """Accept a tool's definition. Raises ConfigurationError for a kind below the accepted one (M30)."""

        def work(tx: Tx, world: World) -> None:
            house_policy.accept_tool(
                tx, world, tool, definition_hash, kind, by=by, at=at, definition=definition
            )

        await self._core.rare("accept_tool", work)

    async def accepted_tools(self) -> dict[str, tuple[str, str]]:
        """Return hash and kind of every accepted tool, by name."""
        table = h.tool_acceptances
        asked = select(table.c.tool, table.c.definition_hash, table.c.accepted_kind).where(
            table.c.account_id == self._core.account_id
        )
        rows = await self._core.read(lambda tx: tx.connection.execute(asked).all())
        return {row[0]: (row[1], row[2]) for row in rows}


def is_owner(world: World, by: str) -> bool:
    """Say whether `by` is an active owner, by id or name; `system:` and agents never are."""
    return any(
        operator.active and operator.role is Role.OWNER and by in {operator.operator_id, operator.name}
        for operator in world.house.operators.values()
    )
