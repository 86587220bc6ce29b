"""Webhook events: what arrived, what became of it, and another try for one of them."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from webhooks.console.frame import PageRequest, page
from webhooks.deps import Deps
from webhooks.security import approver
from webhooks.visible import visible_lines

_STATES: Final = ("received", "processed", "ignored", "unmatched", "quarantined")


class Webhooks:
    """The pages of events."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/webhooks")
        async def events(
            request: PageRequest, show: FromQuery[str] = "", after: FromQuery[str] = ""
        ) -> Template:
            chosen = show if show in _STATES else None
            found = await self._deps.ledger.webhook_events(chosen, after=after or None)
            counts = await self._deps.ledger.webhook_counts()
            content = {"page": found, "states": _STATES, "show": chosen or "", "counts": counts}
            return await page(self._deps, request, "events.html", content)

        @get("/webhooks/{event_id:str}")
        async def event(request: PageRequest, event_id: FromPath[str]) -> Template:
            found = await self._deps.ledger.webhook_event(event_id)
            return await page(self._deps, request, "event.html", {"event": found, "body": _body(found.body)})

        @post("/webhooks/{event_id:str}/replay", guards=[approver], status_code=303)
        async def replay(request: PageRequest, event_id: FromPath[str]) -> Redirect:
            by, now = request.user.operator_id, self._deps.now()
            await self._deps.ledger.replay_event(event_id, by=by, at=now)
            return Redirect(path=f"/webhooks/{event_id}", status_code=303)

        return [events, event, replay]


def _body(raw: bytes) -> list[str]:
    """Return an event as it was signed, indented where it is JSON, with nothing hidden."""
    try:
        text = msgspec.json.format(raw, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = raw.decode("utf-8", "replace")
    return visible_lines(text)
