"""What is missing before money can move, or is dangerous if it does: one line per check, with what to do.

`of_files` looks at what lies on this machine and needs nothing to work; `of_house` asks the ledger, the
plugins and the providers. A check that cannot be made is bad, never skipped.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ledger.records import Role
from policy.errors import ConfigurationError, PolicyError
from policy.language import Desk, Policy
from tool_server.settings import Settings

if TYPE_CHECKING:
    from tool_server.office import Means

Level = Literal["ok", "warn", "bad"]
_OTHERS: Final = 0o077
_FIRST_PERSON: Final = 1_000  # User ids from here on belong to people, not to services, on most systems.


class Finding(Struct, frozen=True):
    """What one check found; `do` is empty where nothing has to be done."""

    check: str
    level: Level
    said: str
    do: str = ""


def of_files(settings: Settings) -> Iterator[Finding]:
    """Check the environment, the policy file, and who may read the house's files."""
    yield from _money(settings)
    yield from _policy(settings)
    yield from _key(settings.keys)
    file = settings.sqlite_file
    if file is not None:
        yield from _private("ledger", file)
        yield from _owner(file)
        from ledger.engines.sqlite import sqlite_warning

        warning = sqlite_warning()
        yield Finding("sqlite", "warn" if warning else "ok", warning or "no known fault in this build")


def _money(settings: Settings) -> Iterator[Finding]:
    """Say whether live money may move as far as this environment is concerned."""
    said = (
        "LIVE_SPEND=1: live spending is allowed by this environment"
        if settings.live_spend
        else "LIVE_SPEND=0"
    )
    yield Finding("live spending", "warn" if settings.live_spend else "ok", said)
    for name in ("STRIPE_EARN_KEY", "STRIPE_SPEND_KEY"):
        try:
            secret = settings.secret(name)
        except ConfigurationError as error:
            yield Finding(name, "bad", str(error))
            continue
        if secret is not None and secret.reveal().startswith("sk_live_"):
            do = "make a restricted key (rk_live_...) that can do only what Bursar needs"
            yield Finding(name, "warn", "a live key that may do everything", do)
    public = settings.public_url
    if public and not public.startswith("https://"):
        yield Finding("public address", "ok", f"{public}, for this machine only")
    elif public:
        yield Finding("public address", "ok", public)


def _policy(settings: Settings) -> Iterator[Finding]:
    """Load the policy as a start would, and pass on what is probably not meant."""
    from policy.lint import lint
    from policy.load import load, read_source
    from tool_server.policy_file import known_tools

    try:
        tools = known_tools(settings.policies)
        source = read_source(settings.policies)
        policy = load(source, settings.policies.name, tools)
    except PolicyError as error:
        first = str(error.mistakes[0]).splitlines()[0]
        do = f"run: bursar policy check {settings.policies}"
        more = f", and {len(error.mistakes) - 1} more" if len(error.mistakes) > 1 else ""
        yield Finding("policy", "bad", first + more, do)
        return
    except ConfigurationError as error:
        yield Finding("policy", "bad", str(error), "run: bursar init")
        return
    found = lint(policy, tools, source.decode())
    yield Finding("policy", "ok", f"{settings.policies}: {len(policy.rules)} rules, {len(policy.caps)} caps")
    for mistake in found:
        yield Finding("policy", "warn", str(mistake).splitlines()[0])


def _key(folder: Path) -> Iterator[Finding]:
    from ledger.audit.keys import KeyRefused, load

    try:
        load(folder)
    except KeyRefused as refused:
        yield Finding("signing key", "bad", str(refused))
    else:
        yield Finding("signing key", "ok", f"{folder} holds it, for this user alone")
    yield from _private("keys folder", folder)


def _private(check: str, path: Path) -> Iterator[Finding]:
    """Say whether others may read a file or folder of ours."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield Finding(check, "bad", f"{path} cannot be looked at: {error.strerror}", "run: bursar init")
        return
    if mode & _OTHERS:
        wanted = "700" if stat.S_ISDIR(mode) else "600"
        yield Finding(check, "bad", f"{path} may be read or changed by others", f"run: chmod {wanted} {path}")
    else:
        yield Finding(check, "ok", f"{path} is for its owner alone")


def _owner(file: Path) -> Iterator[Finding]:
    """Warn where the house belongs to a person's login: an agent they run could read and change it."""
    try:
        uid = file.stat().st_uid
        name = pwd.getpwuid(uid).pw_name
    except (OSError, KeyError):
        return
    if uid == os.getuid() and uid >= _FIRST_PERSON:
        said = f"the ledger, keys and socket belong to {name}; an agent that runs as {name} can reach them"
        yield Finding("separate user", "warn", said, "run the server as a user of its own")
    else:
        yield Finding("separate user", "ok", f"the house belongs to {name}")


async def of_house(means: Means, policy_text: str | None) -> list[Finding]:
    """Check people, agents, tools, providers and what waits for an owner, as the ledger has it."""
    found = [*await _active(means, policy_text), *await _people(means), *await _agents(means)]
    found += _tools(means)
    found += await _providers(means)
    found += await _troubles(means)
    return found


