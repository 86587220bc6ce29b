"""Compare JSON with the SDK's own response classes: required fields, types, closed values, unknown fields."""

import importlib
import sys
import types
import typing
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import stripe
import typing_extensions
from stripe._object_classes import OBJECT_CLASSES, V2_OBJECT_CLASSES
from stripe._stripe_object import StripeObject, UntypedStripeObject

_UNIONS = (typing.Union, types.UnionType)


class _Names(dict[str, Any]):
    """Names of annotations; what the SDK imports for type checkers only is any object."""

    def __init__(self, cls: type) -> None:
        super().__init__({**vars(typing), **vars(typing_extensions), **vars(sys.modules[cls.__module__])})

    def __missing__(self, name: str) -> Any:  # noqa: ANN401  a type
        return StripeObject


def problems(value: dict[str, Any], where: str = "$") -> list[str]:
    """Name every difference between an API object and the SDK's class for its `object`."""
    return list(_object(value, _class_of(value["object"]), where))


def _class_of(name: str) -> type:
    module, attribute = OBJECT_CLASSES.get(name) or V2_OBJECT_CLASSES[name]
    cls = getattr(importlib.import_module(module), attribute)
    assert isinstance(cls, type)
    return cls


def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, globalns={}, localns=_Names(cls))
    return {
        name.rstrip("_"): hint
        for name, hint in hints.items()
        if not name.startswith("_") and typing.get_origin(hint) is not typing.ClassVar
    }


def _object(value: dict[str, Any], cls: type, where: str) -> Iterator[str]:
    hints = _hints(cls)
    for name, hint in hints.items():
        if name not in value:
            if not _is_optional(hint):
                yield f"{where}.{name}: missing"
        else:
            yield from _value(value[name], hint, f"{where}.{name}")
    # The class of v2 events has this field only in its subclass for each type.
    more = {"related_object"} if value.get("object") == "v2.core.event" else set()
    for name in value.keys() - hints.keys() - more:
        yield f"{where}.{name}: not a field of {cls.__name__}"


def _is_optional(hint: object) -> bool:
    return typing.get_origin(hint) in _UNIONS and type(None) in typing.get_args(hint)


def _value(value: object, hint: Any, where: str) -> Iterator[str]:  # noqa: ANN401  a type
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in _UNIONS:
        yield from _union(value, args, where)
    elif origin is typing.Literal:
        if value not in args:
            yield f"{where}: {value!r} is none of {args[:8]}"
    elif origin is list:
        yield from _list(value, args[0], where)
    elif origin is not UntypedStripeObject and isinstance(hint, type) and hint is not UntypedStripeObject:
        yield from _plain(value, hint, where)


def _list(value: object, item: Any, where: str) -> Iterator[str]:  # noqa: ANN401  a type
    if not isinstance(value, list):
        yield f"{where}: {value!r} is no list"
        return
    for number, element in enumerate(value):
        yield from _value(element, item, f"{where}[{number}]")


def _plain(value: object, hint: type, where: str) -> Iterator[str]:
    if issubclass(hint, StripeObject):
        yield from _nested(value, hint, where)
        return
    on_the_wire = str if hint is Decimal else hint
    if not isinstance(value, on_the_wire) or (hint is int and isinstance(value, bool)):
        yield f"{where}: {value!r} is no {hint.__name__}"


def _nested(value: object, hint: type, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no object"
    elif isinstance(value.get("object"), str):
        yield from problems(value, where)
    elif hint is not StripeObject:
        yield from _object(value, hint, where)


def _union(value: object, args: tuple[Any, ...], where: str) -> Iterator[str]:
    if value is None:
        if type(None) not in args:
            yield f"{where}: must not be null"
        return
    literals = [a for a in args if typing.get_origin(a) is typing.Literal]
    rest = [a for a in args if a is not type(None) and a not in literals]
    if literals:
        # An open enum is `Literal[...] | str`; a stand-in has no business with values the SDK does not list.
        members = [m for literal in literals for m in typing.get_args(literal)]
        if value not in members:
            yield f"{where}: {value!r} is none of {members[:8]}"
        return
    found = [list(_value(value, option, where)) for option in rest]
    if not any(not each for each in found):
        yield from min(found, key=len)


assert stripe.VERSION.startswith("16."), "written against the classes of stripe 16"
