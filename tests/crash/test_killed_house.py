"""Kill the whole house at each step of a purchase: afterwards there is one purchase, and the ledger knows it.

The last test shows that a second purchase would be seen: it makes one, past the twin rule and a person.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.records import CallState
from tests.crash.killed_house import BUY, KEY, STEPS
from tests.provider.house import Shop, a_place, a_shop, opened

SCRIPT = Path(__file__).with_name("killed_house.py")
PATIENCE_S = 40  # For the doomed process, on a busy machine.


@pytest.fixture(scope="module")
def shop_process() -> Iterator[Shop]:
    """Start the shop once; it outlives every house."""
    with a_shop() as shop:
        yield shop


def killed(folder: Path, shop: Shop, step: str) -> None:
    """Let a house die at a step."""
    command = [sys.executable, str(SCRIPT), str(folder), shop.address, step]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False, text=True)
    assert done.returncode == -9, done.stderr


EVERY_STEP = [
    pytest.param(step, marks=[pytest.mark.deep] if step in {"admit.before", "settle.after"} else [])
    for step in STEPS
]


@pytest.mark.parametrize("step", EVERY_STEP)
async def test_a_house_that_dies_buys_once(tmp_path: Path, shop_process: Shop, step: str) -> None:
    """I2: whatever was lost, the repeated call under the same key ends with one purchase, posted once."""
    shop_process.reset()
    killed(tmp_path, shop_process, step)
    place = await a_place(tmp_path, shop_process)
    async with opened(place) as desk:
        again = await desk.call("shop_buy", key=KEY, **BUY)
        assert again.envelope.status in {"succeeded", "in_progress", "outcome_unknown"}
        call = await desk.until(again, CallState.SUCCEEDED, within_s=20)
        assert len(shop_process.orders()) == 1
        assert str(call.actual) == "5.00 USD"
        caps = {cap.cap_id: cap for cap in await desk.house.ledger.caps(desk.house.now())}
        assert (caps["account-month"].posted, caps["account-month"].held) == (500, 0)


async def test_the_harness_sees_a_second_purchase(tmp_path: Path, shop_process: Shop) -> None:
    """A harness counts only if it fails on broken code: here the same intention goes out under another
    key.
    """
    shop_process.reset()
    killed(tmp_path, shop_process, "settle.before")
    place = await a_place(tmp_path, shop_process)
    async with opened(place) as desk:
        twin = await desk.call("shop_buy", key="another-name", **BUY)
        assert twin.envelope.status == "pending_approval"
        assert twin.envelope.similar_to is not None
        await desk.approve(twin, who="olga")  # M26: beside an unknown twin, an owner is asked.
        await desk.until(twin, CallState.SUCCEEDED, within_s=20)
        assert len(shop_process.orders()) == 2
