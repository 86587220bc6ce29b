"""Who gets in at the web listener: every route, method and bad credential, generated from the routes.

A route that is not in ACCESS fails here, so nobody forgets to say whom it is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest
from litestar import Litestar
from structlog.testing import capture_logs

from ledger.records import Role
from tests.provider.house import ACCOUNT, Desk, Shop, a_place, ledger_of, made, opened
from tests.tool_server.doors import token_of
from tests.webhooks.conftest import ORIGIN, session_of
from tool_server.hosts import Bind
from tool_server.identity import TokenKind, mint
from webhooks.security import Doorway
from webhooks.sessions import IDLE, LONGEST, Sessions
from webhooks.stripe_side import Simulated, stripe_side
from webhooks.web import web_app

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
SECRET: Final = "whsec_" + "5" * 32
# Whom each route is for. `people`: a session; `entry`: makes one; `anybody`: reads and takes requests;
# `link`: whoever has the signed address; `stripe`: whoever signs.
ACCESS: Final = {
    "/login": "entry",
    "/link/{token:str}": "anybody",
    "/link": "entry",
    "/password": "people",
    "/logout": "people",
    "/": "people",
    "/approvals/{approval_id:str}": "people",
    "/posture": "people",
    "/static/{file_path:path}": "anybody",
    "/reviews": "people",
    "/reviews/{review_id:str}": "people",
    "/leads": "people",
    "/leads/{lead_id:str}": "people",
    "/leads/{lead_id:str}/agent": "people",
    "/leads/{lead_id:str}/drafts/{draft_id:str}": "people",
    "/runs": "people",
    "/runs/{run_id:str}": "people",
    "/runs/{run_id:str}/proof.json": "people",
    "/runs/{run_id:str}/files/{digest:str}": "people",
    "/receipts/{seq:int}": "people",
    "/orders": "people",
    "/orders/{order_id:str}": "people",
    "/calls": "people",
    "/calls/{call_id:str}": "people",
    "/webhooks": "people",
    "/webhooks/{event_id:str}": "people",
    "/webhooks/{event_id:str}/replay": "people",
    "/request": "anybody",
    "/request/received": "anybody",
    "/paid/{deal_id:str}": "anybody",
    "/delivery/{run_id:str}/{signature:str}": "link",
    "/delivery/{run_id:str}/{signature:str}/{digest:str}": "link",
    "/webhooks/stripe": "stripe",
    "/webhooks/stripe/issuing": "stripe",
}
# What a role below the one that a route wants may not send.
ROLES: Final = {
    "/approvals/{approval_id:str}": Role.APPROVER,
    "/posture": Role.APPROVER,
    "/reviews/{review_id:str}": Role.OWNER,
    "/leads/{lead_id:str}/agent": Role.OWNER,
    "/leads/{lead_id:str}/drafts/{draft_id:str}": Role.APPROVER,
    "/webhooks/{event_id:str}/replay": Role.APPROVER,
}
OWN: Final = frozenset({"/password", "/logout"})  # Whoever is signed in may do these for themselves.


class Web:
    """A house's web listener, and every credential that opens nothing there."""

    def __init__(self, desk: Desk, bad: dict[str, dict[str, str]]) -> None:
        self.desk = desk
        self.bad = bad
        folder = desk.house.settings.keys
        folder.mkdir(parents=True, exist_ok=True)
        stripe = stripe_side(desk.house, Simulated(events=(SECRET,), issuing=(SECRET,)))
        self.app = web_app(desk.house, Bind("127.0.0.1", 8401), stripe)

    @property
    def routes(self) -> list[str]:
        """Return the paths of the application itself, with their parameters."""
        assert isinstance(self.app, Doorway)
        inner = self.app._app  # noqa: SLF001 -- what it wraps is what has routes
        assert isinstance(inner, Litestar)
        return [route.path for route in inner.routes]

    @contextlib.asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client whose forms carry a good token: only its credential is bad."""
        transport = httpx.ASGITransport(cast("Any", self.app), client=("203.0.113.9", 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
            await http.get("/login")
            http.headers.update({"origin": ORIGIN, "x-csrftoken": http.cookies["csrf"], **headers})
            if "cookie" in headers:
                http.headers["cookie"] = f"{headers['cookie']}; csrf={http.cookies['csrf']}"
            yield http

    async def size(self) -> int:
        """Return how many entries the log has: whatever is done makes one."""
        return await self.desk.house.ledger.log_size()


async def opened_by(desk: Desk, name: str, **past: timedelta) -> str:
    """Return the cookie of a session that an operator opened some time ago."""
    at = desk.house.now() - past.get("ago", timedelta())
    return await session_of(desk.house.ledger, name, lambda: at)


@pytest.fixture
async def web(tmp_path: Path, shop: Shop) -> AsyncIterator[Web]:
    """Give the listener of one account, beside another account in the same database."""
    place = await a_place(tmp_path, shop)
    await made(place, "acct_other")
    async with await ledger_of(place, "acct_other") as other:
        now = place.wiring.now()
        await other.add_operator(name="olga", role=Role.OWNER, by="system:init", at=now)
        theirs = await session_of(other, "olga", place.wiring.now)
    async with opened(place, work=False, ledger=await ledger_of(place, ACCOUNT)) as desk:
        house = desk.house
        await house.ledger.add_operator(name="vera", role=Role.VIEWER, by="olga", at=house.now())
        await house.ledger.add_operator(name="gone", role=Role.OWNER, by="olga", at=house.now())
        disabled = await opened_by(desk, "gone")
        await house.ledger.disable_operator("gone", by="olga", at=house.now())
        yield Web(desk, await bad_credentials(desk, theirs, disabled))


async def bad_credentials(desk: Desk, theirs: str, disabled: str) -> dict[str, dict[str, str]]:
    """Return headers, by what is wrong with the credential in them."""
    sessions = Sessions(desk.house.ledger, desk.house.now)
    left = await opened_by(desk, "olga")
    found = await sessions.find(left)
    assert found is not None
    await sessions.end(found[0])
    token = mint(TokenKind.AGENT, bytes)
    cookies = {
        "malformed": "\x7f;{}",
        "unknown": "0198f3a2c7f94d8e",
        "a guess": "' OR 1=1 --",
        "unused for too long": await opened_by(desk, "olga", ago=IDLE),
        "too old": await opened_by(desk, "olga", ago=LONGEST),
        "signed out": left,
        "of a disabled operator": disabled,
        "of another account": theirs,
        "an agent's token": token,
    }
    bearers = {
        "an agent's token as bearer": f"Bearer {token_of('scout')}",
        "an enforcer's token as bearer": f"Bearer {mint(TokenKind.ENFORCER, bytes)}",
        "a session as bearer": f"Bearer {await opened_by(desk, 'olga')}",
        "a name and password": "Basic b2xnYTpvbGdh",
    }
    bad: dict[str, dict[str, str]] = {"missing": {}}
    bad |= {what: {"cookie": f"bursar={cookie}"} for what, cookie in cookies.items()}
    return bad | {what: {"authorization": bearer} for what, bearer in bearers.items()}


def filled(route: str) -> str:
    """Return a path of a route."""
    return re.sub(r"\{(\w+):(\w+)\}", lambda named: "7" if named[2] == "int" else "nothing_0000", route)


async def test_every_route_says_whom_it_is_for(web: Web) -> None:
    """A new route must be put into ACCESS, and one that is no more taken out."""
    assert set(web.routes) == set(ACCESS)
    assert {route for route in ROLES if route not in ACCESS} == set()


async def test_no_bad_credential_passes_on_any_route_of_people(web: Web, *, deep: bool) -> None:
    """A person's page shows nothing and does nothing for anybody else, and each try is in the log."""
    routes = [route for route in web.routes if ACCESS[route] == "people"]
    before = await web.size()
    for bad, headers in web.bad.items():
        methods = METHODS if deep or bad == "missing" else ("GET", "POST")
        async with web.client(**headers) as http:
            for route, method in itertools.product(routes, methods):
                await kept_out(http, method, route, bad, headers)
    assert await web.size() == before


