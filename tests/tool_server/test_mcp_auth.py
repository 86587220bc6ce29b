"""Who gets in: every route, method and bad credential of the agents' listener, and the names it goes by."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from policy.errors import ConfigurationError
from tests.tool_server.doors import NOW, Agents, House, agent, token_of
from tool_server.hosts import Bind, may_listen, names, read_bind
from tool_server.identity import TokenKind, mint
from tool_server.mcp_transport import ROUTES

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
LOCAL = "http://127.0.0.1:8400"
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "pay_vendor", "arguments": {}}}
BAD: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "another scheme": f"Basic {token_of('scout')}",
    "no scheme": token_of("scout"),
    "a typing mistake": f"Bearer {token_of('scout')[:-1]}!",
    "cut short": f"Bearer {token_of('scout')[:-4]}",
    "unknown": f"Bearer {token_of('nobody')}",
    "expired": f"Bearer {token_of('late')}",
    "revoked": f"Bearer {token_of('gone')}",
    "an enforcer's": f"Bearer {mint(TokenKind.ENFORCER, bytes)}",
    "an operator's session": "Bearer 0198f3a2c7f94d8e",
    "a provider's key": "Bearer sk_test_51abc",
    "twice": f"Bearer {token_of('scout')}, Bearer {token_of('scout')}",
}


def house() -> House:
    """Return a house with one good token and two that are good no more."""
    expired, revoked = agent("late", expires_at=NOW - timedelta(seconds=1)), agent("gone", active=False)
    return House(agents=Agents(agent("scout"), expired, revoked))


@contextlib.asynccontextmanager
async def asked() -> AsyncIterator[tuple[House, httpx.AsyncClient]]:
    """Yield a house and a client that reaches its application without a socket, from another machine."""
    built = house()
    transport = httpx.ASGITransport(app=built.app, client=("203.0.113.9", 50_000))
    async with built.running(), httpx.AsyncClient(transport=transport, base_url=LOCAL) as http:
        yield built, http


@pytest.mark.parametrize("path", ROUTES)
async def test_no_bad_credential_passes_on_any_route(path: str) -> None:
    """Generated from the listener's own routes, so a new one cannot be forgotten."""
    async with asked() as (built, http):
        for method, (bad, credential) in itertools.product(METHODS, BAD.items()):
            built.refusals.clear()
            headers = {"authorization": credential} if credential is not None else {}
            answer = await http.request(method, path, headers=headers, json=CALL)
            case = f"{method} {path} with a credential that is {bad}"
            if ROUTES[path] == "anybody" and method in {"GET", "HEAD"}:
                assert answer.status_code == 200, case
                continue
            assert answer.status_code == (401 if path == "/mcp" or method in {"GET", "HEAD"} else 404), case
            assert (answer.status_code == 401) == ("www-authenticate" in answer.headers), case
            assert len(built.refusals) == 1, case  # It is recorded, and the token itself is not.
            assert token_of("scout") not in repr(built.refusals)
        assert built.door.calls == []


async def test_every_bad_credential_hears_the_same() -> None:
    """A different answer for a revoked token would tell its thief that it was real."""
    async with asked() as (_, http):
        answers = [
            await http.post("/mcp", headers={"authorization": credential}, json=CALL)
            for credential in BAD.values()
            if credential
        ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


async def test_a_good_credential_opens_mcp_for_post_only() -> None:
    """Clients probe with HEAD and GET before they connect, and take anything but a page for an answer."""
    async with asked() as (_, http):
        headers = {"authorization": f"Bearer {token_of('scout')}"}
        for method in METHODS:
            answer = await http.request(method, "/mcp", headers=headers)
            assert answer.status_code == (400 if method == "POST" else 405)
            assert "html" not in answer.headers.get("content-type", "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:8400"}, 421),
        ({"host": "127.0.0.1:8400@evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"host": "localhost:9"}, 400),
        ({"origin": "http://localhost:6274"}, 400),
        ({"host": "evil.example", "x-forwarded-host": "127.0.0.1"}, 421),
    ],
)
@pytest.mark.parametrize("path", ROUTES)
async def test_another_sites_page_cannot_speak_to_the_listener(
    path: str, headers: dict[str, str], status: int
) -> None:
    """DNS rebinding: the page's own name is in Host or Origin; the credential is not even looked at."""
    async with asked() as (built, http):
        token = {"authorization": f"Bearer {token_of('scout')}"}
        answer = await http.post(path, headers={"host": "127.0.0.1:8400", **token, **headers})
        assert answer.status_code == (status if path == "/mcp" or status != 400 else 404)
        assert built.door.calls == []


