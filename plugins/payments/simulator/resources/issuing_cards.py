"""Issuing cardholders and virtual cards: made inactive, activated, cancelled for good."""

from datetime import UTC, datetime

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources.common import changed, currency, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_CONTROLS = (
    "allowed_card_presences",
    "allowed_categories",
    "allowed_merchant_countries",
    "blocked_card_presences",
    "blocked_categories",
    "blocked_merchant_countries",
)
_NUMBER_HEAD = "400000999000"  # Stripe's test range of issued cards; no bank ever gave one out.
_VALID_YEARS = 4


def _need_issuing(world: World) -> None:
    if not world.settings.issuing_enabled:
        raise invalid("Your account is not set up to use Issuing.")


def create_cardholder(call: Call) -> Obj:
    """Create a cardholder, active at once."""
    world, params = call.world, call.params
    _need_issuing(world)
    if not params["name"].strip():
        raise invalid("name must not be empty", param="name", code="parameter_invalid_empty")
    holder = _new_holder(world, params)
    world.emit("issuing_cardholder.created", holder)
    return shown(call, holder)


def found(world: World) -> None:
    """Give a new account the cardholder whose cards an operator may let be made."""
    address = {
        "line1": "1 Simulated Street",
        "city": "San Francisco",
        "postal_code": "94107",
        "country": "US",
    }
    params = {"name": "SIMULATED cardholder", "type": "company", "billing": {"address": address}}
    world.cardholder = _new_holder(world, params)["id"]


def _new_holder(world: World, params: Obj) -> Obj:
    address = {
        "line1": None,
        "line2": None,
        "city": None,
        "state": None,
        "postal_code": None,
        "country": None,
    }
    kind = params.get("type", "individual")
    holder: Obj = {
        "id": world.ids.new("ich"),
        "object": "issuing.cardholder",
        "billing": {"address": {**address, **params["billing"]["address"]}},
        "company": {"tax_id_provided": False} if kind == "company" else None,
        "created": world.now(),
        "email": params.get("email"),
        "individual": None,
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "name": params["name"],
        "phone_number": params.get("phone_number"),
        "preferred_locales": [],
        "requirements": {"disabled_reason": None, "past_due": []},
        "spending_controls": _controls(params.get("spending_controls", {}), world.settings.currency),
        "status": params.get("status", "active"),
        "type": kind,
    }
    return world.add(holder)


def update_cardholder(call: Call) -> Obj:
    """Change a cardholder's status, contact or metadata."""
    holder = call.world.get("issuing.cardholder", call.id, "cardholder")
    values: Obj = {n: call.params[n] for n in ("email", "phone_number", "status") if n in call.params}
    values["metadata"] = merged(holder["metadata"], call.params.get("metadata"))
    call.world.emit("issuing_cardholder.updated", holder, changed(holder, **values))
    return shown(call, holder)


def retrieve_cardholder(call: Call) -> Obj:
    """Give a cardholder."""
    return shown(call, call.world.get("issuing.cardholder", call.id, "cardholder"))


def list_cardholders(call: Call) -> Obj:
    """List cardholders, by email, status or type."""
    rows = paging.matching(
        call.world.all("issuing.cardholder"), call.params, "email", "status", "type", "phone_number"
    )
    return paging.page(call.world, rows, call.params, call.path)


def create_card(call: Call) -> Obj:
    """Create a virtual card, inactive unless asked otherwise."""
    world, params = call.world, call.params
    _need_issuing(world)
    if params["type"] != "virtual":
        raise invalid("This simulator has virtual cards only", param="type")
    if "cardholder" not in params:
        raise invalid("Missing required param: cardholder.", param="cardholder", code="parameter_missing")
    holder = world.get("issuing.cardholder", params["cardholder"], "cardholder")
    code = currency(params["currency"])
    year = datetime.fromtimestamp(world.clock.time(), UTC).year
    last4 = world.ids.digits(4)
    card: Obj = {
        "id": world.ids.new("ic"),
        "object": "issuing.card",
        "brand": "Visa",
        "cancellation_reason": None,
        "cardholder": holder,
        "created": world.now(),
        "currency": code,
        "exp_month": params.get("exp_month", 12),
        "exp_year": params.get("exp_year", year + _VALID_YEARS),
        "financial_account": None,
        "last4": last4,
        "latest_fraud_warning": None,
        "lifecycle_controls": _lifecycle(params.get("lifecycle_controls")),
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "personalization_design": None,
        "replaced_by": None,
        "replacement_for": None,
        "replacement_reason": None,
        "second_line": None,
        "shipping": None,
        "spending_controls": _controls(params.get("spending_controls", {}), code),
        "status": params.get("status", "inactive"),
        "type": "virtual",
        "wallets": {"apple_pay": {"eligible": False}, "google_pay": {"eligible": False}},
    }
    world.included[card["id"], "number"] = _NUMBER_HEAD + last4
    world.included[card["id"], "cvc"] = world.ids.digits(3)
    world.add(card)
    world.emit("issuing_card.created", card)
    return shown(call, card)


