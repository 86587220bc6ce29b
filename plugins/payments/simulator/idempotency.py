"""Idempotency keys: the first answer is stored, whatever it was, and given again.

v1 forgets after 24 hours, v2 after 30 days. Answers given before execution began (401, 403, 404 of a route,
429, bad parameters, 409) are not stored. Source: Stripe's API reference, "Idempotent requests".
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from plugins.payments.simulator.clock import SimClock
from plugins.payments.simulator.errors import invalid, key_in_use, key_reused
from plugins.payments.simulator.http import Response

_LIFE_S = {"v1": 24 * 3600, "v2": 30 * 24 * 3600}
_MAX_LENGTH = 255  # Stripe's documented limit.


@dataclass
class _Entry:
    fingerprint: str
    created: float
    answer: Response | None = None


class Replays:
    """The stored answers of one account, by API family and key."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str], _Entry] = {}

    def claim(self, family: str, key: str, fingerprint: str) -> Response | None:
        """Give the stored answer of a key, or None: the caller then executes and calls `store` or `release`.

        Raises ApiError: 400 for other parameters or a key too long, 409 while the first request runs.
        """
        if len(key) > _MAX_LENGTH:
            raise invalid(f"Idempotency keys can have at most {_MAX_LENGTH} characters, got {len(key)}")
        entry = self._entries.get((family, key))
        if entry is not None and self._clock.time() - entry.created >= _LIFE_S[family]:
            entry = None
        if entry is None:
            self._entries[family, key] = _Entry(fingerprint, self._clock.time())
            return None
        if entry.fingerprint != fingerprint:
            raise key_reused(key)
        if entry.answer is None:
            raise key_in_use(key)
        return entry.answer

    def store(self, family: str, key: str, answer: Response) -> None:
        """Keep the first answer of a key."""
        self._entries[family, key].answer = answer

    def dump(self) -> list[list[Any]]:
        """Give the stored answers, for a snapshot; what is in flight has none yet."""
        items = self._entries.items()
        return [_saved(family, key, e, e.answer) for (family, key), e in items if e.answer is not None]

    def load(self, saved: list[list[Any]]) -> None:
        """Take up the stored answers of a snapshot."""
        for family, key, mark, created, status, body, headers in saved:
            self._entries[family, key] = _Entry(mark, created, Response(status, body.encode(), headers))

    def release(self, family: str, key: str) -> None:
        """Give the key back: nothing was executed under it."""
        self._entries.pop((family, key), None)


def _saved(family: str, key: str, entry: _Entry, answer: Response) -> list[Any]:
    body = answer.body.decode()
    return [family, key, entry.fingerprint, entry.created, answer.status, body, answer.headers]


def fingerprint(method: str, path: str, params: object) -> str:
    """Hash what a request asks for."""
    return hashlib.sha256(orjson.dumps([method, path, params], option=orjson.OPT_SORT_KEYS)).hexdigest()
