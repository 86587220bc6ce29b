"""The card an approver answers for, made from typed fields only; the agent's words come last, marked as such.

Whatever is shown is whole: what is too long to show was refused at the gate. Text that an agent chose (a
payee, a vendor) passes `visible` before it is shown beside ours.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from ledger.records import ApprovalRecord, CallRecord, VerdictRecord
from policy.language import Kind, Mode, PayeeBasis
from policy.model import Ask, Decision, Effect
from policy.money import Money, dec_hook
from webhooks.visible import visible, visible_lines

_VERBS: Final = {
    Kind.SPEND: "Pay",
    Kind.PROVISION: "Provision",
    Kind.EARN: "Offer",
    Kind.DRAFT: "Write",
    Kind.WITHDRAW: "Take back",
    Kind.READ: "Look at",
}
_BASIS: Final = {
    PayeeBasis.ENFORCED: "enforced: the provider pays exactly this party",
    PayeeBasis.CLAIMED: "claimed: the agent says so; the network enforces amount, count and category only",
}


class CapShown(Struct, frozen=True, kw_only=True):
    """One cap, before and after."""

    id: str
    at: str
    limit: str
    before: str
    after: str


class Card(Struct, frozen=True, kw_only=True):
    """Everything on the page of one request, as text."""

    approval_id: str
    call_id: str
    state: str
    call_state: str
    op_hash: str
    headline: str
    button: str
    mode: str
    amount: str
    recurring: str
    payee: str
    basis: str
    operation: str
    provider: str
    provider_account: str
    undo: str
    summary: str
    twin: str
    rules: tuple[str, ...]
    caps: tuple[CapShown, ...]
    desks: tuple[str, ...]
    verdicts: tuple[str, ...]
    agent: str
    project: str
    run_id: str
    tool: str
    created_at: datetime
    expires_at: datetime
    run_within: str
    reason: list[str]
    arguments: list[str]
    human_only: bool
    live: bool
    is_open: bool
    result: str


def make_card(call: CallRecord, approval: ApprovalRecord, verdicts: tuple[VerdictRecord, ...]) -> Card:
    """Return the card of a request, from what the ledger stored at admission."""
    effect = msgspec.json.decode(call.effect, type=Effect, dec_hook=dec_hook)
    decision = msgspec.json.decode(call.decision, type=Decision, dec_hook=dec_hook)
    asks = msgspec.json.decode(approval.asks, type=tuple[Ask, ...], dec_hook=dec_hook)
    return Card(
        approval_id=approval.approval_id,
        call_id=call.call_id,
        state=approval.state,
        call_state=call.state.value,
        op_hash=approval.op_hash,
        headline=visible(headline(effect)),
        button=visible(_button(effect)),
        mode=effect.mode.value.upper(),
        amount=str(effect.amount) if effect.amount else "no amount",
        recurring=_recurring(effect),
        payee=visible(effect.payee or "nobody"),
        basis=_BASIS[effect.payee_basis] if effect.payee_basis else "",
        operation=effect.operation,
        provider=effect.provider,
        provider_account=visible(call.provider_account),
        undo=visible(effect.undo or "it cannot be taken back"),
        summary=visible(effect.summary),
        twin=_twin(decision, call),
        rules=tuple(_rule(line.id, str(line.at), line.because) for line in decision.rules),
        caps=tuple(
            CapShown(
                id=line.id,
                at=str(line.at),
                limit=_units(line.limit, line.unit),
                before=_units(max(0, line.limit - line.used), line.unit),
                after=_units(max(0, line.limit - line.used - line.asked), line.unit),
            )
            for line in decision.caps
        ),
        desks=tuple(f"{ask.desk.id}: {ask.desk.quorum} of {', '.join(ask.desk.who)}" for ask in asks),
        verdicts=tuple(_verdict(verdict) for verdict in verdicts),
        agent=visible(call.agent),
        project=visible(call.project),
        run_id=call.run_id,
        tool=call.tool,
        created_at=approval.created_at,
        expires_at=approval.expires_at,
        run_within=f"{approval.run_within_s // 60} minutes",
        reason=visible_lines(call.reason) if call.reason else [],
        arguments=_lines(call.args),
        human_only=effect.kind is Kind.HUMAN_ONLY,
        live=effect.mode is Mode.LIVE,
        is_open=approval.state == "pending",
        result=visible(call.message),
    )


def headline(effect: Effect) -> str:
    """Return the one line that says what would happen, to whom, for how much, how real."""
    amount = f" {effect.amount}" if effect.amount else ""
    payee = f" to {effect.payee}" if effect.payee and effect.kind in {Kind.SPEND, Kind.PROVISION} else ""
    what = _VERBS.get(effect.kind, effect.operation.replace("_", " ").capitalize())
    return f"{what}{amount}{payee}, {effect.operation}, {effect.mode.value.upper()}"


def _button(effect: Effect) -> str:
    return f"Approve: {headline(effect)}"


def _recurring(effect: Effect) -> str:
    again = effect.recurring
    if again is None:
        return "once"
    return f"every {again.every}: {again.each}; the first year comes to {again.first_year}"


def _twin(decision: Decision, call: CallRecord) -> str:
    if decision.twin is None and call.similar_to is None:
        return ""
    twin = decision.twin
    if twin is None:
        return f"LOOKS LIKE {call.similar_to}"
    when = f", admitted {twin.at:%Y-%m-%d %H:%M} UTC" if twin.at else ""
    return f"LOOKS LIKE {twin.call_id}, which is {twin.state}{when}: the same tool, payee and amount"


def _rule(rule_id: str, at: str, because: str) -> str:
    why = f": {because}" if because else ""
    return f"{rule_id} ({at}){why}"


def _verdict(verdict: VerdictRecord) -> str:
    said = f": {visible(verdict.comment)}" if verdict.comment else ""
    back = ", taken back" if verdict.revoked_at else ""
    return f"{visible(verdict.operator)} {verdict.verdict} at {verdict.at:%Y-%m-%d %H:%M} UTC{back}{said}"


def _units(units: int, unit: str) -> str:
    return f"{units} calls" if unit == "calls" else str(Money(units, unit))


def _lines(args: bytes) -> list[str]:
    """Return the exact arguments, one per line, each made visible; erased ones say so."""
    if not args:
        return ["(erased)"]
    given = msgspec.json.decode(args)
    return [
        visible(f"{name}: {msgspec.json.encode(value).decode()}") for name, value in sorted(given.items())
    ]
