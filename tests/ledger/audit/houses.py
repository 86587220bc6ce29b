"""A real ledger on either engine, through its own door: what `verify` is for."""

import itertools
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from ledger.audit import keys
from ledger.audit.checkpoint import Checkpoint
from ledger.audit.signing import sign_checkpoint
from ledger.commands import Admission, Admitted, Claim, Claimed, ProcessFacts, Settlement
from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import alone, make_ledger
from ledger.records import Outcome, Proof, ProofBy, ProofLevel, ProviderIdentity, Role
from policy.decide import decide, needs
from policy.language import Posture
from policy.load import load
from policy.model import Call, Effect, Kind, Mode, PayeeBasis
from policy.money import Money
from policy.tools import load_tools

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = """\
version: 1
timezone: UTC
plugins: [{name: payments}]
caps:
  - {id: run-total, per: run, window: run, limit: "900.00 USD"}
  - {id: account-day, per: account, window: day, limit: "900.00 USD"}
rules:
  - id: all
    match: {kind: [spend, earn, draft, read]}
    effect: allow
"""
IDENTITY = ProviderIdentity("acct_1", Mode.SIMULATED, "sim_1")
PROCESS = ProcessFacts(live_spend=False, ready={"stripe": True}, identities={"stripe": IDENTITY})


def judge() -> Judge:
    """Who decides, as bootstrap hands it in."""
    tools = load_tools()
    return Judge(needs, decide, lambda text, file: load(text, file, tools))


def numbered() -> Callable[[str], str]:
    """Ids that are the same in every run."""
    count = itertools.count(1)
    return lambda prefix: f"{prefix}_{next(count):06}"


class House:
    """One account with a project, an agent, an owner and an active policy."""

    def __init__(self, url: str, folder: Path, account: str = "acc_1") -> None:
        self.url = url
        self.folder = folder
        self.account = account
        self.ids = numbered()
        self.now = NOON

    def tick(self) -> datetime:
        """Let a minute pass."""
        self.now += timedelta(minutes=1)
        return self.now

    async def make(self) -> None:
        """Make the ledger, and a signing key where there is none."""
        if not (self.folder / keys.KEY_FILE).exists():
            keys.generate(self.folder)
        await make_ledger(
            self.url,
            account_id=self.account,
            name="Ada",
            instance_id="ins_1",
            judge=judge(),
            ids=self.ids,
            at=self.now,
        )

    async def open(self) -> Ledger:
        """Open it for work."""
        return await open_ledger(
            self.url, judge=judge(), clock=lambda: self.now, ids=self.ids, account_id=self.account
        )

    async def furnish(self, ledger: Ledger) -> None:
        """Put people, an agent, a policy and a posture in."""
        await ledger.add_project("shop", by="system:init", at=self.tick())
        await ledger.add_operator(
            name="ada", role=Role.OWNER, by="system:init", at=self.tick(), password_hash=None
        )
        await ledger.activate(POLICY, "policies.yaml", by="system:init", at=self.tick())
        await ledger.add_agent(
            name="scout",
            project="shop",
            kits=("buy",),
            token_sha256=secrets.token_hex(32),
            by="system:init",
            at=self.tick(),
        )
        await ledger.accept_tool("pay_vendor", "d" * 64, "spend", by="system:init", at=self.tick())
        await ledger.set_posture(
            "provider", "porkbun", Posture.NO_SPEND, because="not yet", by="system:init", at=self.tick()
        )

    async def admit(self, ledger: Ledger, run_id: str, minor: int, payee: str) -> Admitted:
        """Admit one purchase."""
        effect = Effect(
            kind=Kind.SPEND,
            operation="pay",
            provider="stripe",
            mode=Mode.SIMULATED,
            payee=payee,
            payee_basis=PayeeBasis.ENFORCED,
            amount=Money(minor, "USD"),
        )
        call = Call(
            tool="pay_vendor",
            effect=effect,
            account=self.account,
            project="shop",
            run=run_id,
            agent="scout",
            args={},
        )
        call_id, key = self.ids("call"), self.ids("key")
        return await ledger.admit(
            Admission(
                call_id=call_id,
                at=self.tick(),
                call=call,
                agent_id="agt_1",
                tool_hash="d" * 64,
                provider_account="acct_1",
                op_hash=f"{hash(call_id) & 0xFFFF:064x}",
                fingerprint="f" * 64,
                args=b"{}",
                process=PROCESS,
                key_required=True,
                idempotency_key=key,
                replay_key=f"rk_{call_id}",
                reason="needed",
            )
        )

    async def spend(self, ledger: Ledger, run_id: str, minor: int, outcome: Outcome | None) -> str:
        """Take one purchase to an outcome; None leaves it executing."""
        admitted = await self.admit(ledger, run_id, minor, f"vendor-{minor}.example")
        call_id = admitted.call.call_id
        claim = Claim(
            call_id=call_id,
            at=self.tick(),
            holder="proc_1",
            lease_s=300.0,
            process=PROCESS,
            expect=lambda _call, _records: None,
        )
        claimed = await ledger.claim(claim)
        if outcome is None or not isinstance(claimed, Claimed):
            return call_id
        proof = Proof(ProofLevel.SIMULATED, ProofBy.RESPONSE, "stripe")
        await ledger.settle(
            Settlement(
                call_id=call_id,
                at=self.tick(),
                attempt=claimed.attempt,
                lease_token=claimed.lease_token,
                outcome=outcome,
                proof=proof,
                identity=IDENTITY,
                result=b'{"id":"py_1"}',
                message="as it went",
                actual=Money(minor, "USD") if outcome is Outcome.SUCCEEDED else None,
            )
        )
        return call_id

    async def sign(self) -> Checkpoint:
        """Sign the log; nobody else may serve."""
        key = keys.load(self.folder)

        def work(connection: Connection) -> Checkpoint:
            return sign_checkpoint(connection, self.account, key, self.folder)

        return await alone(self.url, work)


async def lived_in(url: str, folder: Path, account: str = "acc_1") -> House:
    """A house in which calls went every way, signed in the middle and at the end."""
    house = House(url, folder, account)
    await house.make()
    async with await house.open() as ledger:
        await house.furnish(ledger)
        run = await ledger.standing_run("shop", house.tick())
        for minor in (100, 250):
            await house.spend(ledger, run.run_id, minor, Outcome.SUCCEEDED)
        await house.spend(ledger, run.run_id, 300, Outcome.FAILED)
    await house.sign()
    async with await house.open() as ledger:
        await house.spend(ledger, run.run_id, 410, Outcome.UNKNOWN)
        await house.spend(ledger, run.run_id, 500, Outcome.NOT_SENT)
        await house.spend(ledger, run.run_id, 600, None)
        waiting = await house.admit(ledger, run.run_id, 700, "vendor-700.example")
        await ledger.cancel(waiting.call.call_id, by="operator:ada", at=house.tick())
        await house.admit(ledger, run.run_id, 95_000, "too-much.example")
    await house.sign()
    return house
