"""tests/policy/broken/: each file is refused with exactly the message beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.errors import PolicyError
from policy.load import load_file
from policy.tools import load_tools

FOLDER = Path(__file__).parent / "broken"
TOOLS = load_tools()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_broken_policy_is_refused_with_the_message_beside_it(path: Path) -> None:
    """A message is a promise to the admin who reads it: where it is, what is wrong, what to write."""
    with pytest.raises(PolicyError) as refused:
        load_file(path, TOOLS)
    assert f"{refused.value}\n" == path.with_suffix(".expected").read_text(encoding="utf-8")


def test_every_broken_policy_has_its_message() -> None:
    """At least twenty-five ways to be wrong, each with one expected text and none left over."""
    broken = {path.stem for path in FOLDER.glob("*.yaml")}
    assert broken == {path.stem for path in FOLDER.glob("*.expected")}
    assert len(broken) >= 25


def test_every_mistake_says_what_to_do_in_one_line() -> None:
    """The first line of a mistake is the message, the other two are the line and the caret."""
    for path in FOLDER.glob("*.yaml"):
        with pytest.raises(PolicyError) as refused:
            load_file(path, TOOLS)
        for mistake in refused.value.mistakes:
            assert "\n" not in mistake.message + mistake.suggestion, path.name
            assert len(str(mistake).split("\n")) in {1, 3}, path.name
