"""Verdicts: M27 to M29."""

from datetime import timedelta

import msgspec
import pytest

from ledger.answering import Unconfirmed
from ledger.records import OperatorRecord, Role
from policy.errors import ApprovalExpired, PolicyDenied, RecordChanged, RecordMissing
from tests.ledger.till import ALLOW_ALL, ASK_ALL, ASK_RULE, Till, with_caps

TWO_DESKS = """
version: 1
approvals:
  - {id: four-eyes, who: [role:approver], quorum: 2, expires_in: 24h, run_within: 1h}
  - {id: boss, who: [olga], quorum: 1, expires_in: 2h, run_within: 10m}
rules:
  - {id: one, match: {kind: [spend]}, effect: require_approval, approval: four-eyes}
  - {id: two, match: {kind: [spend]}, effect: require_approval, approval: boss}
"""


async def people(till: Till) -> tuple[OperatorRecord, OperatorRecord, OperatorRecord]:
    """Add an owner, an approver and a viewer."""
    return (
        await till.person("olga", Role.OWNER),
        await till.person("ada"),
        await till.person("vera", Role.VIEWER),
    )


async def test_m27_every_desk_must_be_met_and_a_verdict_counts_at_each_of_its_givers_desks(
    till: Till,
) -> None:
    """Olga is an approver as every owner is, and the boss: one answer, two desks."""
    olga, ada, _ = await people(till)
    await till.law(TWO_DESKS)
    admitted = await till.admit()
    request, call = await till.approve(admitted, olga)
    assert (request.state, call.state) == ("pending", "awaiting_approval")
    request, call = await till.approve(admitted, ada)
    assert (request.state, call.state) == ("approved", "queued")
    assert call.run_by == till.now + timedelta(minutes=10)
    assert request.expires_at == till.now + timedelta(hours=2)


async def test_m27_one_person_answering_twice_is_one_person(till: Till) -> None:
    """A quorum counts people, not clicks."""
    _, ada, _ = await people(till)
    await till.law(TWO_DESKS)
    admitted = await till.admit()
    await till.approve(admitted, ada)
    request, call = await till.approve(admitted, ada)
    assert (request.state, call.state) == ("pending", "awaiting_approval")
    assert len(await till.ledger.verdicts(call.call_id)) == 2


async def test_m27_any_denial_vetoes(till: Till) -> None:
    """One no is enough, and its words reach the agent."""
    olga, ada, _ = await people(till)
    await till.law(with_caps(TWO_DESKS, '{id: day, per: account, window: day, limit: "10.00 USD"}'))
    admitted = await till.admit("2.00 USD")
    assert admitted.approval is not None
    approval, op_hash = admitted.approval.approval_id, admitted.call.op_hash
    await till.approve(admitted, ada)
    request, call = await till.ledger.answer(
        approval, olga.operator_id, op_hash, "deny", comment="ask for less", at=till.now
    )
    assert (request.state, call.state, call.code, call.message) == (
        "denied", "denied", "approval_denied", "ask for less",
    )  # fmt: skip
    assert await till.used("day") == (0, 0)


async def test_m27_a_verdict_binds_to_what_was_shown(till: Till) -> None:
    """The form carries the hash back; any change makes the button answer that it changed."""
    _, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    with pytest.raises(RecordChanged):
        await till.ledger.answer(
            admitted.approval.approval_id, ada.operator_id, "another hash", "approve", at=till.now
        )
    assert (await till.ledger.call(admitted.call.call_id)).state == "awaiting_approval"


async def test_m27_who_sits_at_no_desk_asked_answers_nothing(till: Till) -> None:
    """A viewer looks."""
    _, _, vera = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    for verdict in ("approve", "deny"):
        with pytest.raises(PolicyDenied, match="sits at none"):
            await till.ledger.answer(
                admitted.approval.approval_id, vera.operator_id, admitted.call.op_hash, verdict, at=till.now
            )
    with pytest.raises(RecordMissing):
        await till.ledger.answer(
            admitted.approval.approval_id, "nobody", admitted.call.op_hash, "approve", at=till.now
        )
    with pytest.raises(RecordMissing):
        await till.ledger.answer("apr_nowhere", vera.name, admitted.call.op_hash, "approve", at=till.now)


async def test_m27_the_agent_s_owner_does_not_count_where_the_desk_says_so(till: Till) -> None:
    """`not_by: [agent_owner]`: whoever made the agent does not wave its wishes through."""
    olga, ada, _ = await people(till)
    await till.ledger.add_agent(
        name="own", project="shop", kits=("buy",), token_sha256="token-own", by=ada.operator_id, at=till.now
    )
    await till.law(ASK_ALL.replace("quorum: 1", "quorum: 1, not_by: [agent_owner]"))
    admitted = await till.admit(agent="own")
    with pytest.raises(PolicyDenied):
        await till.approve(admitted, ada)
    _, call = await till.approve(admitted, olga)
    assert call.state == "queued"


