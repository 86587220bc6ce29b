"""Read the strict YAML that policies and cases are written in: YAML 1.2 core, each value with its address.

Parsing goes event by event with a stack of our own, so neither depth nor size can exhaust the machine. What
lets one slip of a finger change a meaning silently does not exist: duplicate keys, anchors and aliases, merge
keys, tags, several documents, tabs, invisible characters, values that run on over lines, and comments that a
lone '#' would make of a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml
from msgspec import Struct

from policy.errors import Mistake

MAX_BYTES: Final = 1_000_000  # A thousand rules need a quarter of it; more is no policy a person has read.
MAX_DEPTH: Final = 12  # The deepest field of the language stands at 7.
MAX_NODES: Final = 60_000  # Bounds time and memory; a thousand full rules have about 20,000.
MAX_MISTAKES: Final = 50  # A person mends a screenful at a time; the search for suggestions is not free.

_QUOTED: Final = 60  # Enough of what was met to find it.
NOTED: Final = "\0"  # Begins the text of a value whose mistake was told when it was read.
_MOST_COMPARED: Final = 200  # Names that a suggestion is looked for among: each costs up to 0.2 ms.
MAX_SHOWN: Final = 2_000  # A longer line would be most of a report; its address must do.

# Control, invisible and direction-changing characters: what a person reads must be what the loader reads.
_FORBIDDEN: Final = re.compile(
    r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff9-\uffff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]|\r(?!\n)"
)
_COMMENT: Final = re.compile(r"^( *)#(?!#)( *)(.*)$", re.MULTILINE)
_INT: Final = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_CONSTANTS: Final = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NUMBER_BEGINS: Final = frozenset("-+.0123456789")


class Scalar(Struct, frozen=True):
    """One value: its text as written and what YAML 1.2 core makes of it. Line and column count from 1."""

    value: str | int | float | bool | None
    text: str
    line: int
    column: int


class Table(Struct, frozen=True):
    """A mapping: each key with its own address and its value, in the order of the file."""

    entries: dict[str, tuple[Scalar, Node]]
    line: int
    column: int


class Items(Struct, frozen=True):
    """A sequence of values."""

    items: list[Node]
    line: int
    column: int


Node = Scalar | Table | Items


class TooManyMistakesError(Exception):
    """Enough mistakes were found; nobody reads further."""


class Problems:
    """Collects the mistakes of one file, each with its address, its line and a suggestion."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self._lines: list[str] = []

    def read(self, text: str) -> None:
        """Remember the text that the addresses speak of."""
        self._lines = text.split("\n")

    def add(self, line: int, column: int, message: str, suggestion: str = "") -> None:
        """Note one mistake. Raises TooManyMistakesError once there are more than anyone mends at a time."""
        source = self._lines[line - 1].rstrip("\r") if line <= len(self._lines) else ""
        shown = _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", source) if len(source) <= MAX_SHOWN else ""
        self.mistakes.append(Mistake(self.file, line, column, message, suggestion, shown))
        if len(self.mistakes) >= MAX_MISTAKES:
            raise TooManyMistakesError

    def at(self, node: Node, message: str, suggestion: str = "") -> None:
        """Note one mistake where a value begins."""
        self.add(node.line, node.column, message, suggestion)


def did_you_mean(word: str, known: Iterable[str], most: int = _MOST_COMPARED) -> str:
    """Return "did you mean 'amount'?" for the nearest known word, or nothing."""
    names = list(known)
    if len(names) > most:
        return ""
    import difflib

    close = difflib.get_close_matches(word[:64], names, n=1, cutoff=0.55)
    return f"did you mean {close[0]!r}?" if close else ""


def quoted(text: str) -> str:
    """Quote what was met, short enough for one line."""
    return repr(text if len(text) <= _QUOTED else text[:_QUOTED] + "...")


def read_yaml(source: str | bytes, problems: Problems) -> Node | None:
    """Return the one document of a file; None if it has mistakes after which nothing can be made of it."""
    text = _text(source, problems)
    if text is None:
        return None
    problems.read(text)
    if _noted_forbidden(text, problems):
        return None
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        _note_syntax(error, problems)
        return None
    except _BeyondLimitError as error:
        problems.add(error.line, error.column, str(error))
        return None
    _note_loose_comments(text, builder.blocks, builder.flows, problems)
    if builder.root is None:
        problems.add(1, 1, "the file is empty", "a policy begins with 'version: 1'")
    return builder.root


