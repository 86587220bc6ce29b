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
_SHORT: Final = 80  # Characters in a list.
_ELSEWHERE: Final = frozenset({"artifacts", "lead_id", "project", "origin"})  # Said above, or listed apart.
_READ_FIRST: Final = ("name", "email", "company", "website", "wish", "subject", "title", "body", "text")
_MEANS: Final = {
    "lead": "Approve: agents of its project may read it, and its deal opens. Reject: no agent ever sees it.",
    "outreach": "Approve: you can send it yourself; Bursar sends nothing. Its agent reads your words.",
    "plan": "Approve: its agent goes on. Its agent reads your words.",
    "draft": "Approve: its agent goes on; the buyer sees nothing of it. Its agent reads your words.",
    "delivery": "Approve: the buyer can read it, and the run closes. Its agent reads your words.",
}
_UNTRUSTED: Final = {
    "public_form": "untrusted: written by a stranger into the public form",
    "agent": "untrusted: written by the agent",
    "owner": "brought by an owner",
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
            about = {each.review_id: _about(each) for each in found.items}
            content = {"page": found, "state": chosen or "all", "states": _STATES, "about": about}
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
            "origin": _UNTRUSTED.get("agent" if review.agent else str(body.get("origin")), "untrusted"),
            "meaning": _MEANS[review.kind.value],
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


def _about(review: ReviewRecord) -> str:
    """Return what a review is about, in a few of its own words."""
    body = msgspec.json.decode(review.body, type=dict[str, Any])
    found = next((body[name] for name in ("title", "subject", "company", "name") if body.get(name)), "")
    return visible(str(found))[:_SHORT]


def _shown(body: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Return every field of what is judged as lines that hide nothing; files are listed apart."""
    fields = {name: value for name, value in body.items() if name not in _ELSEWHERE and value}
    first = sorted(fields, key=lambda name: (_READ_FIRST.index(name) if name in _READ_FIRST else 99, name))
    return [(visible(name).replace("_", " "), _lines(fields[name])) for name in first]


def _lines(value: object) -> list[str]:
    return visible_lines(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _files(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body.get("artifacts") or [])
