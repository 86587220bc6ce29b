"""One JSON-RPC message as bytes: find the raw arguments of a tool call, and refuse an ambiguous envelope.

The SDK parses JSON, and parsing loses what the gate must see: which of two equal keys came last, how a number
was written. So the arguments are cut out as text before the SDK reads the message; it reads `{}` instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from msgspec import Struct

_SPACE: Final = " \t\r\n"
TOOLS_CALL: Final = "tools/call"

PARSE_ERROR: Final = -32700  # JSON-RPC 2.0, section 5.1
INVALID_REQUEST: Final = -32600


class Malformed(Exception):  # noqa: N818 - it says what was met
    """The message is no single unambiguous JSON-RPC object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Message(Struct, frozen=True, kw_only=True):
    """What the transport must know of one message; `body` is what the SDK may read."""

    body: bytes
    method: str = ""
    tool: str = ""
    raw_arguments: bytes = b""  # Exactly as sent; empty where the call brought none.
    meta: Mapping[str, Any] = {}
    has_id: bool = False
    request_id: str | int | None = None


class _Member(NamedTuple):
    """One member of an object: where its value starts and ends in the text."""

    key: str
    start: int
    end: int


def read_message(body: bytes) -> Message:
    """Return the parts of one message. Raises Malformed and nothing else, whatever the bytes are."""
    try:
        return _read(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(PARSE_ERROR, f"the body is not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise Malformed(PARSE_ERROR, "the body is nested too deeply") from None
    except (ValueError, IndexError, StopIteration):
        raise Malformed(PARSE_ERROR, "the body is no JSON") from None


def _read(text: str) -> Message:
    start = _skip(text, 0)
    if text[start : start + 1] == "[":
        raise Malformed(INVALID_REQUEST, "send one message at a time, not a list of them")
    if text[start : start + 1] != "{":
        _READER.raw_decode(text, start)  # Tells text that is no JSON from JSON that is no message.
        raise Malformed(INVALID_REQUEST, "a message is a JSON object")
    top = _once(_members(text, start))
    end = max((member.end for member in top.values()), default=start + 1)
    if text[_skip(text, end) :].rstrip(_SPACE) != "}":
        raise Malformed(PARSE_ERROR, "something follows the message")
    message = _message(text, top)
    if "\\u" in text:
        _check_text((message.method, message.request_id, message.tool, message.meta))
    return message


def _message(text: str, top: Mapping[str, _Member]) -> Message:
    """Put the parts together; an envelope that the SDK will refuse is left for it to refuse."""
    method, request_id = _value(text, top.get("method")), _value(text, top.get("id"))
    message = Message(
        body=text.encode(),
        method=method if isinstance(method, str) else "",
        has_id="id" in top,
        request_id=request_id if isinstance(request_id, str | int) else None,
    )
    params = top.get("params")
    if params is None or text[params.start] != "{":
        return message
    return _with_params(text, message, _once(_members(text, params.start)))


def _with_params(text: str, message: Message, params: Mapping[str, _Member]) -> Message:
    """Add what the params say; only a tool call has arguments to cut out."""
    meta, name, arguments = _value(text, params.get("_meta")), _value(text, params.get("name")), b""
    body = message.body
    span = params.get("arguments")
    if span is not None and message.method == TOOLS_CALL:
        arguments = text[span.start : span.end].encode()
        body = (text[: span.start] + "{}" + text[span.end :]).encode()
    return Message(
        body=body,
        method=message.method,
        tool=name if isinstance(name, str) else "",
        raw_arguments=b"" if arguments == b"null" else arguments,
        meta=meta if isinstance(meta, dict) else {},
        has_id=message.has_id,
        request_id=message.request_id,
    )


def _members(text: str, start: int) -> Iterator[_Member]:
    """Yield the members of the object that opens at `start`; their values are scanned, not kept."""
    at = _skip(text, start + 1)
    if text[at] == "}":
        return
    while True:
        if text[at] != '"':
            raise ValueError("a key is text")
        key, at = _READER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError("a key has a value")
        begin = _skip(text, at + 1)
        _, at = _SCANNER.raw_decode(text, begin)
        yield _Member(key, begin, at)
        at = _skip(text, at)
        if text[at] == "}":
            return
        if text[at] != ",":
            raise ValueError("members are separated by commas")
        at = _skip(text, at + 1)


def _once(members: Iterator[_Member]) -> dict[str, _Member]:
    """Return the members by key; two readers could each take another one of two equal keys."""
    found: dict[str, _Member] = {}
    for member in members:
        if member.key in found:
            raise Malformed(INVALID_REQUEST, f"the key {member.key[:40]!r} is given twice")
        found[member.key] = member
    return found


def _check_text(parts: tuple[object, ...]) -> None:
    """Refuse half a surrogate pair: it has no UTF-8 for a log to hold. The gate checks the arguments."""
    try:
        json.dumps(parts, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed(
            INVALID_REQUEST, "the message holds half a surrogate pair, which is no text"
        ) from None


def _value(text: str, member: _Member | None) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Return one value, read strictly; None where it is absent."""
    if member is None:
        return None
    value, _ = _READER.raw_decode(text, member.start)
    return value


def _skip(text: str, at: int) -> int:
    """Return the place of the next character that is no white space."""
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole = dict(pairs)
    if len(whole) != len(pairs):
        raise Malformed(INVALID_REQUEST, "a key is given twice")
    return whole


def _no_number(text: str) -> NoReturn:
    raise Malformed(PARSE_ERROR, f"{text} is no JSON")


# Values are only measured here, the gate reads them: numbers stay text, so that a long one costs nothing.
_SCANNER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_READER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_number)