async def test_the_counters_are_for_this_machine_or_a_token() -> None:
    """Behind a proxy everybody seems to come from loopback, so a forwarded request needs its token too."""
    async with asked() as (built, remote):
        here = httpx.ASGITransport(app=built.app, client=("127.0.0.1", 50_000))
        token = {"authorization": f"Bearer {token_of('scout')}"}
        async with httpx.AsyncClient(transport=here, base_url=LOCAL) as local:
            assert (await local.get("/metrics")).status_code == 200
            assert (
                await local.get("/metrics", headers={"x-forwarded-for": "203.0.113.9"})
            ).status_code == 401
        assert (await remote.get("/metrics")).status_code == 401
        counters = await remote.get("/metrics", headers=token)
        assert counters.status_code == 200
        assert (
            'bursar_requests_refused_total{listener="agents",reason="credential_missing"} 2.0'
            in counters.text
        )


async def test_a_listener_that_is_not_ready_says_so() -> None:
    """Alive and ready are two questions: a supervisor restarts for the one and waits for the other."""
    async with asked() as (built, http):
        built.is_ready = False
        assert (await http.get("/healthz")).json() == {"server": "bursar", "status": "alive"}
        assert (await http.get("/readyz")).status_code == 503


async def test_the_listener_is_no_web_socket() -> None:
    """Whatever opens one is shown out without a look at what it says."""
    async with asked() as (built, _):
        sent: list[object] = []

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: object) -> None:
            sent.append(message)

        await built.app({"type": "websocket", "path": "/mcp", "headers": []}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8400", Bind("127.0.0.1", 8400)),
        ("[::1]:8400", Bind("::1", 8400)),
        (":8400", Bind("127.0.0.1", 8400)),
        ("8400", Bind("127.0.0.1", 8400)),
        ("0.0.0.0:0", Bind("0.0.0.0", 0)),  # noqa: S104 - to be refused below, not bound
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, bind: Bind) -> None:
    """Without a host it is this machine alone, never every interface."""
    assert read_bind(text) == bind


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "x:-1", "x:٣"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    """One line that says what is expected."""
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        read_bind(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "bursar.example.com"])  # noqa: S104 - refused
@pytest.mark.parametrize("public_url", ["", "http://127.0.0.1:8401", "http://bursar.example.com"])
def test_a_listener_others_can_reach_needs_a_public_https_address(host: str, public_url: str) -> None:
    """Tokens would cross the network in the clear, and nobody would know under which name."""
    with pytest.raises(ConfigurationError, match="BURSAR_PUBLIC_URL"):
        may_listen(Bind(host, 8400), public_url, "agents")
    may_listen(Bind(host, 8400), "https://bursar.example.com", "agents")


def test_a_public_listener_answers_to_its_public_name_alone() -> None:
    """An empty list means nobody; loopback names are for loopback binds."""
    public = names(Bind("0.0.0.0", 8400), "https://Bursar.example.com")  # noqa: S104 - only its names are read
    assert public.host_ok("bursar.example.com")
    assert public.host_ok("BURSAR.example.com:443")
    assert not public.host_ok("127.0.0.1:8400")
    assert not public.host_ok("x.bursar.example.com")
    assert public.origin_ok("https://bursar.example.com")
    assert not public.origin_ok("http://bursar.example.com")
    assert not names(Bind("0.0.0.0", 8400), "").host_ok("0.0.0.0:8400")  # noqa: S104 - the same
