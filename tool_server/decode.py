"""Raw arguments into a tool's Struct: strictly, before anything else looks at them.

JSON readers disagree about duplicate keys, huge numbers, NaN and half surrogate pairs, and most coerce
quietly; an approver must see exactly what runs. So the bytes pass one reader that refuses whatever two
readers could take for different things, and the result is converted without any coercion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from msgspec import Struct

from plugins.schema import input_schema
from policy.errors import InputTooLarge, InvalidArguments
from policy.money import dec_hook

LARGEST_BODY: Final = 65_536  # Bytes; more than anybody could review on a card.
DEEPEST: Final = 16  # Levels; the schemas are flat, so real arguments have two.
LARGEST_INTEGER: Final = 2**53 - 1  # Beyond it other JSON readers round (RFC 8259, section 6).
_SHOWN: Final = 40  # Characters of a met value in a message.

S = TypeVar("S", bound=Struct)


def read_arguments(raw: bytes) -> dict[str, Any]:
    """Return the one object that `raw` says, or raise InvalidArguments. Empty input is an empty object."""
    if len(raw) > LARGEST_BODY:
        raise InputTooLarge(f"the arguments are {len(raw)} bytes, at most {LARGEST_BODY} are read")
    if not raw.strip(b" \t\r\n"):
        return {}
    _check_depth(raw)
    try:
        # Half a surrogate pair or bad UTF-8 in the bytes fails here; one written as an escape is found below.
        text = raw.decode("utf-8")
        value = _READER.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidArguments(f"the arguments are not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidArguments(f"the arguments are no JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(value, dict):
        raise InvalidArguments(f"the arguments are {_named(value)}, expected one object")
    if b"\\u" in raw:  # Only an escape can write half a surrogate pair: the bytes themselves are UTF-8.
        _check_text(value, "arguments")
    return value


def into(arguments: Mapping[str, Any], wanted: type[S], *, also: Iterable[str] = ()) -> S:
    """Return the arguments as the tool's Struct; `also` names what the gate took for itself.

    Raises InvalidArguments naming the field, what was met and what is allowed.
    """
    known = wanted.__struct_encode_fields__  # Not `fields`, which evaluates annotations anew each time.
    for name in arguments:
        if name not in known:
            raise InvalidArguments(_unknown(name, [*known, *also]), field=name[:_SHOWN])
    # An optional field given as null is the field left out: several clients fill their forms so.
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return msgspec.convert(given, wanted, strict=True, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        message, field = _told(str(error))
        raise InvalidArguments(_plainer(message, wanted, field), field=field) from None


def _told(message: str) -> tuple[str, str | None]:
    """Split msgspec's "Expected `int`, got `str` - at `$.count`" into a sentence and the field."""
    said, _, path = message.partition(" - at `")
    field = path.removeprefix("$.").removesuffix("`").removeprefix("$")
    if not field and "missing required field" in said:
        field = said.split("`")[1]
    return said[0].lower() + said[1:], field or None


def _plainer(message: str, wanted: type[Struct], field: str | None) -> str:
    """Say in the field's own words what a pattern asks for: few callers read patterns."""
    if "matching regex" not in message:
        return message
    about = input_schema(wanted)["properties"].get(field, {}).get("description")
    return f"this is not of the form it needs: {about[0].lower()}{about[1:]}" if about else message


def _unknown(name: str, allowed: list[str]) -> str:
    near = get_close_matches(name, allowed, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(sorted(allowed)) or "none"
    return f"unknown field {name[:_SHOWN]!r}{hint} Allowed: {listed}"


def _check_depth(raw: bytes) -> None:
    """Refuse deep nesting before a recursive reader meets it; brackets inside text do not count."""
    depth = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", raw)):
        depth += 1 if bracket in _OPENING else -1
        if depth > DEEPEST:
            raise InputTooLarge(f"the arguments are nested deeper than {DEEPEST} levels")


_TEXTS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)  # Possessive: no input makes it slow.
_BRACKETS: Final = re.compile(rb"[\[\]{}]")
_OPENING: Final = frozenset((b"[", b"{"))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # `add` is None, which is the point
        raise InvalidArguments(f"the field {twice[:_SHOWN]!r} is given twice", field=twice[:_SHOWN])
    return whole


def _no_float(text: str) -> NoReturn:
    raise InvalidArguments(
        f"the number {text[:_SHOWN]} is no integer; money is text such as '19.99 USD', counts are whole"
    )


def _integer(text: str) -> int:
    # Length first: turning ten thousand digits into a number is work, and Python refuses it in its own way.
    if len(text) > len(str(LARGEST_INTEGER)) + 1 or not -LARGEST_INTEGER <= int(text) <= LARGEST_INTEGER:
        raise InvalidArguments(f"the number {text[:_SHOWN]} is beyond 2^53 - 1")
    return int(text)


_READER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_no_float, parse_int=_integer, parse_constant=_no_float
)


def _check_text(value: object, path: str) -> None:
    """Refuse half surrogate pairs anywhere, keys included: they have no UTF-8 and could not be recorded."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise InvalidArguments(f"{path} holds half a surrogate pair, which is no text")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, path)
            _check_text(inner, f"{path}.{key}"[:_SHOWN])
    elif isinstance(value, list):
        for inner in value:
            _check_text(inner, path)


def _named(value: object) -> str:
    names = {str: "text", int: "a number", bool: "true or false", list: "a list", type(None): "null"}
    return names[type(value)]
