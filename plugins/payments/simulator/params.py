"""Check and convert request parameters by the SDK's own typed parameters (`stripe.params`).

A form carries only strings; the types say which of them are integers, booleans, lists and objects. What they
do not name is refused as Stripe refuses it. Open enums (`Literal[...] | str`) are held closed: a value the
pinned SDK does not list is far more often a typing mistake than a novelty.
"""

import functools
import importlib
import re
import sys
import types
import typing
from decimal import Decimal, InvalidOperation
from typing import Any

import typing_extensions

from plugins.payments.simulator.errors import ApiError, invalid

_INTEGER = re.compile(r"^-?\d{1,18}$")
_METADATA_KEYS, _METADATA_KEY, _METADATA_VALUE = 50, 40, 500  # Stripe's documented limits of metadata.
_UNIONS = (typing.Union, types.UnionType)
_WRAPPERS = (typing_extensions.NotRequired, typing_extensions.Required)


def check(spec: str, raw: dict[str, Any], *, is_form: bool) -> dict[str, Any]:
    """Give `raw` with the types of `spec`, a class of stripe.params such as "checkout.SessionCreateParams".

    Raises ApiError (400) that names the first parameter which is unknown, missing or of another type.
    """
    module, _, name = f"stripe.params.{spec}".rpartition(".")
    typed = getattr(importlib.import_module(module), name)
    return _Checker(is_form=is_form).typed_dict(raw, typed, "")


def warm() -> None:
    """Import the SDK's types, which takes most of a second, before the first request needs them."""
    importlib.import_module("stripe.params.checkout")
    importlib.import_module("stripe.params.issuing")
    importlib.import_module("stripe.params.v2.money_management")
    check("ProductListParams", {}, is_form=True)


@functools.cache
def _hints(typed: type) -> dict[str, Any]:
    """Resolve the annotations of a TypedDict, whose files name types they import only for checkers."""
    from stripe import _stripe_object

    module = sys.modules[typed.__module__]
    scope = {**vars(_stripe_object), **vars(typing), **vars(typing_extensions), **vars(module)}
    local = {"StripeContext": str}
    return typing_extensions.get_type_hints(typed, globalns=scope, localns=local, include_extras=True)


@functools.cache
def _options() -> frozenset[str]:
    """Give the SDK's request options, which its typed parameters inherit and never send."""
    from stripe._request_options import RequestOptions

    return frozenset(_hints(RequestOptions))


@functools.cache
def _fields(typed: type) -> tuple[dict[str, Any], frozenset[str]]:
    options: frozenset[str] = frozenset()
    if any(base.__name__ == "RequestOptions" for base in typing_extensions.get_original_bases(typed)):
        options = _options()
    hints = {name: hint for name, hint in _hints(typed).items() if name not in options}
    required = frozenset(typed.__required_keys__) & hints.keys()  # type: ignore[attr-defined]  # TypedDict's own
    return hints, required


