"""A whole house on the simulator, in one process: gate, dispatcher, ledger, payments, CRM, fulfilment,
webhooks.
"""
# ruff: noqa: ANN401 -- tools take any JSON values

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import respx
from litestar import Litestar
from msgspec import Struct, structs

from ledger.ledger import open_ledger
from ledger.making import make_ledger
from ledger.offers import OfferSet
from ledger.records import CallRecord, CallState, ReviewState, Role
from ledger.records_crm import Lead
from plugins.hookspecs import PluginContext
from plugins.payments.keys import read_keys
from plugins.payments.offers import ensure_offer
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.stripe_api import StripeApi
from policy.money import Money
from tests.webhooks.rig import delivery
from tool_server.bootstrap import House, Wiring, bootstrap, judge_of
from tool_server.envelope import CallMeta, CallResult, Principal
from tool_server.ids import id_maker
from tool_server.policy_file import known_tools
from tool_server.settings import Settings
from webhooks.signatures import simulated_secrets
from webhooks.stripe_events import StripeDeps, stripe_routes
from webhooks.worker import WebhookWorker

ACCOUNT = "acc_test"
BASE = "http://127.0.0.1:9998"  # Where the plugin believes the simulator to be; respx answers there.
URL = "http://bursar.example/webhooks/stripe"
POLICY = """\
version: 1
plugins:
  - {{name: payments, settings: {settings}}}
  - {{name: crm}}
  - {{name: fulfilment}}
caps:
  - {{id: account-month, per: account, window: month, limit: "500.00 USD"}}
  - {{id: run-total, per: run, window: run, limit: "100.00 USD"}}
approvals:
  - {{id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h, allow_self: true}}
rules:
  - {{id: write, match: {{kind: [read, draft, withdraw, earn]}}, effect: allow}}
  - {{id: small, match: {{kind: [spend, provision], amount: {{up_to: "50.00 USD"}}}}, effect: allow}}
  - {{id: large, match: {{kind: [spend, provision], amount: {{above: "50.00 USD"}}}}, effect:
  require_approval, approval: desk}}
  - {{id: refunds, match: {{kind: human_only}}, effect: require_approval, approval: desk}}
"""


def data(result: CallResult) -> Any:
    """Give what a result says, as plain JSON values."""
    return result.structured()["data"]


class StripeDesk:
    """A house with an agent who calls, a person who answers, a buyer who pays, and Stripe's events."""

    def __init__(self, house: House, sim: Simulator, worker: WebhookWorker, web: httpx.AsyncClient) -> None:
        self.house, self.sim, self.worker, self.web = house, sim, worker, web
        self.ledger = house.ledger
        kits = ("sell", "buy", "care", "fulfil")
        account = house.ledger.account_id
        self.agent = Principal(account_id=account, project="shop", agent_id="scout", agent="scout", kits=kits)
        self.keys = 0
        self.deal_id = ""
        self.lead_id = ""
        self.owner = ""

    async def call(self, tool: str, *, key: str | None = None, **arguments: Any) -> CallResult:
        """Call a tool as the agent does, under a new key where the tool needs one."""
        loaded = self.house.registry.tools.get(tool)  # None: one of the core tools, which take no key.
        if loaded is not None and loaded.key_required:
            self.keys += 1
            arguments["idempotency_key"] = key or f"key-{self.keys}"
        return await self.house.gate.call(self.agent, tool, json.dumps(arguments).encode(), CallMeta())

    async def until(self, result: CallResult, *states: CallState, within_s: float = 8.0) -> CallRecord:
        """Wait until a result's call stands in one of these states."""
        end = time.monotonic() + within_s
        while True:
            call = await self.ledger.call(result.envelope.call_id or "")
            if call.state in states:
                return call
            assert time.monotonic() < end, f"it is {call.state} ({call.code}: {call.message})"
            await self.ledger.wait_changes(await self.ledger.log_size(), 0.05)

    async def approve(self, result: CallResult) -> None:
        """Answer the request that a result names."""
        assert result.envelope.approval is not None, result.text
        request = await self.ledger.approval(result.envelope.approval.approval_id)
        now = self.house.now()
        await self.ledger.answer(
            request.approval_id, self.owner, request.op_hash, "approve", at=now, confirmed_by="password"
        )

    async def pay(self, url: str, card: str = "4242424242424242") -> None:
        """Pay a session on its page."""
        page = url.removeprefix(self.sim.world.settings.base_url)
        answer = await self.web.post(page, data={"card": card, "email": "buyer@example.com"})
        assert answer.status_code == 303, answer.text

    async def work(self) -> None:
        """Deliver what is due and work the inbox empty."""
        await self.sim.deliver_due()
        for _ in range(10):
            if not await self.worker.work_due():
                return

    async def card(self, amount: str = "10.00 USD", vendor: str = "a.example", **given: Any) -> CallResult:
        """Ask for a purchase by card."""
        url = f"https://{vendor}/checkout"
        wanted = {"vendor": vendor, "url": url, "category": "software", "purpose": "a licence", **given}
        return await self.call("request_card_purchase", amount=amount, **wanted)

    async def sold(self) -> Any:
        """Sell the snapshot, let it be paid, and give the order."""
        result = await self.call("stripe_create_checkout", deal_id=self.deal_id, offer="snapshot")
        assert result.envelope.status == "succeeded", result.text
        await self.pay(data(result)["url"])
        await self.work()
        return (await self.ledger.orders()).items[0]


