"""Money is exact, has one notation, and refuses what it cannot express."""

from __future__ import annotations

import copy
import pickle
import re

import iso4217
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import money
from policy.errors import MoneyError
from policy.money import (
    EXPONENTS,
    LARGEST_MINOR_UNITS,
    Money,
    from_stripe,
    stripe_minor_units,
    stripe_payout_units,
)

AMOUNTS = st.builds(Money, st.integers(0, LARGEST_MINOR_UNITS), st.sampled_from(sorted(EXPONENTS)))


class Priced(msgspec.Struct):
    price: Money
    tip: Money | None = None


def decode(text: str) -> Priced:
    """Decode as every tool's arguments are decoded."""
    return msgspec.json.decode(text, type=Priced, dec_hook=money.dec_hook)


def test_the_table_of_currencies_is_the_librarys() -> None:
    """The table saves 37 ms at every start; it must never drift from ISO 4217."""
    library = {each.code: each.exponent for each in iso4217.Currency if each.exponent is not None}
    assert library == EXPONENTS


@given(AMOUNTS)
def test_what_is_printed_is_read_back(amount: Money) -> None:
    """One notation everywhere: what an approver reads is what an agent may write."""
    assert Money.parse(str(amount)) == amount
    assert re.fullmatch(money.NOTATION, str(amount))


