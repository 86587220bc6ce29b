"""Settings that connect common agent clients to this server: one text per client, ready to paste.

Server and tool names together stay within the 64 characters that model providers allow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Final

from msgspec import Struct

SERVER: Final = "bursar"


class Connection(Struct, frozen=True):
    """How an agent reaches the server: its address and its token, which is shown only now."""

    url: str
    token: str

    @property
    def authorization(self) -> str:
        """Return the one header that every client sends."""
        return f"Bearer {self.token}"


class Settings(Struct, frozen=True):
    """What to paste, where, and what else helps."""

    where: str
    text: str
    hint: str = ""


def settings_for(client: str, connection: Connection) -> Settings:
    """Return the settings of a client named in CLIENTS."""
    return CLIENTS[client](connection)


def skill_folder() -> str:
    """Return where the skill file lies that explains approvals and keys to an agent."""
    return str(files("tool_server") / "skills" / SERVER)


def _hermes(connection: Connection) -> Settings:
    text = (
        "mcp_servers:\n"
        f"  {SERVER}:\n"
        f"    url: {json.dumps(connection.url)}\n"
        "    headers:\n"
        f"      Authorization: {json.dumps(connection.authorization)}\n"
        "    timeout: 60\n"
        "    connect_timeout: 30\n"
    )
    hint = f'give it the skill too: cp -r "{skill_folder()}" "$HERMES_HOME/skills/"'
    return Settings("$HERMES_HOME/config.yaml", text, hint)


def _claude_code(connection: Connection) -> Settings:
    header = f"Authorization: {connection.authorization}"
    text = f'claude mcp add --transport http {SERVER} {connection.url} --header "{header}"\n'
    return Settings(
        "your shell", text, "the server asks people itself, so its tools may be allowed without prompts"
    )


def _codex(connection: Connection) -> Settings:
    text = (
        f"[mcp_servers.{SERVER}]\n"
        f"url = {json.dumps(connection.url)}\n"
        f"http_headers = {{ Authorization = {json.dumps(connection.authorization)} }}\n"
        'default_tools_approval_mode = "approve"\n'
    )
    return Settings("~/.codex/config.toml", text, "without the last line `codex exec` declines every call")


def _cursor(connection: Connection) -> Settings:
    entry = {"url": connection.url, "headers": {"Authorization": connection.authorization}}
    return Settings(".cursor/mcp.json", json.dumps({"mcpServers": {SERVER: entry}}, indent=2) + "\n")


def _json(connection: Connection) -> Settings:
    entry = {"type": "http", "url": connection.url, "headers": {"Authorization": connection.authorization}}
    stdio = "a client without HTTP runs `bursar stdio` with BURSAR_AGENT_TOKEN in its environment"
    return Settings(
        "your client's settings", json.dumps({"mcpServers": {SERVER: entry}}, indent=2) + "\n", stdio
    )


CLIENTS: Final[Mapping[str, Callable[[Connection], Settings]]] = {
    "hermes": _hermes,
    "claude-code": _claude_code,
    "codex": _codex,
    "cursor": _cursor,
    "json": _json,
}