def _lifecycle(given: Obj | None) -> Obj | None:
    if given is None:
        return None
    count = positive(
        given["cancel_after"]["payment_count"], "lifecycle_controls[cancel_after][payment_count]"
    )
    return {"cancel_after": {"payment_count": count}}


def _controls(given: Obj, code: str) -> Obj:
    limits = given.get("spending_limits") or []
    for number, limit in enumerate(limits):
        positive(limit["amount"], f"spending_controls[spending_limits][{number}][amount]")
    return {
        **dict.fromkeys(_CONTROLS),
        **{name: given[name] for name in _CONTROLS if given.get(name)},
        "spending_limits": [{"categories": [], **limit} for limit in limits],
        "spending_limits_currency": code,
    }


def update_card(call: Call) -> Obj:
    """Activate, deactivate or cancel a card, or change its controls and metadata; cancelled is for good."""
    world, params = call.world, call.params
    card = world.get("issuing.card", call.id, "card")
    status = params.get("status", card["status"])
    if card["status"] == "canceled" and status != "canceled":
        raise invalid("This card is canceled; a canceled card cannot change its status.", param="status")
    if card["status"] == "canceled" and "spending_controls" in params:
        raise invalid(
            "This card is canceled; its spending controls cannot change.", param="spending_controls"
        )
    if status == "active" and card["cardholder"]["status"] != "active":
        raise invalid("The cardholder is not active; the card cannot be activated.", param="status")
    values: Obj = {"status": status, "metadata": merged(card["metadata"], params.get("metadata"))}
    if "cancellation_reason" in params:
        values["cancellation_reason"] = params["cancellation_reason"]
    if "spending_controls" in params:
        values["spending_controls"] = _controls(params["spending_controls"], card["currency"])
    before = changed(card, **values)
    if before:
        world.emit("issuing_card.updated", card, before)
    return shown(call, card)


def cancel(world: World, card: Obj) -> None:
    """Cancel a card whose lifecycle controls say so."""
    world.emit("issuing_card.updated", card, changed(card, status="canceled"))


def retrieve_card(call: Call) -> Obj:
    """Give a card; its number only to who asks for it with expand."""
    return shown(call, call.world.get("issuing.card", call.id, "card"))


def list_cards(call: Call) -> Obj:
    """List cards, by cardholder, status, type or last digits."""
    rows = paging.matching(
        call.world.all("issuing.card"), call.params, "status", "type", "last4", "exp_month", "exp_year"
    )
    if "cardholder" in call.params:
        rows = [row for row in rows if row["cardholder"]["id"] == call.params["cardholder"]]
    return paging.page(call.world, rows, call.params, call.path)


_HOLDERS, _CARDS = "/v1/issuing/cardholders", "/v1/issuing/cards"
ROUTES = (
    Route(f"POST {_HOLDERS}", create_cardholder, scope="issuing", spec="issuing.CardholderCreateParams"),
    Route(f"GET {_HOLDERS}", list_cardholders, scope="issuing", spec="issuing.CardholderListParams"),
    Route(
        f"GET {_HOLDERS}/{{id}}",
        retrieve_cardholder,
        scope="issuing",
        spec="issuing.CardholderRetrieveParams",
    ),
    Route(
        f"POST {_HOLDERS}/{{id}}", update_cardholder, scope="issuing", spec="issuing.CardholderUpdateParams"
    ),
    Route(f"POST {_CARDS}", create_card, scope="issuing", spec="issuing.CardCreateParams"),
    Route(f"GET {_CARDS}", list_cards, scope="issuing", spec="issuing.CardListParams"),
    Route(f"GET {_CARDS}/{{id}}", retrieve_card, scope="issuing", spec="issuing.CardRetrieveParams"),
    Route(f"POST {_CARDS}/{{id}}", update_card, scope="issuing", spec="issuing.CardUpdateParams"),
)
