"""The CRM side of the facade: leads, deals, drafts, intakes, submissions and artifacts, for people."""

from __future__ import annotations

from datetime import datetime

from ledger import crm, crm_lists
from ledger.core import Core
from ledger.engines.tx import Tx
from ledger.records import Page
from ledger.records_crm import Activity, Artifact, Lead, ModelDecision, OrderIntake, OutreachDraft, Submission
from ledger.records_revenue import Deal
from ledger.world import World


class CrmSide:
    """Who may want to buy, what was promised to them, and the work on it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # --- leads and deals ---------------------------------------------------------------------------------

    async def add_lead(self, lead: Lead, *, at: datetime) -> str:
        """Write a lead from the public form or the owner; return the id of the review that waits on it."""
        return await self._core.rare("add_lead", lambda tx, world: crm.add_lead(tx, world, lead, at))

    async def assign_lead(self, lead_id: str, agent: str, *, by: str, at: datetime) -> None:
        """Give a released lead and its deals to an agent. Raises PolicyDenied and InvalidArguments."""
        await self._core.rare(
            "assign_lead", lambda tx, world: crm.assign_lead(tx, world, lead_id, agent, by=by, at=at)
        )

    async def open_deal(
        self, project: str, title: str, *, by: str, at: datetime, agent: str | None = None
    ) -> str:
        """Open a deal without a lead; return its id. Raises PolicyDenied for anybody but an owner."""

        def work(tx: Tx, world: World) -> str:
            actor = crm.owner(world, by)
            deal_id = world.new_id("deal")
            crm.open_deal(
                tx, world, deal_id=deal_id, project=project, title=title, by=actor, at=at, agent=agent
            )
            return deal_id

        return await self._core.rare("open_deal", work)

    async def lead(self, lead_id: str) -> Lead:
        """Return one lead, released or not. Raises RecordMissing."""
        return await self._core.read(lambda tx: crm_lists.lead(tx, self._core.account_id, lead_id))

    async def leads(
        self,
        *,
        project: str | None = None,
        review: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[Lead]:
        """Return leads, newest first."""
        return await self._core.read(
            lambda tx: crm_lists.leads_page(
                tx, self._core.account_id, project=project, review=review, after=after, limit=limit
            )
        )

    async def deal(self, deal_id: str) -> Deal:
        """Return one deal. Raises RecordMissing."""
        return await self._core.read(lambda tx: crm_lists.deal(tx, self._core.account_id, deal_id))

    async def deals(
        self,
        *,
        project: str | None = None,
        lead_id: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[Deal]:
        """Return deals, newest first."""
        return await self._core.read(
            lambda tx: crm_lists.deals_page(
                tx, self._core.account_id, project=project, lead_id=lead_id, after=after, limit=limit
            )
        )

    async def activities(self, lead_id: str, limit: int = 100) -> tuple[Activity, ...]:
        """Return what was done or noted on a lead, newest first."""
        return await self._core.read(
            lambda tx: crm_lists.activities_of(tx, self._core.account_id, lead_id, limit)
        )

    async def drafts(self, *, lead_id: str | None = None, limit: int = 100) -> tuple[OutreachDraft, ...]:
        """Return outreach drafts, newest first."""
        return await self._core.read(lambda tx: crm_lists.drafts(tx, self._core.account_id, lead_id, limit))

    async def draft(self, draft_id: str) -> OutreachDraft:
        """Return one outreach draft. Raises RecordMissing."""
        return await self._core.read(lambda tx: crm_lists.draft(tx, self._core.account_id, draft_id))

    async def mark_sent(self, draft_id: str, *, by: str, at: datetime) -> None:
        """Note that a person sent an approved draft. Raises InvalidArguments for one that is not approved."""
        await self._core.rare("mark_sent", lambda tx, world: crm.mark_sent(tx, world, draft_id, by, at))

    # --- runs --------------------------------------------------------------------------------------------

    async def intake_of(self, run_id: str) -> OrderIntake | None:
        """Return what a run's order asks for."""
        return await self._core.read(lambda tx: crm_lists.intake_of(tx, self._core.account_id, run_id))

    async def submissions(self, run_id: str) -> tuple[Submission, ...]:
        """Return a run's plans, drafts and deliveries, oldest first."""
        return await self._core.read(lambda tx: crm_lists.submissions_of(tx, self._core.account_id, run_id))

    async def submission(self, submission_id: str) -> Submission:
        """Return one submission. Raises RecordMissing."""
        return await self._core.read(
            lambda tx: crm_lists.submission(tx, self._core.account_id, submission_id)
        )

    async def model_decisions(self, run_id: str) -> tuple[ModelDecision, ...]:
        """Return what a run's agents declared of the models they asked, oldest first."""
        return await self._core.read(lambda tx: crm_lists.decisions_of(tx, self._core.account_id, run_id))

    async def artifacts(self, run_id: str) -> tuple[Artifact, ...]:
        """Return the files of a run, by name."""
        return await self._core.read(lambda tx: crm_lists.artifacts_of(tx, self._core.account_id, run_id))

    async def artifact_bytes(self, run_id: str, sha256: str) -> tuple[Artifact, bytes]:
        """Return one file of a run with its bytes. Raises RecordMissing."""
        return await self._core.read(
            lambda tx: crm_lists.artifact_bytes(tx, self._core.account_id, run_id, sha256)
        )
