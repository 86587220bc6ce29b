"""Form bodies with brackets, as v1 sends them: `metadata[a]=1`, `items[0][price]=x`, `expand[]=y`."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from plugins.payments.simulator.errors import invalid

_KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_PART = re.compile(r"\[([^\[\]]*)\]")
_MAX_FIELDS = 1000  # Far above the largest typed request; a longer body is a mistake or an attack.


def decode(text: str) -> dict[str, Any]:
    """Turn a form or query string into nested dicts; lists stay dicts keyed by their index.

    Raises ApiError (400) for a key whose brackets do not close or that is both a value and an object.
    """
    tree: dict[str, Any] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise invalid(f"The request body is not a form: {error}") from error
    for key, value in pairs:
        _insert(tree, key, value)
    return tree


def encode(params: dict[str, Any]) -> str:
    """Turn nested parameters back into a query string, for the address of a list's next page."""
    return urlencode(list(_pairs(params, "")))


def _pairs(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  any JSON value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _pairs(item, f"{path}[{key}]" if path else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _pairs(item, f"{path}[{number}]")
    else:
        yield path, str(value).lower() if isinstance(value, bool) else str(value)


def _insert(tree: dict[str, Any], key: str, value: str) -> None:
    found = _KEY.match(key)
    if found is None:
        raise invalid(f"Invalid parameter name: '{key}'", param=key)
    parts = [found[1], *_PART.findall(found[2])]
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(_index(node, part), {})
        if not isinstance(child, dict):
            raise invalid(f"Parameter '{key}' is both a value and an object", param=key)
        node = child
    last = _index(node, parts[-1])
    if isinstance(node.get(last), dict):
        raise invalid(f"Parameter '{key}' is both a value and an object", param=key)
    node[last] = value


def _index(node: dict[str, Any], part: str) -> str:
    return part or str(len(node))