async def kept_out(
    http: httpx.AsyncClient, method: str, route: str, bad: str, headers: dict[str, str]
) -> None:
    """Ask once, and fail where it was let in, or not said in the log without the credential."""
    case = f"{method} {route} with a credential that is {bad}"
    with capture_logs() as logs:
        answer = await http.request(method, filled(route))
    if method == "OPTIONS" and answer.status_code == 204:
        return  # The methods of a path are no secret; a browser of another origin gets no more.
    away = answer.headers.get("location", "").startswith("/login?next=")
    assert (answer.status_code == 303 and away) or answer.status_code in {401, 404, 405}, case
    if answer.status_code in {303, 401}:
        refused = [line for line in logs if line["event"] == "request_refused"]
        assert [line["listener"] for line in refused] == ["web"], case
        assert not any(part in str(refused) for part in headers.values()), case


async def test_a_role_too_low_does_nothing_and_is_recorded_with_its_name(web: Web) -> None:
    """Whom we know we name in the ledger: a viewer who tries to approve is worth an owner's look."""
    guarded = {route for route in web.routes if ACCESS[route] == "people"} & set(ROLES)
    cookie = {"cookie": f"bursar={await opened_by(web.desk, 'vera')}"}
    async with web.client(**cookie) as http:
        for route in sorted(guarded):
            before = await web.size()
            with capture_logs() as logs:
                answer = await http.post(filled(route), data={})
            assert answer.status_code == 403, route
            (refused,) = [line for line in logs if line["event"] == "request_refused"]
            assert (refused["operator"], refused["reason"]) == ("vera", f"role_{ROLES[route].value}_needed")
            await _grown(web, before)


