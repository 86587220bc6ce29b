"""Who plays in the demo: agents over MCP, the operator over the console's forms, a buyer on the pay page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from policy.errors import ConfigurationError

if TYPE_CHECKING:
    from mcp import Client

_TOKEN: Final = re.compile(r'name="_csrf_token" value="([0-9a-f]+)"')
_HASH: Final = re.compile(r'name="op_hash" value="([0-9a-f]+)"')
_ANSWER_S: Final = 30.0  # An agent waits at most 20 s for a call, and a page takes milliseconds.
CARD: Final = "4242424242424242"  # The simulator's card that succeeds at once.


class Agent:
    """An agent with its own token, at the far end of MCP over HTTP."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, /, **arguments: object) -> dict[str, Any]:
        """Call a tool and return what it answered."""
        result = await self._client.call_tool(tool, arguments)
        return cast("dict[str, Any]", result.structured_content)

    async def tools(self) -> list[str]:
        """Return the names of the tools it is shown."""
        return [tool.name for tool in (await self._client.list_tools()).tools]

    async def status(self, call_id: str) -> dict[str, Any]:
        """Ask what became of a call, waiting a moment for it."""
        return await self.call("call_status", call_id=call_id, wait_seconds=2)


@asynccontextmanager
async def agent(mcp_url: str, token: str) -> AsyncIterator[Agent]:
    """Connect an agent."""
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_ANSWER_S, trust_env=False) as http,
        Client(streamable_http_client(mcp_url, http_client=http)) as client,
    ):
        yield Agent(client)


class Person:
    """Somebody at a browser: cookies kept, forms sent with the fields that the open page carries."""

    def __init__(self, client: httpx.AsyncClient, origin: str) -> None:
        self._client = client
        self._origin = origin
        self.page = ""

    async def open(self, url: str) -> httpx.Response:
        """Look at a page; its address may be whole or a path."""
        answer = await self._client.get(url)
        self.page = answer.text
        return answer

    async def send(self, url: str, **fields: str) -> httpx.Response:
        """Send the form of the open page, with its token and hash where it has them."""
        given = dict(fields)
        for name, found in (("_csrf_token", _TOKEN.search(self.page)), ("op_hash", _HASH.search(self.page))):
            if found is not None:
                given.setdefault(name, found.group(1))
        answer = await self._client.post(url, data=given, headers={"origin": self._origin})
        self.page = answer.text
        return answer

    async def sign_in(self, link: str) -> None:
        """Sign in with a one-time link, as a person does: open it, press the button."""
        await self.open(link)
        answer = await self.send("/link", token=link.rsplit("/", 1)[1])
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise ConfigurationError("the one-time link was refused; start again for another one")

    async def sign_in_by_password(self, name: str, password: str) -> None:
        """Sign in on the sign-in page."""
        await self.open("/login")
        answer = await self.send("/login", name=name, password=password, next="/")
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise ConfigurationError("the demo operator could not sign in; start with `./run --again`")

    async def press(self, page: str, **fields: str) -> httpx.Response:
        """Open a page and send its form to the same address."""
        await self.open(page)
        return await self.send(page, **fields)


@asynccontextmanager
async def person(origin: str) -> AsyncIterator[Person]:
    """Open a browser for somebody."""
    async with httpx.AsyncClient(base_url=origin, timeout=_ANSWER_S, trust_env=False) as client:
        yield Person(client, origin)


async def pay(url: str, email: str) -> str:
    """Pay a Checkout Session on its hosted page; return where the buyer is led back to."""
    async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
        answer = await client.post(url, data={"card": CARD, "email": email})
    return str(answer.headers.get("location", ""))


async def complete_with_card(url: str, *, merchant: str, amount: str) -> int:
    """Complete a merchant's checkout with an armed card, on the card's page; return the page's status."""
    async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
        return (await client.post(url, data={"merchant": merchant, "amount": amount})).status_code
