"""Money: an integer of minor units and an ISO 4217 currency, with one notation everywhere: "19.99 USD".

The notation is exact: digits, as many decimals as the currency has (USD 2, JPY 0, KWD 3), a space, the code.
No sign, separator, exponent or rounding; whatever else is written is refused, since a guess here costs money.
"""

from __future__ import annotations

import re
from typing import Any, Final

from policy.errors import MoneyError

LARGEST_MINOR_UNITS: Final = 2**53 - 1  # Above it JSON readers elsewhere lose digits (RFC 8259, section 6).

# ISO 4217 as of the library `iso4217` 1.16, by number of decimals. Kept here because importing the library
# costs 37 ms of a command's 300 ms; tests/policy/test_money.py compares the two. Codes without a minor unit
# (XAU, XXX, ...) are no money one can pay with.
_TWO_DECIMALS: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP "
    "TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
)
_ISO_4217: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: _TWO_DECIMALS,
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Final = {code: exponent for exponent, codes in _ISO_4217.items() for code in codes.split()}

# Where Stripe counts in other minor units than ISO 4217 (docs.stripe.com/currencies, special cases):
#   ISK, UGX  no decimals in ISO; Stripe still takes hundredths, for old integrations, and they must be 00
#   MGA       two decimals in ISO; Stripe takes whole ariary
# HUF and TWD are charged in hundredths as in ISO; only payouts of them must be whole (WHOLE_PAYOUTS).
STRIPE_EXPONENTS: Final = {"ISK": 2, "UGX": 2, "MGA": 0}
WHOLE_PAYOUTS: Final = frozenset({"HUF", "TWD"})
# Card networks carry two decimals: the last of three must be 0 in every amount sent to Stripe.
_STRIPE_TENS: Final = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})

NOTATION: Final = r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,4})? [A-Z]{3}$"  # The outer shape, for JSON Schema.
_SHAPE: Final = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,4}))? ([A-Z]{3})")
_SHOWN_CHARS: Final = 40  # Of what was met, in a message of one line.
_EXAMPLE: Final = "money is written like '19.99 USD'"


class Money:
    """An amount in minor units of its currency: Money(1999, "USD") is 19.99 USD. Immutable.

    Deliberately no msgspec Struct: msgspec calls `dec_hook` and `enc_hook` only for types it does not know.
    Negative amounts exist (an adjustment, a carried loss) but nobody can write one: `parse` takes no sign.
    """

    __slots__ = ("currency", "minor_units")

    minor_units: int
    currency: str

    def __init__(self, minor_units: int, currency: str) -> None:
        if type(minor_units) is not int:
            raise MoneyError(f"minor units are a whole number, got {minor_units!r}")
        if currency not in EXPONENTS:
            raise MoneyError(f"unknown currency {currency!r}; {_EXAMPLE}")
        if not -LARGEST_MINOR_UNITS <= minor_units <= LARGEST_MINOR_UNITS:
            raise MoneyError(f"{minor_units} {currency} in minor units is beyond 2^53 - 1")
        object.__setattr__(self, "minor_units", minor_units)
        object.__setattr__(self, "currency", currency)

    @classmethod
    def parse(cls, text: str) -> Money:
        """Read "19.99 USD" exactly, or raise MoneyError saying what was met and what is expected."""
        shape = _SHAPE.fullmatch(text)
        if shape is None:
            raise MoneyError(f"{_shown(text)} is no amount; {_EXAMPLE}")
        whole, fraction, currency = shape.group(1), shape.group(2) or "", shape.group(3)
        exponent = EXPONENTS.get(currency)
        if exponent is None:
            raise MoneyError(f"unknown currency {currency!r} in {_shown(text)}; {_EXAMPLE}")
        if len(fraction) != exponent:
            digits = fraction.ljust(exponent, "0")
            meant = whole + digits[:exponent] if not digits[exponent:].strip("0") else "1999"
            right = cls(int(meant), currency)
            raise MoneyError(f"{_shown(text)} needs exactly {exponent} decimals, as in '{right}'")
        return cls(int(whole + fraction), currency)

    @property
    def exponent(self) -> int:
        """The number of decimals the currency is written with."""
        return EXPONENTS[self.currency]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Money is immutable; {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Money is immutable; {name} cannot be deleted")

    def __reduce__(self) -> tuple[type[Money], tuple[int, str]]:
        return (Money, (self.minor_units, self.currency))

    def __str__(self) -> str:
        return written(self.minor_units, self.currency)

    def __repr__(self) -> str:
        return f"Money({self.minor_units}, {self.currency!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not Money:
            return NotImplemented
        return self.minor_units == other.minor_units and self.currency == other.currency

    def __hash__(self) -> int:
        return hash((self.minor_units, self.currency))

    def __lt__(self, other: Money) -> bool:
        return self.minor_units < self._units_of(other)

    def __le__(self, other: Money) -> bool:
        return self.minor_units <= self._units_of(other)

    def __gt__(self, other: Money) -> bool:
        return self.minor_units > self._units_of(other)

    def __ge__(self, other: Money) -> bool:
        return self.minor_units >= self._units_of(other)

    def __add__(self, other: Money) -> Money:
        return Money(self.minor_units + self._units_of(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor_units - self._units_of(other), self.currency)

    def _units_of(self, other: Money) -> int:
        """Return the other's minor units, or raise MoneyError: no rate is ever guessed."""
        if type(other) is not Money:
            raise TypeError(f"Money goes with Money only, got {type(other).__name__}")
        if other.currency != self.currency:
            raise MoneyError(f"{self} and {other} are different currencies and cannot be compared or added")
        return other.minor_units


def written(minor_units: int, currency: str) -> str:
    """Write an amount in its notation; a negative one, which nobody can enter, with a minus."""
    exponent = EXPONENTS[currency]
    sign = "-" if minor_units < 0 else ""
    digits = str(abs(minor_units)).rjust(exponent + 1, "0")
    if exponent == 0:
        return f"{sign}{digits} {currency}"
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]} {currency}"


