"""Raw arguments are read so that no two readers could take them for different things."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from ledger.audit.canonical import canonical
from policy.errors import InputTooLarge, InvalidArguments
from policy.money import Money
from tool_server.decode import DEEPEST, LARGEST_BODY, LARGEST_INTEGER, into, read_arguments
from tool_server.operation import canonical_args


class Purchase(Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments like a real tool's."""

    vendor: Annotated[str, Meta(min_length=1, max_length=60)]
    amount: Money
    count: Annotated[int, Meta(ge=1, le=9)] = 1
    rush: bool = False
    way: Literal["by_air", "by_sea"] = "by_sea"
    note: str | None = None
    tags: tuple[Annotated[str, Meta(max_length=9)], ...] = ()


def taken(raw: bytes) -> Purchase:
    """Read and convert."""
    return into(read_arguments(raw), Purchase, also=("idempotency_key",))


def body(**changes: Any) -> bytes:  # noqa: ANN401 -- any JSON value
    """Return good arguments, changed."""
    return json.dumps({"vendor": "porkbun.com", "amount": "11.06 USD", **changes}).encode()


def test_good_arguments_arrive_as_they_were_written() -> None:
    """The refusals below would be worth nothing if nothing came through."""
    given = taken(body(count=2, rush=True, way="by_air", tags=["a", "b"]))
    assert given == Purchase("porkbun.com", Money(1106, "USD"), 2, rush=True, way="by_air", tags=("a", "b"))


def test_an_optional_field_given_as_null_is_left_out() -> None:
    """Several clients fill in every field of a form; a required one stays required."""
    assert taken(body(note=None, count=None)) == taken(body())
    with pytest.raises(InvalidArguments, match="missing required field `vendor`") as refused:
        taken(body(vendor=None))
    assert refused.value.field == "vendor"


def test_nothing_at_all_is_an_empty_object() -> None:
    """Some clients leave `arguments` out where a tool takes none."""
    assert read_arguments(b"") == read_arguments(b" \n") == read_arguments(b"{}") == {}


