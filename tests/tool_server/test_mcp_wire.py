import json
import random

import pytest

from tool_server.mcp_wire import INVALID_REQUEST, PARSE_ERROR, Malformed, read_message


def call(arguments: str) -> bytes:
    """Return a tool call whose arguments are exactly this text."""
    return (
        '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", '
        f'"params": {{"_meta": {{"a": 1}}, "name": "pay_vendor", "arguments": {arguments} }}}}'
    ).encode()


@pytest.mark.parametrize(
    "arguments",
    [
        "{}",
        '{"amount": 10, "amount": 99}',
        '{"amount": NaN, "b": -Infinity, "c": 1e999}',
        '{"amount": 1' + "0" * 5000 + "}",
        '{"text": "}} , \\" ] \\ud800"}',
        '{"deep": ' + "[" * 60 + "]" * 60 + "}",
        "[1, 2]",
        '"text"',
        "  { \n }",
        '{"emoji": "\N{GRINNING FACE}"}',
    ],
)
def test_the_arguments_reach_the_gate_byte_for_byte(arguments: str) -> None:
    """The gate refuses equal keys, NaN and huge numbers; a parser in between would have hidden them."""
    message = read_message(call(arguments))
    assert message.raw_arguments == arguments.strip().encode()
    assert (message.method, message.tool, message.request_id, message.meta) == (
        "tools/call",
        "pay_vendor",
        7,
        {"a": 1},
    )


def test_the_sdk_reads_an_empty_object_in_their_place() -> None:
    """What the SDK would make of hostile arguments then no longer matters."""
    message = read_message(call('{"amount": NaN, "amount": 1}'))
    assert json.loads(message.body)["params"] == {"_meta": {"a": 1}, "name": "pay_vendor", "arguments": {}}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", PARSE_ERROR),
        (b"{", PARSE_ERROR),
        (b"nonsense", PARSE_ERROR),
        (b'{"id": 1,}', PARSE_ERROR),
        (b'{"id" 1}', PARSE_ERROR),
        (b'{"id": 1} {"id": 2}', PARSE_ERROR),
        (b'{"id": NaN}', PARSE_ERROR),
        (b"\xff\xfe{\x00}\x00", PARSE_ERROR),
        (b'{"params": {"arguments": ' + b"[" * 100_000, PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b"1", INVALID_REQUEST),
        (b'{"id": 1, "id": 2}', INVALID_REQUEST),
        (b'{"method": "tools/call", "params": {"name": "a", "name": "b"}}', INVALID_REQUEST),
        (b'{"method": "tools/call", "params": {"arguments": {}, "arguments": {"a": 1}}}', INVALID_REQUEST),
        (b'{"method": "tools/call", "params": {"_meta": {"k": 1, "k": 2}}}', INVALID_REQUEST),
        (b'{"method": "tools/call", "m\\u0065thod": "ping"}', INVALID_REQUEST),
        (b'{"method": "tools/call", "params": {"name": "\\ud800"}}', INVALID_REQUEST),
    ],
)
def test_an_envelope_that_two_readers_could_take_differently_is_refused(body: bytes, code: int) -> None:
    """The tool that the policy judged must be the tool that the SDK names."""
    with pytest.raises(Malformed) as malformed:
        read_message(body)
    assert malformed.value.code == code


def test_a_message_without_arguments_has_none() -> None:
    """Absent and null are the same to the gate: no arguments."""
    assert read_message(call("null")).raw_arguments == b""
    assert read_message(b'{"method": "tools/list"}').raw_arguments == b""
    assert read_message(b'{"method": "ping", "params": {"arguments": {"a": 1}}}').raw_arguments == b""


def test_no_bytes_at_all_make_it_fail_in_another_way(*, deep: bool) -> None:
    """20,000 (500,000) mutations of a valid call: a message or Malformed, never an error of ours."""
    draw = random.Random(20_261_122)
    seed = call('{"vendor": "example.com", "amount": "19.99 USD"}')
    pieces = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\\u00", b"\\ud83d", b"\xff", b"NaN", b"1e9"]
    read = 0
    for _ in range(500_000 if deep else 20_000):
        body = bytearray(seed)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(body))
            body[at : at + draw.randint(0, 3)] = draw.choice(pieces)
        try:
            message = read_message(bytes(body))
        except Malformed:
            continue
        read += 1
        json.loads(message.body)
    assert read > 500
