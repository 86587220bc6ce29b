"""Reviews: an owner reads a lead, a plan, a draft or a delivery, and approves, asks or rejects."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from ledger.records import ReviewRecord, ReviewState, Role
from policy.errors import BursarError
from webhooks.console.frame import PageRequest, page
from webhooks.console.sign_in import Form
from webhooks.deps import Deps
from webhooks.security import owner
from webhooks.sessions import may
from webhooks.visible import visible, visible_lines

_ANSWERS: Final = {
    "approve": ReviewState.APPROVED,
    "ask": ReviewState.CHANGES_ASKED,
    "reject": ReviewState.REJECTED,
}
_STATES: Final = tuple(state.value for state in ReviewState)
_LONGEST_WORDS: Final = 2_000
_UNTRUSTED: Final = {
    "public_form": "untrusted: written by a stranger into the public form",
    "agent": "untrusted: written by the agent",
}


class Reviews:
    """The pages of what waits for an owner's judgement."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/reviews")
        async def reviews(
            request: PageRequest, show: FromQuery[str] = "waiting", after: FromQuery[str] = ""
        ) -> Template:
            chosen = show if show in _STATES else None
            found = await self._deps.ledger.reviews(state=chosen, after=after or None)
            content = {"page": found, "state": chosen or "all", "states": _STATES}
            return await page(self._deps, request, "reviews.html", content)

        @get("/reviews/{review_id:str}")
        async def review(request: PageRequest, review_id: FromPath[str]) -> Template:
            return await self._show(request, review_id)

        @post("/reviews/{review_id:str}", guards=[owner], status_code=303)
        async def answer(request: PageRequest, review_id: FromPath[str], data: Form) -> Template | Redirect:
            return await self._answer(request, review_id, data)

        return [reviews, review, answer]

    async def _show(
        self, request: PageRequest, review_id: str, problem: str = "", *, status: int = 200
    ) -> Template:
        review = await self._deps.ledger.review(review_id)
        body = msgspec.json.decode(review.body, type=dict[str, Any])
        content = {
            "review": review,
            "body": _shown(body),
            "files": _files(body),
            "origin": _UNTRUSTED["agent" if review.agent else str(body.get("origin", "agent"))],
            "may_answer": may(request.user, Role.OWNER) and review.state is ReviewState.WAITING,
            "problem": problem,
        }
        return await page(self._deps, request, "review.html", content, status=status)

    async def _answer(
        self, request: PageRequest, review_id: str, data: dict[str, str]
    ) -> Template | Redirect:
        state, words = _ANSWERS.get(data.get("answer", "")), data.get("words", "").strip()
        if state is None:
            return await self._show(request, review_id, "Choose one of the answers.", status=400)
        if state is ReviewState.CHANGES_ASKED and not words:
            return await self._show(request, review_id, "Say what should change; it is read.", status=400)
        if len(words) > _LONGEST_WORDS:
            return await self._show(request, review_id, f"At most {_LONGEST_WORDS} characters.", status=400)
        try:
            review = await self._deps.ledger.answer_review(
                review_id, request.user.operator_id, state, words=words, at=self._deps.now()
            )
        except BursarError as refused:
            return await self._show(request, review_id, str(refused), status=409)
        return Redirect(path=_onwards(review), status_code=303)


def _onwards(review: ReviewRecord) -> str:
    """Return where to go on: a released lead wants an agent, everything else leads back to the list."""
    released = review.kind.value == "lead" and review.state is ReviewState.APPROVED
    return f"/leads/{review.subject_id}" if released else "/reviews"


def _shown(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return every field of what is judged as lines that hide nothing; files are listed apart."""
    fields = {name: value for name, value in body.items() if name != "artifacts" and value}
    return [(visible(name), _lines(value)) for name, value in fields.items()]


def _lines(value: object) -> list[str]:
    return visible_lines(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _files(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body.get("artifacts") or [])
