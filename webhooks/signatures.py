"""Stripe's webhook signatures: every active secret is tried, in constant time, over the raw bytes.

Source: docs.stripe.com/webhooks/signature. Unlike the SDK's check this one refuses instants in the future as
well, takes no tolerance of zero, and tells which secret, and so which mode, signed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from plugins.hookspecs import Secret
from policy.errors import ConfigurationError
from policy.language import Mode

TOLERANCE_S: Final = 300  # Either way: an older or later signature is a replay or a forgery.
MOST_PARTS: Final = 20  # A header has one `t` and a signature per active secret; more only costs time.
LONGEST_HEADER: Final = 2_000  # Characters; a real one has a few hundred.
_HEX_CHARS: Final = 64  # Of a SHA-256.
_TAGS: Final = {"live": Mode.LIVE, "test": Mode.TEST}


class WebhookSecret(Struct, frozen=True):
    """One active secret and the mode of the events it may sign (M31)."""

    mode: Mode
    secret: Secret


class Refused(Exception):  # noqa: N818 -- it says what happened; the sender hears the same words for every reason
    """The signature is none of ours; the reason is for our own log."""


def read_secrets(name: str, text: str) -> tuple[WebhookSecret, ...]:
    """Return a variable's secrets, comma separated, tagged `live:` or `test:`. Raises ConfigurationError."""
    return tuple(_read(name, part.strip()) for part in text.split(",") if part.strip())


def _read(name: str, part: str) -> WebhookSecret:
    tag, colon, secret = part.partition(":")
    if not colon or tag not in _TAGS or not secret.startswith("whsec_"):
        raise ConfigurationError(
            f"{name}: each entry is `live:whsec_...` or `test:whsec_...`, separated by commas"
        )
    return WebhookSecret(_TAGS[tag], Secret(name, secret))


def simulated_secrets(name: str, secrets: Iterable[str]) -> tuple[WebhookSecret, ...]:
    """Return the simulator's own secrets, which come from itself and never from the environment."""
    return tuple(WebhookSecret(Mode.SIMULATED, Secret(name, secret)) for secret in secrets)


def check(header: str | None, body: bytes, secrets: Iterable[WebhookSecret], now_s: int) -> Mode:
    """Return the mode of the secret that signed these bytes. Raises Refused."""
    stamp, marks = _parts(header)
    if abs(now_s - stamp) > TOLERANCE_S:
        raise Refused("the signature is too old, or of the future")
    message = b"%d." % stamp + body
    found: Mode | None = None
    for secret in secrets:
        if _signed(secret.secret.reveal(), message, marks) and found is None:
            found = secret.mode
    if found is None:
        raise Refused("no active secret signed this")
    return found


def _signed(secret: str, message: bytes, marks: tuple[bytes, ...]) -> bool:
    """Compare with every signature given, without stopping at the first."""
    if not secret:
        return False
    right = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest().encode()
    return any([hmac.compare_digest(right, mark) for mark in marks])  # noqa: C419 -- a generator would stop early


def _parts(header: str | None) -> tuple[int, tuple[bytes, ...]]:
    if header is None or not header or len(header) > LONGEST_HEADER or not header.isascii():
        raise Refused("there is no signature")
    stamps, marks = [], []
    for part in header.split(",", MOST_PARTS):
        name, equals, value = part.partition("=")
        if equals and name == "t":
            stamps.append(value)
        elif equals and name == "v1" and len(value) == _HEX_CHARS:
            marks.append(value.encode())
    # Two instants would let one be signed and the other be checked.
    if len(stamps) != 1 or not stamps[0].isdigit() or len(stamps[0]) > len("99999999999"):
        raise Refused("the signature says no one instant")
    if not marks:
        raise Refused("the header carries no v1 signature")
    return int(stamps[0]), tuple(marks)