async def _grown(web: Web, before: int) -> None:
    """Return once the log has exactly one entry more; it is written beside the answer."""
    async with asyncio.timeout(10):
        while await web.desk.house.ledger.wait_changes(before, 1.0) == before:
            continue
    assert await web.size() == before + 1


async def test_every_form_of_people_has_a_role_or_is_ones_own(web: Web) -> None:
    """A form without a guard is one that a viewer may send."""
    assert isinstance(web.app, Doorway)
    inner = cast("Litestar", web.app._app)  # noqa: SLF001 -- what it wraps is what has routes
    posted = {
        route.path
        for route in inner.routes
        if "POST" in getattr(route, "methods", ()) and ACCESS[route.path] == "people"
    }
    assert posted == set(ROLES) | OWN


async def test_the_ways_in_take_no_bad_credential_and_record_it(web: Web) -> None:
    """A wrong password and a dead link leave an entry; nobody is let in by a way around them."""
    for path, fields in (("/login", {"name": "olga", "password": "x"}), ("/link", {"token": "x" * 43})):
        before = await web.size()
        async with web.client() as http:
            answer = await http.post(path, data=fields)
            assert answer.status_code == 401, path
            assert "bursar" not in http.cookies
        assert await web.size() == before + 1, path


async def test_a_signed_address_opens_with_its_own_signature_alone(web: Web) -> None:
    """What was delivered is a buyer's: not a guess, nor another run's signature, nor a session, opens it."""
    routes = [route for route in web.routes if ACCESS[route] == "link"]
    assert routes
    before = await web.size()
    for headers in web.bad.values():
        async with web.client(**headers) as http:
            answers = [await http.get(filled(route)) for route in routes]
        assert {answer.status_code for answer in answers} == {404}
    assert await web.size() == before


async def test_no_webhook_is_taken_without_its_signature(web: Web) -> None:
    """Whatever credential of another kind it brings: nothing is stored, one answer for all; it is said."""
    now = int(time.time())
    bad = {what: headers for what, headers in web.bad.items() if "\x7f" not in str(headers)}
    signatures = {
        "missing": {},
        "malformed": {"stripe-signature": "t=x,v1=y"},
        "empty": {"stripe-signature": ""},
        "unsigned": {"stripe-signature": f"t={now},v1="},
        "the secret itself": {"stripe-signature": f"t={now},v1={SECRET}"},
        "expired": {"stripe-signature": f"t={now - 301},v1={'0' * 64}"},
        **bad,
    }
    routes = [route for route in web.routes if ACCESS[route] == "stripe"]
    answers = set()
    before = await web.size()
    for (what, headers), route in itertools.product(signatures.items(), routes):
        async with web.client(**headers) as http:
            with capture_logs() as logs:
                answer = await http.post(route, content=b'{"id": "evt_1", "object": "event"}')
        answers.add((answer.status_code, answer.content))
        assert [line["event"] for line in logs] == ["webhook refused"], (what, route)
    assert len(answers) == 1
    assert {status for status, _ in answers} == {400}
    assert await web.size() == before