def stripe_minor_units(money: Money) -> int:
    """Return the integer that Stripe's API takes for this amount.

    Raises MoneyError where Stripe cannot express it exactly. Source: docs.stripe.com/currencies.
    """
    more, fewer = _stripe_factors(money.currency)
    units, rest = divmod(money.minor_units * more, fewer)
    if rest:
        raise MoneyError(f"Stripe takes whole {money.currency} only, {money} is not")
    if money.currency in _STRIPE_TENS and units % 10:
        raise MoneyError(f"Stripe takes {money.currency} with a last digit of 0 only, {money} has another")
    return units


def stripe_payout_units(money: Money) -> int:
    """Return the integer that Stripe's API takes for a payout of this amount.

    Raises MoneyError where Stripe pays no such amount out. Source: docs.stripe.com/currencies.
    """
    units = stripe_minor_units(money)
    if money.currency in WHOLE_PAYOUTS and units % 100:
        raise MoneyError(f"Stripe pays whole {money.currency} out only, {money} is not")
    return units


def from_stripe(minor_units: int, currency: str) -> Money:
    """Return the Money that Stripe's integer and lower-case code stand for; MoneyError if it is not exact."""
    code = currency.upper()
    if code not in EXPONENTS:
        raise MoneyError(f"Stripe named the unknown currency {currency!r}")
    more, fewer = _stripe_factors(code)
    units, rest = divmod(minor_units * fewer, more)
    if rest:
        raise MoneyError(f"Stripe named {minor_units} {code}, which is no multiple of {more}")
    return Money(units, code)


def _stripe_factors(currency: str) -> tuple[int, int]:
    """Return what ISO minor units are multiplied by, and then divided by, to become Stripe's."""
    difference = STRIPE_EXPONENTS.get(currency, EXPONENTS[currency]) - EXPONENTS[currency]
    return int(10 ** max(0, difference)), int(10 ** max(0, -difference))


def dec_hook(wanted: type, raw: object) -> object:
    """Decode Money for msgspec, in tool arguments, policy files and stored records alike."""
    if wanted is Money:
        if type(raw) is not str:
            raise MoneyError(f"expected text such as '19.99 USD', got {type(raw).__name__}")
        return Money.parse(raw)
    raise NotImplementedError(f"no decoding is known for {wanted!r}")


def enc_hook(value: object) -> object:
    """Encode Money for msgspec as its one notation."""
    if type(value) is Money:
        return str(value)
    raise NotImplementedError(f"no encoding is known for {type(value).__name__}")


def schema_hook(wanted: type) -> dict[str, Any]:
    """Describe Money in JSON Schema, as text with its pattern."""
    if wanted is Money:
        return {"type": "string", "pattern": NOTATION, "examples": ["19.99 USD", "500 JPY"]}
    raise NotImplementedError(f"no schema is known for {wanted!r}")


def _shown(text: str) -> str:
    """Quote what was met, short enough for one line."""
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
