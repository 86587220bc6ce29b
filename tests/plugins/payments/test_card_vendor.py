"""The vendor of a card purchase is one shop, and the page is at it."""

from __future__ import annotations

import pytest

from plugins.payments.cards import CardPurchase, Category, _check_url
from policy.errors import InvalidArguments
from policy.money import Money


def wanted(vendor: str, url: str) -> CardPurchase:
    """Ask to buy at a page."""
    return CardPurchase(
        vendor=vendor, url=url, amount=Money(500, "USD"), category=Category.SOFTWARE, purpose="work"
    )


@pytest.mark.parametrize(
    ("vendor", "url"),
    [
        ("shop.co.uk", "https://shop.co.uk/buy"),
        ("shop.co.uk", "https://pay.shop.co.uk/buy"),
        ("co.com", "https://co.com/buy"),
    ],
)
def test_a_page_at_the_vendor_or_a_part_of_it_is_taken(vendor: str, url: str) -> None:
    """Shops have checkouts of their own below their name."""
    _check_url(wanted(vendor, url))


@pytest.mark.parametrize(
    ("vendor", "url", "field"),
    [
        ("co.uk", "https://evil.co.uk/buy", "vendor"),
        ("com.au", "https://com.au/buy", "vendor"),
        ("shop.co.uk", "https://evil.co.uk/buy", "url"),
        ("shop.co.uk", "https://evilshop.co.uk/buy", "url"),
        ("shop.co.uk", "https://shop.co.uk@evil.example/buy", "url"),
        ("shop.co.uk", "https://shop.co.uk:8443/buy", "url"),
        ("shop.co.uk", "http://shop.co.uk/buy", "url"),
        ("shop.co.uk", "https://shop.co.uk\\.evil.example/", "url"),
        ("shop.co.uk", "https://[shop.co.uk/buy", "url"),
    ],
)
def test_a_vendor_that_is_everybody_or_a_page_elsewhere_is_refused(vendor: str, url: str, field: str) -> None:
    """M21: 'co.uk' once paid would make every shop of a country a known payee."""
    with pytest.raises(InvalidArguments) as refused:
        _check_url(wanted(vendor, url))
    assert refused.value.field == field
