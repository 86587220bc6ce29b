"""Parameters are those of the SDK's own types: what the real Stripe would refuse is refused here."""

import importlib
from typing import Any

import pytest
import stripe

from plugins.payments.simulator import forms, params
from plugins.payments.simulator.errors import ApiError
from plugins.payments.simulator.resources import supported
from plugins.payments.simulator.resources.table import ROUTES
from tests.plugins.payments.simulator.conftest import Shop

SESSION = "checkout.SessionCreateParams"


def check(spec: str, text: str) -> dict[str, Any]:
    """Check a form body."""
    return params.check(spec, forms.decode(text), is_form=True)


def test_a_form_becomes_numbers_booleans_lists_and_objects() -> None:
    """The wire carries only text; the types say what it was."""
    items = "line_items[0][price]=price_1&line_items[0][quantity]=2"
    text = f"mode=payment&{items}&metadata[order]=7&expand[]=line_items"
    expected = {
        "mode": "payment",
        "line_items": [{"price": "price_1", "quantity": 2}],
        "metadata": {"order": "7"},
        "expand": ["line_items"],
    }
    assert check(SESSION, text) == expected
    assert check("PaymentLinkUpdateParams", "active=false") == {"active": False}


def test_a_list_keeps_its_order_past_nine() -> None:
    """Indexes are numbers, not text: 10 comes after 9."""
    text = "&".join(f"ids[{n}]=prod_{n}" for n in reversed(range(12)))
    assert check("ProductListParams", text)["ids"] == [f"prod_{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("spec", "text", "param", "code"),
    [
        (SESSION, "metdata[a]=b", "metdata", "parameter_unknown"),
        (SESSION, "line_items[0][quantty]=1", "line_items[0][quantty]", "parameter_unknown"),
        (SESSION, "line_items[0][quantity]=one", "line_items[0][quantity]", "parameter_invalid_integer"),
        (SESSION, "mode=paiment", "mode", None),
        (SESSION, "api_key=sk_test_x", "api_key", "parameter_unknown"),
        ("issuing.CardCreateParams", "currency=usd&type=virtual&status=activ", "status", None),
        ("issuing.CardCreateParams", "currency=usd", "type", "parameter_missing"),
        (
            "issuing.CardCreateParams",
            "currency=usd&type=virtual&lifecycle_controls[cancel_after][payment_count]=1.5",
            "lifecycle_controls[cancel_after][payment_count]",
            "parameter_invalid_integer",
        ),
        ("RefundCreateParams", "reason=because", "reason", None),
        ("ProductCreateParams", "name=x&active=yes", "active", None),
        ("EventListParams", "created[after]=3", "created[after]", "parameter_unknown"),
        (SESSION, f"metadata[{'k' * 41}]=v", "metadata", None),
        (SESSION, f"metadata[k]={'v' * 501}", "metadata", None),
    ],
)
def test_a_wrong_parameter_is_named(spec: str, text: str, param: str, code: str | None) -> None:
    """The answer says which parameter, so that a caller can mend it."""
    with pytest.raises(ApiError) as caught:
        check(spec, text)
    assert caught.value.status == 400
    assert caught.value.fields.get("param") == param
    assert caught.value.fields.get("code") == code


def test_v2_takes_json_types_as_they_are() -> None:
    """In JSON a number is a number; text that looks like one is not."""
    good = {"amount": {"value": 5, "currency": "usd"}, "from": {"financial_account": "fa", "currency": "usd"}}
    spec = "v2.money_management.OutboundPaymentCreateParams"
    assert params.check(spec, {**good, "to": {"recipient": "acct"}}, is_form=False)["amount"]["value"] == 5
    with pytest.raises(ApiError) as caught:
        params.check(
            spec,
            {**good, "amount": {"value": "5", "currency": "usd"}, "to": {"recipient": "a"}},
            is_form=False,
        )
    assert caught.value.fields["param"] == "amount[value]"


@pytest.mark.parametrize("text", ["a[b=1", "a]=1", "a=1&a[b]=2", "a[b]=2&a=1"])
def test_brackets_that_do_not_fit_are_refused(text: str) -> None:
    """A body that means two things means nothing."""
    with pytest.raises(ApiError):
        forms.decode(text)


def test_every_route_names_types_that_the_sdk_has() -> None:
    """A misspelt name would only be found by the first request."""
    for route in ROUTES.all():
        if route.spec is None:
            continue
        module, _, name = f"stripe.params.{route.spec}".rpartition(".")
        assert hasattr(importlib.import_module(module), name), route.template


def test_every_honoured_parameter_is_one_the_sdk_has() -> None:
    """The table of what is honoured is checked against the types, and has no entry without a route."""
    specs = {route.spec for route in ROUTES.all()}
    assert set(supported.HONOURED) <= specs
    for spec, names in supported.HONOURED.items():
        module, _, name = f"stripe.params.{spec}".rpartition(".")
        typed = getattr(importlib.import_module(module), name)
        assert names <= set(typed.__annotations__) | set(typed.__required_keys__), spec


async def test_what_is_not_simulated_is_refused_not_forgotten(shop: Shop) -> None:
    """A parameter taken and ignored would make a test pass that means nothing."""
    for more in ({"phone_number_collection": {"enabled": True}}, {"allow_promotion_codes": True}):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await shop.session(**more)
        assert caught.value.code == "not_simulated"
    tiered: Any = {
        "currency": "usd",
        "unit_amount": 100,
        "product_data": {"name": "x"},
        "tiers_mode": "graduated",
    }
    with pytest.raises(stripe.InvalidRequestError):
        await shop.client.v1.prices.create_async(tiered)


async def test_the_real_sdks_mistake_reaches_its_caller(shop: Shop) -> None:
    """Through the SDK an unknown parameter is an InvalidRequestError with its name."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await shop.session(quantty=1)
    assert caught.value.param == "quantty"
