"""What `agent add --for CLIENT` prints, read as that client reads it, and connected with."""

import contextlib
import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from policy.tools import TOOLS_FILE, load_tools
from tests.provider.house import Desk
from tests.tool_server.doors import token_of
from tests.tool_server.wires import enlist, listening
from tool_server.cli.clients import CLIENTS, Connection, Settings, settings_for, skill_folder


def hermes(text: str) -> tuple[str, dict[str, str]]:
    """Read $HERMES_HOME/config.yaml."""
    server = yaml.safe_load(text)["mcp_servers"]["bursar"]
    assert set(server) <= {"url", "headers", "timeout", "connect_timeout"}
    return server["url"], server["headers"]


def claude_code(text: str) -> tuple[str, dict[str, str]]:
    """Read the one line as a shell does, and its options as `claude mcp add` does."""
    words = shlex.split(text)
    assert words[:5] == ["claude", "mcp", "add", "--transport", "http"]
    name, url, option, header = words[5:]
    assert (name, option) == ("bursar", "--header")
    field, _, value = header.partition(": ")
    return url, {field: value}


def codex(text: str) -> tuple[str, dict[str, str]]:
    """Read ~/.codex/config.toml."""
    server = tomllib.loads(text)["mcp_servers"]["bursar"]
    assert server["default_tools_approval_mode"] == "approve"  # Without it `codex exec` declines every call.
    return server["url"], server["http_headers"]


def json_file(text: str) -> tuple[str, dict[str, str]]:
    """Read .cursor/mcp.json and its likes."""
    server = json.loads(text)["mcpServers"]["bursar"]
    assert server.get("type", "http") == "http"
    return server["url"], server["headers"]


READ: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "hermes": hermes,
    "claude-code": claude_code,
    "codex": codex,
    "cursor": json_file,
    "json": json_file,
}


def test_every_client_is_read_here() -> None:
    """A client whose settings nobody tried is one whose users find out."""
    assert set(READ) == set(CLIENTS)


@pytest.mark.parametrize("client", CLIENTS)
async def test_pasted_settings_connect(client: str, small: Desk) -> None:
    """Read as the client reads them, they lead to this house and open it."""
    await enlist(small, "wanda")
    async with listening(small) as bind:
        settings = settings_for(client, Connection(f"http://{bind}/mcp", token_of("wanda")))
        assert settings.where
        url, headers = READ[client](settings.text)
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers))
            agent = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))
            tools = {tool.name for tool in (await agent.list_tools()).tools}
    assert {"my_status", "shop_buy"} <= tools


def test_names_stay_within_what_model_providers_allow() -> None:
    """Clients put the server's name before each tool's; beyond sixty characters one of them cuts it off."""
    names = load_tools(TOOLS_FILE)
    assert len(names) > 20
    assert max(len(f"mcp__bursar__{name}") for name in names) <= 60


def test_the_skill_explains_the_pending_protocol_and_ships() -> None:
    """A careful agent takes results for data; what it may trust is a tool's description and a skill."""
    folder = Path(skill_folder())
    text = (folder / "SKILL.md").read_text()
    _, front, body = text.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["name"] == folder.name == "bursar"
    assert len(about["description"]) <= 1_024
    for word in (
        "pending_approval",
        "outcome_unknown",
        "call_status",
        "retry_after_seconds",
        "idempotency_key",
    ):
        assert word in body
    hint: Settings = settings_for("hermes", Connection("http://127.0.0.1:8400/mcp", "t"))
    assert str(folder) in hint.hint
