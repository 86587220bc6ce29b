"""The truth that harnesses count: every object through which money moves or may move."""

from typing import Any

from plugins.payments.simulator.world import Obj, World

_KINDS = {
    "checkout.session": "checkout_session",
    "payment_link": "payment_link",
    "charge": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "issuing.card": "card",
    "issuing.authorization": "authorization",
    "issuing.transaction": "transaction",
    "v2.money_management.outbound_payment": "outbound_payment",
}


def of(world: World) -> list[Obj]:
    """Give one row for each effect: kind, id, amount in minor units, currency, status, origin.

    `request_id` and `idempotency_key` are of the API request that made it; a page or a timer has none.
    """
    rows: list[Obj] = []
    for kind, name in _KINDS.items():
        rows.extend(_row(world, name, obj) for obj in world.all(kind))
    return rows


def _row(world: World, name: str, obj: Obj) -> Obj:
    origin = world.origins.get(obj["id"])
    amount, currency = _money(obj)
    return {
        "kind": name,
        "id": obj["id"],
        "amount_minor": amount,
        "currency": currency,
        "status": _status(name, obj),
        "refers_to": _refers_to(obj),
        "metadata": obj.get("metadata", {}),
        "created": obj.get("created"),
        "request_id": origin.request_id if origin else None,
        "idempotency_key": origin.idempotency_key if origin else None,
    }


def _money(obj: Obj) -> tuple[int | None, str]:
    amount: Any = obj.get("amount", obj.get("amount_total"))
    if isinstance(amount, dict):
        return amount["value"], amount["currency"]
    if obj["object"] == "issuing.card":
        limits = obj["spending_controls"]["spending_limits"] or [{"amount": None}]
        return limits[0]["amount"], obj["currency"]
    return amount, obj["currency"]


def _status(name: str, obj: Obj) -> str:
    if name == "checkout_session":
        return f"{obj['status']}/{obj['payment_status']}"
    if name == "payment_link":
        return "active" if obj["active"] else "inactive"
    if name == "authorization":
        return f"{obj['status']}/{'approved' if obj['approved'] else 'declined'}"
    if name == "transaction":
        return str(obj["type"])
    return str(obj["status"])


def _refers_to(obj: Obj) -> str | None:
    """Give what it belongs to: a refund's charge, a capture's authorization, an authorization's card."""
    for field in ("charge", "authorization", "card", "payment_link", "payment_intent", "to"):
        value = obj.get(field)
        if isinstance(value, str):
            return value
        if isinstance(value, dict):
            return str(value.get("id") or value.get("recipient"))
    return None
