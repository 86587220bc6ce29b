"""The story of a call through gate, dispatcher and the real ledger, on both engines."""

from __future__ import annotations

from ledger.records import CallState
from tests.provider.house import Desk, Shop


async def test_a_denied_call_is_recorded_and_nothing_is_sent(desk: Desk, shop: Shop) -> None:
    """Step 2: a deny rule speaks with its place in the file, and the denial is a stored call too."""
    result = await desk.buy(vendor="cheap.evil.example")
    assert result.envelope.status == "denied"
    assert result.envelope.decision is not None
    assert [rule.id for rule in result.envelope.decision.rules] == ["never"]
    assert result.envelope.decision.rules[0].at.startswith("policies.yaml:")
    assert result.envelope.problem is not None
    assert result.envelope.problem.ran is False
    assert (await desk.stored(result)).state is CallState.DENIED
    assert shop.requests() == 0


async def test_an_allowed_call_runs_once_and_says_what_it_was(desk: Desk, shop: Shop) -> None:
    """Steps 1 to 6 within one answer, with the proof the provider's own words give."""
    result = await desk.buy("5.00 USD")
    assert result.envelope.status == "succeeded"
    assert result.envelope.proof is not None
    assert (result.envelope.proof.level, result.envelope.proof.by) == ("simulated", "response")
    assert result.envelope.data == {"order": "ord_1"}
    call = await desk.stored(result)
    assert str(call.actual) == "5.00 USD"
    assert [order["ref"] for order in shop.orders()] == [call.call_id]


async def test_a_pending_call_runs_when_a_person_approves_it(desk: Desk, shop: Shop) -> None:
    """Steps 3 to 6: nothing runs before the verdict; then exactly that operation does, once."""
    result = await desk.buy("50.00 USD")
    assert result.envelope.status == "pending_approval"
    assert result.envelope.approval is not None
    assert result.envelope.approval.retry_after_seconds == 15
    assert shop.requests() == 0
    await desk.approve(result)
    await desk.until(result, CallState.SUCCEEDED)
    assert len(shop.orders()) == 1


async def test_a_person_who_says_no_ends_it(desk: Desk, shop: Shop) -> None:
    """Step 3: a denial by a person is final, and the agent is told."""
    result = await desk.buy("50.00 USD")
    call = await desk.approve(result, verdict="deny")
    assert call.state is CallState.DENIED
    shown = await desk.call("call_status", call_id=call.call_id)
    assert shown.envelope.status == "denied"
    assert shown.envelope.problem is not None
    assert shown.envelope.problem.code == "approval_denied"
    assert shop.requests() == 0


async def test_m24_the_same_key_gives_the_stored_answer(desk: Desk, shop: Shop) -> None:
    """M24: an agent that repeats its call buys nothing more, and sees what it already has."""
    first = await desk.call("shop_buy", key="order-7", item="a", vendor="a.example", amount="5.00 USD")
    again = await desk.call("shop_buy", key="order-7", item="a", vendor="a.example", amount="5.00 USD")
    assert again.envelope.replayed
    assert again.envelope.call_id == first.envelope.call_id
    assert again.envelope.data == first.envelope.data
    assert len(shop.orders()) == 1


async def test_m24_a_key_names_one_intention(desk: Desk, shop: Shop) -> None:
    """M24: other arguments under the same key are refused, and nothing of the stored call is shown."""
    first = await desk.call("shop_buy", key="order-7", item="a", vendor="a.example", amount="5.00 USD")
    other = await desk.call("shop_buy", key="order-7", item="b", vendor="a.example", amount="5.00 USD")
    assert other.envelope.status == "invalid"
    assert other.envelope.problem is not None
    assert other.envelope.problem.code == "key_conflict"
    assert (first.envelope.call_id or "?") not in other.text
    assert len(shop.orders()) == 1


async def test_m26_a_twin_is_asked_about_even_where_rules_allow(desk: Desk, shop: Shop) -> None:
    """M26: the same purchase under another key is how agents pay twice; a person sees what it looks like."""
    first = await desk.call("shop_buy", key="one", item="a", vendor="a.example", amount="5.00 USD")
    twin = await desk.call("shop_buy", key="two", item="a", vendor="a.example", amount="5.00 USD")
    assert twin.envelope.status == "pending_approval"
    assert twin.envelope.similar_to == first.envelope.call_id
    assert len(shop.orders()) == 1


async def test_a_call_that_waits_can_be_taken_back(desk: Desk, shop: Shop) -> None:
    """What has not started ends at once; its request is gone with it."""
    result = await desk.buy("50.00 USD")
    taken = await desk.call("call_cancel", call_id=result.envelope.call_id)
    assert taken.envelope.status == "cancelled"
    assert shop.requests() == 0
    assert (await desk.house.ledger.approvals(("pending",))).items == ()


async def test_a_lost_answer_is_unknown_and_then_known(desk: Desk, shop: Shop) -> None:
    """Steps 6 and 7: the answer was lost, nothing is bought again, and reconciling finds the one purchase."""
    shop.fault("lose")
    result = await desk.buy("5.00 USD")
    assert result.envelope.status == "outcome_unknown"
    assert "do not" in result.text.lower()
    call = await desk.until(result, CallState.SUCCEEDED)
    assert call.provider_ref == "ord_1"
    assert len(shop.orders()) == 1
    shown = await desk.call("call_status", call_id=call.call_id)
    assert shown.envelope.status == "succeeded"


async def test_a_definite_no_is_a_failure_and_nothing_else(desk: Desk, shop: Shop) -> None:
    """Step 6: the provider declined; the hold is let go and the agent may try something else."""
    shop.fault("refuse")
    result = await desk.buy("5.00 USD")
    assert result.envelope.status == "not_executed"
    assert result.envelope.problem is not None
    assert (result.envelope.problem.code, result.envelope.problem.ran) == ("declined", False)
    assert not result.is_error(strict=False)
    assert shop.orders() == []
    caps = {cap.cap_id: cap for cap in await desk.house.ledger.caps(desk.house.now())}
    assert all((cap.posted, cap.held) == (0, 0) for cap in caps.values())


async def test_m25_an_equal_draft_is_the_same_draft(desk: Desk) -> None:
    """M25: without a key, an equal call within ten minutes is the same call."""
    first = await desk.call("shop_note", text="hello")
    again = await desk.call("shop_note", text="hello")
    assert again.envelope.replayed
    assert again.envelope.call_id == first.envelope.call_id
    assert (await desk.call("shop_note", text="other")).envelope.call_id != first.envelope.call_id
