"""Several listeners in one event loop, one signal handler for all, and an end that answers what is open.

uvicorn would install its own handlers per server and the last one would win, so its servers are told nothing
of signals: `stop` is the one switch. On it, listeners take no more connections, open requests are answered
within `grace_s`, and only then does `serve` return and the house beneath them close.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn
from msgspec import Struct

from policy.errors import ConfigurationError
from tool_server.hosts import Bind

GRACE_S: Final = 10.0  # An execution is waited for 4 s and a poll ends at once, so ten is ample.
_BACKLOG: Final = 1_024  # Connections that may wait for their accept: a thousand agents may wake together.
_KEEP_ALIVE_S: Final = 75  # Longer than the minute most clients pause; a new connection costs more than this.


class Listener(Struct, frozen=True):
    """One application and the socket it answers on."""

    name: str
    app: Any
    socket: socket.socket
    lifespan: bool = False  # Whether the application wants ASGI's life-cycle messages.

    @property
    def address(self) -> str:
        """Return the host and port in use, as they were really bound."""
        host, port = self.socket.getsockname()[:2]
        return str(Bind(host, port))


class _Server(uvicorn.Server):
    """A server that leaves signals alone: one handler speaks for all listeners."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install nothing."""
        yield


def open_socket(bind: Bind, listener: str, *, advice: str = "") -> socket.socket:
    """Bind a listening socket. Raises ConfigurationError with what to do."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    # The protocol is named, else asyncio leaves Nagle's algorithm on and each answer waits 40 ms for an ACK.
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((bind.host, bind.port))
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        said = {errno.EADDRINUSE: "is taken", errno.EACCES: "is not allowed"}.get(
            error.errno or 0, "cannot be used"
        )
        advice = advice or f"choose another with --{listener} HOST:PORT"
        raise ConfigurationError(f"the address {bind} {said}; {advice}") from None
    opened.setblocking(False)  # noqa: FBT003 - the socket's own signature
    return opened


async def serve(
    listeners: Sequence[Listener],
    stop: asyncio.Event,
    *,
    on_served: Callable[[], None] = lambda: None,
    on_stop: Callable[[], None] = lambda: None,
    grace_s: float = GRACE_S,
) -> None:
    """Serve until `stop` is set, then answer what is open; `on_stop` runs before any listener closes."""
    servers = [_Server(_config(listener, grace_s)) for listener in listeners]
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener.socket]), name=f"listen-{listener.name}")
        for server, listener in zip(servers, listeners, strict=True)
    ]
    stopped = asyncio.create_task(stop.wait(), name="wait-for-stop")
    try:
        await _started(servers, tasks)
        on_served()
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        on_stop()
        for server in servers:
            server.should_exit = True
        stopped.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


@contextlib.contextmanager
def signals(stop: asyncio.Event, again: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `stop`; a second one calls `again`, for a person who will not wait."""
    loop = asyncio.get_running_loop()

    def handle() -> None:
        if stop.is_set():
            again()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@contextlib.asynccontextmanager
async def served(listeners: Sequence[Listener], *, grace_s: float = GRACE_S) -> AsyncIterator[None]:
    """Serve for as long as the block runs; for programs that are more than a server."""
    stop, up = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(listeners, stop, on_served=up.set, grace_s=grace_s), name="serve")
    waiting = asyncio.create_task(up.wait(), name="wait-for-served")
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not task.done():
            yield
    finally:
        stop.set()
        await task


def _config(listener: Listener, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        listener.app,
        log_config=None,  # structlog speaks for the whole process.
        access_log=False,  # Paths and addresses of people are not for logs; metrics count requests.
        lifespan="on" if listener.lifespan else "off",
        proxy_headers=False,  # X-Forwarded-* is anybody's text; nothing here believes it.
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        ws="none",
        backlog=_BACKLOG,
    )


async def _started(servers: Sequence[_Server], tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until every server answers, or one of them has given up."""
    # uvicorn tells of its start by a flag only, some 20 ms later.
    while not all(server.started for server in servers) and not any(  # noqa: ASYNC110 - there is no event
        task.done() for task in tasks
    ):
        await asyncio.sleep(0.005)
