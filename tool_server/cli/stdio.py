"""`bursar stdio`: one agent over standard streams; a thin bridge to a running server, else the whole."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator

from policy.errors import ConfigurationError
from tool_server.cli.command import EXIT_DONE, CommandError
from tool_server.hosts import Bind, read_bind
from tool_server.settings import Settings
from tool_server.stdio import LONGEST_LINE, Bridge, http_post, is_served

DEFAULT_AGENTS = "127.0.0.1:8400"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the addresses: of the server to bridge to, and of the console where this has to be the whole."""
    parser.add_argument(
        "--agents", default=DEFAULT_AGENTS, metavar="HOST:PORT", help="where the server listens"
    )
    parser.add_argument(
        "--web", default="127.0.0.1:8401", metavar="HOST:PORT", help="the console, where no server runs yet"
    )


def run(args: argparse.Namespace) -> int:
    """Bridge until the agent closes its end."""
    try:
        settings = Settings.read(os.environ)
        secret = settings.secret("BURSAR_AGENT_TOKEN")
        agents = read_bind(args.agents)
    except ConfigurationError as error:
        raise CommandError(str(error)) from None
    if secret is None:
        raise CommandError(
            "BURSAR_AGENT_TOKEN is not set; put the agent's token there, or BURSAR_AGENT_TOKEN_FILE"
        )
    if not agents.loopback:
        raise CommandError(
            f"{agents} is not on this machine; connect the agent to that server's https address instead"
        )
    if is_served(agents):
        asyncio.run(bridge(agents, secret.reveal()))
    else:
        from tool_server.cli.serve import Choice, serve_beside

        choice = Choice(agents=agents, web=read_bind(args.web))
        asyncio.run(serve_beside(settings, choice, lambda: bridge(agents, secret.reveal())))
    return EXIT_DONE


async def bridge(agents: Bind, token: str) -> None:
    """Carry messages between this process's streams and the server until the agent closes its end."""
    with os.fdopen(_claim_output(), "wb", buffering=0) as output:
        await Bridge(http_post(agents), token, lambda line: _write(output.fileno(), line)).run(_lines())


def _claim_output() -> int:
    """Keep standard output for messages alone: whatever else prints goes to standard error from here on."""
    sys.stdout.flush()
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _write(output: int, line: bytes) -> None:
    """Write one whole line; a pipe may take it in pieces."""
    left = memoryview(line)
    while left:
        left = left[os.write(output, left) :]


async def _lines() -> AsyncIterator[bytes]:
    """Yield lines of standard input, which may be a file as well as a pipe, so a thread reads it.

    A daemon thread: one that still waits for a line must not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        while True:
            line = _line()
            loop.call_soon_threadsafe(lines.put_nowait, line)
            if not line:
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while line := await lines.get():
        yield line


def _line() -> bytes:
    """Return one line, or the start of one that is too long to be a message; empty at the end."""
    line = sys.stdin.buffer.readline(LONGEST_LINE + 1)
    if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
        while rest := sys.stdin.buffer.readline(LONGEST_LINE):
            if rest.endswith(b"\n"):
                break
    return line
