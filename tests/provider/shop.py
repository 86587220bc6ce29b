"""The test plugin: one tool of every kind at the provider of `server.py`, and some that live in the house.

It is loaded like a stranger's, by its module: `plugins: [{name: shop, module: tests.provider.shop,
settings: {address: "http://127.0.0.1:..."}}]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import httpx
from msgspec import Meta, Struct

from ledger.records import Outcome, Proof, ProofBy, ProofLevel, ProviderIdentity
from plugins.hookspecs import Plugin, PluginContext, Provider, hookimpl
from plugins.tool import (
    Annotations,
    Applied,
    ApplyContext,
    Binding,
    Described,
    Evidence,
    ExecuteContext,
    Lookup,
    Manual,
    OutcomeReport,
    Readiness,
    Reconcile,
    Records,
    Replay,
    Tool,
)
from policy.errors import Declined
from policy.model import Effect, Kind, Mode, PayeeBasis
from policy.money import Money

PROVIDER = "shop"
KEY_LIFE_S = 86_400
PENDING = (
    " May answer pending_approval: nothing has run then, a person decides. Do not call again; ask "
    "call_status, which also shows the final result."
)


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """What to buy from whom, for how much."""

    item: Annotated[str, Meta(description="What to buy.", max_length=100)]
    vendor: Annotated[str, Meta(description="Who is paid, as a host name.", max_length=100)]
    amount: Annotated[Money, Meta(description="The price, as in '19.99 USD'.")]


class Words(Struct, frozen=True, forbid_unknown_fields=True):
    """A text, and how often."""

    text: Annotated[str, Meta(description="Any words.", max_length=500)]
    times: Annotated[int, Meta(description="1 to 5.", ge=1, le=5)] = 1


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """One order of the shop."""

    order: Annotated[str, Meta(description="The id of an order, ord_...", max_length=64)]


class Shop:
    """The provider's side, as the plugin speaks to it."""

    def __init__(self, address: str, mode: Mode, timeout_s: float) -> None:
        self.mode = mode
        self.timeout_s = timeout_s
        self.client = httpx.AsyncClient(base_url=address, timeout=timeout_s)

    async def check(self) -> Readiness:
        """Ask who answers."""
        try:
            answer = await self.client.get("/account")
        except httpx.HTTPError as error:
            return Readiness(ready=False, missing=(f"the shop does not answer: {type(error).__name__}",))
        if answer.status_code != httpx.codes.OK:
            return Readiness(ready=False, missing=("the shop is closed",))
        return Readiness(ready=True, identity=_identity(answer.json()))

    async def fetch(self, ref: str) -> Evidence:
        """Return the order under one of our references."""
        answer = (await self.client.get("/orders", params={"ref": ref})).json()
        found = answer["orders"]
        return Evidence(
            ref=ref,
            found=bool(found),
            identity=_identity(answer),
            proof=_proof(answer, ProofBy.LOOKUP),
            data=found[0] if found else {},
        )

    async def send(self, what: str, amount: Money | None, context: ExecuteContext) -> OutcomeReport:
        """Place one order under the call's key, and report what came back."""
        body = {"ref": context.call.call_id, "what": what, "amount": str(amount) if amount else None}
        context.guard()
        try:
            answer = await self.client.post(
                "/orders", json=body, headers={"Idempotency-Key": context.provider_key}
            )
        except httpx.ConnectError:
            return OutcomeReport(
                outcome=Outcome.NOT_SENT, code="not_sent", message="the shop was not reached"
            )
        except httpx.HTTPError as error:
            return _unknown(f"the shop's answer was lost: {type(error).__name__}")
        return _reported(answer, amount)

    async def look(self, _args: Any, context: ExecuteContext) -> OutcomeReport:  # noqa: ANN401 -- any of its tools'
        """Find the order of a call by our reference."""
        try:
            answer = (await self.client.get("/orders", params={"ref": context.call.call_id})).json()
        except httpx.HTTPError as error:
            return _unknown(f"the shop cannot be asked: {type(error).__name__}")
        if not answer["orders"]:
            return OutcomeReport(
                outcome=Outcome.FAILED, code="absent", message="no such order", identity=_identity(answer)
            )
        return _done(answer["orders"][0], answer, ProofBy.LOOKUP)


