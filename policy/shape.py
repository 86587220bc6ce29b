"""Turn the nodes of a file into its forms, noting every mistake with its address, not just the first.

The types of `policy.document` are compiled once into readers. A reader returns BROKEN after it has noted why.
(msgspec's own `convert` stops at the first mistake and knows no columns.)
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
from msgspec import Meta, Struct, UnsetType

from policy.forms import FORMS, FormError, Names
from policy.yaml_marks import NOTED, Items, Node, Problems, Scalar, Table, did_you_mean, quoted

F = TypeVar("F", bound=Struct)

# Fields that people look for and that do not exist, with what to write instead.
_ELSEWHERE: Final = {
    "when": "there are no expressions; write fields of match and unless",
    "if": "there are no expressions; write fields of match and unless",
    "cap": "caps stand at the top of the file and bind by themselves",
    "sum_above": "rules may ask for this, caps may not",
    "count_above": "rules may ask for this, caps may not",
    "priority": "the order of rules never matters: deny over require_approval over allow",
}


# Texts that may well look like a number or a switch to YAML.
_NAMES: Final = frozenset(FORMS[form].expected for form in ("id", "name", "payee", "who", "sentence"))


class Broken:
    """What a reader returns for a value with a mistake."""


BROKEN: Final = Broken()


class Reading(Struct, frozen=True):
    """One reading of one file: where mistakes go, the names there are, and texts found well formed."""

    problems: Problems
    names: Names
    built: list[tuple[Table, Struct]]  # Every form without a mistake of its own, with where it stands.
    passed: set[tuple[str, str]]


class Reader(Protocol):
    """Reads one value of one type."""

    expected: str  # How a message speaks of it: "money such as ...", "true or false".

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - each reader has a type of its own
        """Return the value, or BROKEN once its mistakes are noted."""


class Read(Struct, frozen=True):
    """What a node held: the whole form, unless it has mistakes, and every form in it that has none."""

    whole: Struct | None
    built: list[tuple[Table, Struct]]

    def each(self, form: type[F]) -> list[tuple[Table, F]]:
        """Return the forms of one type, in the order of the file."""
        return [(node, built) for node, built in self.built if type(built) is form]


def read_form(form: type[Struct], node: Node, problems: Problems, names: Names) -> Read:
    """Read a node as a form, noting every mistake on the way."""
    reading = Reading(problems, names, [], set())
    value = _reader(form)(node, reading)
    return Read(value if isinstance(value, Struct) else None, reading.built)


@lru_cache(maxsize=256)
def _reader(wanted: Any) -> Reader:  # noqa: ANN401 - a type expression
    origin = get_origin(wanted)
    if origin is Annotated:
        base, *metas = get_args(wanted)
        return _annotated(base, metas[0])
    if origin in {Union, types.UnionType}:
        return _Union([_reader(part) for part in get_args(wanted) if part is not UnsetType])
    if origin is list:
        return _List(_reader(get_args(wanted)[0]), 0)
    if origin is dict:
        key, value = get_args(wanted)
        return _Dict(_reader(key), _reader(value))
    if origin is Literal:
        return _Words({word: word for word in get_args(wanted)})
    return _simple(wanted)


def _simple(wanted: type) -> Reader:
    if issubclass(wanted, Enum):
        return _Words({word.value: word for word in wanted})
    if issubclass(wanted, Struct):
        return _Form(wanted)
    return _PLAIN[wanted]


def _annotated(base: Any, meta: Meta) -> Reader:  # noqa: ANN401 - a type expression
    if get_origin(base) is list:
        return _List(_reader(get_args(base)[0]), meta.min_length or 0)
    if base is int:
        return _Whole(int(meta.ge or 0), int(meta.le or 0))
    return _Text(str((meta.extra or {})["form"]))


def found(node: Node) -> str:
    """Say what stands in a place."""
    if isinstance(node, Table):
        return "a mapping"
    if isinstance(node, Items):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return node.text
    if isinstance(node.value, str):
        return quoted(node.text)
    return f"the number {quoted(node.text)[1:-1]}"


def _mismatch(reader: Reader, node: Node, reading: Reading) -> Broken:
    if isinstance(node, Scalar) and node.text.startswith(NOTED):
        return BROKEN
    suggestion = ""
    if isinstance(node, Scalar) and node.value is not None and not isinstance(node.value, str):
        suggestion = "put a name in quotes if it looks like a number" if reader.expected in _NAMES else ""
    reading.problems.at(node, f"expected {reader.expected}, found {found(node)}", suggestion)
    return BROKEN


class _Text:
    """A text of a form."""

    def __init__(self, form: str) -> None:
        self._form, self._check = form, FORMS[form].check
        self.expected = FORMS[form].expected

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            return _mismatch(self, node, reading)
        text = node.value
        if (self._form, text) in reading.passed:
            return text
        try:
            self._check(text, reading.names)
        except ValueError as error:
            reading.problems.at(node, str(error), error.suggestion if isinstance(error, FormError) else "")
            return BROKEN
        reading.passed.add((self._form, text))
        return text


class _Any:
    """A plain scalar of one Python type."""

    def __init__(self, kind: type, expected: str) -> None:
        self._kind, self.expected = kind, expected

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if isinstance(node, Scalar) and type(node.value) is self._kind:
            return node.value
        return _mismatch(self, node, reading)


_PLAIN: Final[Mapping[type, Reader]] = {
    str: _Any(str, "a text"),
    int: _Any(int, "a whole number"),
    bool: _Any(bool, "true or false"),
}


class _Whole:
    """A whole number between two bounds."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.expected = f"a whole number from {least} to {most:,}"

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if isinstance(node, Scalar) and type(node.value) is int and self._least <= node.value <= self._most:
            return node.value
        return _mismatch(self, node, reading)