async def test_a_request_nobody_answers_expires(till: Till) -> None:
    """An answer after the deadline is no answer."""
    _, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    till.later(hours=24)
    with pytest.raises(ApprovalExpired):
        await till.approve(admitted, ada)
    assert (await till.ledger.sweep(till.now)).requests_expired == 1
    assert (await till.ledger.call(admitted.call.call_id)).code == "approval_expired"


async def test_an_approved_call_runs_within_the_desk_s_time_or_not_at_all(till: Till) -> None:
    """Yesterday's yes is not today's."""
    _, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    await till.approve(admitted, ada)
    till.later(hours=1)
    found = await till.refused(admitted.call.call_id)
    assert (found.state, found.code) == ("expired", "run_by_passed")
    assert (await till.ledger.approval(admitted.approval.approval_id)).state == "expired"


async def test_an_approval_can_be_taken_back_until_the_claim_and_is_consumed_by_it(till: Till) -> None:
    """Revoke and claim race; the one that commits first wins."""
    _, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    approval, op_hash = admitted.approval.approval_id, admitted.call.op_hash
    await till.approve(admitted, ada)
    request, call = await till.ledger.revoke(approval, ada.operator_id, at=till.now, comment="wait")
    assert (request.state, call.state) == ("revoked", "awaiting_approval")
    assert call.approval_id not in {None, approval}
    second = str(call.approval_id)
    with pytest.raises(RecordChanged):
        await till.approve(admitted, ada)
    await till.ledger.answer(second, ada.operator_id, op_hash, "approve", at=till.now)
    await till.claim(admitted.call.call_id)
    assert (await till.ledger.approval(second)).state == "consumed"
    with pytest.raises(RecordChanged):
        await till.ledger.revoke(second, ada.operator_id, at=till.now)


async def test_who_gave_no_approval_takes_none_back(till: Till) -> None:
    """A no is the way to stop somebody else's yes."""
    olga, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    approval = admitted.approval.approval_id
    await till.approve(admitted, ada)
    with pytest.raises(PolicyDenied):
        await till.ledger.revoke(approval, olga.operator_id, at=till.now)


async def test_m27_a_changed_comment_voids_nothing_and_a_stricter_rule_supersedes(till: Till) -> None:
    """Obligations are compared, not texts."""
    olga, ada, _ = await people(till)
    await till.law(ASK_ALL)
    first, second = await till.admit(), await till.admit()
    for each in (first, second):
        assert each.approval is not None
        await till.ledger.answer(
            each.approval.approval_id, ada.operator_id, each.call.op_hash, "approve", at=till.now
        )
    await till.law(ASK_ALL + "# only a comment\n")
    await till.claim(first.call.call_id)
    await till.law(ASK_ALL.replace("role:approver", "role:owner"))
    found = await till.refused(second.call.call_id)
    assert (found.state, found.code) == ("awaiting_approval", "approval_needed")
    again = (await till.ledger.call(second.call.call_id)).approval_id
    assert again is not None
    _, call = await till.ledger.answer(again, olga.operator_id, second.call.op_hash, "approve", at=till.now)
    assert call.state == "queued"
    await till.claim(call.call_id)


async def test_a_comment_asks_without_a_verdict(till: Till) -> None:
    """The card can be talked about."""
    _, _, vera = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    assert admitted.approval is not None
    request = await till.ledger.ask_comment(
        admitted.approval.approval_id, vera.operator_id, "why two?", at=till.now
    )
    assert request.state == "pending"
    assert [each.comment for each in await till.ledger.verdicts(admitted.call.call_id)] == ["why two?"]


@pytest.mark.parametrize(
    ("allow_self", "state"), [("", "awaiting_approval"), (", allow_self: true", "queued")]
)
async def test_m28_an_editor_alone_suffices_only_where_the_desk_says_so(
    till: Till, allow_self: str, state: str
) -> None:
    """Whoever edits a request has made it."""
    olga, _, _ = await people(till)
    await till.law(
        with_caps(
            ASK_ALL.replace("quorum: 1", f"quorum: 1{allow_self}"),
            '{id: day, per: account, window: day, limit: "5.00 USD"}',
        )
    )
    old = await till.admit("4.00 USD", key="old", args={"n": 1})
    edited = till.admission("5.00 USD", key="edited")
    new = await till.ledger.edit_and_approve(old.call.call_id, edited, olga.operator_id, old.call.op_hash)
    assert (new.call.state, new.call.requested_by) == (state, olga.operator_id)
    assert await till.used("day") == (0, 500)
    before = await till.admit("4.00 USD", key="old", args={"n": 1})
    assert (before.replayed, before.call.state, before.call.replaced_by) == (
        True,
        "cancelled",
        new.call.call_id,
    )
    assert before.call.code == "replaced"


