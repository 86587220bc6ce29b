"""What the CRM's tools take. Limits are what a reviewer can read at a glance."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Line = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=4_000)]
RecordId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^[a-z]+_[A-Za-z0-9_-]+$")]


class Stage(StrEnum):
    """The stages an agent may set. `won` is not among them: only a payment wins a deal."""

    OPEN = "open"
    CONTACTED = "contacted"
    OFFERED = "offered"
    LOST = "lost"


class FindLeads(Struct, forbid_unknown_fields=True):
    """Search released leads."""

    text: Annotated[Line, Meta(description="Words to look for in names, companies and wishes.")] = ""
    stage: Annotated[Stage | None, Meta(description="Only leads whose deal stands here.")] = None
    lead_id: Annotated[str, Meta(max_length=80, description="Just this lead, with drafts and notes.")] = ""
    after: Annotated[str, Meta(max_length=200, description="The `after` of the page before.")] = ""
    limit: Annotated[int, Meta(ge=1, le=50, description="1 to 50.")] = 20


class CreateLead(Struct, forbid_unknown_fields=True):
    """Someone who may want to buy."""

    name: Annotated[Name, Meta(description="Who they are.")]
    email: Annotated[Line, Meta(description="Where to write to.")] = ""
    company: Annotated[Line, Meta(description="Their company.")] = ""
    website: Annotated[Line, Meta(description="Their website.")] = ""
    wish: Annotated[Text, Meta(description="What they want, as far as you know.")] = ""


class UpdateLead(Struct, forbid_unknown_fields=True):
    """What changes on a lead; fields left out stay as they are."""

    lead_id: Annotated[RecordId, Meta(description="From crm_find_leads.")]
    name: Annotated[Line, Meta(description="Who they are.")] = ""
    email: Annotated[Line, Meta(description="Where to write to.")] = ""
    company: Annotated[Line, Meta(description="Their company.")] = ""
    website: Annotated[Line, Meta(description="Their website.")] = ""
    note: Annotated[Text, Meta(description="What happened, for the record.")] = ""
    stage: Annotated[Stage | None, Meta(description="Where its deal now stands.")] = None


class MoveDeal(Struct, forbid_unknown_fields=True):
    """A deal's new stage."""

    deal_id: Annotated[RecordId, Meta(description="From crm_find_leads.")]
    stage: Annotated[Stage, Meta(description="Where it now stands; a payment alone wins a deal.")]
    note: Annotated[Text, Meta(description="Why, for the record.")] = ""


class DraftOutreach(Struct, forbid_unknown_fields=True):
    """A message that a person may send."""

    lead_id: Annotated[RecordId, Meta(description="From crm_find_leads; it must be assigned to you.")]
    subject: Annotated[Name, Meta(description="The subject line.")]
    body: Annotated[str, Meta(min_length=1, max_length=8_000, description="The message, as plain text.")]
