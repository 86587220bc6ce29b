"""The queue and the page of one request: read it, answer it, and see what became of it."""

from __future__ import annotations

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template
from msgspec import structs

from ledger.approvals import Confirmed, Wanted, read_asks, unconfirmed, wanted
from ledger.records import ApprovalRecord, CallRecord, Role
from policy.errors import CallRefused
from policy.language import Kind, Mode
from webhooks.console.card import make_card
from webhooks.console.frame import PageRequest, page
from webhooks.console.sign_in import Form, is_password_of
from webhooks.console.tasks import task_of
from webhooks.deps import Deps
from webhooks.security import approver
from webhooks.sessions import Sessions

_CHANGED = "This request changed since the page was made. Look at it again before you answer."


class Requests:
    """What waits for people."""

    def __init__(self, deps: Deps, sessions: Sessions) -> None:
        self._deps = deps
        self._sessions = sessions

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/")
        async def queue(request: PageRequest, after: FromQuery[str] = "") -> Template:
            found = await self._deps.ledger.queue(after=after or None)
            return await page(self._deps, request, "queue.html", {"page": found})

        @get("/approvals/{approval_id:str}")
        async def show(request: PageRequest, approval_id: FromPath[str]) -> Template:
            return await self._show(request, approval_id)

        @post("/approvals/{approval_id:str}", guards=[approver], status_code=303)
        async def answer(request: PageRequest, approval_id: FromPath[str], data: Form) -> Template | Redirect:
            return await self._answer(request, approval_id, data)

        return [queue, show, answer]

    async def _show(
        self, request: PageRequest, approval_id: str, problem: str = "", *, status: int = 200
    ) -> Template:
        approval = await self._deps.ledger.approval(approval_id)
        call = await self._deps.ledger.call(approval.call_id)
        verdicts = await self._deps.ledger.verdicts(call.call_id)
        content = {
            "card": make_card(call, approval, verdicts),
            "problem": problem,
            "confirm": needs_of(call, approval, fresh=request.auth.is_fresh(self._deps.now())),
            "may_answer": request.user.role is not Role.VIEWER,
            "task": await task_of(self._deps, call),
        }
        return await page(self._deps, request, "request.html", content, status=status)

    async def _answer(
        self, request: PageRequest, approval_id: str, data: dict[str, str]
    ) -> Template | Redirect:
        ledger, operator, now = self._deps.ledger, request.user, self._deps.now()
        verdict, comment = data.get("verdict", ""), data.get("comment", "").strip()
        approval = await ledger.approval(approval_id)
        call = await ledger.call(approval.call_id)
        if verdict not in {"approve", "deny", "ask"} or data.get("op_hash") != approval.op_hash:
            return await self._show(request, approval_id, _CHANGED, status=409)
        try:
            if verdict == "ask":
                await ledger.ask_comment(approval_id, operator.operator_id, comment, at=now)
            else:
                confirmed_by = await self._confirmed(request, call, approval, data)
                await ledger.answer(
                    approval_id,
                    operator.operator_id,
                    data["op_hash"],
                    verdict,
                    comment=comment,
                    at=now,
                    confirmed_by=confirmed_by,
                    typed_amount=data.get("typed_amount", ""),
                )
        except UnconfirmedError as missing:
            return await self._show(request, approval_id, str(missing), status=403)
        except CallRefused as refused:
            return await self._show(request, approval_id, str(refused), status=409)
        return Redirect(path=f"/approvals/{approval_id}", status_code=303)

    async def _confirmed(
        self, request: PageRequest, call: CallRecord, approval: ApprovalRecord, data: dict[str, str]
    ) -> str | None:
        """Return how the person proved who they are, None where nothing asks. Raises UnconfirmedError."""
        needs = needs_of(call, approval, fresh=request.auth.is_fresh(self._deps.now()))
        # Checked before the password, which is slow; the ledger checks all of it again.
        lacks = unconfirmed(
            structs.replace(needs, password=False),
            Confirmed(typed_amount=data.get("typed_amount", "")),
            data.get("verdict", ""),
            data.get("comment", ""),
        )
        if lacks:
            raise UnconfirmedError(f"{lacks[0].upper()}{lacks[1:]}.")
        if data.get("verdict") == "deny":
            return None
        if not needs.password:
            return None
        await self._check_password(request, data.get("password", ""))
        await self._sessions.step_up(request.auth)
        return "password"

    async def _check_password(self, request: PageRequest, password: str) -> None:
        right = await is_password_of(self._deps, request.user, password)
        _need(
            right, "This needs your password, and that was not it. After some tries even the right one waits."
        )


class UnconfirmedError(Exception):
    """Something that the answer needs is missing; the message says what."""


def _need(held: bool, otherwise: str) -> None:  # noqa: FBT001 -- reads as a sentence where it is used
    if not held:
        raise UnconfirmedError(otherwise)


def needs_of(call: CallRecord, approval: ApprovalRecord, *, fresh: bool) -> Wanted:
    """Return what an approval of this call needs; live money also a password within this quarter hour."""
    asked = wanted(read_asks(approval.asks), call.kind, call.amount)
    live_money = call.mode is Mode.LIVE and call.kind in {Kind.SPEND, Kind.PROVISION, Kind.EARN}
    return structs.replace(asked, password=asked.password or (live_money and not fresh))
