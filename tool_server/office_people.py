"""The office's verbs about who may ask and who answers: agents, operators, projects, runs, sign-in links."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

from ledger.records import AgentRecord, OperatorRecord, Role
from policy.errors import RecordMissing
from tool_server.identity import TokenKind, mint, token_sha256
from tool_server.office import Means, Refused, Verb
from tool_server.passwords import check_choice, hashed

LINK_LIFE: Final = timedelta(minutes=15)  # Long enough to walk to the browser, too short to lie about.
LINK_BYTES: Final = 32

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{1,31}$")]


class Nothing(Struct, frozen=True):
    """No arguments."""


class AgentAdd(Struct, frozen=True, kw_only=True):
    """A new agent and what its token opens."""

    name: Name
    project: str
    kits: tuple[str, ...]
    run_id: str | None = None
    expires_in_s: int | None = None
    strict_errors: bool = False


class Named(Struct, frozen=True):
    """Whom or what it is about."""

    name: str


class OperatorAdd(Struct, frozen=True, kw_only=True):
    """A new person who answers; without a password the first sign-in is by a link."""

    name: Name
    role: Role


class PasswordSet(Struct, frozen=True, kw_only=True):
    """A password as typed on the terminal."""

    password: str

    def __repr__(self) -> str:
        return "PasswordSet(***)"


class ProjectAdd(Struct, frozen=True):
    """A new project."""

    name: Name


class RunsAsked(Struct, frozen=True, kw_only=True):
    """Which runs."""

    project: str | None = None
    state: str | None = None


class RunOpen(Struct, frozen=True, kw_only=True):
    """A new run of a project."""

    project: str
    title: Annotated[str, Meta(min_length=1, max_length=200)]


class RunClose(Struct, frozen=True, kw_only=True):
    """The end of a run, and why."""

    run_id: str
    reason: str = ""


async def agent_add(means: Means, asked: AgentAdd, who: OperatorRecord | None) -> object:
    """Register an agent and show its token, this once."""
    if means.catalogue is not None:
        means.catalogue.check_kits(asked.kits)
    if asked.project not in {project.name for project in await means.ledger.projects()}:
        raise Refused(
            f"there is no project {asked.project!r}; make it with `bursar project add {asked.project}`"
        )
    now, token = means.now(), mint(TokenKind.AGENT, means.random_bytes)
    await means.ledger.add_agent(
        name=asked.name,
        project=asked.project,
        kits=asked.kits,
        token_sha256=token_sha256(token),
        by=_name(who),
        at=now,
        run_id=asked.run_id,
        expires_at=None if asked.expires_in_s is None else now + timedelta(seconds=asked.expires_in_s),
        strict_errors=asked.strict_errors,
    )
    return {"name": asked.name, "token": token, "url": means.agents_url}


async def agent_rotate(means: Means, asked: Named, who: OperatorRecord | None) -> object:
    """Give an agent another token; the old one stops at once, its calls and keys stay its own."""
    token = mint(TokenKind.AGENT, means.random_bytes)
    await means.ledger.rotate_agent(
        asked.name, token_sha256=token_sha256(token), by=_name(who), at=means.now()
    )
    return {"name": asked.name, "token": token, "url": means.agents_url}


async def agent_revoke(means: Means, asked: Named, _who: OperatorRecord | None) -> object:
    """Close an agent's token at once; what it has queued is cancelled at its claim."""
    await means.ledger.revoke_agent(asked.name, by="system:cli", at=means.now())
    return {"name": asked.name, "active": False}


