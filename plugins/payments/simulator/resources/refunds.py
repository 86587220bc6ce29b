"""Refunds: never more than is left of the charge."""

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import ApiError, invalid
from plugins.payments.simulator.resources import balance
from plugins.payments.simulator.resources.common import changed, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World


def create(call: Call) -> Obj:
    """Refund a charge in part or in full; it succeeds at once, as card refunds do in test mode."""
    world, params = call.world, call.params
    charge = _charge_of(call)
    left = charge["amount"] - charge["amount_refunded"]
    if charge["disputed"] and charge["id"] in _locked(world):
        raise invalid("This charge has been charged back; it cannot be refunded.", code="charge_disputed")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(400, "invalid_request_error", message, code="charge_already_refunded")
    amount = positive(params.get("amount", left))
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise invalid(message, param="amount")
    refund_id = world.ids.new("re")
    refund: Obj = {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "customer": None,
        "destination_details": {"type": "card", "card": {"type": "refund", "reference_status": "pending"}},
        "failure_balance_transaction": None,
        "metadata": merged({}, params.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "pending_reason": None,
        "reason": params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
    refund["balance_transaction"] = balance.book(world, refund, amount=-amount, fee=0, kind="refund")["id"]
    world.add(refund)
    refunded = charge["amount_refunded"] + amount
    before = changed(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])
    world.emit("refund.created", refund)
    world.emit("charge.refunded", charge, before)
    return shown(call, refund)


def _charge_of(call: Call) -> Obj:
    params, world = call.params, call.world
    if ("charge" in params) == ("payment_intent" in params):
        raise invalid("One of the following params should be provided: payment_intent or charge.")
    if "charge" in params:
        charge = world.get("charge", params["charge"], "charge")
    else:
        intent = world.get("payment_intent", params["payment_intent"], "payment_intent")
        if intent["latest_charge"] is None:
            raise invalid("This PaymentIntent does not have a successful charge to refund.")
        charge = world.get("charge", intent["latest_charge"])
    if charge["status"] != "succeeded":
        raise invalid(f"The charge is {charge['status']}; only a successful charge can be refunded.")
    return charge


def _locked(world: World) -> set[str]:
    return {row["charge"] for row in world.all("dispute") if not row["is_charge_refundable"]}


def update(call: Call) -> Obj:
    """Change a refund's metadata."""
    refund = call.world.get("refund", call.id)
    before = changed(refund, metadata=merged(refund["metadata"], call.params.get("metadata")))
    call.world.emit("refund.updated", refund, before)
    return shown(call, refund)


def fail(world: World, refund: Obj) -> Obj:
    """Let a refund fail afterwards, as when the buyer's bank takes no credit: the money comes back."""
    if refund["status"] != "succeeded":
        raise invalid(f"The refund is {refund['status']}; only a succeeded one can fail.")
    txn = balance.book(world, refund, amount=refund["amount"], fee=0, kind="refund_failure")
    values = {
        "status": "failed",
        "failure_reason": "lost_or_stolen_card",
        "failure_balance_transaction": txn["id"],
    }
    before = changed(refund, **values)
    charge = world.get("charge", refund["charge"])
    changed(charge, amount_refunded=charge["amount_refunded"] - refund["amount"], refunded=False)
    world.emit("refund.failed", refund, before)
    world.emit("charge.updated", charge)
    return refund


def retrieve(call: Call) -> Obj:
    """Give a refund."""
    return shown(call, call.world.get("refund", call.id, "refund"))


def list_refunds(call: Call) -> Obj:
    """List refunds, of one charge or payment intent or all."""
    rows = paging.matching(call.world.all("refund"), call.params, "charge", "payment_intent")
    return paging.page(call.world, rows, call.params, call.path)


ROUTES = (
    Route("POST /v1/refunds", create, scope="refunds", spec="RefundCreateParams"),
    Route("GET /v1/refunds", list_refunds, scope="refunds", spec="RefundListParams"),
    Route("GET /v1/refunds/{id}", retrieve, scope="refunds", spec="RefundRetrieveParams"),
    Route("POST /v1/refunds/{id}", update, scope="refunds", spec="RefundUpdateParams"),
)
