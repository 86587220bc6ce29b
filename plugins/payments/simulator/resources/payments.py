"""What a payment makes: payment intent, charge, balance transaction, and the session that it completes."""

from typing import Any

from plugins.payments.simulator import paging
from plugins.payments.simulator.cards import PageCard
from plugins.payments.simulator.errors import ApiError, declined, invalid
from plugins.payments.simulator.resources import balance, line_items
from plugins.payments.simulator.resources.common import changed, merged, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_DECLINE_WORDS = {
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
}


def pay(world: World, session: Obj, card: PageCard, email: str | None) -> Obj:
    """Pay an open session with a test card; give the session.

    Raises ApiError: 400 when the session is not open or its link is used up, 402 when the card is declined.
    """
    if session["status"] != "open":
        raise invalid(f"This Checkout Session is {session['status']}; it takes no payment.")
    _check_link(world, session)
    intent = _intent_of(world, session)
    charge = _charge(world, intent, card, email or session["customer_email"])
    if card.code is not None:
        raise _decline(world, intent, charge, card)
    changed(
        session,
        status="complete",
        url=None,
        payment_intent=intent["id"],
        customer_details={**session["customer_details"], "email": email or session["customer_email"]},
    )
    if card.settles is None:
        _succeed(world, intent, charge, fee=balance.card_fee(charge["amount"]))
        session["payment_status"] = "paid"
        world.emit("checkout.session.completed", session)
    else:
        changed(intent, status="processing", latest_charge=charge["id"])
        world.emit("charge.pending", charge)
        world.emit("payment_intent.processing", intent)
        world.emit("checkout.session.completed", session)
        world.hidden[session["id"], "settles"] = card.settles
        _settle_later(world, session)
    _count_for_link(world, session)
    return session


def _check_link(world: World, session: Obj) -> None:
    if session["payment_link"] is None:
        return
    link = world.get("payment_link", session["payment_link"])
    if not link["active"]:
        raise invalid("This payment link is no longer active.")


def _count_for_link(world: World, session: Obj) -> None:
    if session["payment_link"] is None:
        return
    link = world.get("payment_link", session["payment_link"])
    limit = (link["restrictions"] or {}).get("completed_sessions")
    if limit is None:
        return
    limit["count"] += 1
    if limit["count"] >= limit["limit"]:
        changed(link, active=False)
    world.emit("payment_link.updated", link)


def _intent_of(world: World, session: Obj) -> Obj:
    kept = world.hidden.get((session["id"], "intent"))
    if kept is not None:
        intent: Obj = world.by_id[kept]
        return intent
    data: dict[str, Any] = world.hidden[session["id"], "intent_data"]
    rows = line_items.of(world, session["id"])
    intent = world.add(_new_intent(world, session, data, line_items.total(rows)))
    world.hidden[session["id"], "intent"] = intent["id"]
    world.emit("payment_intent.created", intent)
    return intent


def _new_intent(world: World, session: Obj, data: dict[str, Any], amount: int) -> Obj:
    nothing = (
        "application",
        "application_fee_amount",
        "automatic_payment_methods",
        "canceled_at",
        "cancellation_reason",
        "customer",
        "last_payment_error",
        "latest_charge",
        "next_action",
        "on_behalf_of",
        "payment_method",
        "payment_record",
        "processing",
        "review",
        "setup_future_usage",
        "shipping",
        "source",
        "transfer_data",
    )
    intent_id = world.ids.new("pi")
    return {
        **dict.fromkeys(nothing),
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": data.get("capture_method", "automatic_async"),
        "client_secret": f"{intent_id}_secret_{world.ids.letters(16)}",
        "confirmation_method": "automatic",
        "created": world.now(),
        "currency": session["currency"],
        "description": data.get("description"),
        "livemode": False,
        "metadata": merged({}, data.get("metadata")),
        "payment_method_options": {},
        "payment_method_types": list(session["payment_method_types"]),
        "receipt_email": data.get("receipt_email"),
        "statement_descriptor": data.get("statement_descriptor"),
        "statement_descriptor_suffix": data.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_group": data.get("transfer_group"),
    }