class _Words:
    """One of a few words or numbers."""

    def __init__(self, words: Mapping[Any, Any]) -> None:
        self._words = words
        shown = [str(word) for word in words]
        self.expected = shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        # By type as well: True == 1 would let `version: true` pass.
        if isinstance(node, Scalar) and type(node.value) in {str, int} and node.value in self._words:
            return self._words[node.value]
        if isinstance(node, Scalar) and isinstance(node.value, str):
            hint = did_you_mean(node.value, [str(word) for word in self._words])
            reading.problems.at(node, f"expected {self.expected}, found {found(node)}", hint)
            return BROKEN
        return _mismatch(self, node, reading)


class _List:
    """A list, with at least so many items."""

    expected = "a list"

    def __init__(self, item: Reader, least: int) -> None:
        self._item, self._least = item, least

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if not isinstance(node, Items):
            return _mismatch(self, node, reading)
        if len(node.items) < self._least:
            # An empty list would match everything or nothing; nobody could tell which.
            reading.problems.at(node, "the list is empty", "name at least one or leave the field out")
            return BROKEN
        values = [self._item(item, reading) for item in node.items]
        return BROKEN if BROKEN in values else values


class _Dict:
    """A mapping with free keys."""

    expected = "a mapping"

    def __init__(self, key: Reader, value: Reader) -> None:
        self._key, self._value = key, value

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if not isinstance(node, Table):
            return _mismatch(self, node, reading)
        values = {
            name: (self._key(key, reading), self._value(value, reading))
            for name, (key, value) in node.entries.items()
        }
        if any(BROKEN in pair for pair in values.values()):
            return BROKEN
        return {name: pair[1] for name, pair in values.items()}


class _Form:
    """A mapping with known fields."""

    def __init__(self, form: type[Struct]) -> None:
        self._form = form
        hints = get_type_hints(form, include_extras=True)
        self._called = str(getattr(form, "called", "this"))
        self.expected = f"{self._called} (a mapping)"
        fields = msgspec.structs.fields(form)
        self._attributes = {field.encode_name: field.name for field in fields}
        self._required = [field.encode_name for field in fields if field.required]
        # Compiled on first use, since most files use few of the fields.
        self._types = {field.encode_name: hints[field.name] for field in fields}
        self._readers: dict[str, Callable[[Node, Reading], Any]] = {}

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if not isinstance(node, Table):
            return _mismatch(self, node, reading)
        values = {}
        for name, (key, value) in node.entries.items():
            if name in self._types:
                values[self._attributes[name]] = self._field(name)(value, reading)
            elif not name.startswith(NOTED):
                self._note_unknown(key, reading)
                values[name] = BROKEN
        missing = [name for name in self._required if name not in node.entries]
        if missing:
            wanted = " and ".join(repr(name) for name in missing)
            reading.problems.at(node, f"{self._called} needs {wanted}")
        if missing or any(value is BROKEN for value in values.values()):
            return BROKEN
        built = self._form(**values)
        reading.built.append((node, built))
        return built

    def _field(self, name: str) -> Callable[[Node, Reading], Any]:
        if name not in self._readers:
            self._readers[name] = _reader(self._types[name])
        return self._readers[name]

    def _note_unknown(self, key: Scalar, reading: Reading) -> None:
        name = key.text
        hint = _ELSEWHERE.get(name, "") or did_you_mean(name, self._types)
        if not hint:
            hint = f"{self._called} has {', '.join(self._types)}"
        reading.problems.at(key, f"unknown field {quoted(name)}", hint)


class _Union:
    """One of several types, told apart by whether a scalar, a list or a mapping stands there."""

    def __init__(self, parts: list[Reader]) -> None:
        self._table = next((part for part in parts if isinstance(part, _Form | _Dict)), None)
        self._list = next((part for part in parts if isinstance(part, _List)), None)
        self._scalars = [part for part in parts if not isinstance(part, _Form | _Dict | _List)]
        self.expected = " or ".join(part.expected for part in parts)

    def __call__(self, node: Node, reading: Reading) -> Any:  # noqa: ANN401 - see Reader
        if isinstance(node, Table) and self._table is not None:
            return self._table(node, reading)
        if isinstance(node, Items) and self._list is not None:
            return self._list(node, reading)
        if isinstance(node, Scalar):
            for part in self._scalars:
                if len(self._scalars) == 1 or _takes(part, node):
                    return part(node, reading)
        return _mismatch(self, node, reading)


def _takes(part: Reader, node: Scalar) -> bool:
    """Say whether a scalar is of a reader's Python type at all."""
    if isinstance(part, _Text | _Words):
        return isinstance(node.value, str)
    return part is _PLAIN.get(type(node.value))