def _reported(answer: httpx.Response, amount: Money | None) -> OutcomeReport:
    """Return what an answer to an order means."""
    try:
        body = answer.json()
    except ValueError:
        return _unknown("the shop answered something unreadable")
    if answer.status_code == httpx.codes.OK:
        return _done(body, body, ProofBy.RESPONSE, amount)
    if answer.status_code == httpx.codes.PAYMENT_REQUIRED:
        return OutcomeReport(
            outcome=Outcome.FAILED,
            code=Declined.code,
            message=body["declined"],
            identity=_identity(body),
            proof=_proof(body, ProofBy.RESPONSE),
            stored_answer=bool(body.get("replayed")),
            retry="new_key",
        )
    return _unknown(f"the shop answered {answer.status_code}")


def _done(
    order: dict[str, Any], who: dict[str, Any], by: ProofBy, amount: Money | None = None
) -> OutcomeReport:
    actual = Money.parse(order["amount"]) if order.get("amount") else amount
    return OutcomeReport(
        outcome=Outcome.SUCCEEDED,
        data={"order": order["id"]},
        proof=_proof(who, by),
        identity=_identity(who),
        actual=actual,
        provider_ref=order["id"],
        stored_answer=bool(who.get("replayed")),
    )


def _unknown(message: str) -> OutcomeReport:
    return OutcomeReport(outcome=Outcome.UNKNOWN, code="no_answer", message=message)


def _identity(body: dict[str, Any]) -> ProviderIdentity:
    return ProviderIdentity(body["account"], Mode(body["mode"]), body["instance"])


def _proof(body: dict[str, Any], by: ProofBy) -> Proof:
    return Proof(ProofLevel(body["mode"]), by, PROVIDER)


# --- the tools ------------------------------------------------------------------------------------------


def _bought(kind: Kind, operation: str) -> Callable[[Item, Records, Described], Effect]:
    def describe(args: Item, _records: Records, known: Described) -> Effect:
        return Effect(
            kind=kind,
            operation=operation,
            provider=PROVIDER,
            mode=known.binding.mode if known.binding else Mode.LIVE,
            payee=args.vendor,
            payee_basis=PayeeBasis.ENFORCED,
            amount=args.amount,
            summary=f"Buy {args.item!r} for {args.amount}",
        )

    return describe


def _plain(kind: Kind, operation: str, provider: str) -> Callable[[Any, Records, Described], Effect]:
    def describe(_args: object, _records: Records, known: Described) -> Effect:
        mode = known.binding.mode if known.binding else Mode.LIVE
        return Effect(kind=kind, operation=operation, provider=provider, mode=mode, reversible=True)

    return describe


def _write(args: Words, _records: Records, context: ApplyContext) -> Applied:
    if args.text == "refuse":
        raise Declined("these words are not taken")
    if args.text == "explode":
        raise ZeroDivisionError
    return Applied({"text": " ".join([args.text] * args.times), "note": context.new_id("note")})


def _buying(shop: Shop, name: str, kind: Kind, reconcile: Reconcile, operation: str) -> Tool[Item]:
    async def execute(args: Item, context: ExecuteContext) -> OutcomeReport:
        if args.item == "explode":
            raise ZeroDivisionError
        if args.item == "not a report":
            return None  # type: ignore[return-value]  # A plugin that breaks its contract is what is tried here.
        return await shop.send(args.item, args.amount, context)

    return Tool(
        name=name,
        kit="shop",
        kind=kind,
        operation=operation,
        provider=PROVIDER,
        description=f"Buys one thing at the shop ({operation}) and pays for it." + PENDING,
        arguments=Item,
        result=None,
        annotations=Annotations(read_only=False, destructive=True, idempotent=True, open_world=True),
        describe=_bought(kind, operation),
        execute=execute,
        reconcile=reconcile,
        timeout_s=shop.timeout_s,
    )


