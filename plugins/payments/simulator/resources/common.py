"""What several families share: metadata, retrieving, checks of amounts and currencies."""

from typing import Any

from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.routes import Call
from plugins.payments.simulator.world import Obj

# Currencies the simulator trades in; the first group has no minor unit, as at Stripe.
ZERO_DECIMAL = frozenset({"jpy", "krw", "vnd", "clp"})
CURRENCIES = ZERO_DECIMAL | {"usd", "eur", "gbp", "chf", "cad", "aud", "sek", "nok", "dkk", "pln", "kwd"}
MAX_AMOUNT = 99_999_999  # Stripe's documented limit of eight digits.
_MINIMUM = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "chf": 50, "cad": 50, "aud": 50}


def currency(code: str, param: str = "currency") -> str:
    """Give the currency in lower case. Raises ApiError (400)."""
    lower = code.lower()
    if lower not in CURRENCIES:
        raise invalid(f"Invalid currency: {code}", param=param)
    return lower


def positive(amount: int, param: str = "amount") -> int:
    """Give an amount of at least one minor unit. Raises ApiError (400)."""
    if amount < 1:
        raise invalid("Invalid positive integer", param=param, code="parameter_invalid_integer")
    if amount > MAX_AMOUNT:
        raise invalid(f"Amount must be no more than {MAX_AMOUNT}", param=param, code="amount_too_large")
    return amount


def chargeable(amount: int, code: str) -> int:
    """Give an amount that a card network takes. Raises ApiError (400, amount_too_small)."""
    positive(amount)
    least = _MINIMUM.get(code, 1)
    if amount < least:
        raise invalid(f"Amount must be at least {least} {code}", param="amount", code="amount_too_small")
    return amount


def merged(old: dict[str, str], new: dict[str, str] | str | None) -> dict[str, str]:
    """Give metadata after an update: an empty value removes its key, an empty string all of them."""
    if new is None:
        return old
    if isinstance(new, str):
        return {}
    return {k: v for k, v in {**old, **new}.items() if v != ""}


def shown(call: Call, obj: Obj) -> Obj:
    """Give an object for the answer, expanded as the call asks."""
    return call.world.render(obj, call.params.get("expand", ()))


def changed(obj: Obj, **values: Any) -> Obj:  # noqa: ANN401  JSON values
    """Set fields and give what they were before, for `previous_attributes`."""
    before = {name: obj.get(name) for name, value in values.items() if obj.get(name) != value}
    obj.update(values)
    return before
