"""What the web listener refused: in the process's log always, in the audit log where we know whose it was.

A request of nobody we know is logged only: else anybody on the network could write into the ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import structlog

from ledger.ledger import Ledger
from ledger.records import OperatorRecord
from tool_server.limits import Limits, Meter
from webhooks.sessions import Session

_RECORDS: Final = Limits(
    calls_per_second=1.0, calls_at_once=30
)  # M36: a flood of refusals must not fill the log.
_LONGEST: Final = 20  # Characters of a path's first part; what follows may be an id or a secret.

_log = structlog.get_logger("bursar.web")


class Refusals:
    """Notes refused requests without making anybody wait for it."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now
        self._meter = Meter(_RECORDS, time.monotonic)
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, scope: Any, reason: str) -> None:  # noqa: ANN401 -- ASGI's own open mapping
        """Note one request that was refused before it did anything."""
        operator, session = scope.get("user"), scope.get("auth")
        known = operator if isinstance(operator, OperatorRecord) else None
        method = scope.get("method", "")
        _log.warning(
            "request_refused",
            listener="web",
            reason=reason,
            method=method if method.isalpha() else "other",
            path=_part(scope.get("path", "")),
            **({"operator": known.name} if known else {}),
        )
        if known is None or not self._meter.may_call(known.operator_id):
            return
        key = session.key if isinstance(session, Session) else ""
        address = (scope.get("client") or ("",))[0]
        task = asyncio.get_running_loop().create_task(self._write(known, address, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, operator: OperatorRecord, address: str, session: str) -> None:
        try:
            await self._ledger.signed_in(
                "refused", self._now(), operator_id=operator.operator_id, address=address, session=session
            )
        except Exception as error:  # noqa: BLE001 -- the refusal stands, and is in the process log
            _log.error("a refusal could not be recorded", error=f"{type(error).__name__}: {error}")


def _part(path: str) -> str:
    """Return a path's first part: the rest may be somebody's one-time link."""
    first = path.strip("/").partition("/")[0]
    return f"/{first}" if len(first) <= _LONGEST and first.isascii() and first.isprintable() else "other"
