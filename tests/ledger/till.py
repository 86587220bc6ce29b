"""A ledger with a shop in it, and verbs to run calls through it: what the ledger's tests are written with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from ledger.commands import Admission, Admitted, Claim, Claimed, NotClaimed, ProcessFacts, Settled, Settlement
from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import ApprovalRecord, CallRecord, OperatorRecord, Outcome, ProviderIdentity, Role
from policy.decide import decide, needs
from policy.language import Kind, Mode, PayeeBasis
from policy.load import load
from policy.model import Call, Effect
from policy.money import Money
from policy.tools import ToolInfo

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ACCOUNT = "acct_test"
SIMULATOR = ProviderIdentity("acct_sim", Mode.SIMULATED, "one")
TOOLS = {
    "buy": ToolInfo(
        name="buy",
        kind=Kind.SPEND,
        kit="buy",
        plugin="test",
        provider="stripe",
        operation="card",
        description="Buy.",
    )
}
JUDGE = Judge(needs, decide, lambda text, file: load(text, file, TOOLS))

ALLOW_ALL = """
version: 1
rules:
  - {id: all, match: {kind: [read, draft, earn, spend, provision, withdraw]}, effect: allow}
"""
ASK_RULE = (
    "  - {id: all, match: {kind: [draft, earn, spend, provision]}, effect: require_approval, approval: desk}"
)
ASK_ALL = """
version: 1
approvals:
  - {id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h}
rules:
  - {id: all, match: {kind: [draft, earn, spend, provision]}, effect: require_approval, approval: desk}
