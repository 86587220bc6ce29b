"""The policy file beside the ledger: loaded at the start, watched afterwards, activated by a ledger write.

A file that does not load stops a start; later it changes nothing, and says so loudly. While live spending
is at stake a changed file only becomes a candidate, which an owner accepts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import structlog

from policy.errors import ConfigurationError
from policy.language import Policy
from policy.load import load, read_source
from policy.reload import Kept, Offered, Unchanged, read_sources, reload
from policy.tools import TOOLS_FILE, ToolInfo, Tools, load_tools, tools_json

STRANGERS: str = "tools.json"  # Beside policies.yaml: the accepted tools of plugins that are not ours.

_log = structlog.get_logger("bursar.policy")


class PolicyBooks(Protocol):
    """What a policy file asks of the ledger."""

    async def activate(self, text: str, file: str, *, by: str, at: datetime) -> object: ...  # noqa: D102 -- the Ledger tells
    async def active(self) -> tuple[str, str, str] | None: ...  # noqa: D102 -- the Ledger tells


def known_tools(policies: Path, release: Path = TOOLS_FILE) -> Tools:
    """Return the tools a policy may speak of: the release's, and those accepted beside it."""
    tools: dict[str, ToolInfo] = dict(load_tools(release)) if release.exists() else {}
    beside = policies.parent / STRANGERS
    if beside.exists() and beside.resolve() != release.resolve():
        tools |= load_tools(beside)
    return tools


def keep_beside(policies: Path, accepted: Iterable[ToolInfo]) -> None:
    """Add a stranger's accepted tools to the tools.json beside the policy, so that rules may speak of them.

    Written whole and put in place at once: a policy is loaded while this runs.
    """
    path = policies.parent / STRANGERS
    tools = dict(load_tools(path)) if path.exists() else {}
    tools |= {tool.name: tool for tool in accepted}
    new = path.with_suffix(".json.new")
    new.write_bytes(tools_json(tools.values()))
    new.replace(path)


def read_policy(path: Path, tools: Tools) -> tuple[Policy, str]:
    """Return the policy of a file and its text. Raises PolicyError, ConfigurationError."""
    source = read_source(path)
    policy = load(source, path.name, tools)
    return policy, source.decode("utf-8")


class PolicyFile:
    """One file, looked at again and again."""

    def __init__(self, path: Path, tools: Tools, books: PolicyBooks, now: Callable[[], datetime]) -> None:
        self._path = path
        self._tools = tools
        self._books = books
        self._now = now
        self._seen = ""
        self._policy: Policy | None = None
        self.problem = ""  # Why the file as it stands does not load; for the health page.

    async def start(self) -> Policy:
        """Offer the file to the ledger and return the policy that is active then.

        Raises PolicyError where the file does not load: a start must not go on with a file nobody can read.
        """
        policy, text = read_policy(self._path, self._tools)
        self._seen, self._policy = policy.sha256, policy
        await self._books.activate(text, self._path.name, by="system:start", at=self._now())
        active = await self._books.active()
        if active is None:
            raise ConfigurationError(
                f"{self._path} did not become the active policy; see `bursar policy activate`"
            )
        digest, stored, file = active
        return policy if digest == policy.sha256 else load(stored, file, self._tools)

    async def look(self) -> None:
        """Take up the file where it changed.

        One that does not load, or breaks its cases, keeps the old policy.
        """
        try:
            sources = read_sources(self._path)
        except ConfigurationError as error:
            self._shout(str(error))
            return
        digest = sha256(sources.text).hexdigest()
        if digest == self._seen:
            return
        match reload(self._policy, sources, self._tools):
            case Unchanged():
                self.problem = ""
            case Kept(alarm=alarm):
                self._shout(alarm)
            case Offered(policy=policy):
                await self._offer(policy, sources.text.decode("utf-8"))
        self._seen = digest  # Only now: what went wrong on the way is tried, and told, again.

    async def _offer(self, policy: Policy, text: str) -> None:
        """Offer the very text whose cases ran, whatever stands in the file by now."""
        became = await self._books.activate(text, self._path.name, by="system:reload", at=self._now())
        self._policy, self.problem = policy, ""
        _log.warning("the policy file changed", became=getattr(became, "state", ""), sha256=policy.sha256)

    def _shout(self, problem: str) -> None:
        if problem != self.problem:
            _log.error("the policy file does not load; the active policy stays", problem=problem)
        self.problem = problem