def _charge(world: World, intent: Obj, card: PageCard, email: str | None) -> Obj:
    nothing = (
        "application",
        "application_fee",
        "application_fee_amount",
        "balance_transaction",
        "calculated_statement_descriptor",
        "customer",
        "failure_balance_transaction",
        "failure_code",
        "failure_message",
        "on_behalf_of",
        "receipt_number",
        "receipt_url",
        "review",
        "shipping",
        "source",
        "source_transfer",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "transfer",
        "transfer_data",
        "transfer_group",
    )
    details: Obj = {"type": card.method, card.method: {"last4": card.last4}}
    if card.method == "card":
        details["card"] = {
            "brand": "visa",
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "last4": card.last4,
        }
    charge: Obj = {
        **dict.fromkeys(nothing),
        "id": world.ids.new("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "billing_details": {"address": None, "email": email, "name": None, "phone": None, "tax_id": None},
        "captured": False,
        "created": world.now(),
        "currency": intent["currency"],
        "description": intent["description"],
        "disputed": False,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": world.ids.new("pm"),
        "payment_method_details": details,
        "receipt_email": intent["receipt_email"],
        "refunded": False,
        "status": "pending",
    }
    return world.add(charge)


def _decline(world: World, intent: Obj, charge: Obj, card: PageCard) -> ApiError:
    code, why = str(card.code), card.decline_code
    words = _DECLINE_WORDS.get(why or code, "Your card was declined.")
    outcome = {
        "type": "issuer_declined",
        "reason": why,
        "network_status": "declined_by_network",
        "risk_level": "normal",
    }
    changed(charge, status="failed", failure_code=code, failure_message=words, outcome=outcome)
    problem = {
        "type": "card_error",
        "code": code,
        "decline_code": why,
        "message": words,
        "charge": charge["id"],
    }
    changed(intent, status="requires_payment_method", latest_charge=charge["id"], last_payment_error=problem)
    world.emit("charge.failed", charge)
    world.emit("payment_intent.payment_failed", intent)
    return declined(code, why, words, charge=charge["id"])


def _succeed(world: World, intent: Obj, charge: Obj, *, fee: int) -> None:
    txn = balance.book(world, charge, amount=charge["amount"], fee=fee, kind="charge")
    changed(
        charge,
        amount_captured=charge["amount"],
        balance_transaction=txn["id"],
        captured=True,
        outcome={"type": "authorized", "network_status": "approved_by_network", "risk_level": "normal"},
        paid=True,
        status="succeeded",
    )
    changed(
        intent,
        amount_received=charge["amount"],
        last_payment_error=None,
        latest_charge=charge["id"],
        payment_method=charge["payment_method"],
        status="succeeded",
    )
    world.emit("charge.succeeded", charge)
    world.emit("payment_intent.succeeded", intent)


def rearm(world: World) -> None:
    """Let delayed payments of a restored world settle after their time."""
    for session in world.all("checkout.session"):
        if (session["id"], "settles") in world.hidden:
            _settle_later(world, session)


def _settle_later(world: World, session: Obj) -> None:
    delay = world.settings.settle_after_s
    outcome: str = world.hidden[session["id"], "settles"]
    if delay is not None:
        world.after(delay, lambda: settle(world, session, outcome))


def settle(world: World, session: Obj, outcome: str) -> None:
    """End a payment that settles later, as succeeded or failed; what is settled already stays as it is."""
    if session["payment_intent"] is None or session["payment_status"] == "paid":
        return
    intent = world.get("payment_intent", session["payment_intent"])
    if intent["status"] != "processing":
        return
    charge = world.get("charge", intent["latest_charge"])
    if outcome == "succeeded":
        _succeed(world, intent, charge, fee=min(500, (charge["amount"] * 8 + 500) // 1000))
        session["payment_status"] = "paid"
        world.emit("checkout.session.async_payment_succeeded", session)
        return
    card = PageCard("000111111116", "", "payment_method_provider_decline", "insufficient_funds", "failed")
    _decline(world, intent, charge, card)
    world.emit("checkout.session.async_payment_failed", session)


def warn(world: World, charge: Obj) -> Obj:
    """Raise an early fraud warning about a charge."""
    warning = world.add(
        {
            "id": world.ids.new("issfr"),
            "object": "radar.early_fraud_warning",
            "actionable": True,
            "charge": charge["id"],
            "created": world.now(),
            "fraud_type": "unauthorized_use_of_card",
            "livemode": False,
            "payment_intent": charge["payment_intent"],
        }
    )
    world.emit("radar.early_fraud_warning.created", warning)
    return warning


def retrieve_warning(call: Call) -> Obj:
    """Give an early fraud warning."""
    return shown(call, call.world.get("radar.early_fraud_warning", call.id))


def list_warnings(call: Call) -> Obj:
    """List early fraud warnings, of one charge or payment intent or all."""
    rows = paging.matching(
        call.world.all("radar.early_fraud_warning"), call.params, "charge", "payment_intent"
    )
    return paging.page(call.world, rows, call.params, call.path)


def retrieve_intent(call: Call) -> Obj:
    """Give a payment intent."""
    return shown(call, call.world.get("payment_intent", call.id, "intent"))


def list_intents(call: Call) -> Obj:
    """List payment intents."""
    return paging.page(call.world, call.world.all("payment_intent"), call.params, call.path)


def retrieve_charge(call: Call) -> Obj:
    """Give a charge."""
    return shown(call, call.world.get("charge", call.id, "charge"))


def list_charges(call: Call) -> Obj:
    """List charges, of one payment intent or all."""
    rows = paging.matching(call.world.all("charge"), call.params, "payment_intent")
    return paging.page(call.world, rows, call.params, call.path)


_WARNINGS, _WARNING = "/v1/radar/early_fraud_warnings", "radar.EarlyFraudWarning"
ROUTES = (
    Route("GET /v1/payment_intents", list_intents, scope="payments", spec="PaymentIntentListParams"),
    Route(
        "GET /v1/payment_intents/{id}", retrieve_intent, scope="payments", spec="PaymentIntentRetrieveParams"
    ),
    Route("GET /v1/charges", list_charges, scope="payments", spec="ChargeListParams"),
    Route(f"GET {_WARNINGS}", list_warnings, scope="payments", spec=f"{_WARNING}ListParams"),
    Route(f"GET {_WARNINGS}/{{id}}", retrieve_warning, scope="payments", spec=f"{_WARNING}RetrieveParams"),
    Route("GET /v1/charges/{id}", retrieve_charge, scope="payments", spec="ChargeRetrieveParams"),
)
