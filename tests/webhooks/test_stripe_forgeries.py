"""What is not signed by an active secret gets in nowhere, and everybody who forges hears the same words."""

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from litestar import Litestar

from plugins.payments.simulator.webhooks import sign
from policy.errors import ConfigurationError
from policy.language import Mode
from tests.webhooks.rig import Rig, rig_on, secret_of
from webhooks.bodies import LARGEST
from webhooks.signatures import Refused, WebhookSecret, check, read_secrets
from webhooks.stripe_events import REFUSAL, StripeDeps, stripe_routes

EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "checkout.session.completed",
    "livemode": False,
    "created": 1795168800,
    "data": {"object": {"id": "cs_1", "object": "checkout.session"}},
}
BODY = orjson.dumps(EVENT)
PATH = "/webhooks/stripe"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Give a shop."""
    async with rig_on(f"sqlite:///{tmp_path}/ledger.db") as made:
        yield made


async def post(
    app: Litestar, body: bytes | list[bytes], header: str | None, path: str = PATH
) -> tuple[int, bytes, int]:
    """Send raw bytes, in chunks if several; give status, answer and how many chunks were read."""
    chunks = [body] if isinstance(body, bytes) else body
    head = [(b"host", b"bursar.example"), (b"content-type", b"application/json")]
    if header is not None:
        head.append((b"stripe-signature", header.encode("latin-1")))
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
    }
    scope |= {"path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": head}
    scope |= {"client": ("127.0.0.1", 4000), "server": ("bursar.example", 80)}
    got: list[Any] = []
    read = 0

    async def receive() -> Any:  # noqa: ANN401  an ASGI message
        nonlocal read
        if read >= len(chunks):
            await asyncio.Event().wait()  # Nothing more ever comes.  # A sender that never goes on.
        read += 1
        return {"type": "http.request", "body": chunks[read - 1], "more_body": read < len(chunks)}

    async def send(message: Any) -> None:  # noqa: ANN401  an ASGI message
        got.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]  # the scope is an HTTP one
    return got[0]["status"], b"".join(each.get("body", b"") for each in got[1:]), read


async def test_a_rightly_signed_event_is_taken_and_counted_once(rig: Rig) -> None:
    """The counterpart of every forgery below: the same event, signed, gets in."""
    header = sign(BODY, [secret_of(rig.deps.secrets)], int(rig.clock().timestamp()))
    for _ in range(3):
        assert (await post(rig.app, BODY, header))[0] == 200
    page = await rig.ledger.webhook_events()
    assert [(event.event_id, event.deliveries) for event in page.items] == [("evt_1", 3)]


def forgeries(rig: Rig, rand: random.Random) -> Callable[[], tuple[bytes, str | None]]:
    """Return a maker of forgeries, each another way to be not quite right."""
    right, other = secret_of(rig.deps.secrets), secret_of(rig.deps.issuing_secrets)
    now = int(rig.clock().timestamp())

    def mark(key: str, stamp: int, body: bytes = BODY) -> str:
        return hmac.new(key.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()

    good = mark(right, now)
    ways: list[Callable[[], tuple[bytes, str | None]]] = [
        lambda: (BODY, None),
        lambda: (BODY, ""),
        lambda: (BODY, f"t={now},v1={mark('', now)}"),
        lambda: (BODY, f"t={now},v1={mark('whsec_' + rand.randbytes(8).hex(), now)}"),
        lambda: (BODY, f"t={now},v1={mark(other, now)}"),
        lambda: (BODY, f"t={now},v0={good}"),
        lambda: (BODY, f"t={now},v2={good}"),
        lambda: (BODY, f"t={now}"),
        lambda: (BODY, f"v1={good}"),
        lambda: (BODY, f"t={now},t={now + 1},v1={good}"),
        lambda: (BODY, f"t={now - 1},t={now},v1={good}"),
        lambda: (BODY, f"t={now - 301},v1={mark(right, now - 301)}"),
        lambda: (BODY, f"t={now + 301},v1={mark(right, now + 301)}"),
        lambda: (BODY, f"t={now + rand.randint(302, 10**9)},v1={good}"),
        lambda: (BODY, f"t=-{now},v1={good}"),
        lambda: (BODY, f"t={now}.0,v1={good}"),
        lambda: (BODY, f"t=٣,v1={good}".encode().decode("latin-1")),
        lambda: (BODY, f"t={now}," + ",".join(f"v1={rand.randbytes(32).hex()}" for _ in range(18))),
        lambda: (BODY, f"t={now}," + "v1=0," * 5_000),
        lambda: (BODY, f"t={now},v1={good[:-1]}"),
        lambda: (BODY, f"t={now},v1={good.upper()}"),
        lambda: (BODY, f"t={now},v1={_one_off(good, rand)}"),
        lambda: (_one_byte_off(BODY, rand), f"t={now},v1={good}"),
        lambda: (orjson.dumps(EVENT, option=orjson.OPT_INDENT_2), f"t={now},v1={good}"),
        lambda: (BODY + b" ", f"t={now},v1={good}"),
        lambda: (b"", f"t={now},v1={good}"),
    ]
    return lambda: rand.choice(ways)()  # noqa: PLW0108 -- each time another one


def _one_off(text: str, rand: random.Random) -> str:
    place = rand.randrange(len(text))
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def _one_byte_off(body: bytes, rand: random.Random) -> bytes:
    place = rand.randrange(len(body))
    return body[:place] + bytes([body[place] ^ (1 << rand.randrange(8))]) + body[place + 1 :]


async def test_no_forgery_gets_in_and_each_hears_the_same_words(
    rig: Rig,
    deep: bool,  # noqa: FBT001 -- pytest's fixture
) -> None:
    """Empty keys, wrong schemes, repeated instants, other routes' secrets, replays.

    Post-dated ones.
    """
    forged = forgeries(rig, random.Random(4))
    began = time.process_time()
    count = 10_000 if deep else 1_000
    for _ in range(count):
        body, header = forged()
        assert (await post(rig.app, body, header))[:2] == (400, REFUSAL.encode()), header
    assert (time.process_time() - began) / count < 0.02  # Seconds of work each, on a busy machine.
    assert (await rig.ledger.webhook_events()).items == ()


GARBAGE = [
    b"[]",
    b"1",
    b"null",
    b"{}",
    b'{"hello": 1}',
    b"\xff\xfe",
    b'{"object": "event"}',
    b"[" * 50_000,
    b"no",
]


async def test_what_is_signed_and_is_no_event_is_refused_too(rig: Rig) -> None:
    """Whoever holds a secret may still send garbage; it must not become a row, and never an error."""
    values: tuple[Any, ...]
    names, values = ("id", "type", "livemode", "object"), (None, 1, "", [], {"a": 1})
    wrong = [orjson.dumps({**EVENT, name: value}) for name in names for value in values]
    for body in GARBAGE + wrong:
        header = sign(body, [secret_of(rig.deps.secrets)], int(rig.clock().timestamp()))
        assert (await post(rig.app, body, header))[:2] == (400, REFUSAL.encode()), body[:80]
    assert (await rig.ledger.webhook_events()).items == ()


async def test_a_body_that_is_too_large_is_cut(rig: Rig) -> None:
    """256 KiB and no more is ever held, whether the length was told or not."""
    now = int(rig.clock().timestamp())
    chunks = [b"x" * 65_536] * 1_000
    status, answer, read = await post(rig.app, chunks, sign(b"", ["whsec_1"], now))
    assert (status, answer) == (400, REFUSAL.encode())
    assert read * 65_536 <= LARGEST + 2 * 65_536


async def test_a_body_that_never_ends_is_cut() -> None:
    """A sender that stops in the middle holds nothing for longer than some seconds."""

    class Stalled:
        """A request whose second part never comes."""

        headers: dict[str, str] = {}  # noqa: RUF012  a fake's constant

        async def stream(self) -> AsyncIterator[bytes]:
            """Give one part and then nothing."""
            yield b"{"
            await asyncio.Event().wait()  # Nothing more ever comes.  # A sender that never goes on.

    from webhooks.bodies import BodyRefusedError, raw_body

    with pytest.raises(BodyRefusedError, match="slowly"):
        await raw_body(Stalled(), slowest_s=0.05)  # type: ignore[arg-type]  # the two things raw_body reads


async def test_without_secrets_there_is_no_route(rig: Rig) -> None:
    """No secret, no route: there is nothing to probe."""
    deps = StripeDeps(ledger=rig.ledger, binding=rig.deps.binding, now=rig.clock)
    assert stripe_routes(deps) == []
    header = sign(BODY, [secret_of(rig.deps.secrets)], int(rig.clock().timestamp()))
    assert (await post(Litestar(stripe_routes(deps), openapi_config=None), BODY, header))[0] == 404


@pytest.mark.parametrize(
    "text", ["whsec_1", "prod:whsec_1", "live:sk_1", "live:", "simulated:whsec_1", "test:whsec_1,x"]
)
def test_secrets_without_a_tag_refuse_to_start(text: str) -> None:
    """M31: the mode of a secret is said, not guessed; the simulator's never come from the environment."""
    with pytest.raises(ConfigurationError, match="live:whsec_"):
        read_secrets("STRIPE_WEBHOOK_SECRETS", text)


