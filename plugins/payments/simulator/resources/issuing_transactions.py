"""Issuing transactions: captures, and refunds of them. Amounts are negative when money left."""

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import balance
from plugins.payments.simulator.resources.common import changed, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World


def add_capture(
    world: World, card: Obj, amount: int, authorization: Obj | None, merchant: Obj | None = None
) -> Obj:
    """Book what a merchant took; without an authorization it is a forced capture."""
    found = authorization["merchant_data"] if authorization is not None else merchant or {}
    return _add(world, card, -amount, authorization, found)


def _add(world: World, card: Obj, amount: int, authorization: Obj | None, merchant: Obj) -> Obj:
    defaults = {"name": "Simulated Merchant", "category": "computer_software_stores", "category_code": "5734"}
    places = ("city", "country", "postal_code", "state", "tax_id", "terminal_id", "url")
    transaction: Obj = {
        "id": world.ids.new("ipi"),
        "object": "issuing.transaction",
        "amount": amount,
        "amount_details": None,
        "authorization": None if authorization is None else authorization["id"],
        "balance_transaction": None,
        "card": card["id"],
        "cardholder": card["cardholder"]["id"],
        "created": world.now(),
        "currency": card["currency"],
        "dispute": None,
        "livemode": False,
        "merchant_amount": amount,
        "merchant_currency": card["currency"],
        "merchant_data": {**dict.fromkeys(places), **defaults, "network_id": "0000000000", **merchant},
        "metadata": {},
        "network_data": None,
        "purchase_details": None,
        "token": None,
        "treasury": None,
        "type": "capture" if amount < 0 else "refund",
        "wallet": None,
    }
    txn = balance.book(world, transaction, amount=amount, fee=0, kind="issuing_transaction")
    transaction["balance_transaction"] = txn["id"]
    world.issuing_spent[card["currency"], transaction["id"]] = -amount
    world.add(transaction)
    world.emit("issuing_transaction.created", transaction)
    return transaction


def force_capture(call: Call) -> Obj:
    """Take money from a card without any authorization, as an offline merchant can."""
    card = call.world.get("issuing.card", call.params["card"], "card")
    amount = positive(call.params["amount"])
    if str(call.params.get("currency", card["currency"])).lower() != card["currency"]:
        raise invalid(
            f"This simulator captures in the card's currency ({card['currency']})", param="currency"
        )
    merchant = call.params.get("merchant_data")
    return shown(call, add_capture(call.world, card, amount, None, merchant))


def refund(call: Call) -> Obj:
    """Let the merchant give back all or a part of a capture; the refund is a transaction of its own."""
    world = call.world
    captured = world.get("issuing.transaction", call.id, "transaction")
    if captured["type"] != "capture":
        raise invalid("Only a capture can be refunded")
    returned = world.hidden.get((captured["id"], "refunded"), 0)
    left = -captured["amount"] - returned
    amount = positive(call.params.get("refund_amount", left), "refund_amount")
    if amount > left:
        raise invalid(
            f"refund_amount is more than what is left of the capture ({left})", param="refund_amount"
        )
    world.hidden[captured["id"], "refunded"] = returned + amount
    card = world.get("issuing.card", captured["card"])
    authorization = world.by_id.get(captured["authorization"] or "")
    return shown(call, _add(world, card, amount, authorization, captured["merchant_data"]))


def update(call: Call) -> Obj:
    """Change a transaction's metadata."""
    transaction = call.world.get("issuing.transaction", call.id, "transaction")
    metadata = merged(transaction["metadata"], call.params.get("metadata"))
    call.world.emit("issuing_transaction.updated", transaction, changed(transaction, metadata=metadata))
    return shown(call, transaction)


def retrieve(call: Call) -> Obj:
    """Give a transaction."""
    return shown(call, call.world.get("issuing.transaction", call.id, "transaction"))


def list_transactions(call: Call) -> Obj:
    """List transactions, by card, cardholder or type."""
    rows = paging.matching(call.world.all("issuing.transaction"), call.params, "card", "cardholder", "type")
    return paging.page(call.world, rows, call.params, call.path)


_ONE, _TEST = "/v1/issuing/transactions", "/v1/test_helpers/issuing/transactions"
_SPEC, _HELPER = "issuing.Transaction", "test_helpers.issuing.Transaction"
ROUTES = (
    Route(f"GET {_ONE}", list_transactions, scope="issuing", spec=f"{_SPEC}ListParams"),
    Route(f"GET {_ONE}/{{id}}", retrieve, scope="issuing", spec=f"{_SPEC}RetrieveParams"),
    Route(f"POST {_ONE}/{{id}}", update, scope="issuing", spec=f"{_SPEC}UpdateParams"),
    Route(
        f"POST {_TEST}/create_force_capture",
        force_capture,
        scope="issuing",
        spec=f"{_HELPER}CreateForceCaptureParams",
    ),
    Route(f"POST {_TEST}/{{id}}/refund", refund, scope="issuing", spec=f"{_HELPER}RefundParams"),
)
