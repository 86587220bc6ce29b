"""The strict YAML reader: addresses, YAML 1.2 scalars, and limits that nothing gets past."""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from policy.errors import ConfigurationError, PolicyError
from policy.load import load, load_file, read_source
from policy.tools import load_tools
from policy.yaml_marks import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_MISTAKES,
    MAX_NODES,
    Items,
    Problems,
    Scalar,
    Table,
    did_you_mean,
    quoted,
    read_yaml,
)

TOOLS = load_tools()
HEAD = "version: 1\nrules: "
# What an admin waits for a refusal, in CPU time: busy cores must not fail it, nor must measured coverage.
LONGEST_S = 1.0 if sys.gettrace() is None else 8.0
MOST_BYTES = 96_000_000  # Well below what the smallest machine has to spare.


def value_of(text: str) -> object:
    """Read one scalar as the value of a key."""
    problems = Problems("f.yaml")
    root = read_yaml(f"key: {text}\n", problems)
    assert isinstance(root, Table)
    scalar = root.entries["key"][1]
    assert isinstance(scalar, Scalar)
    assert problems.mistakes == []
    return scalar.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        ("012", 12),
        ("+7", 7),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5e3", -500.0),
        ("1e400", float("inf")),
        ("-.inf", float("-inf")),
        ('"true"', "true"),
        ("'7'", "7"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_core_says(text: str, value: object) -> None:
    """In YAML 1.1 Norway is false, half past one is ninety and 012 is ten; no admin means that."""
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_a_number_beyond_eighteen_digits_is_no_integer_anyone_meant() -> None:
    """Python refuses to parse a few thousand digits by raising, which would be a crash and no message."""
    assert value_of("9" * 5_000) == float("inf")


def test_nan_is_a_number_and_so_never_a_limit() -> None:
    """A limit that compares as neither above nor below would bind nothing."""
    met = value_of(".nan")
    assert isinstance(met, float)
    assert met != met  # noqa: PLR0124 - that is what NaN is


def test_every_node_knows_where_it_stands() -> None:
    """Addresses count from 1 and speak of the value, and keys have their own."""
    problems = Problems("f.yaml")
    root = read_yaml("a: 1\nlist:\n  - {x: y}\n", problems)
    assert isinstance(root, Table)
    key, items = root.entries["list"]
    assert isinstance(items, Items)
    assert (key.line, key.column) == (2, 1)
    assert (items.items[0].line, items.items[0].column) == (3, 5)


def test_a_block_of_text_may_hold_what_looks_like_a_comment() -> None:
    """`|` is the way to write a longer reason; a '#' in it is a character like any other."""
    text = (
        HEAD
        + "\n  - id: x\n    match: {kind: read}\n    effect: deny\n    because: |\n      one\n     #two\n"
    )
    with pytest.raises(PolicyError):  # Less indented than the block: the text has ended, so this is a slip.
        load(text, "f.yaml", TOOLS)
    good = text.replace("     #two", "      #two")
    assert load(good, "f.yaml", TOOLS).rules[0].because == "one\n#two"
    assert load(good.rstrip("\n"), "f.yaml", TOOLS).rules[0].because == "one\n#two"


def test_a_comment_after_a_block_of_text_is_looked_at_again() -> None:
    """The block ends with its indentation, not with the file."""
    text = HEAD + "\n  - id: x\n    match: {kind: read}\n    effect: deny\n    because: |\n      one\n#two\n"
    with pytest.raises(PolicyError, match=r"f\.yaml:8:1: a comment is"):
        load(text, "f.yaml", TOOLS)


@pytest.mark.parametrize("comment", ["#", "# words", "## words", "  # words", "#   indented words", "#!"])
def test_comments_that_a_slip_could_not_have_made_are_fine(comment: str) -> None:
    """A bare '#', one of two, and '# ' at an even column with the indentation an editor leaves."""
    if comment == "#!":
        with pytest.raises(PolicyError):
            load(f"{comment}\nversion: 1\nrules: []\n", "f.yaml", TOOLS)
    else:
        assert load(f"{comment}\nversion: 1\nrules: []\n", "f.yaml", TOOLS).rules == ()


def refused(source: str | bytes) -> PolicyError:
    """Load what must be refused, within the time and memory an admin's machine has."""
    begun = time.process_time()
    with pytest.raises(PolicyError) as error:
        load(source, "f.yaml", TOOLS)
    took = time.process_time() - begun
    assert took < LONGEST_S, f"{took:.2f} s"
    tracemalloc.start()  # In a run of its own, since it makes allocation several times slower.
    with pytest.raises(PolicyError):
        load(source, "f.yaml", TOOLS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < MOST_BYTES, f"{most:,} bytes"
    return error.value


HOSTILE: dict[str, str | bytes] = {
    "ten megabytes": "# " + "x" * 10_000_000,
    "ten megabytes of bytes": b"#" * 10_000_000,
    "deep flow": HEAD + "[" * 400_000,
    "deep flow maps": HEAD + "{a: " * 200_000,
    "deep blocks": "".join(" " * depth + "- \n" for depth in range(1_000)),
    "deep on one line": "- " * 400_000,
    "many explicit keys": "? " * 400_000,
    "many values": HEAD + "[" + "a," * 450_000 + "]",
    "many keys": "".join(f"k{number}: 1\n" for number in range(60_000)),
    "many duplicates": "a: 1\n" * 150_000,
    "one long key": "k" * 900_000 + ": 1\n",
    "one long value": HEAD + '"' + "v" * 900_000 + '"\n',
    "many comments": "#x\n" * 300_000,
    "many anchors": HEAD + "[" + "&a b," * 150_000 + "]",
    "laughs": "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: [*a,*a,*a,*a,*a,*a]\n" for c in "bcdefghij"),
    "many stars": HEAD + '[{id: x, match: {tool: "' + "*a" * 400_000 + '"}, effect: deny}]',
    "many quotes": '"' * 900_000,
    "many tags": HEAD + "[" + "!a b," * 150_000 + "]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_quickly_and_with_little_memory(name: str) -> None:
    """Whoever can edit the policy must not be able to hang or fell the house with it."""
    error = refused(HOSTILE[name])
    assert 1 <= len(error.mistakes) <= MAX_MISTAKES
    assert all(len(mistake.source) <= 2_000 for mistake in error.mistakes)


def test_the_limits_are_told() -> None:
    """Each limit says itself, so that nobody has to guess it."""
    assert f"{MAX_BYTES:,}" in str(refused("x" * (MAX_BYTES + 1)))
    assert str(MAX_DEPTH) in str(refused(HEAD + "[" * 20 + "]" * 20))
    assert f"{MAX_NODES:,}" in str(refused(HEAD + "[" + "a," * (MAX_NODES + 1) + "]"))


def test_a_file_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    """A sparse file of a terabyte must not be read before it is refused."""
    huge = tmp_path / "policies.yaml"
    with huge.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(PolicyError, match="at most 1,000,000 are read"):
        load_file(huge, TOOLS)


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """One line with the name; the policy commands turn it into exit code 3."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_source(tmp_path / "policies.yaml")


def test_windows_line_ends_are_fine() -> None:
    """An admin on Windows edits the same file; only a lone carriage return is refused."""
    assert load("version: 1\r\nrules: []\r\n", "f.yaml", TOOLS).rules == ()
    with pytest.raises(PolicyError) as error:
        load("version: 2\r\nrules: []\r\n", "f.yaml", TOOLS)
    assert error.value.mistakes[0].source == "version: 2"


def test_bytes_that_are_no_text_are_addressed_in_the_line_they_stand_in() -> None:
    """Counted in characters before the byte, as an editor shows it."""
    with pytest.raises(PolicyError, match=r"f.yaml:2:6: byte 0xff is not UTF-8"):
        load("version: 1\n# äö ".encode() + b"\xff", "f.yaml", TOOLS)


def test_a_mistake_beyond_the_last_line_has_no_line_to_show() -> None:
    """YAML may find the end of the file to be wrong; there is nothing to put a caret under."""
    problems = Problems("f.yaml")
    problems.add(3, 1, "past the end")
    assert str(problems.mistakes[0]) == "f.yaml:3:1: past the end"


def test_what_was_met_is_shown_short() -> None:
    """A message is a line, however long the word."""
    assert quoted("a" * 10_000) == repr("a" * 60 + "...")
    assert did_you_mean("amout", ["amount", "agent"]) == "did you mean 'amount'?"
    assert did_you_mean("zzz", ["amount"]) == ""