def _text(source: str | bytes, problems: Problems) -> str | None:
    if len(source) > MAX_BYTES:
        problems.add(1, 1, f"the file has {len(source):,} bytes; at most {MAX_BYTES:,} are read")
        return None
    if isinstance(source, str):
        return source
    try:
        return source.decode()
    except UnicodeDecodeError as error:
        before = source[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        problems.add(line, column, f"byte 0x{source[error.start]:02x} is not UTF-8; save the file as UTF-8")
        return None


def _noted_forbidden(text: str, problems: Problems) -> bool:
    """Note the first forbidden character; the rest would be noise of the same kind."""
    found = _FORBIDDEN.search(text)
    if found is None:
        return False
    start = found.start()
    line, column = text.count("\n", 0, start) + 1, start - (text.rfind("\n", 0, start) + 1) + 1
    problems.add(line, column, _forbidden_because(found.group(), start))
    return True


def _forbidden_because(char: str, start: int) -> str:
    if char == "\t":
        return "a tab stands here; write spaces"
    if char == "\ufeff" and start == 0:
        return "the file begins with a byte order mark; save it as UTF-8 without one"
    if char == "\r":
        return "a carriage return stands here without a line feed; save the file with \\n or \\r\\n line ends"
    return f"an invisible character stands here (U+{ord(char):04X}); remove it"


def _note_syntax(error: yaml.MarkedYAMLError, problems: Problems) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if error.context and "alias" in error.context:
        problems.add(
            line, column - 1, "a value that begins with '*' must be quoted", 'write it as "*.example.com"'
        )
        return
    problem = (error.problem or "something unexpected").replace("could not find expected", "expected a")
    problems.add(line, column, f"this is not YAML: {problem}", _syntax_hint(error, line))


def _syntax_hint(error: yaml.MarkedYAMLError, line: int) -> str:
    """Say where the broken piece began, if that is another line."""
    began = error.context_mark
    if began is None or began.line + 1 == line:
        return ""
    return f"in what begins at line {began.line + 1}"


def _note_loose_comments(text: str, blocks: list[range], flows: list[range], problems: Problems) -> None:
    """Refuse a comment that a single '#' could have made of a line (one slip must not switch off a rule)."""
    inside = {line for block in blocks for line in block}
    braced = {line for flow in flows for line in flow}
    line, seen = 1, 0
    for found in _COMMENT.finditer(text):
        line, seen = line + text.count("\n", seen, found.start()), found.start()
        indent, gap, words = len(found.group(1)), len(found.group(2)), found.group(3)
        if not words.strip() or line in inside:
            continue
        if line in braced:
            problems.add(
                line,
                indent + 1,
                "no comment stands between braces or brackets; write it above them",
                "so that a lone '#' slipped in before a line cannot switch it off",
            )
            continue
        if indent % 2 == 0 and gap % 2 == 1:
            continue
        problems.add(
            line,
            indent + 1,
            "a comment is '# ' and words, and begins at an even column",
            "so that a lone '#' slipped in before a line cannot switch it off",
        )


class _BeyondLimitError(Exception):
    """The file is deeper or longer than any policy."""

    def __init__(self, message: str, event: yaml.Event) -> None:
        super().__init__(message)
        self.line, self.column = _where(event)


class _Builder:
    """Makes nodes of events, one at a time."""

    def __init__(self, problems: Problems) -> None:
        self.root: Node | None = None
        self.blocks: list[range] = []  # Lines inside block scalars, where '#' begins no comment.
        self.flows: list[range] = []  # Lines after the first of what stands in braces or brackets.
        self._problems = problems
        # Each with the key that awaits its value.
        self._open: list[tuple[Table | Items, list[Scalar | None]]] = []
        self._braces: list[Table | Items] = []  # Those of the open ones that stand in braces or brackets.
        self._nodes = 0
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        """Take one event of the parser."""
        if isinstance(event, yaml.ScalarEvent):
            self._place(self._scalar(event))
        elif isinstance(event, yaml.MappingStartEvent):
            self._enter(Table({}, *_where(event)), event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._enter(Items([], *_where(event)), event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._place(self._close(event))
        elif isinstance(event, yaml.AliasEvent):
            name = str(event.anchor)
            told = f"aliases such as *{name[:_QUOTED]} are not allowed"
            self._note(event, told, "write the value out, or quote it")
            self._place(Scalar(None, f"{NOTED}{name}", *_where(event)))
        elif isinstance(event, yaml.DocumentStartEvent):
            self._start_document(event)

    def _start_document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _BeyondLimitError("a second document begins here; a file holds exactly one", event)
        if event.version or event.tags:
            self._note(event, "directives such as %YAML are not allowed")

    def _enter(self, node: Table | Items, event: yaml.CollectionStartEvent) -> None:
        self._check_marks(event)
        self._count(event)
        if len(self._open) >= MAX_DEPTH:
            raise _BeyondLimitError(f"nested more than {MAX_DEPTH} deep", event)
        if event.flow_style:
            self._braces.append(node)
        elif node.column % 2 == 0:
            self._note(
                event,
                "this is indented by an odd number of spaces; write two for each step",
                "so that a lone '#' slipped in before a line cannot switch it off",
            )
        self._open.append((node, [None]))

    def _close(self, event: yaml.CollectionEndEvent) -> Table | Items:
        node = self._open.pop()[0]
        if self._braces and self._braces[-1] is node:
            self._braces.pop()
            self.flows.append(range(node.line + 1, _where(event)[0] + 1))
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        self._check_marks(event)
        self._count(event)
        (line, column), end, text = _where(event), self._end(event), self._seen(event)
        if event.style in {"|", ">"}:
            self.blocks.append(range(line + 1, end))
        elif end != line and text:
            self._note(
                event, "a value may not run on over lines", "close its quotes, or use '|' for a long text"
            )
        value = _resolve(text) if event.implicit[0] and not event.style else text
        return Scalar(value, text, line, column)

    def _seen(self, event: yaml.ScalarEvent) -> str:
        """Return a value's text; what an escape in quotes would smuggle in is refused here."""
        found = _FORBIDDEN.search(event.value)
        if found is None:
            return str(event.value)
        self._note(
            event,
            f"an escape makes an invisible or control character (U+{ord(found.group()):04X}) here",
            "remove it",
        )
        return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", event.value)

    def _end(self, event: yaml.ScalarEvent) -> int:
        """Return the line a value ends in; for a block, the first line after it."""
        mark: Any = event.end_mark  # See _where.
        return int(mark.line) + 1 + (1 if event.style in {"|", ">"} and mark.column else 0)

    def _place(self, node: Node) -> None:
        """Put a finished value where it belongs: root, item, key or value."""
        if not self._open:
            self.root = node
            return
        parent, pending = self._open[-1]
        if isinstance(parent, Items):
            parent.items.append(node)
        elif pending[0] is None:
            pending[0] = self._key(node)
        else:
            parent.entries.setdefault(pending[0].text, (pending[0], node))
            self._note_duplicate(parent, pending[0])
            pending[0] = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.text != "<<":
            return node
        if isinstance(node, Scalar) and node.text == "<<":
            self._problems.at(node, "merge keys are not allowed", "write the fields out")
        else:
            self._problems.at(
                node, "a key is a word", "quote it if it looks like a number, a list or nothing"
            )
        # Unique, so that one mistake is not reported as a duplicate as well.
        return Scalar(None, f"{NOTED}{self._nodes}", node.line, node.column)

    def _note_duplicate(self, parent: Table, key: Scalar) -> None:
        first = parent.entries[key.text][0]
        if first is not key:
            self._problems.at(
                key, f"duplicate key {quoted(key.text)}", f"the first stands in line {first.line}"
            )

    def _check_marks(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.anchor:
            self._note(
                event,
                f"anchors such as &{event.anchor[:_QUOTED]} are not allowed",
                "write the value where it is used",
            )
        if event.tag:
            self._note(
                event, f"tags such as {quoted(event.tag)} are not allowed", "quote the value to make it text"
            )

    def _count(self, event: yaml.Event) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _BeyondLimitError(f"more than {MAX_NODES:,} values; a policy that long is no policy", event)

    def _note(self, event: yaml.Event, message: str, suggestion: str = "") -> None:
        self._problems.add(*_where(event), message, suggestion)


def _where(event: yaml.Event) -> tuple[int, int]:
    """Return the line and column an event begins at, counted from 1."""
    mark: Any = event.start_mark  # Every event of a file has one; the stubs allow for none.
    return mark.line + 1, mark.column + 1


def _resolve(text: str) -> str | int | float | bool | None:
    """Make of a plain scalar what YAML 1.2 core says: `no`, `on`, `1:30` and dates stay text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMBER_BEGINS:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
