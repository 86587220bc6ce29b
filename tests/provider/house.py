"""A whole house for tests: the real ledger, the shop as a plugin and a process, and people who answer."""
# ruff: noqa: ANN401 -- tools take any JSON values, tests change any setting

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct, structs

from ledger.judge import Judge
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import ApprovalRecord, CallRecord, CallState, Role
from tool_server.bootstrap import House, Wiring, bootstrap, judge_of
from tool_server.envelope import CallMeta, CallResult, Principal
from tool_server.ids import id_maker
from tool_server.policy_file import known_tools
from tool_server.settings import Settings

ACCOUNT = "acc_test"
SHOP = Path(__file__).with_name("server.py")

POLICY = """\
version: 1
plugins:
  - name: shop
    module: tests.provider.shop
    settings: {{address: "{address}", mode: {mode}, timeout_s: "{timeout_s}"}}
caps:
  - {{id: account-month, per: account, window: month, limit: "500.00 USD"}}
  - {{id: project-day, per: project, window: day, limit: "100.00 USD"}}
approvals:
  - {{id: desk, who: [role:approver], quorum: 1, expires_in: 24h, run_within: 1h, allow_self: true}}
rules:
  - id: write
    match: {{kind: [read, draft, withdraw, earn]}}
    effect: allow
  - id: small
    match: {{kind: [spend, provision], amount: {{up_to: "20.00 USD"}}}}
    effect: allow
  - id: large
    match: {{kind: [spend, provision], amount: {{above: "20.00 USD"}}}}
    effect: require_approval
    approval: desk
  - id: refunds
    match: {{kind: human_only}}
    effect: require_approval
    approval: desk
  - id: never
    match: {{kind: spend, payee: ["*.evil.example"]}}
    effect: deny
    because: we do not buy there
"""


class Shop(Struct, frozen=True):
    """The provider's process, as a test speaks to it: its truth, and the faults it is told to make."""

    address: str

    def control(self, **orders: Any) -> dict[str, Any]:
        """Tell the shop how to misbehave."""
        answer: dict[str, Any] = wire().post(f"{self.address}/control", json=orders).json()
        return answer

    def reset(self) -> None:
        """Make it a new shop that did nothing and has no faults."""
        self.control(forget=True, account="acct_shop", mode="simulated", ready=True)

    def fault(self, *faults: str, seconds: float = 1.0) -> None:
        """Queue faults, one for each coming order."""
        self.control(faults=[{"fault": fault, "seconds": seconds} for fault in faults])

    def orders(self) -> list[dict[str, Any]]:
        """Return what the shop really did."""
        found: list[dict[str, Any]] = wire().get(f"{self.address}/truth").json()["orders"]
        return found

    def requests(self) -> int:
        """Return how many orders were sent to it, done or not."""
        return int(wire().get(f"{self.address}/truth").json()["requests"])


@functools.cache
def wire() -> httpx.Client:
    """Return this process's line to the shops it has started."""
    return httpx.Client(timeout=5)


