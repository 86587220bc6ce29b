"""Raw bodies of webhooks, cut where they are too large or too slow."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Request

LARGEST: Final = 256 * 1024  # Bytes; Stripe's events stay far below.
SLOWEST_S: Final = 5.0  # For the whole body: Stripe sends it in one piece.


class BodyRefusedError(Exception):
    """The body is too large, too slow, or its sender is gone."""


async def raw_body(
    request: Request[Any, Any, Any], *, largest: int = LARGEST, slowest_s: float = SLOWEST_S
) -> bytes:
    """Return the body's bytes as they were sent. Raises BodyRefusedError; nothing more is read then."""
    declared = request.headers.get("content-length", "")
    if declared and (not declared.isdigit() or int(declared) > largest):
        raise BodyRefusedError("the body is too large")
    try:
        async with asyncio.timeout(slowest_s):
            return await _gathered(request, largest)
    except TimeoutError:
        raise BodyRefusedError("the body came too slowly") from None


async def _gathered(request: Request[Any, Any, Any], largest: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > largest:
            raise BodyRefusedError("the body is too large")
        parts.append(part)
    return b"".join(parts)