@pytest.mark.parametrize(
    ("text", "units"),
    [("19.99 USD", 1_999), ("0.00 USD", 0), ("500 JPY", 500), ("1.234 KWD", 1_234), ("0.0001 CLF", 1)],
)
def test_decimals_are_those_of_the_currency(text: str, units: int) -> None:
    """A factor of a hundred between yen and dollars is the classic way to lose money."""
    assert Money.parse(text).minor_units == units
    assert str(Money.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "19.99",
        "USD",
        "19.99USD",
        "19.99  USD",
        " 19.99 USD",
        "19.99 USD ",
        "19.99 USD\n",
        "19.9 USD",
        "19.999 USD",
        "19 USD",
        "19. USD",
        ".99 USD",
        "19,99 USD",
        "1,000.00 USD",
        "1_000.00 USD",
        "+1.00 USD",
        "-1.00 USD",
        "01.00 USD",
        "00.00 USD",
        "1e3 USD",
        "0x10 USD",
        "1.00 usd",
        "1.00 XXX",
        "1.00 ABC",
        "$1.00",
        "1.00 JPY",
        "1.00 KWD",
        "NaN USD",
        "Infinity USD",
        "\u0661.\u0660\u0660 USD",  # Arabic-Indic digits, which int() would take.
        "\uff11.\uff10\uff10 USD",  # Full-width digits, likewise.
        "1.00\u00a0USD",
        "99999999999999.99 USD9",
        "90071992547409.92 USD",  # 2^53 cents.
        "9" * 5_000 + ".00 USD",
    ],
)
def test_nothing_else_is_money(text: str) -> None:
    """Whatever could be read in two ways is refused in one line that shows the right way."""
    with pytest.raises(MoneyError) as refused:
        Money.parse(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 160


def test_a_refusal_shows_the_right_way() -> None:
    """An agent that wrote it wrong must be able to write it right from the message alone."""
    with pytest.raises(MoneyError, match=re.escape("'19.9 USD' needs exactly 2 decimals, as in '19.90 USD'")):
        Money.parse("19.9 USD")
    with pytest.raises(MoneyError, match=re.escape("'5.00 JPY' needs exactly 0 decimals, as in '5 JPY'")):
        Money.parse("5.00 JPY")


def test_money_is_made_of_a_whole_number_and_a_real_currency() -> None:
    """A float or a truth value in place of minor units is a bug that must not get far."""
    for units in (1.0, True, "1", None):
        with pytest.raises(MoneyError, match="whole number"):
            Money(units, "USD")  # type: ignore[arg-type]  # The mistake under test.
    with pytest.raises(MoneyError, match="unknown currency"):
        Money(1, "XAU")
    with pytest.raises(MoneyError, match="beyond"):
        Money(2**53, "USD")


def test_a_negative_amount_prints_but_cannot_be_entered() -> None:
    """Adjustments and carried losses exist in the ledger; nobody may ask for one."""
    assert str(Money(-5, "USD")) == "-0.05 USD"
    assert str(Money(-7, "JPY")) == "-7 JPY"
    with pytest.raises(MoneyError):
        Money.parse(str(Money(-5, "USD")))


def test_money_is_a_value() -> None:
    """It is a key of dicts and a field of frozen records, so it must not change."""
    one = Money(1_999, "USD")
    assert one == Money(1_999, "USD")
    assert one != Money(1_999, "EUR")
    assert one != "19.99 USD"
    assert len({one, Money(1_999, "USD"), Money(1, "USD")}) == 2
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own bytes
    assert repr(one) == "Money(1999, 'USD')"
    assert one.exponent == 2
    with pytest.raises(AttributeError, match="immutable"):
        one.minor_units = 1
    with pytest.raises(AttributeError, match="immutable"):
        del one.currency


def test_amounts_compare_and_add_in_one_currency_only() -> None:
    """M16: no rate is ever guessed."""
    small, large = Money(1, "USD"), Money(2, "USD")
    assert small < large
    assert small <= large
    assert large > small
    assert large >= small
    assert small + large == Money(3, "USD")
    assert small - large == Money(-1, "USD")
    for compare in (Money.__lt__, Money.__le__, Money.__gt__, Money.__ge__, Money.__add__, Money.__sub__):
        with pytest.raises(MoneyError, match="different currencies"):
            compare(small, Money(1, "EUR"))
    with pytest.raises(TypeError, match="goes with Money only"):
        assert small < 5  # type: ignore[operator]  # The mistake under test.


def test_msgspec_reads_and_writes_the_notation_and_nothing_else() -> None:
    """Arguments of every tool pass here: no floats, no objects, no bare numbers."""
    assert decode('{"price": "19.99 USD"}') == Priced(Money(1_999, "USD"))
    written = msgspec.json.encode(Priced(Money(5, "JPY")), enc_hook=money.enc_hook)
    assert written == b'{"price":"5 JPY","tip":null}'
    for wrong in ("19.99", "1999", "true", "{}", '"19.9 USD"', '["19.99 USD"]'):
        with pytest.raises(msgspec.ValidationError, match=re.escape("$.price")):
            decode(f'{{"price": {wrong}}}')


def test_the_hooks_know_money_only() -> None:
    """A type nobody described must be an error and not an empty text."""
    for hook, given_ in ((money.enc_hook, object()), (money.schema_hook, set)):
        with pytest.raises(NotImplementedError):
            hook(given_)  # type: ignore[arg-type]  # Each takes its own sort of thing.
    with pytest.raises(NotImplementedError):
        money.dec_hook(set, [])
    schema = msgspec.json.schema(Priced, schema_hook=money.schema_hook)
    price = schema["$defs"]["Priced"]["properties"]["price"]
    assert all(re.fullmatch(price["pattern"], example) for example in price["examples"])


@pytest.mark.parametrize(
    ("text", "stripe"),
    [
        ("19.99 USD", 1_999),
        ("500 JPY", 500),
        ("5 ISK", 500),
        ("5 UGX", 500),
        ("3.00 MGA", 3),
        ("1.230 KWD", 1_230),
        ("10.45 HUF", 1_045),
        ("10.45 TWD", 1_045),
    ],
)
def test_stripe_counts_some_currencies_otherwise(text: str, stripe: int) -> None:
    """docs.stripe.com/currencies: a factor of a hundred for krona, shilling and ariary."""
    amount = Money.parse(text)
    assert stripe_minor_units(amount) == stripe
    assert from_stripe(stripe, amount.currency.lower()) == amount


def test_what_stripe_cannot_express_exactly_is_refused() -> None:
    """Rounding would charge another amount than the one approved."""
    for text in ("3.50 MGA", "1.234 KWD"):
        with pytest.raises(MoneyError, match="Stripe takes"):
            stripe_minor_units(Money.parse(text))
    for text in ("10.45 HUF", "10.45 TWD", "1.234 KWD"):
        with pytest.raises(MoneyError, match=r"Stripe (pays|takes)"):
            stripe_payout_units(Money.parse(text))
    assert stripe_payout_units(Money.parse("10.00 HUF")) == 1_000
    with pytest.raises(MoneyError, match="no multiple of 100"):
        from_stripe(501, "isk")
    with pytest.raises(MoneyError, match="unknown currency"):
        from_stripe(1, "btc")


@given(AMOUNTS)
def test_stripes_units_lead_back_to_the_amount(amount: Money) -> None:
    """What we send and what a webhook says must be the same amount to the last unit."""
    try:
        units = stripe_minor_units(amount)
    except MoneyError:
        return
    assert from_stripe(units, amount.currency.lower()) == amount
