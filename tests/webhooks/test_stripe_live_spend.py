"""Key mode x event mode x configured mode x LIVE_SPEND: money moves on the legal cells, and on no other.

Each cell asks the code that decides there: the keys' letters, the planners of admission and claim, the
webhook's door, the real-time answer. No cell has a live key that anybody ever made, and none reaches Stripe.
"""

import dataclasses
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from litestar import Litestar
from msgspec import structs
from sqlalchemy import update

from ledger.engines.tx import Tx
from ledger.schema_revenue import purchases
from plugins.hookspecs import PluginContext, Secret
from plugins.payments.keys import EARN_KEY, SPEND_KEY, mode_of, read_keys
from plugins.payments.simulator.webhooks import sign
from plugins.tool import Binding
from policy.errors import ConfigurationError
from policy.language import Mode
from tests.ledger.memory import START, Memory, Planners
from tests.ledger.model import OURS, SECOND, PlainCall, PlainCap, PlainPolicy
from tests.plugins.payments.desk import URL, StripeDesk, desk_on
from tests.webhooks.rig import delivery
from tests.webhooks.test_stripe_issuing import armed, request
from webhooks.signatures import WebhookSecret
from webhooks.stripe_events import StripeDeps, stripe_routes

KEYS: Final = {
    "sk_test_sim_" + "a" * 20: Mode.SIMULATED,
    "rk_test_" + "b" * 24: Mode.TEST,
    "rk_live_" + "c" * 24: Mode.LIVE,
    "sk_org_live_" + "d" * 20: Mode.LIVE,
    "nothing like a key": Mode.LIVE,  # What proves nothing is live (M30).
}
MODES: Final = (Mode.SIMULATED, Mode.TEST, Mode.LIVE)
SECRET: Final = "whsec_matrix"
POLICY: Final = PlainPolicy(
    caps=(PlainCap("all", "account", "month", "USD", 100_000),),
    ask_above=90_000,
    boss_above=90_000,
    sum_above=None,
    quorum=1,
    open_requests=20,
    held_share=100,
)


def test_the_letters_of_a_key_prove_its_mode() -> None:
    """M30: the strongest evidence for a duty; a key that says nothing is a live one."""
    assert {key: mode_of(key) for key in KEYS} == KEYS


@pytest.mark.parametrize("base", ["", "http://127.0.0.1:8431", "https://api.example"])
@pytest.mark.parametrize(("earn", "spend"), list(itertools.product(KEYS, KEYS)))
def test_a_key_goes_only_where_its_mode_belongs(earn: str, spend: str, base: str) -> None:
    """A real key to no address but Stripe's, a simulator's to none but this machine's, never two modes."""
    secrets = {EARN_KEY: Secret(EARN_KEY, earn), SPEND_KEY: Secret(SPEND_KEY, spend)}
    context = PluginContext(
        name="payments", settings={}, secrets=secrets, now=START.now, new_id=str, api_base=base
    )
    simulated = KEYS[earn] is Mode.SIMULATED
    legal = KEYS[earn] is KEYS[spend] and base == ("http://127.0.0.1:8431" if simulated else "")
    try:
        keys = read_keys(context)
    except ConfigurationError:
        assert not legal
        return
    assert legal
    assert (keys.mode, keys.api_base) == (KEYS[earn], base)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("configured", "live_spend", "other"), list(itertools.product([False, True], repeat=3))
)
def test_a_call_is_claimed_only_where_its_mode_may_spend(
    mode: Mode, *, configured: bool, live_spend: bool, other: bool
) -> None:
    """M6: live money needs policies.yaml, and LIVE_SPEND of this and every other process."""
    memory = Memory(policy_of(configured), Planners())
    memory.agent("scout", "shop")
    memory.run("run-a", "shop")
    memory.live_spend = live_spend
    at = int(START.timestamp()) * SECOND
    memory.beat(other, at)
    memory.admit(_call(mode, at), at)
    said = memory.claim("call-1", "execute", OURS, 600 * SECOND, at)
    legal = mode is not Mode.LIVE or (configured and live_spend and other)
    assert said.startswith("claimed") is legal, said


def policy_of(live: bool) -> PlainPolicy:  # noqa: FBT001 -- the policy's one word
    """Give the policy with its word on live spend."""
    return dataclasses.replace(POLICY, live=live)


def _call(mode: Mode, at: int) -> PlainCall:
    return PlainCall(
        call_id="call-1",
        ordinal=1,
        agent="scout",
        project="shop",
        run="run-a",
        kind="spend",
        tool="buy",
        amount=100,
        currency="USD",
        mode=mode.value,
        payee="one.example",
        key="key-1",
        fingerprint="intention-1",
        op_hash="op-1",
        at=at,
    )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[StripeDesk]:
    """Give a house."""
    async with desk_on(tmp_path) as made:
        yield made


async def authorized(desk: StripeDesk, *, lies: bool = False) -> set[tuple[Mode, Mode, bool, bool]]:
    """Ask for money in every cell of key, secret, livemode and LIVE_SPEND; give the cells that got it."""
    purchase = await armed(desk)
    got = set()
    for number, cell in enumerate(itertools.product(MODES, MODES, (False, True), (False, True))):
        key, tag, livemode, live_spend = cell
        await _goes(desk, key)
        asked = orjson.loads(request(desk, purchase.instrument_ref, event=f"evt_{number}", amount=0))
        body = orjson.dumps({**asked, "livemode": livemode})
        deps = _deps(desk, key, tag, live_spend=live_spend or lies)
        header = {"stripe-signature": sign(body, [SECRET], int(desk.house.now().timestamp()))}
        answer = await delivery(Litestar(stripe_routes(deps), openapi_config=None, logging_config=None))(
            f"{URL}/issuing", body, header
        )
        if orjson.loads(answer.body)["approved"]:
            got.add(cell)
    return got


def _deps(desk: StripeDesk, key: Mode, tag: Mode, *, live_spend: bool) -> StripeDeps:
    base = desk.worker._deps  # noqa: SLF001  the house's own, with another key
    binding = Binding(provider="stripe", account="acct_matrix", mode=key)
    secret = WebhookSecret(tag, Secret("ISSUING", SECRET))
    parts: dict[str, Any] = {"binding": lambda: binding, "secrets": (), "issuing_secrets": (secret,)}
    return structs.replace(base, live_spend=live_spend, **parts)


async def _goes(desk: StripeDesk, mode: Mode) -> None:
    def work(tx: Tx) -> None:
        tx.connection.execute(update(purchases).values(mode=mode.value))

    await desk.ledger._core.plain("test", work)  # noqa: SLF001  no test has a live key
    # Every process says what this cell says, else the strictest one would decide for all of them (M6).
    await desk.ledger.heartbeat(
        desk.house.process_id, live_spend=True, policy_sha256=None, at=desk.house.now()
    )


LEGAL: Final = {
    *((mode, mode, False, spend) for mode in (Mode.SIMULATED, Mode.TEST) for spend in (False, True)),
    (Mode.LIVE, Mode.LIVE, True, True),
}


async def test_a_card_is_charged_on_five_of_thirty_six_cells(desk: StripeDesk) -> None:
    """M20, M31: livemode = tag = key mode, and live money only with LIVE_SPEND."""
    assert await authorized(desk) == LEGAL


async def test_a_process_that_lies_about_live_spend_is_caught(desk: StripeDesk) -> None:
    """The broken twin: it takes LIVE_SPEND for set, and a cell too many is paid."""
    assert await authorized(desk, lies=True) - LEGAL == {(Mode.LIVE, Mode.LIVE, True, False)}
