"""Issuing authorizations: asked for in real time, incremented, captured, reversed, expired."""

from typing import Any

import orjson

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import balance, card_controls, issuing_cards, issuing_transactions
from plugins.payments.simulator.resources.common import changed, currency, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.webhooks import REQUEST_EVENT, Answer, Webhooks
from plugins.payments.simulator.world import Obj, World

_LIFE_S = 7 * 24 * 3600  # Most card networks let an uncaptured authorization lapse after a week.
_CODES = {"computer_software_stores": "5734", "computer_network_services": "4816"}
_OK = 200


async def create(call: Call) -> Obj:
    """Attempt an authorization on a card, as a merchant would."""
    return shown(call, await attempt(call.world, call.hooks, call.params))


async def attempt(world: World, hooks: Webhooks, params: dict[str, Any]) -> Obj:
    """Attempt an authorization; give it, approved or declined. Raises ApiError (400, 404)."""
    card = world.get("issuing.card", params["card"], "card")
    amount = positive(params.get("amount", params.get("merchant_amount", 0)))
    code = currency(str(params.get("currency", card["currency"])))
    if code != card["currency"]:
        raise invalid(
            f"This simulator authorizes in the card's currency ({card['currency']})", param="currency"
        )
    authorization = world.add(_new(world, card, params))
    authorization["merchant_amount"] = params.get("merchant_amount", amount)
    authorization["merchant_currency"] = params.get("merchant_currency", code)
    verdict = await _decide(world, hooks, authorization, amount)
    _record(world, authorization, amount, verdict)
    approved = verdict["approved"]
    changed(authorization, amount=amount, approved=approved, status="pending" if approved else "closed")
    if approved:
        _hold(world, authorization, amount)
        _count_payment(world, card)
        _arm(world, authorization)
    world.emit("issuing_authorization.created", authorization)
    return authorization


def _new(world: World, card: Obj, params: dict[str, Any]) -> Obj:
    nothing = (
        "amount_details",
        "fleet",
        "fraud_challenges",
        "fuel",
        "network_data",
        "pending_request",
        "token",
        "treasury",
        "verified_by_fraud_challenge",
    )
    given = params.get("verification_data", {})
    return {
        **dict.fromkeys(nothing),
        "id": world.ids.new("iauth"),
        "object": "issuing.authorization",
        "amount": 0,
        "approved": False,
        "authorization_method": params.get("authorization_method", "online"),
        "balance_transactions": [],
        "card": card,
        "card_presence": "not_present",
        "cardholder": card["cardholder"]["id"],
        "created": world.now(),
        "currency": card["currency"],
        "livemode": False,
        "merchant_data": _merchant(world, params.get("merchant_data", {})),
        "metadata": {},
        "request_history": [],
        "status": "pending",
        "transactions": [],
        "verification_data": {
            "address_line1_check": given.get("address_line1_check", "not_provided"),
            "address_postal_code_check": given.get("address_postal_code_check", "not_provided"),
            "authentication_exemption": None,
            "cvc_check": given.get("cvc_check", "match"),
            "expiry_check": given.get("expiry_check", "match"),
            "postal_code": None,
            "three_d_secure": None,
        },
        "wallet": params.get("wallet"),
    }


def _merchant(world: World, given: dict[str, Any]) -> Obj:
    category = given.get("category", "computer_software_stores")
    nothing = ("city", "postal_code", "state", "tax_id", "terminal_id", "url")
    defaults = {"name": "Simulated Merchant", "country": "US", "network_id": world.ids.digits(10)}
    code = _CODES.get(category, "0000")
    return {**dict.fromkeys(nothing), **defaults, **given, "category": category, "category_code": code}


async def _decide(world: World, hooks: Webhooks, authorization: Obj, amount: int) -> Obj:
    """Give approved, reason, reason_message: the card's own controls first, then the real-time answer."""
    reason = card_controls.refusal(world, authorization, amount)
    if reason is not None:
        return _verdict(reason, approved=False)
    pending = {
        "amount": amount,
        "amount_details": None,
        "currency": authorization["currency"],
        "is_amount_controllable": False,
        "merchant_amount": amount,
        "merchant_currency": authorization["merchant_currency"],
        "network_risk_score": None,
    }
    authorization["pending_request"] = pending
    event = world.emit(REQUEST_EVENT, authorization)
    try:
        answer = await hooks.ask(event)
    except LookupError:
        return _verdict("card_active", approved=True)
    finally:
        authorization["pending_request"] = None
    verdict = _read(world, authorization, answer)
    # While the answer was on its way another authorization may have used up what this one counted on.
    late = card_controls.refusal(world, authorization, amount) if verdict["approved"] else None
    return verdict if late is None else _verdict(late, approved=False)