"""


def with_caps(policy: str, *caps: str) -> str:
    """Return a policy with caps, each written as in policies.yaml."""
    return policy.replace("rules:", "caps:\n" + "\n".join(f"  - {cap}" for cap in caps) + "\nrules:")


class Till:
    """One opened ledger, a clock of its own, and one shop with an agent."""

    def __init__(self, ledger: Ledger, ids: Any) -> None:  # noqa: ANN401 -- a function from prefix to id
        self.ledger = ledger
        self.ids = ids
        self.now = NOON
        self.run = ""
        self.process = ProcessFacts(
            live_spend=False, ready={"stripe": True}, identities={"stripe": SIMULATOR}
        )
        self.keys = itertools.count(1)

    def later(self, **span: float) -> datetime:
        """Move the clock and return it."""
        self.now += timedelta(**span)
        return self.now

    async def law(self, text: str) -> None:
        """Make a text the active policy."""
        await self.ledger.activate(text, "policies.yaml", by="system:test", at=self.now)

    async def person(self, name: str, role: Role = Role.APPROVER) -> OperatorRecord:
        """Add an operator."""
        return await self.ledger.add_operator(
            name=name, role=role, by="system:test", at=self.now, password_hash="hash"
        )

    def admission(
        self,
        amount: str | None = "1.00 USD",
        *,
        kind: Kind = Kind.SPEND,
        key: str | None = "",
        payee: str | None = None,
        agent: str = "scout",
        tool: str = "buy",
        args: Mapping[str, object] | None = None,
        mode: Mode = Mode.SIMULATED,
        **more: Any,  # noqa: ANN401 -- any other part of an Admission
    ) -> Admission:
        """Return a call on its way in; unless told otherwise under a fresh key, to a fresh payee."""
        number = next(self.keys)
        payee = f"shop-{number}.example" if payee is None else payee
        effect = Effect(
            kind=kind,
            operation=more.pop("operation", "card"),
            provider="stripe",
            mode=mode,
            payee=payee or None,
            payee_basis=PayeeBasis.CLAIMED,
            amount=None if amount is None else Money.parse(amount),
        )
        call = Call(
            tool=tool,
            effect=effect,
            account=self.ledger.account_id,
            project=more.pop("project", "shop"),
            run=more.pop("run", self.run),
            agent=agent,
            args={"number": number} if args is None else args,
        )
        encoded = msgspec.json.encode(call.args, order="sorted")
        given: dict[str, Any] = {
            "call_id": self.ids("call"),
            "at": self.now,
            "call": call,
            "agent_id": agent,
            "tool_hash": "definition",
            "provider_account": SIMULATOR.account,
            "op_hash": f"op-{number}",
            "fingerprint": f"{tool} {encoded.decode()} {call.run}",
            "args": encoded,
            "process": self.process,
            "key_required": kind in {Kind.SPEND, Kind.PROVISION},
            "idempotency_key": f"key-{number}" if key == "" else key,
            "replay_key": f"replay-{number}",
            "replay_lifetime_s": 86_400,
        }
        return Admission(**{**given, **more})

    async def admit(self, amount: str | None = "1.00 USD", **parts: Any) -> Admitted:  # noqa: ANN401 -- as above
        """Admit a call."""
        return await self.ledger.admit(self.admission(amount, **parts))

    async def approve(
        self,
        admitted: Admitted,
        person: OperatorRecord,
        **how: Any,  # noqa: ANN401 -- any other part of an answer
    ) -> tuple[ApprovalRecord, CallRecord]:
        """Say yes to a call that waits for somebody."""
        assert admitted.approval is not None
        return await self.ledger.answer(
            admitted.approval.approval_id,
            person.operator_id,
            admitted.call.op_hash,
            "approve",
            at=self.now,
            **how,
        )

    def claiming(self, call_id: str, **parts: Any) -> Claim:  # noqa: ANN401 -- any part of a Claim
        """Return a claim of the test's one process."""
        given: dict[str, Any] = {
            "call_id": call_id,
            "at": self.now,
            "holder": "process-1",
            "lease_s": 30.0,
            "process": self.process,
            "expect": lambda _call, _records: None,
        }
        return Claim(**{**given, **parts})

    async def claim(self, call_id: str, **parts: Any) -> Claimed:  # noqa: ANN401 -- as above
        """Claim a call that must be claimable."""
        found = await self.ledger.claim(self.claiming(call_id, **parts))
        assert isinstance(found, Claimed), found
        return found

    async def refused(self, call_id: str, **parts: Any) -> NotClaimed:  # noqa: ANN401 -- as above
        """Claim a call that must not be claimable."""
        found = await self.ledger.claim(self.claiming(call_id, **parts))
        assert isinstance(found, NotClaimed), found
        return found

    async def settle(
        self,
        claimed: Claimed,
        outcome: Outcome = Outcome.SUCCEEDED,
        **parts: Any,  # noqa: ANN401 -- as above
    ) -> Settled:
        """Settle an attempt."""
        given: dict[str, Any] = {
            "call_id": claimed.call.call_id,
            "at": self.now,
            "attempt": claimed.attempt,
            "lease_token": claimed.lease_token,
            "outcome": outcome,
            "identity": SIMULATOR,
        }
        return await self.ledger.settle(Settlement(**{**given, **parts}))

    async def bought(self, amount: str = "1.00 USD", **parts: Any) -> Settled:  # noqa: ANN401 -- as above
        """Take one purchase from its admission to its success."""
        admitted = await self.admit(amount, **parts)
        assert admitted.call.state == "queued", admitted.decision
        return await self.settle(await self.claim(admitted.call.call_id))

    async def unknown(self, **parts: Any) -> Claimed:  # noqa: ANN401 -- as above
        """Take one purchase to where nobody knows whether it happened."""
        admitted = await self.admit(**parts)
        claimed = await self.claim(admitted.call.call_id)
        await self.settle(claimed, Outcome.UNKNOWN, code="timeout", identity=None)
        return claimed

    async def used(self, cap: str) -> tuple[int, int]:
        """Return what is posted and what is held against a cap now, over all its scopes."""
        views = [view for view in await self.ledger.caps(self.now) if view.cap_id == cap]
        return sum(view.posted for view in views), sum(view.held for view in views)


async def make(url: str) -> None:
    """Make an empty ledger with the test's account."""
    counter = itertools.count(1)
    await make_ledger(
        url,
        account_id=ACCOUNT,
        name="test",
        instance_id="instance",
        judge=JUDGE,
        ids=lambda prefix: f"{prefix}_make{next(counter):04d}",
        at=NOON,
    )


async def open_till(url: str, *, token: str = "token-scout", **parts: Any) -> Till:  # noqa: ANN401 -- any other part of open_ledger
    """Open a ledger that `make` made, with one project and one agent in it."""
    counter = itertools.count(1)

    def ids(prefix: str) -> str:
        return f"{prefix}_{next(counter):08d}"

    ledger = await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids, **parts)
    till = Till(ledger, ids)
    await ledger.add_project("shop", by="system:test", at=NOON)
    await ledger.add_agent(
        name="scout", project="shop", kits=("buy",), token_sha256=token, by="opr_maker", at=NOON
    )
    till.run = (await ledger.standing_run("shop", NOON)).run_id
    return till
