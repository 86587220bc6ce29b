"""Hostile bodies over the wire: each is answered and recorded, none breaks us, none has an effect."""

import asyncio
import contextlib
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.tool_server.doors import House, token_of
from tool_server.limits import Limits

LOCAL = "http://127.0.0.1:8400"
ERAS = {
    "2025-11-25": {"mcp-protocol-version": "2025-11-25"},
    "2026-07-28": {
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "pay_vendor",
    },
    "none": {},
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
FREE = Limits(requests_at_once=10**9, calls_at_once=10**9)
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


def headers(era: str) -> dict[str, str]:
    """Return what a client of an era sends."""
    return ERAS[era] | {
        "authorization": f"Bearer {token_of('scout')}",
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
    }


def call(**params: object) -> dict[str, Any]:
    """Return a tool call as JSON values."""
    whole = {"name": "pay_vendor", **params}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": whole}


def hostile(draw: random.Random) -> Iterator[bytes]:
    """Yield bodies by three grammars: wrong arguments, a broken envelope, broken bytes."""
    while True:
        members = [f'"{draw.choice(("amount", "vendor", "x"))}":{draw.choice(VALUES)}' for _ in range(3)]
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


@pytest.mark.parametrize("era", ERAS)
async def test_no_body_breaks_the_server_and_each_attempt_is_recorded(era: str, *, deep: bool) -> None:
    """500 (5,000) bodies in all: an answer below 500, no effect unless the gate read it, one trace each."""
    house = House(limits=FREE)
    bodies = hostile(random.Random(f"2026-11-22 {era}"))
    transport = httpx.ASGITransport(app=house.app)
    async with house.running(), httpx.AsyncClient(transport=transport, base_url=LOCAL) as http:
        for _ in range(1_667 if deep else 167):
            body = next(bodies)
            house.door.calls.clear()
            house.refusals.clear()
            answer = await http.post("/mcp", headers=headers(era), content=body)
            assert answer.status_code < 500, body
            traces = len(house.door.calls) + len(house.refusals)
            assert traces == (0 if harmless(body) else 1), body
    assert house.meter.open_now == 0


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