def _read(world: World, authorization: Obj, answer: Answer | None) -> Obj:
    default = world.settings.authorization_default
    if answer is None:
        return _verdict("webhook_timeout", approved=default)
    problem, body = _parse(answer)
    if problem is not None:
        return _verdict("webhook_error", approved=default, message=problem)
    authorization["metadata"] = merged(authorization["metadata"], body.get("metadata"))
    approved: bool = body["approved"]
    return _verdict("webhook_approved" if approved else "webhook_declined", approved=approved)


def _parse(answer: Answer) -> tuple[str | None, Obj]:
    if answer.status != _OK:
        return f"the answer's status was {answer.status}, not 200", {}
    if "stripe-version" not in answer.headers:
        return "the answer had no Stripe-Version header", {}
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        return f"the answer was not JSON: {error}", {}
    if not isinstance(body, dict) or not isinstance(body.get("approved"), bool):
        return 'the answer was not {"approved": true or false}', {}
    return None, body


def _verdict(reason: str, *, approved: bool, message: str | None = None) -> Obj:
    return {"approved": approved, "reason": reason, "reason_message": message}


def _record(world: World, authorization: Obj, amount: int, verdict: Obj) -> None:
    entry = {
        "amount": amount,
        "amount_details": None,
        "authorization_code": world.ids.digits(6) if verdict["approved"] else None,
        "created": world.now(),
        "currency": authorization["currency"],
        "merchant_amount": amount,
        "merchant_currency": authorization["merchant_currency"],
        "network_risk_score": None,
        "requested_at": world.now(),
        **verdict,
    }
    authorization["request_history"] = [*authorization["request_history"], entry]


def _hold(world: World, authorization: Obj, amount: int) -> None:
    """Hold more funds for an authorization, or give back a negative amount."""
    key = (authorization["currency"], authorization["id"])
    world.issuing_spent[key] = world.issuing_spent.get(key, 0) + amount
    kind = "issuing_authorization_hold" if amount >= 0 else "issuing_authorization_release"
    txn = balance.book(world, authorization, amount=-amount, fee=0, kind=kind)
    authorization["balance_transactions"] = [*authorization["balance_transactions"], txn]


def _count_payment(world: World, card: Obj) -> None:
    count = world.hidden.get((card["id"], "payments"), 0) + 1
    world.hidden[card["id"], "payments"] = count
    controls = card["lifecycle_controls"]
    if (
        controls is not None
        and count >= controls["cancel_after"]["payment_count"]
        and card["status"] == "active"
    ):
        issuing_cards.cancel(world, card)


def _open(world: World, authorization_id: str) -> Obj:
    authorization = world.get("issuing.authorization", authorization_id, "authorization")
    if authorization["status"] != "pending" or not authorization["approved"]:
        raise invalid(
            f"This authorization is {authorization['status']}; only a pending, approved one can change."
        )
    return authorization


async def increment(call: Call) -> Obj:
    """Ask for more on a pending authorization; declined, it stays at its amount."""
    authorization = _open(call.world, call.id)
    more = positive(call.params["increment_amount"], "increment_amount")
    verdict = await _decide(call.world, call.hooks, authorization, more)
    if authorization["status"] != "pending":
        raise invalid("The authorization ended while its increment was decided.")
    _record(call.world, authorization, more, verdict)
    if verdict["approved"]:
        _hold(call.world, authorization, more)
        changed(authorization, amount=authorization["amount"] + more)
    call.world.emit("issuing_authorization.updated", authorization)
    return shown(call, authorization)


def capture(call: Call) -> Obj:
    """Capture an authorization: all, a part, or more than was authorized."""
    amount = call.params.get("capture_amount")
    close = call.params.get("close_authorization", True)
    return shown(call, take(call.world, call.id, amount, close=close))


