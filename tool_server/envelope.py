"""What an agent is answered: one envelope, complete as data and complete as text.

Nulls are left out. Text takes one to three lines (reads carry their data) and never opens with the words
that make common clients count a strike against the whole server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec
import orjson
from msgspec import Struct

from ledger.records import AgentRecord
from policy.money import enc_hook

Status = Literal[
    "succeeded",
    "pending_approval",
    "in_progress",
    "denied",
    "not_executed",
    "outcome_unknown",
    "cancelled",
    "expired",
    "invalid",
]

LONGEST_TEXT: Final = (
    8_000  # Characters; a common client writes longer results to a file and shows 1,500 of them.
)


class Principal(Struct, frozen=True, kw_only=True):
    """Who calls, as the bearer token says and nothing else does."""

    account_id: str
    project: str
    agent_id: str
    agent: str  # Its name, which policies speak of.
    kits: tuple[str, ...]
    run_id: str | None = None  # Where the token is bound to one run.
    strict_errors: bool = False

    @classmethod
    def of(cls, agent: AgentRecord) -> Principal:
        """Return the principal that a token of this agent stands for."""
        return cls(
            account_id=agent.account_id,
            project=agent.project,
            agent_id=agent.agent_id,
            agent=agent.name,
            kits=agent.kits,
            run_id=agent.run_id,
            strict_errors=agent.strict_errors,
        )


class CallMeta(Struct, frozen=True, kw_only=True):
    """What came beside the arguments; all of it claimed by the client, none of it trusted."""

    run_header: str | None = None  # X-Bursar-Run
    meta: Mapping[str, object] = {}  # `_meta` of the request.


class ApprovalShown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The open question, and when to look again."""

    approval_id: str
    url: str
    expires_at: datetime
    retry_after_seconds: int


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why it did not succeed, whether it ran, and whether asking again can help."""

    code: str
    message: str
    ran: bool | None = None  # None only where nobody knows yet.
    retry: str
    field: str | None = None
    retry_at: datetime | None = None


class RuleShown(Struct, frozen=True):
    """A rule that spoke, and where to change it."""

    id: str
    at: str


class CapShown(Struct, frozen=True):
    """A cap that binds, and what is left under it: "12.00 USD" or "3 calls"."""

    id: str
    left: str


class DecisionShown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The policy's reasons."""

    rules: tuple[RuleShown, ...] = ()
    caps: tuple[CapShown, ...] = ()


class ProofShown(Struct, frozen=True):
    """What the record was shown to be, and by what."""

    level: str
    by: str
    provider: str


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one tool call."""

    status: Status
    call_id: str | None = None
    replayed: bool = False
    similar_to: str | None = None
    replaced_by: str | None = None
    proof: ProofShown | None = None
    data: Mapping[str, object] | None = None
    approval: ApprovalShown | None = None
    problem: Problem | None = None
    decision: DecisionShown | None = None


class CallResult(Struct, frozen=True, kw_only=True):
    """One answer in both its forms.

    `broken`: Bursar or a plugin broke, which alone is an error on the wire.
    """

    envelope: Envelope
    text: str
    broken: bool = False

    def structured(self) -> dict[str, object]:
        """Return the envelope as plain JSON values, for `structuredContent`.

        What says nothing is left out.
        """
        plain = msgspec.to_builtins(self.envelope, enc_hook=enc_hook, str_keys=True)
        if not isinstance(plain, dict):  # pragma: no cover -- a Struct always becomes an object
            raise TypeError("an envelope is an object")
        return plain

    def is_error(self, *, strict: bool) -> bool:
        """Say what `isError` is: true where something broke; for purists also where nothing was done."""
        quiet = ("succeeded", "pending_approval", "in_progress")
        return self.broken or (strict and self.envelope.status not in quiet)


def answered(envelope: Envelope, *, lead: str = "", broken: bool = False) -> CallResult:
    """Render an envelope; `lead` replaces the first line.

    Some clients show only text, so the data is in it too.
    """
    lines = [lead or _first_line(envelope)]
    lines += filter(None, [_problem_line(envelope), _facts_line(envelope)])
    if envelope.data:
        lines.append(_data_text(envelope.data))
    return CallResult(envelope=envelope, text="\n".join(lines), broken=broken)


_OPENINGS: Final[Mapping[str, str]] = {
    "succeeded": "DONE",
    "pending_approval": "PENDING APPROVAL, nothing has run. Do not call again; use call_status",
    "in_progress": "IN PROGRESS. Do not call again; use call_status",
    "denied": "DENIED, nothing was done",
    "not_executed": "NOT EXECUTED, nothing was done",
    "outcome_unknown": "OUTCOME UNKNOWN: it may have happened. Do not buy this elsewhere, do not "
    "repeat it; it is being reconciled, use call_status",
    "cancelled": "CANCELLED, nothing was done",
    "expired": "EXPIRED, nothing was done",
    "invalid": "INVALID, nothing was done",
}


def _first_line(envelope: Envelope) -> str:
    opening = _OPENINGS[envelope.status]
    words = [opening]
    if envelope.replayed:
        words.append("(the stored answer to the same call)")
    if envelope.call_id:
        words.append(f"[{envelope.call_id}]")
    if envelope.proof:
        words.append(f"{envelope.proof.level} by {envelope.proof.by}")
    return " ".join(words)


def _problem_line(envelope: Envelope) -> str:
    problem = envelope.problem
    if problem is None:
        return ""
    field = f" (field {problem.field})" if problem.field else ""
    when = f" at {problem.retry_at.isoformat()}" if problem.retry_at else ""
    return f"{problem.code}{field}: {problem.message} retry: {problem.retry}{when}"


def _facts_line(envelope: Envelope) -> str:
    parts = []
    if envelope.approval:
        ask = envelope.approval
        parts.append(
            f"approval {ask.approval_id}, a person answers at {ask.url} until {ask.expires_at.isoformat()}; "
            f"look again in {ask.retry_after_seconds} s"
        )
    if envelope.similar_to:
        parts.append(f"similar to {envelope.similar_to}")
    if envelope.replaced_by:
        parts.append(f"replaced by {envelope.replaced_by}")
    if envelope.decision:
        parts += [f"rule {rule.id} ({rule.at})" for rule in envelope.decision.rules]
        parts += [f"cap {cap.id}: {cap.left} left" for cap in envelope.decision.caps]
    return "; ".join(parts)


def _data_text(data: Mapping[str, object]) -> str:
    """Return the data as text; what is too long says so, since a cut that shows nothing would mislead."""
    plain = msgspec.to_builtins(data, enc_hook=enc_hook, str_keys=True)
    text = orjson.dumps(plain).decode()
    if len(text) <= LONGEST_TEXT:
        return text
    return text[:LONGEST_TEXT] + "... (cut here; ask for a smaller page)"
