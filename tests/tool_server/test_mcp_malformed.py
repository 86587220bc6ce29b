"""Hostile bodies over the wire: each is answered and recorded, none breaks us, none has an effect."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.provider.house import Desk, Shop
from tests.tool_server.doors import House, token_of
from tests.tool_server.wires import enlist
from tool_server.agents import AgentsListener
from tool_server.hosts import Bind, names
from tool_server.limits import Limits
from tool_server.metrics import Metrics
from tool_server.serve import Listener, open_socket, served

LOCAL = "http://127.0.0.1:8400"
TOOL = "shop_buy"
ERAS = {
    "2025-11-25": {"mcp-protocol-version": "2025-11-25"},
    "2026-07-28": {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": TOOL,
    },
    "none": {},
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
FREE = Limits(requests_at_once=10**9, calls_at_once=10**9)
MEMBERS = ("amount", "vendor", "item", "idempotency_key", "x")
VALUES = [
    "1e999",
    "NaN",
    "-0",
    "0.1",
    "01",
    "1_000",
    "null",
    "true",
    "[]",
    "{}",
    '""',
    '"\\ud800"',
    '"\\u0000"',
    "9007199254740993",
    '"10.00',
    'USD"',
    "'x'",
    "-1",
    '{"amount":1,"amount":2}',
    "[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]",
]


def headers(era: str, name: str = "scout") -> dict[str, str]:
    """Return what a client of an era sends."""
    return ERAS[era] | {
        "authorization": f"Bearer {token_of(name)}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }


def call(**params: object) -> dict[str, Any]:
    """Return a tool call as JSON values."""
    whole = {"name": TOOL, **params}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": whole}


def hostile(draw: random.Random) -> Iterator[bytes]:
    """Yield bodies by three grammars: wrong arguments, a broken envelope, broken bytes."""
    while True:
        members = [f'"{draw.choice(MEMBERS)}":{draw.choice(VALUES)}' for _ in range(3)]
        arguments = "{" + ",".join(members) + "}"
        arguments = draw.choice([arguments, draw.choice(VALUES)])
        body = json.dumps(call(arguments="@", _meta=META)).replace('"@"', arguments)
        yield body.encode()
        envelope = call()
        target = draw.choice([envelope, envelope["params"]])
        target[draw.choice(list(target))] = draw.choice(
            [None, 7, [], {}, "x" * 300, True, 1.5, {"a": [None]}]
        )
        yield json.dumps(envelope).encode()
        broken = bytearray(body.encode())
        for _ in range(draw.randint(1, 5)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        yield bytes(broken[: draw.randint(0, len(broken))] if draw.random() < 0.3 else broken)


async def test_no_body_breaks_the_server_or_does_anything_and_each_attempt_is_recorded(
    small: Desk, shop: Shop, *, deep: bool
) -> None:
    """500 (5,000) bodies to a whole served house: an answer below 500, no call, no order, one trace each."""
    await enlist(small, "scout2", kits=("shop",))
    opened = open_socket(Bind("127.0.0.1", 0), "agents")
    bind = Bind("127.0.0.1", opened.getsockname()[1])
    listener = AgentsListener(small.house, names(bind, ""), limits=FREE)
    begun = await small.house.ledger.log_size()
    serving = served([Listener("agents", listener.app, opened)], grace_s=2)
    async with listener.app.running(), serving, httpx.AsyncClient(base_url=f"http://{bind}") as http:
        for era in ERAS:
            await sent(http, listener.metrics, era, 1_667 if deep else 167)
    assert shop.requests() == 0
    assert (await small.house.ledger.calls()).items == ()
    await small.house.ledger.read_log.flush()
    reached = counted(listener.metrics, "bursar_calls_total")
    recorded = await small.house.ledger.log_size() - begun
    # Beyond some thirty at once, refusals before the gate are in the process's log and counters alone (M36).
    assert reached > 80, "hardly any attempt reached the gate"
    assert recorded >= reached + 30, "an attempt that reached the gate is not in the log"


async def test_a_tool_that_does_not_exist_is_an_attempt_too(small: Desk) -> None:
    """Who feels about for tools of other kits leaves a trace, without the text that was sent."""
    begun = await small.house.ledger.log_size()
    said = await small.raw("no_such_tool_\ud800", b"{}")
    await small.house.ledger.read_log.flush()
    assert said.envelope.problem is not None
    assert said.envelope.problem.code == "unknown_tool"
    assert await small.house.ledger.log_size() == begun + 1


async def sent(http: httpx.AsyncClient, metrics: Metrics, era: str, share: int) -> None:
    """Send hostile bodies of an era and look for the one trace of each."""
    bodies = hostile(random.Random(f"2026-11-22 {era}"))
    before = traces(metrics)
    for body in itertools.islice(bodies, share):
        answer = await http.post("/mcp", headers=headers(era, "scout2"), content=body)
        assert answer.status_code < 500, body
        assert b"Traceback" not in answer.content, body
        now = traces(metrics)
        assert now - before == (0 if harmless(body) else 1), body
        before = now


def traces(metrics: Metrics) -> int:
    """Return how many attempts were answered or refused so far, as the listener counts them."""
    return counted(metrics, "bursar_calls_total") + counted(metrics, "bursar_requests_refused_total")


def counted(metrics: Metrics, name: str) -> int:
    """Return one counter's sum over its labels."""
    lines = metrics.text().decode().splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(name + "{"))


def harmless(body: bytes) -> bool:
    """Say whether a body is a good message of another kind: a notification, which is taken and dropped."""
    with contextlib.suppress(ValueError):
        message = json.loads(body)
        return isinstance(message, dict) and "id" not in message and isinstance(message.get("method"), str)
    return False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{" + b" " * 300_000 + b"}", 413),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":' + b"[" * 200_000, 400),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, 400),
        (b"\x1f\x8b\x08\x00", 400),
        (b"", 400),
    ],
)
async def test_a_bomb_is_refused_before_anything_parses_it(body: bytes, status: int) -> None:
    """Size, depth and compressed bodies are the cheap ways to hurt a JSON reader."""
    house = House(limits=FREE)
    transport = httpx.ASGITransport(app=house.app)
    async with house.running(), httpx.AsyncClient(transport=transport, base_url=LOCAL) as http:
        answer = await http.post("/mcp", headers=headers("2025-11-25"), content=body)
        encoded = await http.post(
            "/mcp", headers=headers("2025-11-25") | {"content-encoding": "gzip"}, content=b"x"
        )
    assert (answer.status_code, encoded.status_code) == (status, 415)
    assert [refusal.agent for refusal in house.refusals] == ["scout"] * 2


async def test_a_body_that_never_ends_is_cut_off() -> None:
    """A slow sender must not hold a place that an honest agent needs."""
    house = House(limits=Limits(body_seconds=0.05))
    sent: list[Any] = []
    never = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not sent_first:
            sent_first.append(True)
            return {"type": "http.request", "body": b"{", "more_body": True}
        await never.wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent_first: list[bool] = []
    raw = [(name.encode(), value.encode()) for name, value in headers("none").items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "headers": [*raw, (b"host", b"127.0.0.1:8400")],
        "client": ("127.0.0.1", 1),
    }
    async with house.running():
        await house.app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert [refusal.reason for refusal in house.refusals] == ["slow_body"]