class _Checker:
    """Convert one request's values; `is_form` says whether numbers and booleans arrive as text."""

    def __init__(self, *, is_form: bool) -> None:
        self._is_form = is_form

    def typed_dict(self, value: object, typed: type, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid(f"Invalid object: {path}", param=path)
        hints, required = _fields(typed)
        for name in value:
            if name not in hints:
                where = _join(path, name)
                raise invalid(f"Received unknown parameter: {where}", param=where, code="parameter_unknown")
        for name in sorted(required):
            if name not in value:
                where = _join(path, name)
                raise invalid(f"Missing required param: {where}.", param=where, code="parameter_missing")
        return {name: self.value(item, hints[name], _join(path, name)) for name, item in value.items()}

    def value(self, value: object, hint: Any, path: str) -> Any:  # noqa: ANN401  any JSON value of any type
        if typing_extensions.is_typeddict(hint):
            return self.typed_dict(value, hint, path)
        origin = typing_extensions.get_origin(hint)
        args = typing_extensions.get_args(hint)
        if origin in _WRAPPERS:
            return self.value(value, args[0], path)
        by_origin = {
            **dict.fromkeys(_UNIONS, self._union),
            typing.Literal: self._literal,
            list: self._list,
            dict: self._map,
        }
        convert = by_origin.get(origin)
        return self._scalar(value, hint, path) if convert is None else convert(value, args, path)

    def _union(self, value: object, args: tuple[Any, ...], path: str) -> Any:  # noqa: ANN401  any JSON value
        literals = [m for a in args if _is_literal(a) for m in typing_extensions.get_args(a)]
        if value in literals:
            return value
        rest = [a for a in args if not _is_literal(a) and not _is_sdk_object(a)]
        if any(literals) and str in rest:
            rest.remove(str)
        if not rest:
            return self._literal(value, tuple(literals), path)
        failures: list[ApiError] = []
        for option in rest:
            try:
                return self.value(value, option, path)
            except ApiError as error:
                failures.append(error)
        # The failure deepest in the value is of the option that was meant.
        raise max(failures, key=lambda e: len(str(e.fields.get("param", ""))))

    def _literal(self, value: object, members: tuple[Any, ...], path: str) -> Any:  # noqa: ANN401  a member
        if value in members:
            return value
        names = ", ".join(str(m) for m in members[:12] if m != "")
        raise invalid(f"Invalid {path}: must be one of {names}", param=path)

    def _list(self, value: object, args: tuple[Any, ...], path: str) -> list[Any]:
        if self._is_form and isinstance(value, dict):
            if not all(key.isdigit() for key in value):
                raise invalid(f"Invalid array: {path}", param=path)
            value = [value[key] for key in sorted(value, key=int)]
        if not isinstance(value, list):
            raise invalid(f"Invalid array: {path}", param=path)
        return [self.value(element, args[0], f"{path}[{n}]") for n, element in enumerate(value)]

    def _map(self, value: object, args: tuple[Any, ...], path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid(f"Invalid hash: {path}", param=path)
        if path.rpartition("[")[2].rstrip("]") == "metadata":
            _check_metadata(value, path)
        return {str(key): self.value(element, args[1], _join(path, key)) for key, element in value.items()}

    def _scalar(self, value: object, hint: Any, path: str) -> Any:  # noqa: ANN401  a type, and a JSON value
        if hint is int:
            return self._integer(value, path)
        if hint is bool:
            return self._boolean(value, path)
        if hint in (float, Decimal):
            return _decimal(value, path)
        if hint is str:
            if isinstance(value, str):
                return value
            raise invalid(f"Invalid string: {path}", param=path)
        if hint is type(None):
            if value is None:
                return None
            raise invalid(f"Invalid value: {path} must be null", param=path)
        return value

    def _integer(self, value: object, path: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if self._is_form and isinstance(value, str) and _INTEGER.match(value):
            return int(value)
        raise invalid(f"Invalid integer: {value}", param=path, code="parameter_invalid_integer")

    def _boolean(self, value: object, path: str) -> bool:
        if isinstance(value, bool):
            return value
        if self._is_form and value in ("true", "false"):
            return value == "true"
        raise invalid(f"Invalid boolean: {value}", param=path)


def _join(path: str, name: object) -> str:
    return f"{path}[{name}]" if path else str(name)


def _is_literal(hint: object) -> bool:
    return typing_extensions.get_origin(hint) is typing.Literal


def _is_sdk_object(hint: object) -> bool:
    """Tell a response class of the SDK, which its types accept for a dict and which never travels."""
    origin = typing_extensions.get_origin(hint)
    return getattr(origin, "__name__", "") == "UntypedStripeObject"


def _decimal(value: object, path: str) -> str:
    try:
        return str(Decimal(str(value)))
    except InvalidOperation:
        raise invalid(f"Invalid decimal: {value}", param=path) from None


def _check_metadata(value: dict[str, Any], path: str) -> None:
    if len(value) > _METADATA_KEYS:
        raise invalid(f"Metadata can have at most {_METADATA_KEYS} keys", param=path)
    for key, text in value.items():
        if len(str(key)) > _METADATA_KEY:
            raise invalid(f"Metadata keys can have at most {_METADATA_KEY} characters: {key}", param=path)
        if len(str(text)) > _METADATA_VALUE:
            raise invalid(f"Metadata values can have at most {_METADATA_VALUE} characters: {key}", param=path)
