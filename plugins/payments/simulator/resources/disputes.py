"""Disputes: opened by the buyer's bank, answered with evidence, won or lost."""

from typing import Any

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import balance
from plugins.payments.simulator.resources.common import changed, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_FEE = 1500  # Stripe's dispute fee in the United States, kept whoever wins.
_ANSWER_WITHIN_S = 9 * 24 * 3600  # About what card networks leave for evidence.
_OPEN = frozenset({"needs_response", "under_review"})
_EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)


def open_dispute(world: World, charge: Obj, *, reason: str = "general", amount: int | None = None) -> Obj:
    """Open a dispute about a charge: the amount and a fee leave the balance. Raises ApiError (400)."""
    if charge["status"] != "succeeded" or charge["disputed"]:
        raise invalid("Only a successful charge without a dispute can be disputed", param="charge")
    disputed = positive(charge["amount"] - charge["amount_refunded"] if amount is None else amount)
    if disputed > charge["amount"]:
        raise invalid("A dispute cannot exceed its charge", param="amount")
    dispute: Obj = {
        "id": world.ids.new("du"),
        "object": "dispute",
        "amount": disputed,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": world.now(),
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": world.now() + _ANSWER_WITHIN_S,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "type": "card",
            "card": {
                "brand": "visa",
                "case_type": "chargeback",
                "network": "visa",
                "network_reason_code": "10.4",
            },
        },
        "reason": reason,
        "status": "needs_response",
    }
    txn = balance.book(world, dispute, amount=-disputed, fee=_FEE, kind="adjustment", category="dispute")
    dispute["balance_transactions"] = [dict(txn)]
    world.add(dispute)
    changed(charge, disputed=True)
    world.emit("charge.dispute.created", dispute)
    world.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def update(call: Call) -> Obj:
    """Add evidence, and submit it unless `submit` is false; once submitted it stays as it is."""
    world, params = call.world, call.params
    dispute = world.get("dispute", call.id, "dispute")
    if dispute["status"] not in _OPEN:
        raise invalid("This dispute is already closed")
    details: dict[str, Any] = dict(dispute["evidence_details"])
    evidence = {**dispute["evidence"], **params.get("evidence", {})}
    has_evidence = any(value for name, value in evidence.items() if name in _EVIDENCE)
    if "evidence" in params and details["submission_count"] > 0:
        raise invalid("Evidence was already submitted for this dispute", param="evidence")
    details["has_evidence"] = has_evidence
    status = dispute["status"]
    wants = params.get("submit", "evidence" in params)
    if wants and has_evidence and details["submission_count"] == 0:
        details.update(submission_count=1, submission_method="manual")
        status = "under_review"
    metadata = merged(dispute["metadata"], params.get("metadata"))
    values = {"evidence": evidence, "evidence_details": details, "status": status, "metadata": metadata}
    world.emit("charge.dispute.updated", dispute, changed(dispute, **values))
    return shown(call, dispute)


def close(call: Call) -> Obj:
    """Give a dispute up: it is lost."""
    return shown(call, end(call.world, call.world.get("dispute", call.id, "dispute"), "lost"))


def end(world: World, dispute: Obj, status: str) -> Obj:
    """End an open dispute as won or lost; a won one gives the amount back, not the fee."""
    if dispute["status"] not in _OPEN:
        raise invalid("This dispute is already closed")
    before = changed(dispute, status=status)
    if status == "won":
        txn = balance.book(
            world, dispute, amount=dispute["amount"], fee=0, kind="adjustment", category="dispute_reversal"
        )
        dispute["balance_transactions"] = [*dispute["balance_transactions"], dict(txn)]
    world.emit("charge.dispute.closed", dispute, before)
    if status == "won":
        world.emit("charge.dispute.funds_reinstated", dispute)
    return dispute


def retrieve(call: Call) -> Obj:
    """Give a dispute."""
    return shown(call, call.world.get("dispute", call.id, "dispute"))


def list_disputes(call: Call) -> Obj:
    """List disputes, of one charge or payment intent or all."""
    rows = paging.matching(call.world.all("dispute"), call.params, "charge", "payment_intent")
    return paging.page(call.world, rows, call.params, call.path)


ROUTES = (
    Route("GET /v1/disputes", list_disputes, scope="disputes", spec="DisputeListParams"),
    Route("GET /v1/disputes/{id}", retrieve, scope="disputes", spec="DisputeRetrieveParams"),
    Route("POST /v1/disputes/{id}", update, scope="disputes", spec="DisputeUpdateParams"),
    Route("POST /v1/disputes/{id}/close", close, scope="disputes", spec="DisputeCloseParams"),
)