class Stage(Struct, frozen=True, kw_only=True):
    """What a harness sets up beside the house itself."""

    policy: str = POLICY
    sim: Simulator | None = None
    # Put around the simulator's app, to see or spoil each request of the house.
    around: Callable[[Any], Any] = lambda app: app
    work: bool = True  # Whether the house's own dispatcher runs; a harness may run calls by hand.


@asynccontextmanager
async def desk_on(
    folder: Path,
    db: str = "",
    *,
    wiring: Wiring | None = None,
    account: str = ACCOUNT,
    stage: Stage | None = None,
) -> AsyncIterator[StripeDesk]:
    """Open a house of a new account, in a new database or one that has others, and a new simulator."""
    stage = stage or Stage()
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 -- a test's own folder
    sim = stage.sim or Simulator(7, time.time)
    given = {
        "cardholder": await _cardholder(sim),
        "financial_account": sim.world.financial_account,
        "recipients": [f"acme = {sim.world.recipient} = Acme Ltd"],
    }
    file = folder / "policies.yaml"
    file.write_text(stage.policy.format(settings=json.dumps(given)))
    db = db or f"sqlite:///{folder / 'bursar.db'}"
    environ = {"STRIPE_EARN_KEY": sim.earn_key, "STRIPE_SPEND_KEY": sim.spend_key}
    settings = Settings(
        db=db,
        policies=file,
        keys=folder / "keys",
        public_url="http://127.0.0.1:8401",
        api_base=BASE,
        environ=environ,
    )
    chosen = wiring or Wiring(fresh_s=0.0, first_look_s=0.1, accept_all=True, seed=7)
    await make_ledger(
        db,
        account_id=account,
        name="Test",
        instance_id="instance-1",
        judge=judge_of({}),
        ids=id_maker(chosen.now),
        at=chosen.now(),
    )
    judge = judge_of(known_tools(file, chosen.release))
    ledger = await open_ledger(
        db, judge=judge, clock=chosen.now, ids=id_maker(chosen.now), account_id=account
    )
    handler = respx.handlers.ASGIHandler(stage.around(sim.app()))
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=handler)
        house = await bootstrap(settings, wiring=chosen, ledger=ledger)
        try:
            async with house.running(work=stage.work, drain_s=2.0), _connected(house, sim) as desk:
                await furnished(desk, settings)
                yield desk
        finally:
            await house.close()


