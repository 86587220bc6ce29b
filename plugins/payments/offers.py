"""Putting an offer on sale at Stripe.

A product and a price with ids and lookup keys that are always the same.

Run by the owner's command, never by an agent. Asking twice makes nothing twice: the product's id is ours, and
a price is found by its lookup key, which names offer, amount and currency.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from plugins.payments.stripe_api import StripeApi
from policy.errors import NotExecuted
from policy.language import Mode
from policy.money import Money, stripe_minor_units

_GONE: Final = 404
_EXISTS: Final = "resource_already_exists"


class Ensured(Struct, frozen=True, kw_only=True):
    """The ids of an offer at Stripe, and whose they are."""

    product_ref: str
    price_ref: str
    mode: Mode
    provider_account: str


async def ensure_offer(api: StripeApi, offer: str, name: str, price: Money) -> Ensured:
    """Make or find product and price of an offer. Raises stripe.StripeError, NotExecuted, MoneyError."""
    identity = await api.identity("earn", fresh=True)
    product_ref = await _product(api, f"bursar_offer_{offer}", name)
    price_ref = await _price(api, product_ref, offer, price)
    return Ensured(
        product_ref=product_ref, price_ref=price_ref, mode=identity.mode, provider_account=identity.account
    )


async def _product(api: StripeApi, product_ref: str, name: str) -> str:
    import stripe

    products = api.client("earn").v1.products
    try:
        found = await api.ask(products.retrieve_async(product_ref))
    except stripe.InvalidRequestError as error:
        if error.http_status != _GONE:
            raise
        found = None
    if found is None:
        try:
            await api.ask(products.create_async({"id": product_ref, "name": name}))
        except stripe.InvalidRequestError as error:
            if error.code != _EXISTS:  # Another command was quicker: the product is there all the same.
                raise
    elif found.data.get("name") != name or not found.data.get("active", True):
        await api.ask(products.update_async(product_ref, {"name": name, "active": True}))
    return product_ref


async def _price(api: StripeApi, product_ref: str, offer: str, price: Money) -> str:
    amount, currency = stripe_minor_units(price), price.currency.lower()
    lookup = f"bursar_{offer}_{amount}_{currency}"
    prices = api.client("earn").v1.prices
    page = await api.ask(prices.list_async({"lookup_keys": [lookup], "active": True, "limit": 1}))
    for row in page.data["data"]:
        _same(row, product_ref, amount, currency)
        return str(row["id"])
    body: Any = {
        "product": product_ref,
        "unit_amount": amount,
        "currency": currency,
        "lookup_key": lookup,
        "transfer_lookup_key": True,
    }
    # The key makes a command that was cut off and typed again find the price it made.
    made = await api.ask(prices.create_async(body, {"idempotency_key": f"bursar:{product_ref}:{lookup}"}))
    _same(made.data, product_ref, amount, currency)
    return str(made.data["id"])


def _same(row: Any, product_ref: str, amount: int, currency: str) -> None:  # noqa: ANN401 -- Stripe's JSON
    product = row.get("product")
    named = product.get("id") if isinstance(product, dict) else product
    if (named, row.get("unit_amount"), row.get("currency")) != (product_ref, amount, currency):
        raise NotExecuted(
            f"the price {row.get('id')} at Stripe is not what its lookup key says; archive it at Stripe"
        )
