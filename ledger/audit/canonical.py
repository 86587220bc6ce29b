"""Canonical bytes of a value: the profile of RFC 8785 in which sorting keys is all there is to do.

Two readers must hash the same bytes for the same value. RFC 8785 (JSON Canonicalization Scheme) promises
that for all of JSON, at a price: keys in UTF-16 order and numbers as JavaScript prints them. Inside the
profile below, `orjson` with sorted keys gives the same bytes as RFC 8785 at a fiftieth of the time:

- null, booleans, strings of valid Unicode, arrays, objects;
- keys are ASCII strings;
- numbers are integers of at most 2^53 - 1 either way, never floats;
- nesting is at most MAX_DEPTH.
"""

from typing import Final

import orjson

MAX_SAFE_INTEGER: Final = 2**53 - 1  # The largest integer that every JSON reader keeps (RFC 8785).
MAX_DEPTH: Final = 32  # Arguments deeper than this were refused at the gate; orjson itself stops at 254.


class NotCanonical(ValueError):  # noqa: N818  # A value is not broken for being outside the profile.
    """A value lies outside the profile; `path` says where, in the form `$.a[0]`.

    - FloatRefused       a float: money and counts are integers
    - IntegerTooLarge    beyond 2^53 - 1 either way: write it as a string
    - KeyRefused         a key that is no string, or not ASCII
    - TypeRefused        no JSON value at all (bytes, datetime, a set)
    - TextRefused        a string with half a surrogate pair, which has no UTF-8
    - TooDeep            nested more than MAX_DEPTH levels
    """

    def __init__(self, met: str, path: str) -> None:
        super().__init__(f"{met} at {path} has no canonical form")
        self.path = path


class FloatRefused(NotCanonical):
    """A float was met where an integer or a string is due."""


class IntegerTooLarge(NotCanonical):
    """An integer was met that other readers would round."""


class KeyRefused(NotCanonical):
    """An object's key is no string or not ASCII."""


class TypeRefused(NotCanonical):
    """A value was met that JSON does not have."""


class TextRefused(NotCanonical):
    """A string was met that has no UTF-8."""


class TooDeep(NotCanonical):
    """The value is nested deeper than MAX_DEPTH."""


def canonical(value: object) -> bytes:
    """Return the one byte string that stands for `value`.

    Raises NotCanonical, in one of its forms, for a value outside the profile.
    """
    if not _fits(value, 0):
        raise _refusal(value, "$", 0)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Not looked for beforehand: scanning every string would cost more than encoding it.
        raise TextRefused("text with half a surrogate pair", "$") from None


def _fits(item: object, depth: int) -> bool:
    """Say whether `item` is inside the profile.

    Exact types first and loops instead of generators: every entry and payload passes here, on the hot path.
    """
    kind = type(item)
    if kind is int:
        return -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER  # type: ignore[operator]  # An integer, as checked.
    if kind is dict:
        return depth < MAX_DEPTH and _dict_fits(item, depth + 1)  # type: ignore[arg-type]  # It is a dict.
    if kind is list or kind is tuple:
        return depth < MAX_DEPTH and _list_fits(item, depth + 1)  # type: ignore[arg-type]  # It is a sequence.
    # bool and None; text, of which an enum of strings is a kind.
    return item is None or kind is bool or isinstance(item, str)


def _dict_fits(item: dict[object, object], depth: int) -> bool:
    for key, inner in item.items():
        if type(key) is not str or not key.isascii():
            return False
        kind = type(inner)
        if kind is str or inner is None:
            continue
        if kind is int and -MAX_SAFE_INTEGER <= inner <= MAX_SAFE_INTEGER:  # type: ignore[operator]  # As checked.
            continue
        if not _fits(inner, depth):
            return False
    return True


def _list_fits(item: list[object] | tuple[object, ...], depth: int) -> bool:
    for inner in item:
        kind = type(inner)
        if kind is str:
            continue
        if kind is int and -MAX_SAFE_INTEGER <= inner <= MAX_SAFE_INTEGER:  # type: ignore[operator]  # As checked.
            continue
        if not _fits(inner, depth):
            return False
    return True


def _refusal(item: object, path: str, depth: int) -> NotCanonical:
    """Walk to the first thing that does not fit, which `_fits` has found to exist, and name it."""
    if isinstance(item, float):
        return FloatRefused("a float", path)
    if type(item) is int:
        return IntegerTooLarge(f"an integer of {item.bit_length()} bits", path)
    if not (type(item) is dict or type(item) is list or type(item) is tuple):
        return TypeRefused(f"a value of type {type(item).__name__}", path)
    if depth == MAX_DEPTH:
        return TooDeep(f"nesting deeper than {MAX_DEPTH}", path)
    if isinstance(item, dict):
        for key in item:
            if type(key) is not str or not key.isascii():
                return KeyRefused(f"the key {key!r}", path)
    parts = item.items() if isinstance(item, dict) else enumerate(item)
    key, inner = next((key, inner) for key, inner in parts if not _fits(inner, depth + 1))
    step = f".{key}" if isinstance(item, dict) else f"[{key}]"
    return _refusal(inner, path + step, depth + 1)
