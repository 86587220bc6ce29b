"""Runs, and the proof of one: every record behind it with what the log says, and a receipt of each entry."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from ledger.budgets import budget_lines
from ledger.records_crm import Submission
from policy.errors import Unavailable
from webhooks.console.frame import PageRequest, page
from webhooks.deps import Deps
from webhooks.intake import attachment
from webhooks.signed_links import delivery_path
from webhooks.visible import visible, visible_lines

_PAGES = {
    "call": "/calls/",
    "approval": "/approvals/",
    "review": "/reviews/",
    "order": "/orders/",
    "lead": "/leads/",
    "event": "/webhooks/",
}
_PROOF: Final = {"level", "by", "provider"}
_DEEP: Final = frozenset({"instance", "provider account", "provider key", "born order", "attempt"})


class Runs:
    """The pages of runs."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/runs")
        async def runs(
            request: PageRequest, show: FromQuery[str] = "", after: FromQuery[str] = ""
        ) -> Template:
            chosen = show if show in {"open", "closed"} else None
            found = await self._deps.ledger.runs(state=chosen, after=after or None)
            return await page(self._deps, request, "runs.html", {"page": found, "show": chosen or ""})

        @get("/runs/{run_id:str}")
        async def run(request: PageRequest, run_id: FromPath[str]) -> Template:
            return await self._show(request, run_id)

        @get("/runs/{run_id:str}/proof.json")
        async def proof(run_id: FromPath[str]) -> Response[Any]:
            try:
                found = await self._deps.ledger.run_proof(run_id)
            except Unavailable as wait:
                return _later(wait)
            return _download(msgspec.json.encode(found), f"{run_id}.proof.json", "application/json")

        @get("/runs/{run_id:str}/files/{digest:str}")
        async def file(run_id: FromPath[str], digest: FromPath[str]) -> Response[bytes]:
            artifact, content = await self._deps.ledger.artifact_bytes(run_id, digest)
            return attachment(artifact, content)

        @get("/receipts/{seq:int}")
        async def receipt(seq: FromPath[int]) -> Response[Any]:
            try:
                text = await self._deps.ledger.receipt(seq)
            except Unavailable as wait:
                return _later(wait)
            return _download(text.encode(), f"entry-{seq}.tlog-proof", "text/plain")

        return [runs, run, proof, file, receipt]

    async def _show(self, request: PageRequest, run_id: str) -> Template:
        ledger = self._deps.ledger
        story = await ledger.run_story(run_id)
        work = await ledger.submissions(run_id)
        intake = await ledger.intake_of(run_id)
        content = {
            "run": await ledger.run(run_id),
            "budget": budget_lines(await ledger.run_budget(run_id, self._deps.now())),
            "story": story,
            "parts": [
                (part, _PAGES.get(part.kind, ""), *_apart(_said(part.row)), _said(part.more))
                for part in story.parts
            ],
            "brief": visible_lines(intake.brief) if intake else [],
            "work": [(each, visible_lines(each.text)) for each in work],
            "delivery": delivery_path(self._deps.csrf_secret, run_id) if _delivered(work) else "",
        }
        return await page(self._deps, request, "run.html", content)


def _delivered(work: tuple[Submission, ...]) -> bool:
    return any(each.kind == "delivery" and each.review.value == "approved" for each in work)


def _said(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is known of a part, as text that hides nothing."""
    known = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    if known.get("proof_level") == "recorded":
        known.pop("mode", None)  # No provider was asked, so there is no mode that it could have been in.
    return [(visible(name).replace("_", " "), visible(_text(value))) for name, value in known.items()]


def _apart(said: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what people read, and what only a checker compares: hashes and the names of instances."""
    deep = [pair for pair in said if pair[0].endswith((" sha256", " hash")) or pair[0] in _DEEP]
    return [pair for pair in said if pair not in deep], deep


def _text(value: object) -> str:
    if isinstance(value, dict) and value.keys() == _PROOF:
        return f"{value['level']}, by {value['by']} of {value['provider']}"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _download(content: bytes, name: str, media_type: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type=media_type, headers=headers)


def _later(wait: Unavailable) -> Response[str]:
    return Response(f"{wait}\n", status_code=503, media_type="text/plain")
