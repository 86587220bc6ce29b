"""Strangers' text, made honest: every character that a browser would hide or reorder is shown as its number.

Bidirectional marks, zero-width characters, tags and controls let a text read other than it is (Trojan Source,
CVE-2021-42574). Escaping for HTML is the template engine's work; this is done before it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

# Controls, formats, private use, unassigned, halves of pairs, line and paragraph separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})
# Letters with no ink of their own, which no category tells.
_BLANK: Final = frozenset("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")


def visible(text: str) -> str:
    """Return the text on one line with what is invisible shown as ⟨U+202E⟩."""
    return "".join(_shown(char) for char in text)


def visible_lines(text: str) -> list[str]:
    """Return the text's lines, each made visible; only plain line feeds break a line."""
    return [visible(line) for line in text.split("\n")]


def _shown(char: str) -> str:
    strange_space = unicodedata.category(char) == "Zs" and char != " "
    if (
        strange_space
        or char in _BLANK
        or unicodedata.category(char) in _HIDDEN
        or unicodedata.combining(char)
    ):
        return f"⟨U+{ord(char):04X}⟩"
    return char
