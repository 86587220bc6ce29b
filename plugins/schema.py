"""A tool's arguments as JSON Schema, in the subset that every common client and model provider understands.

One flat object; each property one type with plain keywords; no `$ref`, `oneOf`, unions with null, nested
objects or tuples (facts gathered from sixteen clients: what is outside is dropped, mangled or refused
somewhere). `additionalProperties` is left out, since some providers refuse it; the gate refuses unknown
fields itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy.model import Kind
from policy.money import schema_hook

SCALARS: Final = frozenset({"string", "integer", "boolean"})
_KEYWORDS: Final = frozenset(
    {
        "type", "description", "enum", "default", "examples", "format", "pattern", "items",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    }
)  # fmt: skip
_FORMATS: Final = frozenset({"date-time"})
_UNSAFE_IN_PATTERNS: Final = (
    "\\d",
    "\\w",
    "\\s",
    "\\b",
    "(?",
)  # Some grammars for models know none of these.

KEY_ARGUMENT: Final = "idempotency_key"
RUN_ARGUMENT: Final = "run_id"
REASON_ARGUMENT: Final = "reason"

# Every gated tool carries these three, so each letter counts against the 18 kB that all clients take.
_KEY_TEXT: Final = (
    "Names this one intention. The same again when you repeat the call, a new one for a new wish."
)
_RUN_TEXT: Final = "The open run it belongs to, if any."
_REASON_TEXT: Final = "Why, for the person who may have to answer."
LONGEST_KEY: Final = 200
SHORTEST_KEY: Final = 1
LONGEST_REASON: Final = 500


class SchemaRefused(ValueError):  # noqa: N818 -- it says what happened, as in policy.errors
    """The arguments cannot be published in the portable subset; the message names the field."""


def input_schema(arguments: type[Struct]) -> dict[str, Any]:
    """Return the tool's own arguments as a portable schema. Raises SchemaRefused."""
    try:
        (head,), parts = msgspec.json.schema_components(
            [arguments], schema_hook=schema_hook, ref_template="{name}"
        )
    except (TypeError, NotImplementedError) as refused:
        raise SchemaRefused(f"{arguments.__name__} has no JSON Schema: {refused}") from None
    root = parts[head["$ref"]]
    if root.get("type") != "object" or "properties" not in root:
        raise SchemaRefused(f"{arguments.__name__} is no flat object")
    required = tuple(root.get("required", ()))
    properties = {
        name: _property(name, spec, parts, optional=name not in required)
        for name, spec in root["properties"].items()
    }
    return {"type": "object", "properties": properties, "required": list(required)}


def published(own: Mapping[str, Any], kind: Kind, *, key_required: bool) -> dict[str, Any]:
    """Return the schema agents see: the tool's own arguments and those the gate takes for itself."""
    properties = dict(own["properties"])
    required = list(own["required"])
    for name, spec in gate_arguments(kind).items():
        properties.setdefault(name, spec)
    if key_required:
        required.append(KEY_ARGUMENT)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def gate_arguments(kind: Kind) -> dict[str, dict[str, Any]]:
    """Return what the gate takes beside a tool's own arguments: nothing for reads."""
    if kind is Kind.READ:
        return {}
    key = {"type": "string", "description": _KEY_TEXT, "minLength": SHORTEST_KEY, "maxLength": LONGEST_KEY}
    run = {"type": "string", "description": _RUN_TEXT}
    if kind in {Kind.DRAFT, Kind.WITHDRAW}:
        return {KEY_ARGUMENT: key, RUN_ARGUMENT: run}
    reason = {"type": "string", "description": _REASON_TEXT, "maxLength": LONGEST_REASON}
    return {KEY_ARGUMENT: key, RUN_ARGUMENT: run, REASON_ARGUMENT: reason}


def _property(
    name: str, spec: Mapping[str, Any], parts: Mapping[str, Any], *, optional: bool
) -> dict[str, Any]:
    """Return one property in the subset, with named types written out and an optional null taken away."""
    flat = _without_null(name, _resolved(spec, parts), parts, optional=optional)
    flat.pop("title", None)
    if flat.get("default", ...) in (None, (), []):
        flat.pop("default")
    if "enum" in flat:
        flat.setdefault("type", _type_of(name, flat["enum"]))
    strange = sorted(set(flat) - _KEYWORDS)
    if strange:
        raise SchemaRefused(f"field {name!r} needs {', '.join(strange)}, which not every client knows")
    _check(name, flat)
    if flat["type"] == "array":
        flat["items"] = _items(name, flat.get("items"), parts)
    return flat


def _resolved(spec: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """Write out a reference to a named type, keeping what stands beside it (description, default)."""
    if "$ref" not in spec:
        return dict(spec)
    beside = {key: value for key, value in spec.items() if key != "$ref"}
    return {**parts[spec["$ref"]], **beside}


def _without_null(
    name: str, spec: dict[str, Any], parts: Mapping[str, Any], *, optional: bool
) -> dict[str, Any]:
    """Turn `X or null, null by default` into an optional X; any other union is refused."""
    if "anyOf" not in spec:
        return spec
    rest = [branch for branch in spec.pop("anyOf") if branch != {"type": "null"}]
    if len(rest) != 1 or not optional:
        raise SchemaRefused(
            f"field {name!r} is a union; give it one type, and a default where it may be left out"
        )
    return {**_resolved(rest[0], parts), **spec}


def _check(name: str, flat: Mapping[str, Any]) -> None:
    kind = flat.get("type")
    if kind not in SCALARS | {"array"}:
        raise SchemaRefused(
            f"field {name!r} is {kind or 'of no single type'}; take text, integers, booleans or lists"
        )
    if "format" in flat and flat["format"] not in _FORMATS:
        raise SchemaRefused(
            f"field {name!r} has the format {flat['format']!r}; only date-time is known everywhere"
        )
    pattern = flat.get("pattern", "")
    if any(piece in pattern for piece in _UNSAFE_IN_PATTERNS):
        raise SchemaRefused(f"field {name!r} has a pattern with escapes that some clients drop: {pattern}")


def _items(name: str, spec: Mapping[str, Any] | None, parts: Mapping[str, Any]) -> dict[str, Any]:
    if not spec:
        raise SchemaRefused(f"field {name!r} is a list of anything; name the type of its items")
    flat = _property(f"{name}[]", spec, parts, optional=False)
    if flat["type"] not in SCALARS:
        raise SchemaRefused(
            f"field {name!r} is a list of {flat['type']}s; only lists of plain values are portable"
        )
    return flat


def _type_of(name: str, values: list[object]) -> str:
    if all(isinstance(value, str) for value in values):
        return "string"
    raise SchemaRefused(f"field {name!r} enumerates something other than text")
