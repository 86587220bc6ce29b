"""Calls and one call's timeline: what was asked, decided, tried and found, each step with its audit entry."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from ledger.reads import CallFilter, TimelineEntry
from ledger.records import CallRecord, CallState
from policy.model import Decision
from policy.money import dec_hook
from webhooks.console.frame import PageRequest, page
from webhooks.console.tasks import task_of
from webhooks.deps import Deps
from webhooks.visible import visible, visible_lines


class Calls:
    """The pages of calls."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/calls")
        async def calls(
            request: PageRequest,
            show: FromQuery[str] = "",
            run: FromQuery[str] = "",
            after: FromQuery[str] = "",
        ) -> Template:
            states = (show,) if show in tuple(CallState) else ()
            wanted = CallFilter(run_id=run or None, states=states)
            found = await self._deps.ledger.calls(wanted, after=after or None)
            content = {
                "page": found,
                "states": [state.value for state in CallState],
                "show": show,
                "run": run,
            }
            return await page(self._deps, request, "calls.html", content)

        @get("/calls/{call_id:str}")
        async def call(request: PageRequest, call_id: FromPath[str]) -> Template:
            return await self._show(request, call_id)

        return [calls, call]

    async def _show(self, request: PageRequest, call_id: str) -> Template:
        line = await self._deps.ledger.timeline(call_id)
        content = {
            "call": line.call,
            "decision": msgspec.json.decode(line.call.decision, type=Decision, dec_hook=dec_hook),
            "arguments": arguments(line.call),
            "result": _result(line.call),
            "reason": visible_lines(line.call.reason) if line.call.reason else [],
            "attempts": line.attempts,
            "requests": line.requests,
            "verdicts": line.verdicts,
            "entries": [(entry, _facts(entry)) for entry in line.entries],
            "task": await task_of(self._deps, line.call),
        }
        return await page(self._deps, request, "call.html", content)


def arguments(call: CallRecord) -> list[str]:
    """Return the exact arguments, one a line, with nothing hidden; erased ones say so."""
    return _pairs(call.args) if call.args else ["(erased)"]


def _result(call: CallRecord) -> list[str]:
    return _pairs(call.result) if call.result else []


def _pairs(raw: bytes) -> list[str]:
    given = msgspec.json.decode(raw)
    if not isinstance(given, dict):
        return [visible(raw.decode())]
    return [visible(f"{name}: {msgspec.json.encode(value).decode()}") for name, value in given.items()]


def _facts(entry: TimelineEntry) -> str:
    said: dict[str, Any] = {name: value for name, value in entry.facts.items() if value not in (None, "")}
    return visible(", ".join(f"{name} {value}" for name, value in said.items() if name != "moves"))
