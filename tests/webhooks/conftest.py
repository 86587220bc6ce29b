"""A house with the shop beside it, its console as an application, and browsers that keep cookies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from msgspec import structs

from ledger.ledger import Ledger
from tests.provider.house import Desk, Shop, a_place, opened
from tool_server import passwords
from tool_server.hosts import Bind
from webhooks.app import create_app
from webhooks.sessions import Sessions
from webhooks.web import deps_of, web_app

ORIGIN = "http://127.0.0.1:8401"
PASSWORD = "tricky horse battery 9"
_TOKEN = re.compile(r'name="_csrf_token" value="([0-9a-f]+)"')
_HASH = re.compile(r'name="op_hash" value="([0-9a-f]+)"')


class Browser:
    """Somebody at the console: cookies kept, forms filled in as the page has them."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.page = ""

    async def open(self, path: str) -> httpx.Response:
        """Look at a page."""
        response = await self.client.get(path)
        self.page = response.text
        return response

    async def send(self, path: str, **fields: str) -> httpx.Response:
        """Send the form of the page that is open, with its token."""
        token = _TOKEN.search(self.page)
        given = {"_csrf_token": token.group(1) if token else "", **fields}
        response = await self.client.post(path, data=given, headers={"origin": ORIGIN})
        self.page = response.text
        return response

    async def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in by name and password."""
        await self.open("/login")
        return await self.send("/login", name=name, password=password, next="/")

    @property
    def op_hash(self) -> str:
        """The hash that the open page's form carries."""
        found = _HASH.search(self.page)
        if found is None:
            raise AssertionError("the page has no form to answer with")
        return found.group(1)


@pytest.fixture(scope="session")
def stored_password() -> str:
    """Hash the one password once: argon2id is slow on purpose."""
    return asyncio.run(passwords.hashed(PASSWORD))


@pytest.fixture
async def desk(tmp_path: Path, shop: Shop, stored_password: str) -> AsyncIterator[Desk]:
    """Give an open house on SQLite with people who have passwords."""
    async with opened(await a_place(tmp_path, shop)) as found:
        ledger, now = found.house.ledger, found.house.now()
        for operator in await ledger.operators():
            await ledger.set_password_hash(operator.operator_id, stored_password, by="system:test", at=now)
        yield found


async def session_of(ledger: Ledger, name: str, now: Callable[[], datetime]) -> str:
    """Return the cookie of a session that an operator opened by password."""
    found = await ledger.password_hash(name)
    assert found is not None
    minted = await Sessions(ledger, now).mint(found[0], by="password", password_hash=found[1])
    assert minted is not None
    return minted[0]


@pytest.fixture
async def browser(desk: Desk) -> AsyncIterator[Browser]:
    """Give a browser at the console of that house, not signed in."""
    async with browsing(desk) as found:
        yield found


class browsing:  # noqa: N801 -- reads as what it is: async with browsing(desk)
    """Open one more browser at a house's console."""

    def __init__(self, desk: Desk, address: str = "127.0.0.1", *, ledger: Ledger | None = None) -> None:
        folder, bind = desk.house.settings.keys, Bind("127.0.0.1", 8401)
        folder.mkdir(parents=True, exist_ok=True)
        deps = deps_of(desk.house, bind)
        app = create_app(structs.replace(deps, ledger=ledger)) if ledger else web_app(desk.house, bind)
        wire = httpx.ASGITransport(cast("Any", app), client=(address, 50_123))
        self._client = httpx.AsyncClient(transport=wire, base_url=ORIGIN)

    async def __aenter__(self) -> Browser:
        return Browser(await self._client.__aenter__())

    async def __aexit__(self, *_gone: object) -> None:
        await self._client.aclose()