REFUSED: dict[str, tuple[bytes, str]] = {
    "a key given twice": (
        b'{"vendor":"a","amount":"1.00 USD","amount":"99.00 USD"}',
        "'amount' is given twice",
    ),
    "a key twice by an escape": (b'{"vendor":"a","v\\u0065ndor":"b","amount":"1.00 USD"}', "given twice"),
    "a key twice further down": (b'{"vendor":"a","amount":"1.00 USD","tags":[{"x":1,"x":2}]}', "given twice"),
    "an unknown field": (body(amout="1.00 USD"), "unknown field 'amout', did you mean 'amount'"),
    "a field in another case": (body(Amount="1.00 USD"), "unknown field 'Amount'"),
    "a smuggled approval": (body(approved=True), "unknown field 'approved'"),
    "a float": (body(count=1.0), "1.0 is no integer"),
    "an exponent": (b'{"vendor":"a","amount":"1.00 USD","count":1e2}', "1e2 is no integer"),
    "not a number": (b'{"vendor":"a","amount":"1.00 USD","count":NaN}', "NaN is no integer"),
    "infinity": (b'{"vendor":"a","amount":"1.00 USD","count":-Infinity}', "-Infinity is no integer"),
    "a number others round": (body(count=LARGEST_INTEGER + 1), "beyond 2\\^53"),
    "a number of 5000 digits": (b'{"count":' + b"9" * 5000 + b"}", "beyond 2\\^53"),
    "text for a number": (body(count="5"), "got `str`"),
    "a truth for a number": (body(count=True), "got `bool`"),
    "a number for a truth": (body(rush=1), "got `int`"),
    "a number for money": (body(amount=11), "got int"),
    "money without decimals": (body(amount="11 USD"), "needs exactly 2 decimals"),
    "money with a sign": (body(amount="-1.00 USD"), "is no amount"),
    "money in other digits": (body(amount="\u0661\u0661.00 USD"), "is no amount"),
    "money with underscores": (body(amount="1_1.00 USD"), "is no amount"),
    "money with a space more": (body(amount="11.06  USD"), "is no amount"),
    "a word outside the list": (body(way="by_foot"), "by_foot"),
    "too many": (body(count=10), "<= 9"),
    "too few": (body(count=0), ">= 1"),
    "too long": (body(vendor="v" * 61), "length <= 60"),
    "half a surrogate pair": (b'{"vendor":"\\ud800","amount":"1.00 USD"}', "half a surrogate"),
    "half a pair in a key": (b'{"\\udfff":1}', "half a surrogate"),
    "half a pair in a list": (b'{"tags":["a","\\ud83d"]}', "half a surrogate"),
    "bytes that are no UTF-8": (b'{"vendor":"\xff"}', "not UTF-8"),
    "an overlong encoding": (b'{"vendor":"\xc0\xaf"}', "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "no JSON"),
    "UTF-16": ('{"vendor":"a"}'.encode("utf-16"), "not UTF-8"),
    "a trailing comma": (b'{"vendor":"a",}', "no JSON"),
    "a comment": (b'{"vendor":"a"/*x*/}', "no JSON"),
    "two objects": (b"{}{}", "no JSON"),
    "a control character": (b'{"vendor":"a\x00b","amount":"1.00 USD"}', "no JSON"),
    "a list": (b"[]", "a list, expected one object"),
    "text": (b'"x"', "text, expected one object"),
    "a number": (b"5", "a number, expected one object"),
    "null": (b"null", "null, expected one object"),
    "true": (b"true", "true or false, expected one object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    """Between what an approver sees and what runs there may be no second reading (T1 to T3, T11)."""
    raw, said = REFUSED[name]
    with pytest.raises(InvalidArguments, match=said):
        taken(raw)


def test_the_allowed_fields_are_listed_with_the_gates_own() -> None:
    """An agent mends its call from the answer alone."""
    with pytest.raises(
        InvalidArguments, match="Allowed: amount, count, idempotency_key, note, rush, tags, vendor"
    ):
        taken(body(x=1))


class Nothing(Struct):
    """Takes nothing."""


def test_a_tool_without_arguments_says_that_it_takes_none() -> None:
    """An empty list of allowed fields would read like a mistake."""
    with pytest.raises(InvalidArguments, match="Allowed: none"):
        into({"x": 1}, Nothing)


class Domain(Struct):
    """Two texts of a form, of which one says in words what it is."""

    vendor: Annotated[str, Meta(pattern="^[a-z.]+$", description="The vendor's domain, as a.example.")] = "x"
    code: Annotated[str, Meta(pattern="^[a-z]+$")] = "x"


def test_what_is_not_of_a_form_is_told_in_the_fields_own_words() -> None:
    """A model that reads a pattern guesses; one that reads "domain" knows."""
    with pytest.raises(
        InvalidArguments, match=r"form it needs: the vendor's domain, as a\.example\."
    ) as refused:
        into({"vendor": "Acme Ltd"}, Domain)
    assert refused.value.field == "vendor"
    with pytest.raises(InvalidArguments, match="matching regex"):
        into({"code": "7"}, Domain)


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_deep_input_is_refused_before_a_reader_falls_over_it(bracket: bytes) -> None:
    """A few kilobytes of brackets end many JSON readers with a stack overflow."""
    with pytest.raises(InputTooLarge, match="nested deeper than 16"):
        read_arguments(bracket * 10_000)


def test_depth_counts_brackets_outside_of_text_only() -> None:
    """A text full of brackets is a text."""
    fine = {"a": '[[[["\\[[[[[[[[[[[[[[[[[[[[[[[[[{{{{{{{{{{{{{{{{'}
    assert read_arguments(json.dumps(fine).encode()) == fine
    just = b'{"a":' + b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1) + b"}"
    assert read_arguments(just)
    with pytest.raises(InputTooLarge):
        read_arguments(b'{"a":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}")


def test_long_input_is_refused_unread() -> None:
    """What nobody could review on a card is not taken, whatever it says."""
    with pytest.raises(InputTooLarge, match="at most 65536"):
        read_arguments(b" " * (LARGEST_BODY + 1))


# --- a hundred thousand malformed bodies ----------------------------------------------------------------

_PIECES = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\u", b"\\ud800", b"\\u0000", b"NaN", b"Infinity",
    b"-", b"1e999", b"0.1", b"9" * 400, b"00", b"true", b"null", b"\xff", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\x00", b"\n", b'"vendor"', b'"amount"', b'"11.06 USD"', b'"1.00 XAU"',
    b'"vendor":"a",', b'"count":', b"/**/", b"'", b"\xe2\x80\xae",
)  # fmt: skip


def _spliced(rand: random.Random) -> bytes:
    return b"".join(rand.choice(_PIECES) for _ in range(rand.randrange(1, 24)))


def _mutated(rand: random.Random) -> bytes:
    raw = bytearray(body(count=3, tags=["a"], note="words \u00e9"))
    for _ in range(rand.randrange(1, 5)):
        place = rand.randrange(len(raw) + 1)
        match rand.randrange(4):
            case 0:
                raw[place:place] = rand.choice(_PIECES)
            case 1:
                del raw[place : place + rand.randrange(1, 6)]
            case 2:
                raw[place : place + 1] = bytes([rand.randrange(256)])
            case _:
                raw[place:place] = raw[: rand.randrange(len(raw) + 1)]
    return bytes(raw)


def _wild(rand: random.Random) -> bytes:
    values: list[Callable[[], object]] = [
        lambda: rand.choice(
            [None, True, False, 0, -1, 2**53, -(2**60), 1.5, "", "1.00 USD", "\ud83d", "\u202e"]
        ),
        lambda: [rand.choice([1, "a", None])] * rand.randrange(4),
        lambda: {rand.choice(["a", "", "vendor"]): rand.randrange(9)},
    ]
    names = [
        "vendor",
        "amount",
        "count",
        "rush",
        "way",
        "note",
        "tags",
        "idempotency_key",
        "",
        "__class__",
        "\u0430mount",
    ]
    return json.dumps({rand.choice(names): rand.choice(values)() for _ in range(rand.randrange(9))}).encode()


def _answer(raw: bytes) -> Purchase | str:
    """Return the arguments, or the refusal's words."""
    try:
        return taken(raw)
    except InvalidArguments as refused:
        return refused.message


def test_a_hundred_thousand_malformed_bodies_are_answered(deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """Whatever bytes come, the answer is `invalid`, or arguments that can be written down and hashed."""
    rand = random.Random(20_261_122)
    good = 0
    for number in range(1_000_000 if deep else 100_000):
        answer = _answer((_spliced, _mutated, _wild)[number % 3](rand))
        if isinstance(answer, str):
            answer.encode()  # Words with half a surrogate pair could not be recorded.
            assert "\n" not in answer
        else:
            good += 1
            assert canonical(json.loads(canonical_args(answer))) == canonical_args(answer)
    assert good > 0, "a generator that never makes good arguments proves little about the bad ones"
