"""What a card refuses by itself: its status, its spending controls, the funds behind it."""

from datetime import UTC, datetime, timedelta

from plugins.payments.simulator.resources import balance
from plugins.payments.simulator.world import Obj, World

_WINDOWS_DAYS = {"daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}


def refusal(world: World, authorization: Obj, amount: int) -> str | None:
    """Give the reason why the card refuses `amount` more on this authorization, or None."""
    card = authorization["card"]
    if card["status"] != "active" and not _had_approval(authorization):
        return f"card_{card['status']}"
    if card["cardholder"]["status"] != "active":
        return f"cardholder_{card['cardholder']['status']}"
    if _is_expired(world, card):
        return "card_expired"
    limits = card["spending_controls"]["spending_limits"]
    is_over = any(_is_over(world, authorization, amount, limit) for limit in limits)
    if is_over or _is_blocked(card["spending_controls"], authorization["merchant_data"]):
        return "spending_controls"
    if amount > balance.issuing_available(world, card["currency"]):
        return "insufficient_funds"
    return None


def _had_approval(authorization: Obj) -> bool:
    """Tell whether it was approved before: an increment works on a card its first payment has cancelled."""
    return bool(authorization["approved"])


def _is_expired(world: World, card: Obj) -> bool:
    today = datetime.fromtimestamp(world.clock.time(), UTC)
    return (card["exp_year"], card["exp_month"]) < (today.year, today.month)


def _is_blocked(controls: Obj, merchant: Obj) -> bool:
    rules = (("categories", merchant["category"]), ("merchant_countries", merchant["country"]))
    for name, value in rules:
        allowed, blocked = controls[f"allowed_{name}"], controls[f"blocked_{name}"]
        if allowed is not None and value not in allowed:
            return True
        if blocked is not None and value in blocked:
            return True
    return False


def _is_over(world: World, authorization: Obj, amount: int, limit: Obj) -> bool:
    if limit["categories"] and authorization["merchant_data"]["category"] not in limit["categories"]:
        return False
    own = spent(world, authorization)
    if limit["interval"] == "per_authorization":
        return own + amount > int(limit["amount"])
    if world.settings.limits_lag:
        # Stripe's aggregates are best effort: what was authorized a moment ago may not count yet.
        return amount > int(limit["amount"])
    since = _since(world, limit["interval"])
    others = (
        row for row in world.all("issuing.authorization") if row["card"]["id"] == authorization["card"]["id"]
    )
    used = sum(spent(world, row) for row in others if row["created"] >= since)
    return used + amount > int(limit["amount"])


def _since(world: World, interval: str) -> float:
    days = _WINDOWS_DAYS.get(interval)
    return float("-inf") if days is None else world.clock.time() - timedelta(days=days).total_seconds()


def spent(world: World, authorization: Obj) -> int:
    """Give what an authorization takes of the card's limits: what it holds and what was captured of it."""
    held = (
        authorization["amount"] if authorization["approved"] and authorization["status"] == "pending" else 0
    )
    return held + int(world.hidden.get((authorization["id"], "captured"), 0))
