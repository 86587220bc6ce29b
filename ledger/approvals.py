"""Who may answer, what an answer counts for, and when every desk asked is met (M27 to M29). Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from ledger.records import OperatorRecord, Role
from ledger.rows import VerdictRow
from policy.language import Desk, Kind
from policy.model import Ask
from policy.money import Money, dec_hook

ROLES: Final = {role: place for place, role in enumerate(Role)}
PROVES: Final = ("password", "passkey")  # What proves, with the answer itself, who gives it.
AGENT_OWNER: Final = "agent_owner"
_ASKS: Final = msgspec.json.Decoder(tuple[Ask, ...], dec_hook=dec_hook)


class Asker(Struct, frozen=True):
    """Who asked: the operators among the requesters (M28) and the operator whose password made the agent."""

    requesters: tuple[str, ...]
    agent_owner: str | None


class Wanted(Struct, frozen=True, kw_only=True):
    """What desks ask of an answer beside the button."""

    password: bool
    typed_amount: str  # To be typed to approve; empty where it need not be.
    comment: str  # "always", "on_deny", or empty.


class Confirmed(Struct, frozen=True, kw_only=True):
    """What a person gave with an answer: how they proved who they are, and the amount as they typed it."""

    by: str | None = None
    typed_amount: str = ""


def read_asks(asks: bytes) -> tuple[Ask, ...]:
    """Return the desks a request asked, as stored."""
    return _ASKS.decode(asks)


def sits_at(desk: Desk, operator: OperatorRecord) -> bool:
    """Say whether a person belongs to a desk: by name, or by a role that includes the one asked for."""
    if not operator.active:
        return False
    for who in desk.who:
        if who.startswith("role:"):
            role = who.removeprefix("role:")
            if role in ROLES and ROLES[operator.role] >= ROLES[Role(role)]:
                return True
        elif who == operator.name:
            return True
    return False


def counts_at(desk: Desk, operator: OperatorRecord, asker: Asker) -> bool:
    """Say whether a person's approval counts at a desk: in the role, and not their own request."""
    if not sits_at(desk, operator):
        return False
    if operator.operator_id in asker.requesters and not desk.allow_self:
        return False
    return not (AGENT_OWNER in desk.not_by and operator.operator_id == asker.agent_owner)


def wanted(asks: Iterable[Ask], kind: str, amount: Money | None) -> Wanted:
    """Return what these desks ask of an answer; always a password where only people decide (M29)."""
    confirms = [ask.desk.confirm for ask in asks]
    comments = {confirm.comment for confirm in confirms}
    typed = any(_above(amount, confirm.type_amount_above) for confirm in confirms)
    return Wanted(
        password=kind == Kind.HUMAN_ONLY or any(_above(amount, each.passkey_above) for each in confirms),
        typed_amount=str(amount) if typed else "",
        comment=next((each for each in ("always", "on_deny") if each in comments), ""),
    )


def _above(amount: Money | None, bounds: tuple[Money, ...]) -> bool:
    """Say whether an amount is above the bound of its currency; where none names it, it counts as above."""
    if amount is None or not bounds:
        return False
    own = [bound for bound in bounds if bound.currency == amount.currency]
    return not own or amount > own[0]


def unconfirmed(asked: Wanted, given: Confirmed, verdict: str, comment: str) -> str:
    """Say what an answer lacks that its desks ask for; empty where it lacks nothing."""
    deny = verdict == "deny"
    if (asked.comment == "always" or (asked.comment == "on_deny" and deny)) and not comment.strip():
        return "this desk wants a reason with the answer"
    if deny:
        return ""
    if given.typed_amount.strip() != asked.typed_amount and asked.typed_amount:
        return f"this desk wants the amount typed, {asked.typed_amount}, to approve"
    if asked.password and given.by not in PROVES:
        return "this needs your password with the answer"
    return ""


def may_answer(asks: Iterable[Ask], operator: OperatorRecord) -> bool:
    """Say whether a person sits at any desk asked.

    Who does may veto, even where their yes would not count.
    """
    return any(sits_at(ask.desk, operator) for ask in asks)


def approvers(
    verdicts: Iterable[VerdictRow], op_hash: str, operators: Mapping[str, OperatorRecord]
) -> list[OperatorRecord]:
    """Return the people whose approval of exactly this operation stands, each once."""
    names = dict.fromkeys(
        verdict.operator
        for verdict in verdicts
        if verdict.verdict == "approve" and verdict.revoked_at_us is None and verdict.op_hash == op_hash
    )
    return [operators[name] for name in names if name in operators]


def missing(asks: Iterable[Ask], people: Collection[OperatorRecord], asker: Asker) -> tuple[str, ...]:
    """Return the desks that are not met yet; a verdict counts at every desk its giver belongs to."""
    return tuple(
        ask.desk.id
        for ask in asks
        if sum(counts_at(ask.desk, person, asker) for person in people) < ask.desk.quorum
    )


def clocks(asks: Iterable[Ask]) -> tuple[int, int]:
    """Return the shortest `expires_in` and `run_within` of all desks asked, in seconds."""
    desks = [ask.desk for ask in asks]
    return min(desk.expires_in_s for desk in desks), min(desk.run_within_s for desk in desks)
