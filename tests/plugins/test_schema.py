"""Argument schemas stay in the subset that every client and model provider understands."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from msgspec import Meta, Struct

from plugins.schema import KEY_ARGUMENT, REASON_ARGUMENT, RUN_ARGUMENT, SchemaRefused, input_schema, published
from policy.model import Kind
from policy.money import Money


class Size(StrEnum):
    """Two words."""

    SMALL = "small"
    LARGE = "large"


class Everything(Struct, forbid_unknown_fields=True):
    """One of each that is allowed."""

    text: Annotated[str, Meta(description="Words.", max_length=9)]
    price: Money
    size: Size = Size.SMALL
    way: Literal["by_air", "by_sea"] = "by_sea"
    note: str | None = None
    least: Annotated[Money | None, Meta(description="At least.")] = None
    count: Annotated[int, Meta(ge=1, le=5)] = 3
    sure: bool = False
    tags: tuple[str, ...] = ()
    sizes: list[Size] = []
    when: datetime | None = None


def test_whatever_is_allowed_comes_out_flat_with_one_type_each() -> None:
    """Models' providers drop, mangle or refuse references and unions, each in its own way."""
    schema = input_schema(Everything)
    assert schema["required"] == ["text", "price"]
    properties = schema["properties"]
    assert properties["text"] == {"type": "string", "description": "Words.", "maxLength": 9}
    assert properties["price"]["type"] == "string"
    assert properties["size"] == {
        "type": "string",
        "enum": ["large", "small"],
        "default": "small",
        "description": "Two words.",
    }
    assert properties["way"] == {"type": "string", "enum": ["by_air", "by_sea"], "default": "by_sea"}
    assert properties["note"] == {"type": "string"}
    assert properties["least"]["description"] == "At least."
    assert properties["count"] == {"type": "integer", "minimum": 1, "maximum": 5, "default": 3}
    assert properties["sizes"]["items"]["enum"] == ["large", "small"]
    assert properties["when"] == {"type": "string"}
    assert set(schema) == {"type", "properties", "required"}


class Inner(Struct):
    """A nested object."""

    text: str


class Nested(Struct):
    """Nests."""

    inner: Inner


class ManyInner(Struct):
    """Lists objects."""

    inner: list[Inner]


class Either(Struct):
    """Takes one of two types."""

    value: str | int


class NullNeeded(Struct):
    """Has to be given, and may be null."""

    value: str | None


class Fraction(Struct):
    """Takes a float."""

    value: float


class Free(Struct):
    """Takes any keys."""

    value: dict[str, str]


class Anything(Struct):
    """Takes anything."""

    value: Any


class ListOfAnything(Struct):
    """Lists anything."""

    value: list[Any]


class Digits(Struct):
    """Has a pattern that some grammars cannot read."""

    value: Annotated[str, Meta(pattern=r"^\d+$")]


class Pair(Struct):
    """Takes a tuple of fixed length."""

    value: tuple[str, int]


class Blob(Struct):
    """Takes bytes."""

    value: bytes


class Numbers(Struct):
    """Enumerates numbers."""

    value: Literal[1, 2]


class Many(Struct):
    """Needs a keyword outside the subset."""

    value: Annotated[int, Meta(multiple_of=5)]


class Uid(Struct):
    """Takes a format that not every client knows."""

    value: UUID


class Lists(Struct):
    """Lists lists."""

    value: list[list[str]]


class Unknown(Struct):
    """Holds a type without a schema."""

    value: type


@pytest.mark.parametrize(
    "arguments",
    [
        Nested, ManyInner, Either, NullNeeded, Fraction, Free, Anything, ListOfAnything, Digits, Pair, Blob,
        Numbers, Many, Unknown, Uid, Lists,
    ],
)  # fmt: skip
def test_what_some_client_cannot_take_is_refused_with_its_field(arguments: type[Struct]) -> None:
    """A tool that one client in four cannot call is found at start, not by its user."""
    with pytest.raises(SchemaRefused, match=r"inner|value|Unknown"):
        input_schema(arguments)


class Tagged(Struct, array_like=True):
    """Is an array on the wire."""

    value: str


def test_arguments_are_one_object() -> None:
    """Every client sends an object; an array would never arrive."""
    with pytest.raises(SchemaRefused, match="no flat object"):
        input_schema(Tagged)


def test_the_gate_adds_its_own_arguments_where_they_belong() -> None:
    """M24: a key where money may move; a reason where a person may be asked; nothing beside a read's own."""
    own = input_schema(Inner)
    assert set(published(own, Kind.READ, key_required=False)["properties"]) == {"text"}
    draft = published(own, Kind.DRAFT, key_required=False)
    assert set(draft["properties"]) == {"text", KEY_ARGUMENT, RUN_ARGUMENT}
    spend = published(own, Kind.SPEND, key_required=True)
    assert set(spend["properties"]) == {"text", KEY_ARGUMENT, RUN_ARGUMENT, REASON_ARGUMENT}
    assert spend["required"] == ["text", KEY_ARGUMENT]


class Nothing(Struct):
    """Takes nothing."""


def test_a_tool_without_arguments_has_no_list_of_required_ones() -> None:
    """An empty `required` is refused by older schema drafts."""
    assert published(input_schema(Nothing), Kind.READ, key_required=False) == {
        "type": "object",
        "properties": {},
    }
