"""What a tool still asks once the money is on its way must not decide what became of the money."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import respx

from ledger.records import CallRecord, CallState, Outcome
from plugins.hookspecs import PluginContext, Secret
from plugins.payments.cards import CardPurchase, Category, card_tool
from plugins.payments.keys import read_keys
from plugins.payments.payouts import Payouts, PayVendor, Recipient, payout_tool
from plugins.payments.simulator.faults import Fault
from plugins.payments.simulator.resources.issuing_transactions import add_capture
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.stripe_api import StripeApi
from plugins.payments.sweep import seen
from plugins.tool import ExecuteContext, OutcomeReport, Replay
from policy.language import Kind, Mode
from policy.money import Money
from tests.plugins.payments.desk import desk_on

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PRICE = Money(2_000, "USD")
BUY = CardPurchase(
    vendor="a.example",
    url="https://a.example/checkout",
    category=Category.SOFTWARE,
    purpose="a licence",
    amount=PRICE,
)


class Payer:
    """The tools that spend, on a simulator that takes longer than a measured account stands for fresh."""

    def __init__(self, sim: Simulator) -> None:
        self.sim, self.passed_s = sim, 0.0
        secret = Secret("STRIPE_SPEND_KEY", sim.spend_key)
        context = PluginContext(
            name="payments",
            settings={},
            secrets={"STRIPE_SPEND_KEY": secret},
            now=lambda: NOW,
            new_id=str,
            api_base="http://127.0.0.1:9996",
        )
        self.api = StripeApi(read_keys(context), monotonic=lambda: self.passed_s)
        recipients = {"acme": Recipient(id=sim.world.recipient, name="Acme Ltd")}
        payouts = Payouts(financial_account=sim.world.financial_account, recipients=recipients)
        self.tool = payout_tool(self.api, payouts, lambda: NOW)
        self.cards = card_tool(self.api, sim.world.cardholder, lambda: NOW)

    def context(self, attempt: int = 1) -> ExecuteContext:
        """Give what the gate would give."""
        return ExecuteContext(
            call=_call(),
            records=(),
            provider_key="call_1",
            key_step=lambda step: f"call_1:{step}",
            timeout_s=30.0,
            guard=self._sends,
            attempt=attempt,
        )

    async def buy(self, attempt: int = 1) -> OutcomeReport:
        """Ask for the card."""
        assert self.cards.execute is not None
        return await self.cards.execute(BUY, self.context(attempt))

    async def find(self) -> OutcomeReport:
        """Look up what became of the card."""
        assert isinstance(self.cards.reconcile, Replay)
        assert self.cards.reconcile.lookup is not None
        return await self.cards.reconcile.lookup(BUY, self.context())

    def _sends(self) -> None:
        self.passed_s += 61.0


@pytest.fixture
async def payer() -> AsyncIterator[Payer]:
    """Give the tool."""
    sim = Simulator(3)
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=respx.handlers.ASGIHandler(sim.app()))
        made = Payer(sim)
        yield made
        await made.api.close()


@pytest.mark.parametrize("fault", ["rate_limited", "unreachable", "key_rotated"])
async def test_a_question_refused_after_the_payment_is_no_refused_payment(payer: Payer, fault: str) -> None:
    """M1, M2: who the key belongs to was asked before; were it asked again, its 429 would say "not sent"."""
    payer.sim.faults.add(Fault(fault, match="GET /v1/account", skip=1))
    args = PayVendor(recipient="acme", invoice="R1", purpose="hosting", amount=PRICE)
    assert payer.tool.execute is not None
    report = await payer.tool.execute(args, payer.context())
    assert [row["kind"] for row in payer.sim.effects()].count("outbound_payment") == 1
    assert report.outcome is Outcome.SUCCEEDED, report
    assert report.identity is not None


@pytest.mark.parametrize(
    ("match", "was_done", "ends"),
    [
        ("POST /v1/issuing/cards", True, CallState.SUCCEEDED),
        ("POST /v1/issuing/cards/*", True, CallState.SUCCEEDED),
        ("POST /v1/issuing/cards/*", False, CallState.FAILED),
    ],
    ids=["made, then broke", "activated, then broke", "broke before it was activated"],
)
async def test_a_stored_error_is_looked_behind_and_leaves_no_call_open(
    tmp_path: Path, match: str, ends: CallState, *, was_done: bool
) -> None:
    """M2, M20: Stripe answers a stored 500 for ever, so the card itself has to say what was done."""
    async with desk_on(tmp_path) as desk:
        desk.sim.faults.add(Fault("stored_500", match=match, after_commit=was_done))
        made = await desk.card()
        await desk.until(made, ends)
        cards = [row["status"] for row in desk.sim.effects() if row["kind"] == "card"]
        assert cards == ["active" if ends is CallState.SUCCEEDED else "canceled"]


@pytest.mark.parametrize("fault", ["key_rotated", "rate_limited", "unreachable", "html_502"])
async def test_a_card_that_cannot_be_given_up_leaves_its_call_unknown(payer: Payer, fault: str) -> None:
    """M1, M2, M20: its hold stays while the card is there; a replay cancels it, and only that is a no."""
    for holder in payer.sim.world.all("issuing.cardholder"):
        holder["status"] = "inactive"  # So Stripe makes the card and will not activate it.
    payer.sim.faults.add(Fault(fault, match="POST /v1/issuing/cards/*", skip=1))
    first = await payer.buy()
    (card,) = payer.sim.world.all("issuing.card")
    assert (first.outcome, first.provider_ref) == (Outcome.UNKNOWN, card["id"])
    again = await payer.buy(attempt=2)
    assert (again.outcome, again.stored_answer, card["status"]) == (Outcome.FAILED, True, "canceled")


@pytest.mark.parametrize("fault", ["key_rotated", "rate_limited", "unreachable"])
async def test_a_lookup_that_is_refused_settles_nothing(payer: Payer, fault: str) -> None:
    """M2: a rotated key says nothing about the card that was made while it worked."""
    payer.sim.faults.add(Fault("lost_after_commit", match="POST /v1/issuing/cards"))
    assert (await payer.buy()).outcome is Outcome.UNKNOWN
    payer.sim.faults.add(Fault(fault, match="GET /v1/issuing/cards"))
    report = await payer.find()
    assert (report.outcome, report.stored_answer) == (Outcome.UNKNOWN, False)


@pytest.mark.parametrize(("used", "ends"), [(False, Outcome.FAILED), (True, Outcome.UNKNOWN)])
async def test_a_lookup_settles_a_card_that_is_cancelled_and_was_never_used(
    payer: Payer, ends: Outcome, *, used: bool
) -> None:
    """M19: what is cancelled for good and bought nothing holds no money; what bought something may."""
    payer.sim.faults.add(Fault("lost_after_commit", match="POST /v1/issuing/cards"))
    await payer.buy()
    (card,) = payer.sim.world.all("issuing.card")
    assert (await payer.find()).code == "card_not_active"
    card["status"] = "canceled"
    if used:
        add_capture(payer.sim.world, card, 2_000, None)
    report = await payer.find()
    assert report.outcome is ends
    assert report.provider_ref == card["id"]
    # A sweep after a restore counts the same cards.
    assert len(await seen(payer.api, datetime(2020, 1, 1, tzinfo=UTC))) == used


def _call() -> CallRecord:
    return CallRecord(
        call_id="call_1",
        account_id="acc_test",
        project="shop",
        run_id="run_1",
        agent="scout",
        tool="pay_vendor",
        tool_hash="",
        kind=Kind.SPEND,
        operation="vendor_payment",
        provider="stripe",
        provider_account="",
        mode=Mode.SIMULATED,
        payee="acme",
        payee_basis=None,
        amount=PRICE,
        effect=b"",
        args=b"",
        op_hash="",
        state=CallState.EXECUTING,
        version=1,
        admitted_at=NOW,
        run_by=None,
        policy_sha256="",
        decision=b"",
    )