@contextmanager
def a_shop(mode: str = "simulated") -> Iterator[Shop]:
    """Start the shop's process and end it."""
    command = [sys.executable, str(SHOP), "--mode", mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("the shop has no output")
            yield Shop(process.stdout.readline().strip())
        finally:
            process.kill()


class Place(Struct, frozen=True, kw_only=True):
    """Where a house's files lie, and how its processes are started."""

    folder: Path
    db: str
    settings: Settings
    wiring: Wiring

    def rewrite(self, changes: dict[str, str]) -> None:
        """Change the policy file by replacing texts, old by new."""
        text = self.settings.policies.read_text()
        for old, new in changes.items():
            if old not in text:
                raise AssertionError(f"{old!r} is not in the policy")
            text = text.replace(old, new)
        self.settings.policies.write_text(text)


def written(folder: Path, policy: str) -> Path:
    """Write a policy file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "policies.yaml"
    file.write_text(policy)
    return file


async def a_place(
    folder: Path,
    shop: Shop,
    *,
    db: str = "",
    prepared: bool = False,
    policy: str = POLICY,
    mode: str = "simulated",
    **settings: Any,
) -> Place:
    """Write a policy file, and make an account where the database is not `prepared` with one."""
    file = written(folder, policy.format(address=shop.address, mode=mode, timeout_s="1.5"))
    db = db or f"sqlite:///{folder / 'bursar.db'}"
    wiring = Wiring(
        release=folder / "no-tools.json",
        fresh_s=0.0,
        first_look_s=0.2,
        send_window_s=2.0,
        held_again_s=0.2,
        accept_all=True,
        seed=7,
    )
    chosen = Settings(
        db=db,
        policies=file,
        keys=folder / "keys",
        public_url="http://127.0.0.1:8401",
        reload_s=0.1,
        **settings,
    )
    place = Place(folder=folder, db=db, settings=chosen, wiring=wiring)
    if not prepared and not (folder / "bursar.db").exists():
        await made(place)
    return place


async def made(place: Place, account_id: str = ACCOUNT) -> None:
    """Make the tables and an account."""
    wiring, new_id = place.wiring, id_maker(place.wiring.now)
    await make_ledger(
        place.db,
        account_id=account_id,
        name="Test",
        instance_id="instance-1",
        judge=judge_of({}),
        ids=new_id,
        at=wiring.now(),
    )


async def ledger_of(place: Place, account_id: str = ACCOUNT, judge: Judge | None = None) -> Ledger:
    """Open the ledger of one account, where a database has several; a broken twin brings its own judge."""
    wiring = place.wiring
    tools = known_tools(place.settings.policies, wiring.release)
    new_id = id_maker(wiring.now, wiring.random_bytes)
    judge = judge or judge_of(tools)
    return await open_ledger(place.db, judge=judge, clock=wiring.now, ids=new_id, account_id=account_id)


@asynccontextmanager
async def opened(
    place: Place, *, work: bool = True, ledger: Ledger | None = None, **changes: Any
) -> AsyncIterator[Desk]:
    """Open a house on a place, with its dispatcher at work, and people beside it.

    `ledger` is needed where the database has several accounts.
    """
    wiring = structs.replace(place.wiring, **changes) if changes else place.wiring
    house = await bootstrap(place.settings, wiring=wiring, ledger=ledger)
    try:
        desk = Desk(house)
        await desk.furnish()
        async with house.running(work=work, drain_s=3.0):
            yield desk
    finally:
        await house.close()


class Clock:
    """A house's clocks, which go as time does, and which a test puts forward where a wait is long."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead_s)

    def monotonic(self) -> float:
        """Return the seconds that leases are counted in."""
        return time.monotonic() + self._ahead_s

    def forward(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds


class Desk:
    """A house with an agent who calls and people who answer."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.agent = principal("scout")
        self.keys = 0

    async def furnish(self) -> None:
        """Make the project, the agents and the people, where they are not there yet."""
        ledger, now = self.house.ledger, self.house.now()
        if await ledger.projects():
            return
        owner = await ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=now)
        await ledger.add_operator(name="anton", role=Role.APPROVER, by=owner.operator_id, at=now)
        await ledger.add_project("shop", by=owner.operator_id, at=now)
        for number, name in enumerate(("scout", "maker")):
            await ledger.add_agent(
                name=name,
                project="shop",
                kits=("shop",),
                token_sha256=f"{number:064x}",
                by=owner.operator_id,
                at=now,
            )

    async def call(
        self, tool: str, *, key: str | None = None, meta: CallMeta | None = None, **arguments: Any
    ) -> CallResult:
        """Call a tool as the agent does; `key` defaults to a new one where the tool needs it."""
        loaded = self.house.registry.tools.get(tool)
        if loaded is not None and loaded.key_required and key is None:
            self.keys += 1
            key = f"key-{self.keys}"
        if key is not None:
            arguments["idempotency_key"] = key
        return await self.raw(tool, json.dumps(arguments).encode(), meta)

    async def raw(self, tool: str, arguments: bytes, meta: CallMeta | None = None) -> CallResult:
        """Call a tool with these bytes."""
        return await self.house.gate.call(self.agent, tool, arguments, meta or CallMeta())

    async def buy(self, amount: str = "5.00 USD", *, tool: str = "shop_buy", **more: Any) -> CallResult:
        """Buy one thing; every purchase has a name of its own, so that none is another's twin."""
        self.keys += 1
        given = {"item": f"thing {self.keys}", "vendor": f"v{self.keys}.example", "amount": amount, **more}
        return await self.call(tool, **given)

    async def approve(
        self, result: CallResult, *, verdict: str = "approve", who: str = "anton"
    ) -> CallRecord:
        """Answer the request that a result names, as a person does in the console."""
        if result.envelope.approval is None:
            raise AssertionError(f"nobody was asked: {result.text}")
        request = await self.house.ledger.approval(result.envelope.approval.approval_id)
        _, call = await self.answer(request, verdict=verdict, who=who)
        return call

    async def answer(
        self, request: ApprovalRecord, *, verdict: str = "approve", who: str = "anton"
    ) -> tuple[ApprovalRecord, CallRecord]:
        """Give one person's verdict."""
        people = {person.name: person for person in await self.house.ledger.operators()}
        return await self.house.ledger.answer(
            request.approval_id,
            people[who].operator_id,
            request.op_hash,
            verdict,
            at=self.house.now(),
            confirmed_by="password",
        )

    async def stored(self, result: CallResult) -> CallRecord:
        """Return the call of a result as the ledger has it."""
        call = await self.house.books.find_call(result.envelope.call_id or "")
        if call is None:
            raise AssertionError(f"there is no such call: {result.text}")
        return call

    async def look(self, call_id: str | None) -> None:
        """Give an unknown call its turn now: it comes by itself, but that takes a second or two."""
        call = await self.house.books.find_call(call_id or "")
        if call is not None and call.state is CallState.UNKNOWN:
            await self.house.dispatcher.reconciler.step(call)

    async def known(self, result: CallResult, *states: CallState) -> CallRecord:
        """Look into an unknown call until it stands in one of these states."""
        await self.look(result.envelope.call_id)
        return await self.until(result, *states)

    async def until(
        self,
        result: CallResult,
        *states: CallState,
        within_s: float = 8.0,
        when: Callable[[CallRecord], bool] | None = None,
    ) -> CallRecord:
        """Wait until the call of a result stands in one of these states."""
        end = time.monotonic() + within_s
        while True:
            call = await self.stored(result)
            if call.state in states and (when is None or when(call)):
                return call
            if time.monotonic() > end:
                raise AssertionError(f"it is {call.state} ({call.code}: {call.message}), not {states}")
            await self.house.books.wait_changes(await self.house.ledger.log_size(), 0.05)


def principal(name: str, **changes: Any) -> Principal:
    """Return what a token of this agent stands for."""
    base = Principal(account_id=ACCOUNT, project="shop", agent_id=name, agent=name, kits=("shop",))
    return structs.replace(base, **changes)


async def settled(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for something outside of the ledger to become true."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come true in time")
        await asyncio.sleep(0.01)  # Another process makes it true; nothing tells us when.
