"""Leads: who may want to buy, what was drafted to them, and the one agent who works on each."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect, Template

from ledger.records import Role
from ledger.records_crm import OutreachDraft
from policy.errors import BursarError
from webhooks.console.frame import PageRequest, page
from webhooks.console.sign_in import Form
from webhooks.deps import Deps
from webhooks.intake import requests_to
from webhooks.security import approver, owner
from webhooks.sessions import may
from webhooks.visible import visible_lines


class Leads:
    """The pages of leads."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/leads")
        async def leads(request: PageRequest, after: FromQuery[str] = "") -> Template:
            found = await self._deps.ledger.leads(after=after or None)
            taken_by = requests_to(self._deps.requests_to, await self._deps.ledger.projects())
            return await page(self._deps, request, "leads.html", {"page": found, "taken_by": taken_by})

        @get("/leads/{lead_id:str}")
        async def lead(request: PageRequest, lead_id: FromPath[str]) -> Template:
            return await self._show(request, lead_id)

        @post("/leads/{lead_id:str}/agent", guards=[owner], status_code=303)
        async def assign(request: PageRequest, lead_id: FromPath[str], data: Form) -> Template | Redirect:
            return await self._assign(request, lead_id, data.get("agent", ""))

        @post("/leads/{lead_id:str}/drafts/{draft_id:str}", guards=[approver], status_code=303)
        async def sent(
            request: PageRequest, lead_id: FromPath[str], draft_id: FromPath[str]
        ) -> Template | Redirect:
            return await self._sent(request, lead_id, draft_id)

        return [leads, lead, assign, sent]

    async def _show(
        self, request: PageRequest, lead_id: str, problem: str = "", *, status: int = 200
    ) -> Template:
        ledger = self._deps.ledger
        lead = await ledger.lead(lead_id)
        agents = [each for each in await ledger.agents() if each.active and each.project == lead.project]
        agents.sort(key=lambda agent: "sell" not in agent.kits)  # Those who can sell come first.
        reviews = await ledger.reviews(kind="lead", subject_id=lead_id)
        drafts = await ledger.drafts(lead_id=lead_id)
        content = {
            "lead": lead,
            "wish": visible_lines(lead.wish),
            "deals": (await ledger.deals(lead_id=lead_id)).items,
            "activities": await ledger.activities(lead_id),
            "drafts": [(draft, visible_lines(draft.body), _mail(draft)) for draft in drafts],
            "review": reviews.items[0] if reviews.items else None,
            "agents": [agent.name for agent in agents],
            "may_assign": may(request.user, Role.OWNER) and lead.released,
            "may_send": may(request.user, Role.APPROVER),
            "problem": problem,
        }
        return await page(self._deps, request, "lead.html", content, status=status)

    async def _assign(self, request: PageRequest, lead_id: str, agent: str) -> Template | Redirect:
        by, now = request.user.operator_id, self._deps.now()
        try:
            await self._deps.ledger.assign_lead(lead_id, agent, by=by, at=now)
        except BursarError as refused:
            return await self._show(request, lead_id, str(refused), status=409)
        return Redirect(path=f"/leads/{lead_id}", status_code=303)

    async def _sent(self, request: PageRequest, lead_id: str, draft_id: str) -> Template | Redirect:
        by, now = request.user.operator_id, self._deps.now()
        try:
            await self._deps.ledger.mark_sent(draft_id, by=by, at=now)
        except BursarError as refused:
            return await self._show(request, lead_id, str(refused), status=409)
        return Redirect(path=f"/leads/{lead_id}", status_code=303)


def _mail(draft: OutreachDraft) -> str:
    """Return the link that opens an approved draft in the operator's own mail program.

    It goes to whom the owner read it would go to, whatever the lead's address has become since.
    """
    if draft.review.value != "approved" or not draft.recipient:
        return ""
    return f"mailto:{quote(draft.recipient)}?{_query((('subject', draft.subject), ('body', draft.body)))}"


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    # Mail programs read a plus sign as a plus sign, so `urlencode` will not do (RFC 6068).
    return "&".join(f"{name}={quote(value)}" for name, value in pairs)