def take(world: World, authorization_id: str, amount: int | None = None, *, close: bool = True) -> Obj:
    """Capture `amount` (None: what is held) and close, or keep the rest held. Raises ApiError (400)."""
    authorization = _open(world, authorization_id)
    taken = positive(authorization["amount"] if amount is None else amount, "capture_amount")
    held = authorization["amount"]
    released = held if close else min(held, taken)
    if released:
        _hold(world, authorization, -released)
    transaction = issuing_transactions.add_capture(world, authorization["card"], taken, authorization)
    authorization["transactions"] = [*authorization["transactions"], transaction]
    captured = world.hidden.get((authorization["id"], "captured"), 0)
    world.hidden[authorization["id"], "captured"] = captured + taken
    changed(authorization, amount=held - released, status="closed" if close else "pending")
    world.emit("issuing_authorization.updated", authorization)
    return authorization


def reverse(call: Call) -> Obj:
    """Give back all or a part of what is held."""
    world = call.world
    authorization = _open(world, call.id)
    held: int = authorization["amount"]
    amount = positive(call.params.get("reverse_amount", held), "reverse_amount")
    if amount > held:
        raise invalid("reverse_amount is more than what is held", param="reverse_amount")
    if amount == held:
        return shown(call, end(world, authorization, "reversed"))
    _hold(world, authorization, -amount)
    changed(authorization, amount=held - amount)
    world.emit("issuing_authorization.updated", authorization)
    return shown(call, authorization)


def expire(call: Call) -> Obj:
    """Let a pending authorization lapse."""
    return shown(call, end(call.world, _open(call.world, call.id), "expired"))


def end(world: World, authorization: Obj, status: str) -> Obj:
    """End a pending authorization without a capture; one that ended before stays as it is."""
    if authorization["status"] == "pending":
        _hold(world, authorization, -authorization["amount"])
        changed(authorization, amount=0, status=status)
        world.emit("issuing_authorization.updated", authorization)
    return authorization


def rearm(world: World) -> None:
    """Let authorizations of a restored world lapse at their time."""
    for authorization in world.all("issuing.authorization"):
        if authorization["status"] == "pending":
            _arm(world, authorization)


def _arm(world: World, authorization: Obj) -> None:
    left = authorization["created"] + _LIFE_S - world.clock.time()
    world.after(left, lambda: _lapse(world, authorization))


def _lapse(world: World, authorization: Obj) -> None:
    end(world, authorization, "expired")


def update(call: Call) -> Obj:
    """Change an authorization's metadata."""
    authorization = call.world.get("issuing.authorization", call.id, "authorization")
    changed(authorization, metadata=merged(authorization["metadata"], call.params.get("metadata")))
    return shown(call, authorization)


def retrieve(call: Call) -> Obj:
    """Give an authorization."""
    return shown(call, call.world.get("issuing.authorization", call.id, "authorization"))


def list_authorizations(call: Call) -> Obj:
    """List authorizations, by card, cardholder or status."""
    rows = paging.matching(call.world.all("issuing.authorization"), call.params, "cardholder", "status")
    if "card" in call.params:
        rows = [row for row in rows if row["card"]["id"] == call.params["card"]]
    return paging.page(call.world, rows, call.params, call.path)


_ONE, _TEST = "/v1/issuing/authorizations", "/v1/test_helpers/issuing/authorizations"
_SPEC, _HELPER = "issuing.Authorization", "test_helpers.issuing.Authorization"
ROUTES = (
    Route(f"GET {_ONE}", list_authorizations, scope="issuing", spec=f"{_SPEC}ListParams"),
    Route(f"GET {_ONE}/{{id}}", retrieve, scope="issuing", spec=f"{_SPEC}RetrieveParams"),
    Route(f"POST {_ONE}/{{id}}", update, scope="issuing", spec=f"{_SPEC}UpdateParams"),
    Route(f"POST {_TEST}", create, scope="issuing", spec=f"{_HELPER}CreateParams"),
    Route(f"POST {_TEST}/{{id}}/increment", increment, scope="issuing", spec=f"{_HELPER}IncrementParams"),
    Route(f"POST {_TEST}/{{id}}/capture", capture, scope="issuing", spec=f"{_HELPER}CaptureParams"),
    Route(f"POST {_TEST}/{{id}}/reverse", reverse, scope="issuing", spec=f"{_HELPER}ReverseParams"),
    Route(f"POST {_TEST}/{{id}}/expire", expire, scope="issuing", spec=f"{_HELPER}ExpireParams"),
)
