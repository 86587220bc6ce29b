"""The tree of errors keeps its promises: stable codes, one line each, addresses for mistakes of files."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from policy import errors
from policy.errors import CallRefused, CapExceeded, Mistake, OutcomeUnknown, PolicyError, codes, refusal


def test_every_code_is_distinct_and_worded() -> None:
    """Agents branch on codes and the docs list them: two meanings of one code would break both."""
    table = codes()
    assert len({row.code for row in table}) == len(table)
    for row in table:
        assert re.fullmatch(r"[a-z][a-z_]+", row.code)
        assert row.meaning.endswith(".")
        assert row.status in {"denied", "not_executed", "outcome_unknown", "cancelled", "expired", "invalid"}
        assert row.retry in {"never", "later", "with_changes", "same_key", "new_key"}


def test_the_tree_at_the_top_of_the_module_names_every_class() -> None:
    """A drawing that lags behind the code misleads exactly the reader who trusts it."""
    drawing = errors.__doc__ or ""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.BursarError):
            assert re.search(rf"\b{name}\b", drawing), name


def test_a_refusal_is_found_by_its_code() -> None:
    """A stored decision must be answered again with the same class."""
    assert refusal("cap_exceeded") is CapExceeded
    with pytest.raises(KeyError):
        refusal("no_such_code")


def test_a_refused_call_says_what_and_whether_it_ran() -> None:
    """Ran = False is the promise a careful agent acts on."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    refused = CapExceeded("cap is full", field="amount", retry_at=at)
    assert (refused.message, refused.field, refused.retry_at) == ("cap is full", "amount", at)
    assert (refused.ran, refused.status, refused.retry) == (False, "denied", "with_changes")
    assert CapExceeded("cap is full", retry="later").retry == "later"
    assert CapExceeded.retry == "with_changes"
    assert isinstance(refused, CallRefused)


def test_an_unknown_outcome_is_no_refusal() -> None:
    """Money may have moved: code that catches refusals must not catch this."""
    unknown = OutcomeUnknown("the provider never answered")
    assert not isinstance(unknown, CallRefused)
    assert unknown.message == "the provider never answered"
    assert not hasattr(unknown, "ran")


def test_a_mistake_shows_its_line_and_a_caret() -> None:
    """An address without the line makes a reader search."""
    mistake = Mistake(
        "policies.yaml", 14, 13, "unknown field 'amout'", "did you mean 'amount'?", "    x:  amout: 3"
    )
    assert str(mistake).splitlines() == [
        "policies.yaml:14:13: unknown field 'amout', did you mean 'amount'?",
        "      x:  amout: 3",
        "              ^",
    ]


def test_the_caret_stands_under_tabs_and_far_to_the_right() -> None:
    """A tab counts one column; a line of a megabyte must not fill the screen."""
    assert str(Mistake("p", 1, 2, "m", source="\tx")).splitlines()[2] == "  \t^"
    far = str(Mistake("p", 1, 5_000, "m", source="y" * 4_999 + "x" * 5_000)).splitlines()
    assert max(map(len, far)) <= 120
    assert far[1][far[2].index("^")] == "x"
    assert far[1][far[2].index("^") - 1] == "y"


def test_a_mistake_without_a_line_is_one_line() -> None:
    """Some mistakes are about the whole file."""
    assert str(Mistake("p", 1, 1, "the file is empty")) == "p:1:1: the file is empty"


def test_all_mistakes_come_at_once_in_the_order_of_the_file() -> None:
    """Nobody should fix a file one error at a time."""
    found = PolicyError([Mistake("p", 9, 1, "b"), Mistake("p", 2, 1, "a"), Mistake("p", 9, 1, "b")])
    assert str(found) == "p:2:1: a\np:9:1: b"
    assert len(found.mistakes) == 2
