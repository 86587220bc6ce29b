"""Every object the simulator answers with is one the SDK's own classes describe."""

from typing import Any

import pytest
import stripe

from plugins.payments.simulator.simulator import Simulator
from plugins.payments.simulator.world import API_VERSION
from tests.plugins.payments.simulator.conftest import Shop
from tests.plugins.payments.simulator.life import live_a_full_life
from tests.plugins.payments.simulator.sdk_types import problems


async def test_every_object_fits_the_class_of_the_sdk(sim: Simulator, shop: Shop) -> None:
    """A field missing here would be an AttributeError in whoever reads it from the real SDK."""
    await live_a_full_life(sim, shop)
    objects = [obj for rows in sim.world.kinds.values() for obj in rows.values()]
    # The financial account's balance is computed for its answer; the next test looks at that.
    objects = [obj for obj in objects if obj["object"] != "v2.money_management.financial_account"]
    differences = sorted({row for obj in objects for row in problems(sim.world.render(obj), obj["object"])})
    assert not differences, "\n".join(differences)
    assert len(sim.world.kinds) >= 18


async def test_what_is_computed_fits_too(sim: Simulator, client: stripe.StripeClient) -> None:
    """Account, balance and financial account are made for the answer and kept nowhere."""
    account = await client.v1.accounts.retrieve_current_async()
    balance = await client.v1.balance.retrieve_async()
    funds = await client.v2.money_management.financial_accounts.retrieve_async(sim.world.financial_account)
    for answer in (account, balance, funds):
        assert problems(answer.to_dict(for_json=True), answer.object) == []


def test_the_version_is_the_sdks() -> None:
    """Events of another version than the SDK's pin would be parsed as something they are not."""
    assert stripe.api_version == API_VERSION


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"amount": "12"}, "$.amount: '12' is no int"),
        ({"status": "done"}, "$.status: 'done' is none of"),
        ({"surprise": 1}, "$.surprise: not a field of Charge"),
        ({"paid": None}, "$.paid: None is no bool"),
    ],
)
async def test_the_check_finds_a_wrong_field(shop: Shop, change: dict[str, Any], expected: str) -> None:
    """A check that cannot fail would hold nothing."""
    charge = await shop.charge()
    assert [row for row in problems({**charge, **change}) if row.startswith(expected)]
    del charge["captured"]
    assert problems(charge) == ["$.captured: missing"]
