"""The simulator as a child process on a socket: what the demo and the crash harness run."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from plugins.payments.simulator import options
from plugins.payments.simulator.__main__ import parser

ROOT = Path(__file__).parents[4]
KEY: Any = {"idempotency_key": "call_1:create"}


@dataclass
class Child:
    """A running simulator and a client for it."""

    line: dict[str, Any]
    process: subprocess.Popen[str]
    web: httpx.AsyncClient
    client: stripe.StripeClient


class _Inbox(asyncio.Protocol):
    """The smallest receiver that answers 200, for deliveries over a real socket."""

    def __init__(self, seen: asyncio.Queue[bytes]) -> None:
        self._seen = seen
        self._buffer = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, _, body = self._buffer.partition(b"\r\n\r\n")
        length = next(
            (int(x[15:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")), 0
        )
        if len(body) < length or not head:
            return
        self._buffer = b""
        self._seen.put_nowait(head + b"\r\n\r\n" + body)
        assert isinstance(self._transport, asyncio.Transport)
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@pytest.fixture
async def inbox() -> AsyncIterator[tuple[str, asyncio.Queue[bytes]]]:
    """Give the address of a receiver, and what it received."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    server = await asyncio.get_running_loop().create_server(lambda: _Inbox(seen), "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/stripe", seen
    server.close()
    await server.wait_closed()


@pytest.fixture
def process(inbox: tuple[str, asyncio.Queue[bytes]]) -> Iterator[subprocess.Popen[str]]:
    """Start the child; it is ended whatever happens."""
    command = [sys.executable, "-m", "plugins.payments.simulator", "--webhook", inbox[0], "--with-parent"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        yield child
        child.terminate()
        assert child.wait(30) in {0, -signal.SIGTERM}


@pytest.fixture
async def child(process: subprocess.Popen[str]) -> AsyncIterator[Child]:
    """Give the child with a client of the real SDK, over the socket."""
    assert process.stdout is not None
    line = json.loads(await asyncio.to_thread(process.stdout.readline))
    http = stripe.HTTPXClient(timeout=httpx.Timeout(30.0))  # A busy machine, not a broken one.
    client = stripe.StripeClient(
        line["secret_key"], http_client=http, max_network_retries=0, base_addresses={"api": line["address"]}
    )
    async with httpx.AsyncClient(base_url=line["address"], trust_env=False, timeout=30.0) as web:
        yield Child(line, process, web, client)
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it open


async def test_it_sells_over_a_socket_and_delivers_by_itself(
    child: Child, inbox: tuple[str, asyncio.Queue[bytes]]
) -> None:
    """Page, payment and webhook, with nobody pumping: this is what the demo shows."""
    price = {"currency": "usd", "unit_amount": 100, "product_data": {"name": "Snapshot"}}
    body: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 1}],
        "success_url": "http://127.0.0.1:1/paid?cs={CHECKOUT_SESSION_ID}",
    }
    session = await child.client.v1.checkout.sessions.create_async(body)
    assert str(session.url).startswith(child.line["address"])
    answer = await child.web.post(str(session.url), data={"card": "4242424242424242"})
    assert answer.headers["location"].endswith(session.id)
    async with asyncio.timeout(30):
        while b"checkout.session.completed" not in (delivery := await inbox[1].get()):
            pass
    head, _, payload = delivery.partition(b"\r\n\r\n")
    signature = next(
        x[18:] for x in head.decode().split("\r\n") if x.lower().startswith("stripe-signature: ")
    )
    secret = child.line["webhook_secrets"][0]
    assert child.client.construct_event(payload, signature, secret).type == "checkout.session.completed"


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"kind": "lost_after_commit"}, httpx.RemoteProtocolError),
        ({"kind": "reset", "after_commit": True}, httpx.ReadError),
        ({"kind": "lost_after_commit", "how": "timeout"}, httpx.ReadTimeout),
    ],
)
async def test_a_lost_answer_looks_the_same_over_a_socket(
    child: Child, fault: dict[str, Any], cause: type[Exception]
) -> None:
    """The SDK meets the same causes as in process; the retry finds one object."""
    patience_s = 0.5 if cause is httpx.ReadTimeout else 30.0
    http = stripe.HTTPXClient(timeout=httpx.Timeout(patience_s))
    client = stripe.StripeClient(
        child.line["secret_key"],
        http_client=http,
        max_network_retries=0,
        base_addresses={"api": child.line["address"]},
    )
    await child.client.v1.products.list_async()  # The first request waits for the SDK's types to be imported.
    await child.web.post("/_sim/faults", json={"faults": [{**fault, "match": "POST /v1/products"}]})
    with pytest.raises(stripe.APIConnectionError) as caught:
        await client.v1.products.create_async({"name": "Snapshot"}, KEY)
    assert isinstance(caught.value.__cause__, cause)
    again = await child.client.v1.products.create_async({"name": "Snapshot"}, KEY)
    headers: Any = again.last_response.headers  # type: ignore[union-attr]  # set on every fetched object
    assert headers["idempotent-replayed"] == "true"
    assert (await child.web.get("/_sim")).json()["objects"]["product"] == 1
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK leaves it open


async def test_the_introduction_is_complete(child: Child) -> None:
    """A parent needs no second question: address, identity, keys, secrets."""
    line = child.line
    assert line["pid"] == child.process.pid
    assert (await child.client.v1.accounts.retrieve_current_async()).id == line["account"]
    assert [line[name][:12] for name in ("secret_key", "earn_key", "spend_key")] == [
        "sk_test_sim_",
        "rk_test_sim_",
        "rk_test_sim_",
    ]
    assert len(line["webhook_secrets"]) == 2
    assert line["issuing_webhook_secrets"] == []
    assert (await child.web.get("/v1/balance", auth=(line["secret_key"], ""))).headers[
        "bursar-simulator"
    ] == (line["instance"])


def test_a_restart_with_a_state_file_is_the_same_simulator(tmp_path: Path) -> None:
    """The demo's later starts: same account, same keys, same address."""
    command = [sys.executable, "-m", "plugins.payments.simulator", "--state", str(tmp_path / "sim.json")]
    lines = []
    for _ in range(2):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines.append(json.loads(child.stdout.readline()))
            httpx.get(lines[-1]["address"] + "/_sim", trust_env=False, timeout=30.0)
            child.terminate()
            child.wait(30)
    assert {**lines[0], "pid": 0} == {**lines[1], "pid": 0}


def test_the_options_of_the_process_are_those_of_the_command() -> None:
    """One list of options for `python -m` and for `bursar simulate stripe`."""
    words = ["--port", "8431", "--seed", "3", "--webhook", "http://h/x", "--post-after", "2", "--with-parent"]
    given = options.options_of(parser().parse_args(words))
    expected = options.ChildOptions(8431, 3, "http://h/x", post_after_s=2.0, with_parent=True)
    assert given == expected


def test_the_command_introduces_itself_to_people() -> None:
    """`bursar simulate stripe` says SIMULATED first and what to put into the environment."""
    command = [
        sys.executable,
        "-m",
        "tool_server.cli",
        "simulate",
        "stripe",
        "--webhook",
        "http://127.0.0.1:1/x",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(5)]
        child.terminate()
        child.wait(30)
    assert lines[0].startswith("SIMULATED Stripe at http://127.0.0.1:")
    assert [line.split("=")[0].strip() for line in lines[1:]] == [
        "STRIPE_API_BASE",
        "STRIPE_EARN_KEY",
        "STRIPE_SPEND_KEY",
        "STRIPE_WEBHOOK_SECRETS",
    ]
