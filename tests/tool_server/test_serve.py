"""Starting and stopping: one signal handler for all listeners, one line for an address that is taken."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from policy.errors import ConfigurationError
from tool_server.hosts import Bind
from tool_server.serve import Listener, open_socket, serve, served, signals

HERE = Bind("127.0.0.1", 0)


class Page:
    """An application that answers when it is told to."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], _receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's open types
        """Answer one request."""
        assert scope["type"] == "http"
        self.entered.set()
        await self.release.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def two() -> AsyncIterator[tuple[list[Listener], list[Page]]]:
    """Yield two listeners that wait for their release."""
    pages = [Page(), Page()]
    yield [Listener(f"page{at}", page, open_socket(HERE, "page")) for at, page in enumerate(pages)], pages


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_one_signal_stops_every_listener_after_its_open_answers(number: signal.Signals) -> None:
    """With a handler per server the last one installed would win, and the others would be cut off."""
    stop, told = asyncio.Event(), []
    async with two() as (listeners, pages), httpx.AsyncClient() as http:
        urls = [f"http://{each.address}/" for each in listeners]
        with signals(stop, lambda: told.append("again")):
            up = asyncio.Event()
            running = asyncio.create_task(
                serve(listeners, stop, on_served=up.set, on_stop=lambda: told.append("drain"), grace_s=5)
            )
            await up.wait()
            asked = [asyncio.create_task(http.get(url)) for url in urls]
            for page in pages:
                await page.entered.wait()
            os.kill(os.getpid(), number)
            await stop.wait()
            for page in pages:
                page.release.set()
            answers = await asyncio.gather(*asked)
            await running
        with pytest.raises(httpx.ConnectError):
            await http.get(urls[0])
    assert [answer.text for answer in answers] == ["ok", "ok"]
    assert told == ["drain"]


async def test_a_second_signal_is_for_people_who_will_not_wait() -> None:
    """Whoever presses Ctrl-C twice means it."""
    stop, told = asyncio.Event(), asyncio.Event()
    with signals(stop, told.set):
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        assert not told.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(told.wait(), 2)


async def test_an_answer_that_never_comes_does_not_keep_the_server() -> None:
    """A supervisor kills after thirty seconds; open answers get their grace and no more."""
    async with two() as (listeners, pages), httpx.AsyncClient() as http:
        async with served(listeners, grace_s=1):
            asked = asyncio.create_task(http.get(f"http://{listeners[0].address}/", timeout=10))
            await pages[0].entered.wait()
        with pytest.raises(httpx.HTTPError):
            (await asked).raise_for_status()


def test_an_address_that_is_taken_is_said_in_one_line() -> None:
    """The commonest failure of all starts, with the option that mends it."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Bind("127.0.0.1", other.getsockname()[1])
        with pytest.raises(ConfigurationError, match="is taken; choose another with --agents HOST:PORT"):
            open_socket(taken, "agents")
        with pytest.raises(ConfigurationError, match="is taken; start again"):
            open_socket(taken, "agents", advice="start again")


def test_answers_leave_at_once() -> None:
    """The event loop turns Nagle's algorithm off only where TCP is named; else answers take 40 ms more."""
    with open_socket(HERE, "agents") as opened:
        assert opened.proto == socket.IPPROTO_TCP