async def _active(means: Means, policy_text: str | None) -> Iterator[Finding]:
    active = await means.ledger.active()
    if active is None:
        return iter(
            [Finding("active policy", "bad", "none: every call is denied", "run: bursar policy activate")]
        )
    if policy_text is not None and active[1] != policy_text:
        said = "the file says something else than the policy in force"
        return iter(
            [Finding("active policy", "warn", said, "run: bursar policy activate, or undo the change")]
        )
    return iter([Finding("active policy", "ok", active[0][:12])])


async def _people(means: Means) -> Iterator[Finding]:
    """Say whether anybody can answer, and whether every desk of the active policy can be filled."""
    people = [person for person in await means.ledger.operators() if person.active]
    owners = [person for person in people if person.role is Role.OWNER and person.has_password]
    found = []
    if owners:
        found.append(Finding("owner", "ok", ", ".join(person.name for person in owners)))
    else:
        do = "sign in with the link of `bursar init` and set one"
        found.append(Finding("owner", "bad", "no owner has a password, so nobody can answer or loosen", do))
    names = {person.name: person.role for person in people}
    policy = await _active_policy(means)
    if policy is None:
        said = "the policy in force does not load with the tools of now, so its desks cannot be checked"
        return iter([*found, Finding("desk", "bad", said, "run: bursar policy activate")])
    for desk in policy.desks:
        short = desk.quorum - _fit(desk, names)
        if short > 0:
            said = f"desk {desk.id!r} wants {desk.quorum} and {desk.quorum - short} could answer"
            found.append(Finding("desk", "bad", said, "run: bursar operator add NAME --role approver"))
    return iter(found)


def _fit(desk: Desk, people: dict[str, Role]) -> int:
    """Return how many people belong to a desk; a role includes those after it."""
    from tool_server.office import RANK

    def belongs(name: str, role: Role) -> bool:
        roles = [Role(who.removeprefix("role:")) for who in desk.who if who.startswith("role:")]
        return name in desk.who or any(RANK[role] >= RANK[wanted] for wanted in roles)

    return sum(belongs(name, role) for name, role in people.items())


async def _active_policy(means: Means) -> Policy | None:
    """Return the policy in force, an empty one before the first; None where it cannot be read any more."""
    from policy.load import load
    from tool_server.policy_file import known_tools

    active = await means.ledger.active()
    if active is None:
        return Policy(sha256="", file="")
    tools = dict(known_tools(means.policies)) if means.policies is not None else {}
    if means.catalogue is not None:
        tools |= {name: tool.info for name, tool in means.catalogue.registry.tools.items()}
    try:
        return load(active[1], active[2], tools)
    except PolicyError:
        return None


async def _agents(means: Means) -> Iterator[Finding]:
    agents = [agent for agent in await means.ledger.agents() if agent.active]
    if not agents:
        return iter([Finding("agents", "warn", "none", "run: bursar agent add NAME --project P --kit KIT")])
    found = [Finding("agents", "ok", ", ".join(agent.name for agent in agents))]
    for agent in agents:
        if means.catalogue is not None:
            try:
                means.catalogue.check_kits(agent.kits)
            except ConfigurationError as error:
                found.append(Finding("agents", "bad", f"{agent.name}: {error}"))
    return iter(found)


def _tools(means: Means) -> list[Finding]:
    if means.catalogue is None:
        return [Finding("tools", "bad", "the plugins could not be loaded")]
    off = means.catalogue.off
    known = len(means.catalogue.registry.tools)
    found = [Finding("tools", "ok", f"{known - len(off)} of {known} are on")]
    return found + [Finding("tools", "warn", f"{name} is off: {why}") for name, why in sorted(off.items())]


async def _providers(means: Means) -> list[Finding]:
    if means.providers is None:
        return []
    await means.providers.check_all()
    found = []
    for name, checked in sorted(means.providers.last_checks().items()):
        readiness = checked.readiness
        said = (
            "ready" if readiness.ready else f"not ready: {'; '.join(readiness.missing) or 'no reason given'}"
        )
        found.append(Finding(f"provider {name}", "ok" if readiness.ready else "bad", said))
    return found


async def _troubles(means: Means) -> list[Finding]:
    """Name what waits for an owner: unknown calls, open discrepancies, postures that are set."""
    counts = await means.ledger.open_counts()
    found = []
    if unknown := counts.get("unknown", 0):
        do = "run: bursar calls list --state unknown"
        found.append(Finding("unknown calls", "warn", f"{unknown} calls whose outcome nobody knows yet", do))
    if discrepancies := await means.ledger.discrepancies():
        do = "look at the Health page; an owner closes each with what it was"
        found.append(Finding("discrepancies", "bad", f"{len(discrepancies)} contradictions are open", do))
    found += [
        Finding("posture", "warn", f"{each.scope} {each.scope_key}: {each.posture}, because {each.because}")
        for each in await means.ledger.postures()
        if each.posture.value != "normal"
    ]
    return found