async def agent_list(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every agent, without anything of a token."""
    return [_agent(agent) for agent in await means.ledger.agents()]


async def operator_add(means: Means, asked: OperatorAdd, who: OperatorRecord | None) -> object:
    """Add a person and return the link of their first sign-in."""
    operator = await means.ledger.add_operator(
        name=asked.name, role=asked.role, by=_name(who), at=means.now()
    )
    return await _link(means, operator, _name(who))


async def operator_list(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every operator."""
    return await means.ledger.operators()


async def operator_disable(means: Means, asked: Named, who: OperatorRecord | None) -> object:
    """Let a person in no more; verdicts of theirs that are not yet claimed on stop counting."""
    return await means.ledger.disable_operator(asked.name, by=_name(who), at=means.now())


async def operator_link(means: Means, asked: Named, who: OperatorRecord | None) -> object:
    """Return a sign-in link for somebody else."""
    return await _link(means, await _operator(means, asked.name), _name(who))


async def login(means: Means, _asked: Nothing, who: OperatorRecord | None) -> object:
    """Return a sign-in link for whoever signed."""
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    return await _link(means, who, who.name)


async def password_set(means: Means, asked: PasswordSet, who: OperatorRecord | None) -> object:
    """Give whoever signed another password."""
    if who is None:  # pragma: no cover - the verb's role sees to it
        raise Refused("sign first")
    check_choice(asked.password, who.name)
    await means.ledger.set_password_hash(who.name, await hashed(asked.password), by=who.name, at=means.now())
    return {"name": who.name}


async def project_add(means: Means, asked: ProjectAdd, who: OperatorRecord | None) -> object:
    """Open a project with its standing run."""
    return await means.ledger.add_project(asked.name, by=_name(who), at=means.now())


async def project_list(means: Means, _asked: Nothing, _who: OperatorRecord | None) -> object:
    """Return every project."""
    return await means.ledger.projects()


async def run_open(means: Means, asked: RunOpen, who: OperatorRecord | None) -> object:
    """Open a run, and with it the room of every cap per run."""
    return await means.ledger.open_run(asked.project, asked.title, by=_name(who), at=means.now())


async def run_close(means: Means, asked: RunClose, _who: OperatorRecord | None) -> object:
    """Close a run; what waits in it is cancelled at its claim."""
    return await means.ledger.close_run(asked.run_id, by="system:cli", at=means.now(), reason=asked.reason)


async def run_show(means: Means, asked: Named, _who: OperatorRecord | None) -> object:
    """Return one run."""
    return await means.ledger.run(asked.name)


async def run_list(means: Means, asked: RunsAsked, _who: OperatorRecord | None) -> object:
    """Return runs, newest first."""
    return (await means.ledger.runs(project=asked.project, state=asked.state)).items


def _owner(_params: object) -> Role:
    return Role.OWNER


def _anybody(_params: object) -> Role:
    return Role.VIEWER


VERBS: Final[Mapping[str, Verb]] = {
    "agent.add": Verb(AgentAdd, agent_add, _owner),
    "agent.rotate": Verb(Named, agent_rotate, _owner),
    "agent.revoke": Verb(Named, agent_revoke),
    "agent.list": Verb(Nothing, agent_list),
    "operator.add": Verb(OperatorAdd, operator_add, _owner),
    "operator.list": Verb(Nothing, operator_list),
    "operator.disable": Verb(Named, operator_disable, _owner),
    "operator.link": Verb(Named, operator_link, _owner),
    "operator.password": Verb(PasswordSet, password_set, _anybody),
    "login": Verb(Nothing, login, _anybody),
    "project.add": Verb(ProjectAdd, project_add, _owner),
    "project.list": Verb(Nothing, project_list),
    "runs.open": Verb(RunOpen, run_open, _owner),
    "runs.close": Verb(RunClose, run_close),
    "runs.show": Verb(Named, run_show),
    "runs.list": Verb(RunsAsked, run_list),
}


async def make_link(means: Means, operator: OperatorRecord, by: str) -> tuple[str, datetime]:
    """Make a one-time sign-in link; only its hash is kept."""
    secret = base64.urlsafe_b64encode(means.random_bytes(LINK_BYTES)).decode().rstrip("=")
    now = means.now()
    await means.ledger.make_link(
        operator.operator_id,
        link_sha256=hashlib.sha256(secret.encode()).hexdigest(),
        by=by,
        at=now,
        expires_at=now + LINK_LIFE,
    )

    return f"{means.console_url}/link/{secret}", now + LINK_LIFE


async def _link(means: Means, operator: OperatorRecord, by: str) -> object:
    url, expires_at = await make_link(means, operator, by)
    return {"name": operator.name, "role": operator.role, "link": url, "expires_at": expires_at}


async def _operator(means: Means, name: str) -> OperatorRecord:
    try:
        return await means.ledger.operator(name)
    except RecordMissing as missing:
        raise Refused(missing.message) from None


def _agent(agent: AgentRecord) -> dict[str, object]:
    return {
        "name": agent.name,
        "project": agent.project,
        "kits": agent.kits,
        "run_id": agent.run_id,
        "active": agent.active,
        "expires_at": agent.expires_at,
        "owner": agent.owner,
        "strict_errors": agent.strict_errors,
        "created_at": agent.created_at,
        "last_seen_at": agent.last_seen_at,
    }


def _name(who: OperatorRecord | None) -> str:
    return who.name if who is not None else "system:cli"
