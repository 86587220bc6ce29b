"""The stop button and its grades: tighten at once, loosen only as an owner and with a reason."""

from __future__ import annotations

from typing import Final

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from policy.errors import BursarError
from policy.language import Posture
from webhooks.console.frame import PageRequest, page
from webhooks.console.sign_in import Form
from webhooks.deps import Deps
from webhooks.security import approver

_LONGEST_REASON: Final = 500


class HousePages:
    """The posture, and what is in flight when it moves."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/posture")
        async def show(request: PageRequest) -> Template:
            return await self._show(request)

        @post("/posture", guards=[approver], status_code=303)
        async def move(request: PageRequest, data: Form) -> Template | Redirect:
            return await self._move(request, data)

        return [show, move]

    async def _show(
        self, request: PageRequest, problem: str = "", in_flight: tuple[str, ...] = (), *, status: int = 200
    ) -> Template:
        content = {
            "postures": await self._deps.ledger.postures(),
            "choices": [posture.value for posture in Posture],
            "problem": problem,
            "in_flight": in_flight,
        }
        return await page(self._deps, request, "posture.html", content, status=status)

    async def _move(self, request: PageRequest, data: dict[str, str]) -> Template | Redirect:
        scope, key = data.get("scope", "account"), data.get("scope_key", "")
        try:
            posture = Posture(data.get("posture", ""))
        except ValueError:
            return await self._show(request, "Choose one of the postures.", status=400)
        because = data.get("because", "").strip()[:_LONGEST_REASON]
        try:
            in_flight = await self._deps.ledger.set_posture(
                scope,
                key or self._deps.ledger.account_id,
                posture,
                because=because or "the stop button",
                by=request.user.operator_id,
                at=self._deps.now(),
            )
        except BursarError as refused:
            return await self._show(request, str(refused), status=403)
        running = tuple(f"{call.call_id} ({call.tool}, {call.state.value})" for call in in_flight)
        return (
            await self._show(request, in_flight=running)
            if running
            else Redirect(path="/posture", status_code=303)
        )