async def _cardholder(sim: Simulator) -> str:
    transport = httpx.ASGITransport(app=sim.app())
    form = {
        "name": "Bursar",
        "type": "company",
        "billing[address][line1]": "1 Main St",
        "billing[address][city]": "Berlin",
        "billing[address][postal_code]": "10115",
        "billing[address][country]": "DE",
    }
    head = {"authorization": f"Bearer {sim.spend_key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://sim") as client:
        made = await client.post("/v1/issuing/cardholders", data=form, headers=head)
    return str(made.json()["id"])


@asynccontextmanager
async def _connected(house: House, sim: Simulator) -> AsyncIterator[StripeDesk]:
    """Subscribe the house's routes to the simulator's events."""
    v2 = [
        f"v2.money_management.outbound_payment.{what}"
        for what in ("posted", "failed", "canceled", "returned")
    ]
    events = simulated_secrets("SIM", [sim.subscribe(URL), sim.subscribe(URL, v2, thin=True)])
    request = ["issuing_authorization.request"]
    issuing = simulated_secrets("SIM", [sim.subscribe(f"{URL}/issuing", request)])
    deps = StripeDeps(
        ledger=house.ledger,
        binding=lambda: house.providers.binding("stripe"),
        now=house.now,
        secrets=events,
        issuing_secrets=issuing,
        live_spend=house.live_spend,
        seen=house.dispatcher.reconciler.hurry,
    )
    app = Litestar(stripe_routes(deps), openapi_config=None, logging_config=None)
    sim.hooks._deliver = delivery(app)  # noqa: SLF001  the app needs the simulator's secrets first
    worker = WebhookWorker(deps, house.registry.providers["stripe"])
    transport = httpx.ASGITransport(app=sim.app())
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as web:
        yield StripeDesk(house, sim, worker, web)


def plugin_context(settings: Settings, *, api_base: str = BASE) -> PluginContext:
    """Give the payments plugin's context for the keys of these settings."""
    keys = {name: key for name in ("STRIPE_EARN_KEY", "STRIPE_SPEND_KEY") if (key := settings.secret(name))}
    now = Wiring().now
    return PluginContext(name="payments", settings={}, secrets=keys, now=now, new_id=str, api_base=api_base)


async def furnished(desk: StripeDesk, settings: Settings, *, api_base: str = BASE) -> None:
    """Make people, a project, an agent, an offer, and a released lead with its deal."""
    ledger, now = desk.ledger, desk.house.now()
    owner = await ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=now)
    desk.owner = owner.operator_id
    await ledger.add_project("shop", by=desk.owner, at=now)
    await ledger.add_agent(
        name="scout",
        project="shop",
        kits=desk.agent.kits,
        token_sha256=secrets.token_hex(32),
        by=desk.owner,
        at=now,
    )
    api = StripeApi(read_keys(plugin_context(settings, api_base=api_base)), monotonic=lambda: 0.0)
    ensured = await ensure_offer(api, "snapshot", "Snapshot", Money(100, "USD"))
    await api.close()
    wanted = OfferSet(offer="snapshot", name="Snapshot", price=Money(100, "USD"), **structs.asdict(ensured))
    await ledger.set_offer(wanted, by=desk.owner, at=now)
    desk.lead_id = await released_lead(desk)
    desk.deal_id = (await ledger.deals(lead_id=desk.lead_id)).items[0].deal_id


async def released_lead(desk: StripeDesk, name: str = "Ada") -> str:
    """Bring a lead, approve its review and assign it to scout."""
    ledger, now = desk.ledger, desk.house.now()
    lead = Lead(
        lead_id=desk.house.new_id("lead"),
        project="shop",
        origin="owner",
        name=name,
        email="ada@example.com",
        company="Acme",
        website="",
        wish="a snapshot of our site",
        created_by=desk.owner,
        created_at=now,
        updated_at=now,
    )
    review = await ledger.add_lead(lead, at=now)
    await ledger.answer_review(review, desk.owner, ReviewState.APPROVED, at=now)
    await ledger.assign_lead(lead.lead_id, "scout", by=desk.owner, at=now)
    return lead.lead_id
