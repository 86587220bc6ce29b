"""The same house on real Stripe, with a test key from the environment: for tests marked `stripe_sandbox`.

STRIPE_SANDBOX_KEY is a secret test key (`sk_test_...`). STRIPE_SANDBOX_FINANCIAL_ACCOUNT and
STRIPE_SANDBOX_RECIPIENT name what an outbound payment goes from and to, where the account has them.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

import httpx
import pytest

from ledger.making import make_ledger
from plugins.payments.keys import read_keys
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.stripe_api import StripeApi
from policy.language import Mode
from tests.plugins.payments.desk import ACCOUNT, POLICY, StripeDesk, furnished, plugin_context
from tool_server.bootstrap import Wiring, bootstrap, judge_of
from tool_server.ids import id_maker
from tool_server.settings import Settings
from webhooks.stripe_events import StripeDeps
from webhooks.worker import WebhookWorker

NAME: Final = "STRIPE_SANDBOX_KEY"
PAYOUTS: Final = ("STRIPE_SANDBOX_FINANCIAL_ACCOUNT", "STRIPE_SANDBOX_RECIPIENT")
HOLDER: Final = {
    "name": "Bursar Sandbox",
    "type": "company",
    "billing": {
        "address": {
            "line1": "1 Main St",
            "city": "San Francisco",
            "state": "CA",
            "postal_code": "94111",
            "country": "US",
        }
    },
}


def key_or_skip() -> str:
    """Give the test key, or skip with one line. A live key is a mistake and fails."""
    key = os.environ.get(NAME, "")
    if not key:
        pytest.skip(f"set {NAME} to a Stripe test key to run the tool tests against real Stripe")
    if not key.startswith(("sk_test_", "rk_test_")):
        pytest.fail(f"{NAME} is no test key; nothing was sent")
    return key


@asynccontextmanager
async def sandbox_on(folder: Path) -> AsyncIterator[StripeDesk]:
    """Open a house on a new database, bound to the sandbox that the key belongs to."""
    key = key_or_skip()
    environ = {"STRIPE_EARN_KEY": key, "STRIPE_SPEND_KEY": key}
    file, db = folder / "policies.yaml", f"sqlite:///{folder / 'bursar.db'}"
    settings = Settings(
        db=db,
        policies=file,
        keys=folder / "keys",
        public_url="https://bursar.example",
        api_base="",
        environ=environ,
    )
    given: dict[str, Any] = {"cardholder": await _cardholder(settings)}
    if all(os.environ.get(name) for name in PAYOUTS):
        given["financial_account"] = os.environ[PAYOUTS[0]]
        given["recipients"] = [f"acme = {os.environ[PAYOUTS[1]]} = Acme Ltd"]
    file.write_text(POLICY.format(settings=json.dumps(given)))
    wiring = Wiring(first_look_s=1.0, wait_s=20.0, accept_all=True)
    ids, now = id_maker(wiring.now), wiring.now()
    made = {"account_id": ACCOUNT, "name": "Sandbox", "instance_id": "instance-1"}
    await make_ledger(db, **made, judge=judge_of({}), ids=ids, at=now)
    house = await bootstrap(settings, wiring=wiring)
    try:
        async with house.running(drain_s=5.0), httpx.AsyncClient() as web:
            deps = StripeDeps(
                ledger=house.ledger, binding=lambda: house.providers.binding("stripe"), now=house.now
            )
            worker = WebhookWorker(deps, house.registry.providers["stripe"])
            nobody = cast("Simulator", None)  # What looks into a simulator is no test for the sandbox.
            desk = StripeDesk(house, nobody, worker, web)
            await furnished(desk, settings, api_base="")
            assert house.modes["stripe"] is Mode.TEST
            yield desk
    finally:
        await house.close()


async def _cardholder(settings: Settings) -> str:
    """Give a cardholder of the sandbox's, made where there is none; empty where cards cannot be issued."""
    import stripe

    api = StripeApi(read_keys(plugin_context(settings, api_base="")), monotonic=lambda: 0.0)
    holders = api.client("spend").v1.issuing.cardholders
    try:
        page = await api.ask(holders.list_async({"limit": 1, "status": "active"}))
        rows = page.data["data"]
        body: Any = HOLDER
        return str(rows[0]["id"] if rows else (await api.ask(holders.create_async(body))).data["id"])
    except (stripe.InvalidRequestError, stripe.PermissionError):
        return ""
    finally:
        await api.close()
