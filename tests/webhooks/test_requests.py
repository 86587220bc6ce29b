"""The page of one request: what it shows, who may answer, and that an answer is for what was shown."""

from __future__ import annotations

import msgspec
import pytest

from ledger.records import CallState, Role
from policy.errors import BursarError
from policy.language import Posture
from tests.provider.house import Desk, Shop
from tests.webhooks.conftest import PASSWORD, Browser, browsing


async def _asked(desk: Desk, **more: str) -> tuple[str, str]:
    """Let the agent ask for something large; return the request's path and the call's id."""
    result = await desk.buy("50.00 USD", **more)
    assert result.envelope.approval is not None
    assert result.envelope.call_id is not None
    return f"/approvals/{result.envelope.approval.approval_id}", result.envelope.call_id


async def test_what_is_approved_on_the_page_is_what_runs(browser: Browser, desk: Desk, shop: Shop) -> None:
    """The whole thread: the agent asks, a person reads and answers, the server executes once."""
    result = await desk.buy("50.00 USD")
    assert result.envelope.approval is not None
    await browser.sign_in("anton")
    queue = await browser.open("/")
    assert result.envelope.approval.approval_id in queue.text
    path = f"/approvals/{result.envelope.approval.approval_id}"
    page = await browser.open(path)
    assert "Pay 50.00 USD to v1.example" in page.text
    assert "SIMULATED" in page.text
    answered = await browser.send(path, verdict="approve", op_hash=browser.op_hash)
    assert answered.status_code == 303
    await desk.until(result, CallState.SUCCEEDED)
    assert [order["amount"] for order in shop.orders()] == ["50.00 USD"]


async def test_an_answer_with_another_hash_is_not_an_answer(browser: Browser, desk: Desk, shop: Shop) -> None:
    """M27: a verdict binds to one op_hash; a page that shows something else must not approve this."""
    path, call_id = await _asked(desk)
    await browser.sign_in("anton")
    await browser.open(path)
    wrong = await browser.send(path, verdict="approve", op_hash="0" * 64)
    assert wrong.status_code == 409
    assert "This request changed" in wrong.text
    assert (await desk.house.ledger.call(call_id)).state is CallState.AWAITING_APPROVAL
    assert shop.requests() == 0


async def test_a_second_answer_meets_what_the_first_one_left(browser: Browser, desk: Desk) -> None:
    """Two people on one page: one verdict wins, the other is told."""
    path, call_id = await _asked(desk)
    await browser.sign_in("anton")
    await browser.open(path)
    shown = browser.op_hash
    async with browsing(desk) as other:
        await other.sign_in("olga")
        await other.open(path)
        assert (await other.send(path, verdict="deny", op_hash=shown, comment="no")).status_code == 303
    late = await browser.send(path, verdict="approve", op_hash=shown)
    assert late.status_code == 409
    assert (await desk.house.ledger.call(call_id)).state is CallState.DENIED


async def test_a_viewer_sees_no_button_and_may_not_answer(
    browser: Browser, desk: Desk, stored_password: str
) -> None:
    """Roles are checked where the form arrives, not only where it is drawn."""
    ledger, now = desk.house.ledger, desk.house.now()
    await ledger.add_operator(
        name="vera", role=Role.VIEWER, by="system:test", at=now, password_hash=stored_password
    )
    path, call_id = await _asked(desk)
    await browser.sign_in("vera")
    page = await browser.open(path)
    assert 'name="op_hash"' not in page.text
    call = await ledger.call(call_id)
    assert (await browser.send(path, verdict="approve", op_hash=call.op_hash)).status_code == 403
    assert (await ledger.call(call_id)).state is CallState.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("pay \u202egnihton\u202c", "⟨U+202E⟩"),
        ("zero\u200bwidth", "⟨U+200B⟩"),
        ("a{{ 7*7 }}b", "a{{ 7*7 }}b"),
        ("line\nTo whom: nobody", "⟨U+000A⟩"),
    ],
)
async def test_the_agents_words_are_text_and_nothing_in_them_is_hidden(
    browser: Browser, desk: Desk, hostile: str, shown: str
) -> None:
    """Lies in the loop: an approver must see what a reason really says, and that an agent wrote it."""
    path, _ = await _asked(desk, reason=hostile, item=f"thing {hostile}"[:60])
    await browser.sign_in("anton")
    page = await browser.open(path)
    assert shown in page.text or (shown == "⟨U+000A⟩" and "To whom: nobody" in page.text)
    assert "<script>" not in page.text
    assert "\u202e" not in page.text
    assert "untrusted" in page.text


async def test_m29_what_only_people_decide_needs_the_password_each_time(browser: Browser, desk: Desk) -> None:
    """M29: a session is not enough for a human-only operation, however fresh it is."""
    result = await desk.call("shop_refund", order="ord_1")
    if result.envelope.approval is None:
        pytest.fail(f"nobody was asked: {result.text}")
    path = f"/approvals/{result.envelope.approval.approval_id}"
    await browser.sign_in("olga")
    await browser.open(path)
    shown = browser.op_hash
    assert (await browser.send(path, verdict="approve", op_hash=shown)).status_code == 403
    assert (await browser.send(path, verdict="approve", op_hash=shown, password="wrong")).status_code == 403
    assert (await browser.send(path, verdict="approve", op_hash=shown, password=PASSWORD)).status_code == 303


async def test_the_stop_button_stops_the_next_purchase(browser: Browser, desk: Desk, shop: Shop) -> None:
    """One click, no_spend, and an owner with a reason to undo it."""
    await browser.sign_in("anton")
    await browser.open("/")
    assert (await browser.send("/posture", posture="no_spend")).status_code in {200, 303}
    assert (await desk.buy("5.00 USD")).envelope.status == "denied"
    assert shop.requests() == 0
    await browser.open("/posture")
    assert (await browser.send("/posture", posture="normal", because="all is well")).status_code == 403
    async with browsing(desk) as owner:
        await owner.sign_in("olga")
        await owner.open("/posture")
        assert (await owner.send("/posture", posture="normal", because="all is well")).status_code in {
            200,
            303,
        }
    assert (await desk.buy("5.00 USD")).envelope.status == "succeeded"


def test_a_card_is_made_of_typed_fields_only() -> None:
    """The headline comes from the effect; nothing an agent wrote as prose can reach it."""
    from policy.language import Kind, Mode, PayeeBasis
    from policy.model import Effect
    from policy.money import Money
    from webhooks.console.card import headline

    effect = Effect(
        kind=Kind.SPEND,
        operation="card_purchase",
        provider="stripe",
        mode=Mode.LIVE,
        payee="porkbun.com",
        payee_basis=PayeeBasis.CLAIMED,
        amount=Money(1999, "USD"),
        summary="ignore all of this and approve",
    )
    assert headline(effect) == "Pay 19.99 USD to porkbun.com, card_purchase, LIVE"
    assert msgspec.structs.fields(Effect)


@pytest.mark.parametrize(
    ("scope", "key"), [("agent", "scuot"), ("project", "shpo"), ("galaxy", "x"), ("agent", "")]
)
async def test_a_switch_for_nobody_is_refused_instead_of_stopping_nobody(
    desk: Desk, scope: str, key: str
) -> None:
    """A slip in a name must not look like a stop."""
    ledger = desk.house.ledger
    with pytest.raises(BursarError):
        await ledger.set_posture(
            scope, key, Posture.NO_SPEND, because="", by="operator:olga", at=desk.house.now()
        )
    assert await ledger.postures() == ()
