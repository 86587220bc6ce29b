"""Twenty secrets, one story at DEBUG: none in logs, the database, results, pages or the export."""
# ruff: noqa: ANN401 -- ASGI's messages

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
import structlog

from ledger.records import CallState
from tests.plugins.payments.desk import Stage, StripeDesk, desk_on
from tests.webhooks.conftest import ORIGIN, Browser
from tool_server import passwords, redaction
from tool_server.cli.main import main
from tool_server.hosts import Bind
from tool_server.logs import configure_logging
from webhooks.web import web_app

PASSWORD: Final = "a long planted pass phrase 77"
# What a provider's careless error might repeat; each is said once, in the refusal of a purchase.
SAID: Final = (
    "sk_live_51PlantedAbcdefGhijkl",
    "rk_live_51PlantedMnopqrStuvwx",
    "sk_test_51PlantedYzabcdEfghij",
    "pk_live_51PlantedKlmnopQrstuv",
    "whsec_PlantedWxyzabCdefghIjkl",
    "bur_agent_0123456789abcdefplanted",
    "bur_enf_fedcba9876543210planted",
    "pk1_0123456789abcdefplanted",
    "sk1_fedcba9876543210planted",
    "Bearer eyJhbGciOi.PlantedToken.SignaturePart",
    "MIIEvPlantedPrivateKeyBody",
)
PEM: Final = "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"


def careless(app: Any) -> Any:
    """Let the provider refuse the first purchases, each time with a secret in its words."""
    left = list(SAID)

    async def around(scope: Any, receive: Any, send: Any) -> None:
        if not left or (scope["method"], scope["path"]) != ("POST", "/v1/issuing/cards"):
            await app(scope, receive, send)
            return
        secret = left.pop()
        message = f"The request with {PEM.format(secret) if secret.startswith('MII') else secret} was refused"
        body = json.dumps({"error": {"type": "card_error", "code": "card_declined", "message": message}})
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 402, "headers": head})
        await send({"type": "http.response.body", "body": body.encode()})

    return around


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Give the stream of everything that is logged, at DEBUG; logging is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging(level="DEBUG", stream=stream)
    yield stream
    root.handlers, root.level = before
    structlog.reset_defaults()


class Story:
    """What was said to anybody, and what may never be."""

    def __init__(self, desk: StripeDesk) -> None:
        self.desk = desk
        self.shown: list[str] = []
        sim = desk.sim
        self.planted = [PASSWORD, *SAID, sim.earn_key, sim.spend_key, sim.secret_key]
        self.planted += [secret for target in sim.hooks.targets.values() for secret, _ in target.secrets]

    async def play(self) -> None:
        """Sell, be refused, buy, be captured, refund, look at every page."""
        desk = self.desk
        order = await desk.sold()
        for number in range(len(SAID)):
            refused = await self._buy(f"v{number}.example")
            assert (await desk.until(refused, CallState.FAILED)).code
        bought = await self._buy("last.example")
        await desk.until(bought, CallState.SUCCEEDED)
        world = desk.sim.world
        card = world.all("issuing.card")[0]["id"]
        self.planted.append(str(world.included[card, "number"]))
        await desk.web.post(f"/cards/{card}", data={"merchant": "m", "amount": "1.00"})
        asked = await desk.call(
            "refund_payment", order_id=order.order_id, amount="0.40 USD", why="it came too late"
        )
        await desk.approve(asked)
        await desk.until(asked, CallState.SUCCEEDED)
        await desk.work()
        await desk.worker.reconcile()
        self._said(await desk.call("my_status"))
        self._said(await desk.call("calls_list"))
        self._said(await desk.call("stripe_payments"))
        await self._look_at_everything()

    async def _buy(self, vendor: str) -> Any:
        result = await self.desk.card("5.00 USD", vendor)
        self._said(result)
        return result

    def _said(self, result: Any) -> None:
        self.shown += [result.text, json.dumps(result.structured(), default=str)]

    async def _look_at_everything(self) -> None:
        """Sign in and follow every link of the console once."""
        desk = self.desk
        hashed = await passwords.hashed(PASSWORD)
        now = desk.house.now()
        await desk.ledger.set_password_hash(desk.owner, hashed, by="system:test", at=now)
        desk.house.settings.keys.mkdir(exist_ok=True)
        app = web_app(desk.house, Bind("127.0.0.1", 8401))
        transport = httpx.ASGITransport(cast("Any", app))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            browser = Browser(client)
            await browser.sign_in("olga", PASSWORD)
            todo = ["/", "/calls", "/orders", "/runs", "/webhooks", "/reviews", "/leads", "/posture"]
            seen: set[str] = set()
            while todo and len(seen) < MOST_PAGES:
                path = todo.pop(0)
                if path in seen or path in {"/logout", "/events"}:
                    continue
                seen.add(path)
                page = await browser.open(path)
                self.shown.append(page.text)
                todo += re.findall(r'href="(/[a-z]+(?:/[\w-]+)*)"', page.text)
            # The form token is meant to be in forms; the session is what must be in no page.
            jar = [cookie for cookie in client.cookies.jar if "csrf" not in cookie.name]
            assert jar
            self.planted += [cookie.value for cookie in jar if cookie.value]
        assert len(seen) >= FEWEST_PAGES, seen

    def leaks(self, where: str, text: str) -> list[str]:
        """Name every secret that a text holds, in any of the ways it may be written."""
        assert len(self.planted) >= FEWEST_SECRETS
        return [f"{secret[:12]} in {where}" for secret in self.planted if secret in text]


FEWEST_SECRETS: Final = 20
FEWEST_PAGES: Final = 15
MOST_PAGES: Final = 60


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Give everything the house wrote down, but for its keys."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "keys" not in path.parts:
            yield path.name, path.read_bytes().decode("latin-1")


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[Story]:
    """Play the story in a house of its own."""
    async with desk_on(folder, stage=Stage(around=careless)) as desk:
        story = Story(desk)
        await story.play()
        yield story


def found(story: Story, folder: Path, logged: io.StringIO) -> list[str]:
    """Name every leak."""
    leaks = story.leaks("the log", logged.getvalue())
    for text in story.shown:
        leaks += story.leaks("a result or page", text)
    for name, text in files(folder):
        leaks += story.leaks(name, text)
    return leaks


async def test_no_planted_secret_is_written_or_shown_anywhere(tmp_path: Path, logged: io.StringIO) -> None:
    """B16: keys, webhook secrets, a card's number, a password, a session, and what a provider repeats."""
    async with told(tmp_path) as story:
        assert found(story, tmp_path, logged) == []
    assert found(story, tmp_path, logged) == []  # What was still in memory is in the file now.
    out = tmp_path / "log.export"
    words = ["ledger", "export", str(out), "--db", f"sqlite:///{tmp_path}/bursar.db"]
    assert await asyncio.to_thread(main, words) == 0
    assert story.leaks("the export", out.read_text(errors="replace")) == []
    assert "readiness" in logged.getvalue()


async def test_a_house_that_redacts_nothing_is_caught(
    tmp_path: Path, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: what the provider said stands in results, on pages and in the database."""
    monkeypatch.setattr(redaction, "_SHAPES", re.compile(r"(?P<head>)(?!)"))
    async with told(tmp_path) as story:
        leaks = found(story, tmp_path, logged)
    places = {leak.split(" in ")[1].removesuffix("-wal") for leak in leaks}
    assert places >= {"a result or page", "bursar.db"}
