"""Balance transactions, fees, and the balance they add up to."""

from collections import Counter

from plugins.payments.simulator import paging
from plugins.payments.simulator.resources.common import shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_FEE_PER_MILLE, _FEE_FIXED = 29, 30  # 2.9 % and 0.30, the list price of a domestic card in the United States.
_AVAILABLE_AFTER_S = 2 * 24 * 3600  # Two days, the payout speed of the United States.


def card_fee(amount: int) -> int:
    """Give the fee of a card payment in minor units, rounded half up."""
    return (amount * _FEE_PER_MILLE + 500) // 1000 + _FEE_FIXED


def book(world: World, source: Obj, *, amount: int, fee: int, kind: str, category: str | None = None) -> Obj:
    """Add a balance transaction in the source's currency; negative amounts leave the account."""
    fees = [{"amount": fee, "application": None, "currency": source["currency"], "type": "stripe_fee"}]
    is_waiting = amount > 0 and kind == "charge"
    return world.add(
        {
            "id": world.ids.new("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": world.now() + (_AVAILABLE_AFTER_S if is_waiting else 0),
            "balance_type": "issuing" if kind.startswith("issuing") else "payments",
            "created": world.now(),
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [] if fee == 0 else [{**fees[0], "description": "Simulated processing fee"}],
            "net": amount - fee,
            "reporting_category": category or kind,
            "source": source["id"],
            "status": "pending" if is_waiting else "available",
            "type": kind,
        }
    )


def _mature(world: World) -> list[Obj]:
    rows = world.all("balance_transaction")
    for row in rows:
        if row["available_on"] <= world.now():
            row["status"] = "available"
    return rows


def issuing_available(world: World, code: str) -> int:
    """Give what cards may still spend in a currency, in minor units: funds less holds and captures."""
    return world.settings.issuing_balance - sum(
        amount for (currency, _), amount in world.issuing_spent.items() if currency == code
    )


def retrieve(call: Call) -> Obj:
    """Give the balance: what is available, what is pending, what cards may spend."""
    world = call.world
    available: Counter[str] = Counter({world.settings.currency: 0})
    pending: Counter[str] = Counter({world.settings.currency: 0})
    for row in _mature(world):
        if row["balance_type"] == "payments":
            (available if row["status"] == "available" else pending)[row["currency"]] += row["net"]
    funds = [
        {"amount": issuing_available(world, world.settings.currency), "currency": world.settings.currency}
    ]
    return {
        "object": "balance",
        "available": [_row(code, amount) for code, amount in sorted(available.items())],
        "issuing": {"available": funds},
        "livemode": False,
        "pending": [_row(code, amount) for code, amount in sorted(pending.items())],
    }


def _row(code: str, amount: int) -> Obj:
    return {"amount": amount, "currency": code, "source_types": {"card": amount}}


def retrieve_transaction(call: Call) -> Obj:
    """Give one balance transaction."""
    _mature(call.world)
    return shown(call, call.world.get("balance_transaction", call.id))


def list_transactions(call: Call) -> Obj:
    """List balance transactions, by source, type or currency."""
    rows = paging.matching(_mature(call.world), call.params, "source", "type", "currency")
    return paging.page(call.world, rows, call.params, call.path)


_TXN = "BalanceTransaction"
ROUTES = (
    Route("GET /v1/balance", retrieve, scope="balance", spec="BalanceRetrieveParams"),
    Route("GET /v1/balance_transactions", list_transactions, scope="balance", spec=f"{_TXN}ListParams"),
    Route(
        "GET /v1/balance_transactions/{id}",
        retrieve_transaction,
        scope="balance",
        spec=f"{_TXN}RetrieveParams",
    ),
)