def _telling(
    shop: Shop, name: str, kind: Kind, arguments: type[Struct], *, priced: bool = False
) -> Tool[Any]:
    async def execute(_args: object, context: ExecuteContext) -> OutcomeReport:
        return await shop.send(name, None, context)

    return Tool(
        name=name,
        kit="shop",
        kind=kind,
        operation="refund" if kind is Kind.HUMAN_ONLY else name,
        provider=PROVIDER,
        description=f"Tells the shop to do {name}." + PENDING,
        arguments=arguments,
        result=None,
        annotations=Annotations(
            read_only=False, destructive=kind is Kind.HUMAN_ONLY, idempotent=True, open_world=True
        ),
        describe=_plain(kind, "refund" if kind is Kind.HUMAN_ONLY else name, PROVIDER),
        own=lambda _args, _records, _agent: kind is Kind.WITHDRAW,
        execute=execute,
        reconcile=Replay(KEY_LIFE_S, lookup=shop.look, settle_delay_s=1),
        timeout_s=shop.timeout_s,
        priced=priced,
    )


def _local() -> Tool[Words]:
    return Tool(
        name="shop_note",
        kit="shop",
        kind=Kind.DRAFT,
        operation="shop_note",
        provider="bursar",
        description="Writes a note in the house.",
        arguments=Words,
        result=None,
        annotations=Annotations(read_only=False, destructive=False, idempotent=True, open_world=False),
        describe=_plain(Kind.DRAFT, "shop_note", "bursar"),
        apply=_write,
    )


def _reading(
    name: str, read: Callable[..., Awaitable[Applied]], provider: str, timeout_s: float
) -> Tool[Words]:
    return Tool(
        name=name,
        kit="shop",
        kind=Kind.READ,
        operation=name,
        provider=provider,
        description="Reads something of the shop.",
        arguments=Words,
        result=None,
        annotations=Annotations(read_only=True, destructive=False, idempotent=True, open_world=True),
        describe=_plain(Kind.READ, name, provider),
        read=read,
        timeout_s=timeout_s,
    )


@hookimpl
def bursar_plugin(context: PluginContext) -> Plugin:
    """Return the shop's tools and its provider."""
    mode = Mode(str(context.settings.get("mode", "simulated")))
    timeout_s = float(str(context.settings.get("timeout_s", "1.0")))
    shop = Shop(str(context.settings["address"]), mode, timeout_s)

    async def read(args: Words, _records: Records, _context: ApplyContext) -> Applied:
        if args.text == "explode":
            raise ZeroDivisionError
        if args.text == "wait":
            await asyncio.Event().wait()
        answer = await shop.client.get("/orders", params={"ref": args.text})
        return Applied({"orders": answer.json()["orders"], "nothing": None})

    replay = Replay(KEY_LIFE_S, lookup=shop.look, settle_delay_s=1)
    return Plugin(
        tools=(
            _buying(shop, "shop_buy", Kind.SPEND, replay, "pay"),
            _buying(shop, "shop_buy_lookup", Kind.SPEND, Lookup(shop.look, settle_delay_s=1), "pay_lookup"),
            _buying(shop, "shop_buy_slow", Kind.SPEND, Lookup(shop.look), "pay_slow"),
            _buying(shop, "shop_buy_manual", Kind.SPEND, Manual(), "pay_manual"),
            _buying(shop, "shop_provision", Kind.PROVISION, replay, "provision"),
            _telling(shop, "shop_offer", Kind.EARN, Words),
            _telling(shop, "shop_sell", Kind.EARN, Words, priced=True),
            _telling(shop, "shop_release", Kind.WITHDRAW, Order),
            _telling(shop, "shop_refund", Kind.HUMAN_ONLY, Order),
            _local(),
            _reading("shop_orders", read, PROVIDER, timeout_s),
        ),
        providers=(
            Provider(
                binding=Binding(
                    provider=PROVIDER, account=str(context.settings.get("account", "")), mode=mode
                ),
                check=shop.check,
                fetch=shop.fetch,
                close=shop.client.aclose,
                check_timeout_s=timeout_s,
            ),
        ),
    )
