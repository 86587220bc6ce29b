"""The JSON Schema of policies.yaml, made from `policy.document`, for editors that complete and underline.

Not by `msgspec.json.schema`: msgspec 0.22 frees a union of a text with a pattern and a list twice, which ends
the process with a segmentation fault when it collects garbage.
"""

from __future__ import annotations

import json
import types
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, UnsetType

from policy.document import PolicyForm

Schema = dict[str, Any]
_PLAIN: Final = {str: "string", int: "integer", bool: "boolean"}
_KEYWORDS: Final = {
    "pattern": "pattern",
    "min_length": "minLength",
    "max_length": "maxLength",
    "ge": "minimum",
    "le": "maximum",
    "description": "description",
    "examples": "examples",
}


def policy_schema() -> Schema:
    """Return the schema, in the dialect 2020-12."""
    parts: dict[str, Schema] = {}
    root = _struct(PolicyForm, parts)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "policies.yaml",
        **root,
        "$defs": dict(sorted(parts.items())),
    }


def schema_json() -> bytes:
    """Return the text of policy.schema.json."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False).encode() + b"\n"


def _of(wanted: Any, parts: dict[str, Schema]) -> Schema:  # noqa: ANN401 - a type expression
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return {**_of(args[0], parts), **_keywords(args[1], is_list=get_origin(args[0]) is list)}
    if origin in {Union, types.UnionType}:
        some = [_of(part, parts) for part in args if part is not UnsetType]
        return some[0] if len(some) == 1 else {"anyOf": some}
    if origin is list:
        return {"type": "array", "items": _of(args[0], parts)}
    if origin is dict:
        key = {} if args[0] is str else {"propertyNames": _of(args[0], parts)}
        return {"type": "object", **key, "additionalProperties": _of(args[1], parts)}
    if origin is Literal:
        return {"enum": list(args)}
    return _simple(wanted, parts)


def _simple(wanted: type, parts: dict[str, Schema]) -> Schema:
    if issubclass(wanted, Enum):
        return {"enum": [word.value for word in wanted]}
    if not issubclass(wanted, Struct):
        return {"type": _PLAIN[wanted]}
    name = wanted.__name__.removesuffix("Form")
    if name not in parts:
        parts[name] = _struct(wanted, parts)
    return {"$ref": f"#/$defs/{name}"}


def _struct(form: type[Struct], parts: dict[str, Schema]) -> Schema:
    hints = get_type_hints(form, include_extras=True)
    fields = msgspec.structs.fields(form)
    schema: Schema = {
        "description": (form.__doc__ or "").strip(),
        "type": "object",
        "properties": {field.encode_name: _of(hints[field.name], parts) for field in fields},
        "additionalProperties": False,
    }
    required = [field.encode_name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _keywords(meta: Meta, *, is_list: bool) -> Schema:
    """Return what a Meta says in JSON Schema's words; lengths of a list are numbers of items."""
    said = {
        word: getattr(meta, field) for field, word in _KEYWORDS.items() if getattr(meta, field) is not None
    }
    if is_list and "minLength" in said:
        said["minItems"] = said.pop("minLength")
    return said
