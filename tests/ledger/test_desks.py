"""What a desk asks of an answer, and whose answer counts there: the pure part of M27 to M29."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from ledger.approvals import (
    Asker,
    Confirmed,
    Wanted,
    approvers,
    clocks,
    counts_at,
    missing,
    sits_at,
    unconfirmed,
    wanted,
)
from ledger.records import OperatorRecord, Role
from ledger.rows import VerdictRow
from policy.language import Confirm, Desk, Mark
from policy.model import Ask
from policy.money import Money

ADA = OperatorRecord(
    operator_id="opr_ada",
    name="ada",
    account_id="acct",
    role=Role.APPROVER,
    active=True,
    has_password=True,
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)
OLGA = structs.replace(ADA, operator_id="opr_olga", name="olga", role=Role.OWNER)
VERA = structs.replace(ADA, operator_id="opr_vera", name="vera", role=Role.VIEWER)
ANYONE = Asker((), None)
TEN = (Money(1_000, "USD"),)
ASKS_NOTHING = Wanted(password=False, typed_amount="", comment="")


def a_desk(*who: str, **changes: Any) -> Desk:  # noqa: ANN401 -- fields of a desk
    """Return a desk of these people."""
    desk = Desk(id="desk", who=who, at=Mark("policies.yaml", 1), expires_in_s=3600, run_within_s=600)
    return structs.replace(desk, **changes)


def asks(*desks: Desk) -> tuple[Ask, ...]:
    """Return requests to these desks."""
    return tuple(Ask(desk, ()) for desk in desks)


@pytest.mark.parametrize(
    ("who", "sitting"),
    [
        ("ada", {"ada"}),
        ("opr_ada", set()),
        ("role:viewer", {"ada", "olga", "vera"}),
        ("role:approver", {"ada", "olga"}),
        ("role:owner", {"olga"}),
        ("role:emperor", set()),
        ("owner", set()),
    ],
)
def test_m27_a_desk_is_of_names_and_of_roles_which_include_those_below(who: str, sitting: set[str]) -> None:
    """M27: an owner may do what an approver may; a role nobody knows lets nobody in, and no disabled one."""
    desk = a_desk(who)
    assert {each.name for each in (ADA, OLGA, VERA) if sits_at(desk, each)} == sitting
    assert not any(sits_at(desk, structs.replace(each, active=False)) for each in (ADA, OLGA, VERA))


def test_m28_nobody_alone_approves_what_they_asked_for() -> None:
    """M28: unless the desk allows it; nor for an agent they made, where the desk says so."""
    desk, hers = a_desk("ada"), Asker(("opr_ada",), None)
    assert counts_at(desk, ADA, ANYONE)
    assert not counts_at(desk, OLGA, ANYONE)
    assert not counts_at(desk, ADA, hers)
    assert counts_at(structs.replace(desk, allow_self=True), ADA, hers)
    made = Asker((), "opr_ada")
    assert counts_at(desk, ADA, made)
    strict = structs.replace(desk, not_by=("agent_owner",))
    assert not counts_at(strict, ADA, made)
    assert counts_at(strict, ADA, Asker((), "opr_olga"))


@pytest.mark.parametrize(
    ("kind", "amount", "confirm", "expected"),
    [
        ("spend", Money(1_000, "USD"), Confirm(), ASKS_NOTHING),
        ("human_only", None, Confirm(), structs.replace(ASKS_NOTHING, password=True)),
        (
            "spend",
            Money(1_001, "USD"),
            Confirm(passkey_above=TEN),
            structs.replace(ASKS_NOTHING, password=True),
        ),
        ("spend", Money(1_000, "USD"), Confirm(passkey_above=TEN), ASKS_NOTHING),
        ("spend", Money(1, "EUR"), Confirm(passkey_above=TEN), structs.replace(ASKS_NOTHING, password=True)),
        ("spend", None, Confirm(passkey_above=TEN, type_amount_above=TEN), ASKS_NOTHING),
        (
            *("spend", Money(1_001, "USD"), Confirm(type_amount_above=TEN)),
            structs.replace(ASKS_NOTHING, typed_amount="10.01 USD"),
        ),
        ("spend", Money(1_000, "USD"), Confirm(type_amount_above=TEN), ASKS_NOTHING),
        ("spend", None, Confirm(comment="on_deny"), structs.replace(ASKS_NOTHING, comment="on_deny")),
        ("spend", None, Confirm(comment="always"), structs.replace(ASKS_NOTHING, comment="always")),
    ],
)
def test_m29_what_is_asked_with_an_answer(
    kind: str, amount: Money | None, confirm: Confirm, expected: Wanted
) -> None:
    """M29: a password wherever only people decide; above a bound, or in a currency no bound names."""
    assert wanted(asks(a_desk("ada"), a_desk("olga", confirm=confirm)), kind, amount) == expected


PASSWORD, AMOUNT = Wanted(password=True, typed_amount="", comment=""), "10.00 USD"
TYPED = Wanted(password=False, typed_amount=AMOUNT, comment="")


@pytest.mark.parametrize(
    ("asked", "given", "verdict", "comment", "lacks"),
    [
        (ASKS_NOTHING, Confirmed(), "approve", "", ""),
        (ASKS_NOTHING, Confirmed(typed_amount="what nobody asked for"), "approve", "", ""),
        (PASSWORD, Confirmed(), "approve", "", "password"),
        (PASSWORD, Confirmed(by="link"), "approve", "", "password"),
        (PASSWORD, Confirmed(by="password"), "approve", "", ""),
        (PASSWORD, Confirmed(), "deny", "", ""),
        (TYPED, Confirmed(), "approve", "", "amount"),
        (TYPED, Confirmed(typed_amount="1.00 USD"), "approve", "", "amount"),
        (TYPED, Confirmed(typed_amount=f" {AMOUNT} "), "approve", "", ""),
        (TYPED, Confirmed(), "deny", "", ""),
        (structs.replace(ASKS_NOTHING, comment="always"), Confirmed(), "approve", " ", "reason"),
        (structs.replace(ASKS_NOTHING, comment="always"), Confirmed(), "deny", "", "reason"),
        (structs.replace(ASKS_NOTHING, comment="always"), Confirmed(), "approve", "fine", ""),
        (structs.replace(ASKS_NOTHING, comment="on_deny"), Confirmed(), "approve", "", ""),
        (structs.replace(ASKS_NOTHING, comment="on_deny"), Confirmed(), "deny", "", "reason"),
        (structs.replace(ASKS_NOTHING, comment="on_deny"), Confirmed(), "deny", "too dear", ""),
    ],
)
def test_an_answer_lacks_what_was_asked_and_not_given(
    asked: Wanted, given: Confirmed, verdict: str, comment: str, lacks: str
) -> None:
    """A no needs no proof of identity beyond the session: stopping must stay easy."""
    said = unconfirmed(asked, given, verdict, comment)
    assert (lacks in said) if lacks else (said == "")


def test_m27_a_quorum_counts_people_whose_approval_of_this_very_operation_stands() -> None:
    """M27: not clicks, not another operation, not what was taken back, not who is no operator any more."""
    verdicts = [
        _verdict("opr_ada"),
        _verdict("opr_ada"),
        _verdict("opr_vera", verdict="deny"),
        _verdict("opr_vera", op_hash="other"),
        _verdict("opr_olga", revoked_at_us=1),
        _verdict("opr_gone"),
    ]
    people = {each.operator_id: each for each in (ADA, OLGA, VERA)}
    assert approvers(verdicts, "hash", people) == [ADA]
    two = a_desk("role:approver", id="two", quorum=2)
    one = a_desk("ada", id="one", expires_in_s=60, run_within_s=6_000)
    assert missing(asks(two, one), [ADA], ANYONE) == ("two",)
    assert missing(asks(two, one), [ADA, OLGA], ANYONE) == ()
    assert missing(asks(two, one), [ADA, OLGA], Asker(("opr_ada",), None)) == ("two", "one")
    assert clocks(asks(two, one)) == (60, 600)


def _verdict(operator: str, **changes: Any) -> VerdictRow:  # noqa: ANN401 -- fields of a verdict
    row = VerdictRow("acct", "vrd_1", "apr_1", "call_1", operator, "hash", "approve", "", None, at_us=0)
    return structs.replace(row, **changes)