async def test_m28_an_edit_that_would_be_denied_leaves_the_request_as_it_was(till: Till) -> None:
    """The old hold moves in one transaction or not at all."""
    olga, _, _ = await people(till)
    await till.law(with_caps(ASK_ALL, '{id: day, per: account, window: day, limit: "5.00 USD"}'))
    old = await till.admit("4.00 USD")
    edited = till.admission("6.00 USD")
    with pytest.raises(PolicyDenied, match="would be denied"):
        await till.ledger.edit_and_approve(old.call.call_id, edited, olga.operator_id, old.call.op_hash)
    with pytest.raises(RecordChanged):
        await till.ledger.edit_and_approve(old.call.call_id, till.admission(), olga.operator_id, "stale")
    assert (await till.ledger.call(old.call.call_id)).state == "awaiting_approval"
    assert await till.used("day") == (0, 400)


async def test_m28_an_edit_the_rules_allow_needs_nobody(till: Till) -> None:
    """The editor made it small enough."""
    olga, _, _ = await people(till)
    await till.law(
        ASK_ALL.replace(
            ASK_RULE,
            "  - {id: small, match: {kind: [spend], amount: {up_to: '2.00 USD'}}, effect: allow}\n"
            "  - {id: big, match: {kind: [spend], amount: {above: '2.00 USD'}},"
            " effect: require_approval, approval: desk}",
        )
    )
    old = await till.admit("4.00 USD")
    new = await till.ledger.edit_and_approve(
        old.call.call_id, till.admission("2.00 USD"), olga.operator_id, old.call.op_hash
    )
    assert new.call.state == "queued"


async def test_the_queue_shows_the_oldest_deadline_first_in_pages(till: Till) -> None:
    """What is about to expire comes first."""
    await till.law(ASK_ALL)
    made = []
    for _ in range(5):
        made.append((await till.admit()).call.call_id)
        till.later(minutes=1)
    first = await till.ledger.queue(limit=3)
    rest = await till.ledger.queue(after=first.after, limit=3)
    assert [call.call_id for _, call in (*first.items, *rest.items)] == made
    assert rest.after is None


async def test_a_person_may_start_a_call_and_is_then_its_requester(till: Till) -> None:
    """M29: what a person starts in the console passes the same gate."""
    olga, ada, _ = await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit(requested_by=olga.operator_id)
    with pytest.raises(PolicyDenied, match="whoever made it"):
        await till.approve(admitted, olga)
    _, call = await till.approve(admitted, ada)
    assert call.state == "queued"


async def test_a_looser_policy_since_lets_an_approved_call_run(till: Till) -> None:
    """Its approval stands; nothing more is asked."""
    await people(till)
    await till.law(ASK_ALL)
    admitted = await till.admit()
    await till.law(ALLOW_ALL)
    assert (await till.refused(admitted.call.call_id)).code == "not_queued"
    assert msgspec.json.decode(admitted.call.decision)["answer"] == "require_approval"


CONFIRMING = """
version: 1
approvals:
  - id: careful
    who: [role:approver]
    confirm: {passkey_above: "1.00 USD", type_amount_above: "2.00 USD", comment: always}
rules:
  - {id: asks, match: {kind: [spend]}, effect: require_approval, approval: careful}
"""


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({"confirmed_by": "password", "typed_amount": "3.00 USD"}, "a reason"),
        ({"comment": "fine", "confirmed_by": "password"}, "the amount typed, 3.00 USD"),
        ({"comment": "fine", "confirmed_by": "password", "typed_amount": "3.00 EUR"}, "the amount typed"),
        ({"comment": "fine", "typed_amount": "3.00 USD"}, "your password"),
        ({"comment": "fine", "typed_amount": "3.00 USD", "confirmed_by": "link"}, "your password"),
    ],
)
async def test_what_a_desk_wants_with_an_answer_is_wanted_at_every_door(
    till: Till, given: dict[str, str], lacks: str
) -> None:
    """The console, the command line and whatever comes next share this one lock."""
    _, ada, _ = await people(till)
    await till.law(CONFIRMING)
    admitted = await till.admit("3.00 USD")
    assert admitted.approval is not None
    approval, op_hash = admitted.approval.approval_id, admitted.call.op_hash
    with pytest.raises(Unconfirmed, match=lacks):
        await till.ledger.answer(approval, ada.operator_id, op_hash, "approve", at=till.now, **given)
    assert await till.ledger.verdicts(admitted.call.call_id) == ()
    whole = {"comment": "fine", "confirmed_by": "password", "typed_amount": "3.00 USD"}
    _, call = await till.ledger.answer(approval, ada.operator_id, op_hash, "approve", at=till.now, **whole)
    assert call.state == "queued"


async def test_a_denial_needs_no_more_than_its_reason(till: Till) -> None:
    """Saying no must stay easy: neither the amount nor a password stands in its way."""
    _, ada, _ = await people(till)
    await till.law(CONFIRMING)
    admitted = await till.admit("3.00 USD")
    assert admitted.approval is not None
    approval, op_hash = admitted.approval.approval_id, admitted.call.op_hash
    with pytest.raises(Unconfirmed, match="a reason"):
        await till.ledger.answer(approval, ada.operator_id, op_hash, "deny", at=till.now)
    _, call = await till.ledger.answer(
        approval, ada.operator_id, op_hash, "deny", comment="too dear", at=till.now
    )
    assert call.state == "denied"
