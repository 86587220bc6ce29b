"""Checkout Sessions: created open, completed by a payment on the hosted page, expired by call or by time."""

from typing import Any
from urllib.parse import urlsplit

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import line_items
from plugins.payments.simulator.resources.common import changed, chargeable, merged, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_LEAST_LIFE_S, _MOST_LIFE_S = 30 * 60, 24 * 3600  # Stripe's documented bounds of expires_at.
_REFERENCE = 200  # Stripe's documented length of client_reference_id.


def create(call: Call) -> Obj:
    """Create an open session for one payment."""
    params = call.params
    if params.get("mode") != "payment":
        raise invalid("This simulator has mode=payment only", param="mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise invalid("This simulator has ui_mode=hosted_page only", param="ui_mode")
    if "success_url" not in params:
        raise invalid("You must provide success_url", param="success_url", code="parameter_missing")
    for name in ("success_url", "cancel_url"):
        _check_url(params.get(name), name)
    if len(params.get("client_reference_id", "")) > _REFERENCE:
        raise invalid(f"client_reference_id: at most {_REFERENCE} characters", param="client_reference_id")
    expires_at = _expiry(call)
    rows = line_items.resolve(call)
    session = new(call.world, rows, params)
    session["expires_at"] = expires_at
    start(call.world, session)
    return shown(call, session)


def _expiry(call: Call) -> int:
    now = call.world.now()
    expires_at: int = call.params.get("expires_at", now + _MOST_LIFE_S)
    if not now + _LEAST_LIFE_S <= expires_at <= now + _MOST_LIFE_S:
        message = "expires_at must be between 30 minutes and 24 hours from now"
        raise invalid(message, param="expires_at")
    return expires_at


def _check_url(url: str | None, param: str) -> None:
    if url is not None and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).netloc):
        raise invalid("Not a valid URL", param=param, code="url_invalid")


def new(world: World, rows: list[Obj], params: dict[str, Any]) -> Obj:
    """Build a session; `params` are those of its create call or of its payment link."""
    amount, code = line_items.total(rows), rows[0]["currency"]
    chargeable(amount, code)
    session_id = world.ids.new("cs_test")
    email = params.get("customer_email")
    intent_data = params.get("payment_intent_data", {})
    session: Obj = {
        **_plain_fields(params),
        "id": session_id,
        "object": "checkout.session",
        "amount_subtotal": amount,
        "amount_total": amount,
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": world.now(),
        "currency": code,
        "customer": None,
        "customer_details": {"email": email, "name": None, "address": None, "phone": None},
        "customer_email": email,
        "expires_at": world.now() + _MOST_LIFE_S,
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "payment_intent": None,
        "payment_link": None,
        "payment_status": "unpaid",
        "status": "open",
        "success_url": params.get("success_url"),
        "url": f"{world.settings.base_url}/pay/{session_id}",
    }
    line_items.attach(world, session, rows)
    world.hidden[session_id, "intent_data"] = intent_data
    return session


def _plain_fields(params: dict[str, Any]) -> Obj:
    """Give the fields that have one value in every session of this simulator."""
    nothing = (
        "adaptive_pricing",
        "after_expiration",
        "allow_promotion_codes",
        "client_secret",
        "collected_information",
        "consent",
        "consent_collection",
        "currency_conversion",
        "customer_account",
        "invoice",
        "origin_context",
        "phone_number_collection",
        "recovered_from",
        "saved_payment_method_options",
        "setup_intent",
        "shipping_address_collection",
        "shipping_cost",
        "subscription",
    )
    return {
        **dict.fromkeys(nothing),
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": params.get("billing_address_collection"),
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer_creation": params.get("customer_creation", "if_required"),
        "integration_identifier": params.get("integration_identifier"),
        "invoice_creation": {"enabled": False, "invoice_data": {}},
        "locale": params.get("locale"),
        "mode": "payment",
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card", "us_bank_account"],
        "redirect_on_completion": None,
        "shipping_options": [],
        "submit_type": params.get("submit_type"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "wallet_options": None,
    }


def start(world: World, session: Obj) -> None:
    """Keep a session and let it expire at its time."""
    world.add(session)
    _arm(world, session)


def rearm(world: World) -> None:
    """Let sessions of a restored world expire at their time."""
    for session in world.all("checkout.session"):
        if session["status"] == "open":
            _arm(world, session)


def _arm(world: World, session: Obj) -> None:
    world.after(session["expires_at"] - world.clock.time(), lambda: _expire_if_open(world, session))


def _expire_if_open(world: World, session: Obj) -> None:
    if session["status"] == "open":
        changed(session, status="expired", url=None)
        world.emit("checkout.session.expired", session)


def retrieve(call: Call) -> Obj:
    """Give a session."""
    return shown(call, call.world.get("checkout.session", call.id))


def update(call: Call) -> Obj:
    """Change a session's metadata."""
    session = call.world.get("checkout.session", call.id)
    changed(session, metadata=merged(session["metadata"], call.params.get("metadata")))
    return shown(call, session)


def expire(call: Call) -> Obj:
    """End an open session; one that is complete or expired stays as it is (400)."""
    session = call.world.get("checkout.session", call.id, "session")
    if session["status"] != "open":
        message = (
            f"Only Checkout Sessions with status 'open' can be expired; this one is '{session['status']}'."
        )
        raise invalid(message)
    _expire_if_open(call.world, session)
    return shown(call, session)


def list_sessions(call: Call) -> Obj:
    """List sessions, by creation, status, payment intent, payment link."""
    rows = paging.matching(
        call.world.all("checkout.session"),
        call.params,
        "status",
        "payment_intent",
        "payment_link",
        "customer",
    )
    if "customer_details" in call.params:
        email = call.params["customer_details"]["email"]
        rows = [row for row in rows if row["customer_details"]["email"] == email]
    return paging.page(call.world, rows, call.params, call.path)


def list_line_items(call: Call) -> Obj:
    """List what a session sells."""
    session = call.world.get("checkout.session", call.id)
    rows = list(reversed(line_items.of(call.world, session["id"])))
    return paging.page(call.world, rows, call.params, call.path)


_SESSIONS = "/v1/checkout/sessions"
ROUTES = (
    Route(f"POST {_SESSIONS}", create, scope="checkout", spec="checkout.SessionCreateParams"),
    Route(f"GET {_SESSIONS}", list_sessions, scope="checkout", spec="checkout.SessionListParams"),
    Route(f"GET {_SESSIONS}/{{id}}", retrieve, scope="checkout", spec="checkout.SessionRetrieveParams"),
    Route(f"POST {_SESSIONS}/{{id}}", update, scope="checkout", spec="checkout.SessionUpdateParams"),
    Route(f"POST {_SESSIONS}/{{id}}/expire", expire, scope="checkout", spec="checkout.SessionExpireParams"),
    Route(
        f"GET {_SESSIONS}/{{id}}/line_items",
        list_line_items,
        scope="checkout",
        spec="checkout.SessionListLineItemsParams",
    ),
)
