"""The bytes that are hashed: equal to RFC 8785 inside the profile, refused outside it."""

from datetime import UTC, datetime
from enum import StrEnum

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.audit import canonical as c
from ledger.audit.canonical import canonical

SAFE = st.integers(-c.MAX_SAFE_INTEGER, c.MAX_SAFE_INTEGER)
KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | SAFE | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=1000, deadline=None)
def test_inside_the_profile_the_bytes_are_those_of_rfc_8785(value: object) -> None:
    """A stranger checks a payload hash with any RFC 8785 library, so an independent one is the oracle."""
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]  # Its own JSON type.


def test_every_control_character_is_written_as_rfc_8785_writes_it() -> None:
    """The escapes are where JSON writers differ most: short forms, case of hex digits, DEL, separators."""
    text = "".join(map(chr, range(0x120))) + "\u2028\u2029\ufeff\uffff\U0001f600"
    assert canonical({"t": text}) == rfc8785.dumps({"t": text})


def test_the_bounds_of_integers_are_those_of_rfc_8785() -> None:
    """At 2^53 JavaScript readers begin to round, and two of them would hash different bytes."""
    for edge in (c.MAX_SAFE_INTEGER, -c.MAX_SAFE_INTEGER):
        assert canonical(edge) == rfc8785.dumps(edge)
    for beyond in (c.MAX_SAFE_INTEGER + 1, -c.MAX_SAFE_INTEGER - 1):
        with pytest.raises(c.IntegerTooLarge):
            canonical([beyond])
        with pytest.raises(rfc8785.IntegerDomainError):
            rfc8785.dumps([beyond])


class Colour(StrEnum):
    """A word of some vocabulary."""

    RED = "red"


def test_words_of_a_vocabulary_are_their_text() -> None:
    """States are StrEnums in our records; the log must say the word."""
    assert canonical({"state": Colour.RED, "all": (Colour.RED,)}) == b'{"all":["red"],"state":"red"}'


def nested(depth: int) -> object:
    """A list in a list, `depth` times."""
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "path"),
    [
        (1.0, c.FloatRefused, "$"),
        ({"a": [0, {"b": 1.5}]}, c.FloatRefused, "$.a[1].b"),
        ({"a": (0, float("nan"))}, c.FloatRefused, "$.a[1]"),
        ({"a": 2**53}, c.IntegerTooLarge, "$.a"),
        ({"a": {"é": 1}}, c.KeyRefused, "$.a"),
        ([{1: 1}], c.KeyRefused, "$[0]"),
        ({Colour.RED: 1}, c.KeyRefused, "$"),
        ({"a": b"x"}, c.TypeRefused, "$.a"),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, c.TypeRefused, "$.a"),
        ({"a": {1, 2}}, c.TypeRefused, "$.a"),
        ({"a": "\ud800"}, c.TextRefused, "$"),
        (nested(c.MAX_DEPTH + 1), c.TooDeep, "$" + "[0]" * c.MAX_DEPTH),
    ],
)
def test_outside_the_profile_nothing_is_hashed_and_the_place_is_named(
    value: object, error: type[c.NotCanonical], path: str
) -> None:
    """Where orjson and RFC 8785 part, only we could check a hash; so such a value is a typed refusal."""
    with pytest.raises(error) as caught:
        canonical(value)
    assert caught.value.path == path
    assert path in str(caught.value)


def test_the_deepest_value_allowed_is_written() -> None:
    """The bound itself is inside, so that what the gate admits can always be logged."""
    assert canonical(nested(c.MAX_DEPTH)) == b"[" * c.MAX_DEPTH + b"0" + b"]" * c.MAX_DEPTH


def test_the_refusals_are_needed() -> None:
    """Two refusals stand where the fast writer and RFC 8785 differ; should they come to agree, drop them."""
    for value in (1.0, -0.0, {"\ue000": 1, "\U00010000": 1}):
        assert orjson.dumps(value, option=orjson.OPT_SORT_KEYS) != rfc8785.dumps(value)
