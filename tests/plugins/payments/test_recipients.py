"""An approved payment goes to the account that was approved, whatever its name stands for later."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from plugins.hookspecs import PluginContext, Secret
from plugins.payments.keys import read_keys
from plugins.payments.payouts import Payouts, PayVendor, Recipient, payout_tool
from plugins.payments.stripe_api import StripeApi
from plugins.tool import Described
from policy.model import Effect
from policy.money import Money
from tool_server.operation import Operation, op_hash

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACME = Recipient(id="acct_acme", name="Acme Ltd", payout_method="gbba_1")


async def effect_of(recipient: Recipient) -> Effect:
    """Describe one payment while the owner's list says that this is `acme`."""
    context = PluginContext(
        name="payments",
        settings={},
        secrets={"STRIPE_SPEND_KEY": Secret("STRIPE_SPEND_KEY", "rk_test_1")},
        now=lambda: NOW,
        new_id=str,
    )
    api = StripeApi(read_keys(context), monotonic=lambda: 0.0)
    tool = payout_tool(api, Payouts("fa_1", {"acme": recipient}), lambda: NOW)
    args = PayVendor(recipient="acme", invoice="R1", purpose="hosting", amount=Money(2_000, "USD"))
    who = Described(binding=None, agent="scout", project="shop", run_id="run_1", now=NOW)
    try:
        return tool.describe(args, (), who)
    finally:
        await api.close()


def hash_of(effect: Effect) -> str:
    """Hash the one operation that has this effect."""
    return op_hash(
        Operation(
            call_id="call_1",
            tool="pay_vendor",
            tool_hash="0" * 64,
            provider_account="acct_ours",
            effect=effect,
            args=b'{"recipient":"acme"}',
            records=(),
            account="acc_1",
            project="shop",
            run="run_1",
            agent="scout",
        )
    )


async def test_the_card_names_the_account_behind_the_name() -> None:
    """Whoever approves must be able to compare it with the invoice."""
    assert "Acme Ltd (acct_acme by gbba_1)" in (await effect_of(ACME)).summary


@pytest.mark.parametrize(
    "changed",
    [
        Recipient(id="acct_thief", name="Acme Ltd", payout_method="gbba_1"),
        Recipient(id="acct_acme", name="Acme Ltd", payout_method="gbba_thief"),
        Recipient(id="acct_acme", name="Acme Ltd"),
    ],
    ids=["another account", "another bank account", "no method named"],
)
async def test_another_account_behind_the_same_name_voids_the_approval(changed: Recipient) -> None:
    """M5, M27: the claim describes it again, and an approval is for one hash."""
    assert hash_of(await effect_of(ACME)) == hash_of(await effect_of(ACME))
    assert hash_of(await effect_of(ACME)) != hash_of(await effect_of(changed))