def test_every_active_secret_is_tried_and_its_mode_told() -> None:
    """During a rotation two are active; the mode belongs to the one that signed."""
    secrets = read_secrets("STRIPE_WEBHOOK_SECRETS", "live:whsec_a, test:whsec_b,test:whsec_c")
    for key, mode in (("whsec_a", Mode.LIVE), ("whsec_b", Mode.TEST), ("whsec_c", Mode.TEST)):
        assert check(sign(BODY, ["whsec_x", key], 1_000), BODY, secrets, 1_000 + 300) is mode


def test_a_check_that_stops_at_empty_secrets_would_be_caught() -> None:
    """A broken twin: HMAC under an empty key is a right HMAC, which anybody can make."""

    def naive(header: str, body: bytes, secrets: tuple[WebhookSecret, ...]) -> bool:
        stamp, mark = header.removeprefix("t=").split(",v1=")
        return any(
            hmac.new(each.secret.reveal().encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
            == mark
            for each in secrets
        )

    from plugins.hookspecs import Secret

    empty = (WebhookSecret(Mode.TEST, Secret("S", "")),)
    forged = sign(BODY, [""], 1_000)
    assert naive(forged, BODY, empty)
    with pytest.raises(Refused):
        check(forged, BODY, empty, 1_000)
