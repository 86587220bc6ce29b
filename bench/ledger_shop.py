"""A ledger with one agent and the calls that bench/ledger.py and bench/growth.py run through it."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from ledger.commands import Admission, Claim, Claimed, ProcessFacts, Settlement
from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import Outcome, ProviderIdentity
from policy.decide import decide, needs
from policy.language import Kind, Mode, PayeeBasis
from policy.load import load
from policy.model import Call, Effect
from policy.money import Money

JUDGE = Judge(needs, decide, lambda text, file: load(text, file, {}))
SIMULATOR = ProviderIdentity("acct_sim", Mode.SIMULATED, "one")
PROCESS = ProcessFacts(live_spend=False, ready={"stripe": True}, identities={"stripe": SIMULATOR})
POLICY = """
version: 1
timezone: Europe/Berlin
caps:
  - {id: account-month, per: account, window: month, limit: "9000000.00 USD"}
  - {id: project-day, per: project, window: day, limit: "9000000.00 USD"}
  - {id: run-total, per: run, window: run, limit: "9000000.00 USD"}
  - {id: agent-pace, per: agent, window: 1h, limit: "9000000 calls"}
rules:
  - {id: buy, match: {kind: [spend, provision]}, effect: allow}
  - {id: look, match: {kind: [read, draft, withdraw]}, effect: allow}
  - {id: late, match: {kind: spend, amount: {above: "500.00 USD"}}, effect: deny}
"""


class Shop:
    """An opened ledger and calls to run through it."""

    def __init__(self, ledger: Ledger, ids: Callable[[str], str], run: str) -> None:
        self.ledger, self.ids, self.run = ledger, ids, run
        self.number = itertools.count(1)

    async def call(self) -> None:
        """Run one whole call."""
        number, at = next(self.number), dt.datetime.now(dt.UTC)
        admission = self.admission(number, at)
        call_id = admission.call_id
        admitted = await self.ledger.admit(admission)
        assert admitted.call.state == "queued", admitted.decision
        claimed = await self.ledger.claim(
            Claim(
                call_id=call_id,
                at=at,
                holder="bench",
                lease_s=30.0,
                process=PROCESS,
                expect=lambda _c, _r: None,
            )
        )
        assert isinstance(claimed, Claimed), claimed
        settled = await self.ledger.settle(
            Settlement(
                call_id=call_id,
                at=at,
                attempt=claimed.attempt,
                lease_token=claimed.lease_token,
                outcome=Outcome.SUCCEEDED,
                identity=SIMULATOR,
                actual=Money(100, "USD"),
                provider_ref=f"ch_{number}",
                result=b'{"charge":"ch_1","receipt":"https://example.test/receipts/1"}',
            )
        )
        assert settled.call.state == "succeeded"

    async def ask(self) -> None:
        """Admit a purchase that a person has to answer, where the policy has such a rule."""
        admitted = await self.ledger.admit(self.admission(next(self.number), dt.datetime.now(dt.UTC), 40_000))
        assert admitted.call.state == "awaiting_approval", admitted.decision

    def admission(self, number: int, at: dt.datetime, minor_units: int = 100) -> Admission:
        """Return the next purchase, from a shop of its own: no call is another's twin."""
        call_id = self.ids("call")
        effect = Effect(
            kind=Kind.SPEND,
            operation="card",
            provider="stripe",
            mode=Mode.SIMULATED,
            payee=f"shop-{number}.example",
            payee_basis=PayeeBasis.CLAIMED,
            amount=Money(minor_units, "USD"),
            summary=f"Pay 1.00 USD to shop-{number}.example",
        )
        args = {
            "vendor": effect.payee,
            "amount": "1.00 USD",
            "purpose": "a month of hosting for the new shop",
        }
        call = Call(
            tool="buy", effect=effect, account="acct", project="shop", run=self.run, agent="scout", args=args
        )
        return Admission(
            call_id=call_id,
            at=at,
            call=call,
            agent_id="scout",
            tool_hash="a" * 64,
            provider_account="acct_sim",
            op_hash=f"{number:064d}",
            fingerprint=f"{number:064x}",
            args=msgspec.json.encode(args),
            process=PROCESS,
            key_required=True,
            idempotency_key=f"key-{number}",
            replay_key=f"bursar:{call_id}",
            replay_lifetime_s=86_400,
            reason="the shop must stay up",
        )


async def open_shop(url: str, policy: str = POLICY, **options: Any) -> Shop:  # noqa: ANN401 -- options of the writer
    """Make a ledger with one agent and open it."""
    counter = itertools.count(1)
    at = dt.datetime.now(dt.UTC)

    def ids(prefix: str) -> str:
        return f"{prefix}_{next(counter):026d}"

    await make_ledger(url, account_id="acct", name="bench", instance_id="i", judge=JUDGE, ids=ids, at=at)
    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: at, ids=ids, options=options)
    await ledger.activate(policy, "policies.yaml", by="system:bench", at=at)
    await ledger.add_project("shop", by="system:bench", at=at)
    await ledger.add_agent(name="scout", project="shop", kits=("buy",), token_sha256="t", by="bench", at=at)  # noqa: S106 -- a hash of nothing
    return Shop(ledger, ids, (await ledger.standing_run("shop", at)).run_id)
