"""What a text of a policy or cases file must be beyond text: one check per form that `policy.document` names.

A check returns nothing or raises ValueError with what was met and what is expected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Final

from msgspec import Struct

from policy import notation
from policy.matching import globs
from policy.money import EXPONENTS, Money
from policy.yaml_marks import did_you_mean, quoted

ROLES: Final = ("viewer", "approver", "owner")
_ID: Final = re.compile(notation.ID_PATTERN)
_WORD: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TOOL: Final = re.compile(r"[a-z][a-z0-9_]{2,39}")
_MODULE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_FEW: Final = 8  # So many names can be told in one line.
_LONGEST_TEXT: Final = 500  # An approver reads it on a card.


class FormError(ValueError):
    """A text that is not of its form, with a suggestion where there is one."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


class Names(Struct, frozen=True, kw_only=True):
    """The names a file may speak of: its own and those of the tools there are."""

    tools: Collection[str] = ()
    operations: Collection[str] = ()
    providers: Collection[str] = ()
    lists: Collection[str] = ()
    desks: Collection[str] = ()
    caps: Collection[str] = ()
    rules: Collection[str] = ()
    earned_caps: Collection[str] = ()
    sum_rules: Collection[str] = ()
    count_rules: Collection[str] = ()
    codes: Collection[str] = ()
    hint: str = ""  # What to do where a tool is missing from `tools`.


Check = Callable[[str, Names], object]


class TextForm(Struct, frozen=True):
    """What to say a text should be, and the check that it is."""

    expected: str
    check: Check


def known(word: str, names: Collection[str], noun: str, otherwise: str = "") -> None:
    """Refuse a name that does not exist, naming the nearest one or all of a few."""
    if word in names:
        return
    few = f"known are {', '.join(sorted(names))}" if 0 < len(names) <= _FEW else otherwise
    raise FormError(f"unknown {noun} {quoted(word)}", did_you_mean(word, names) or few)


def _id(text: str, _names: Names) -> None:
    if _ID.fullmatch(text) is None:
        raise FormError(f"{quoted(text)} is no id; use small letters, digits, '-', '_' and '.', at most 64")


def _glob_of(noun: str, pick: Callable[[Names], Collection[str]]) -> Check:
    """Check an exact name against those there are; a glob may match what is still to come."""

    def check(text: str, names: Names) -> None:
        notation.pattern(text)
        # A '?' alone waits for nothing to come: where it matches nobody, it switches a rule or a cap off.
        if "*" not in text and not any(map(globs((text,)), pick(names))):
            known(text, pick(names), noun, names.hint)

    return check


def _one_of(noun: str, pick: Callable[[Names], Collection[str]]) -> Check:
    def check(text: str, names: Names) -> None:
        known(text, pick(names), noun)

    return check


def _who(text: str, _names: Names) -> None:
    prefix, colon, role = text.partition(":")
    bare = text.removeprefix("role").lstrip("-_. ")
    if bare in ROLES:
        raise FormError(f"{quoted(text)} is no person's name", f"the role is written role:{bare}")
    if not colon:
        notation.exact_name(text)
    elif prefix != "role":
        raise FormError(f"{quoted(text)} is nobody", did_you_mean(text, [f"role:{name}" for name in ROLES]))
    else:
        known(role, ROLES, "role")


def _new_tool(text: str, _names: Names) -> None:
    if _TOOL.fullmatch(text) is None:
        raise FormError(f"{quoted(text)} is no tool name; use 3 to 40 small letters, digits and '_'")


def _word(text: str, _names: Names) -> None:
    if _WORD.fullmatch(text) is None:
        raise FormError(f"{quoted(text)} is no name; use small letters, digits and '_'")


def _module(text: str, _names: Names) -> None:
    if _MODULE.fullmatch(text) is None:
        raise FormError(f"{quoted(text)} is no module; write one like shop.bursar_tools")


def _currency(text: str, _names: Names) -> None:
    if text not in EXPONENTS:
        raise FormError(f"unknown currency {quoted(text)}", did_you_mean(text.upper(), EXPONENTS))


def _zone(text: str, _names: Names) -> None:
    try:
        notation.zone(text)
    except ValueError as error:
        import zoneinfo

        raise FormError(
            str(error),
            # Etc/GMT+1 is an hour behind: nobody who asks for an offset means that.
            did_you_mean(
                text,
                [name for name in zoneinfo.available_timezones() if "/" in name and name[:4] != "Etc/"],
                most=1_000,
            ),
        ) from None


def _span(text: str, _names: Names) -> None:
    if text == "call":
        raise FormError("'call' is no span to add up over", "write run, day, month or a duration like 24h")
    notation.window(text)


def _quantity(text: str, _names: Names) -> None:
    if notation.limit(text).percent_of_earned is not None:
        raise FormError(f"{quoted(text)} is no quantity", 'write one such as "3.00 USD" or "2 calls"')


def _sentence(text: str, _names: Names) -> None:
    if not text.strip():
        raise FormError("an empty text says nothing", "write it or leave the field out")
    if len(text) > _LONGEST_TEXT:
        raise FormError(f"a text of {len(text):,} characters; at most {_LONGEST_TEXT} are shown on a card")


def _plain(read: Callable[[str], object]) -> Check:
    return lambda text, _names: read(text)


_MONEY: Final = 'money such as "19.99 USD"'

FORMS: Final[Mapping[str, TextForm]] = {
    "money": TextForm(_MONEY, _plain(Money.parse)),
    "id": TextForm("an id", _id),
    "duration": TextForm("a duration such as 24h", _plain(notation.duration_s)),
    "window": TextForm("a window such as day or 24h", _plain(notation.window)),
    "span": TextForm("a window such as day or 24h", _span),
    "limit": TextForm('a limit such as "25.00 USD", 60 calls or 20% of earned', _plain(notation.limit)),
    "share": TextForm("a share such as 25%", _plain(notation.share_percent)),
    "clock": TextForm("a time of day such as 09:30", _plain(notation.minute_of_day)),
    "instant": TextForm("an instant such as 2026-11-20T10:00:00Z", _plain(notation.instant)),
    "zone": TextForm("a time zone such as Europe/Berlin", _zone),
    "tool": TextForm("a tool", _glob_of("tool", lambda names: names.tools)),
    "operation": TextForm("an operation", _glob_of("operation", lambda names: names.operations)),
    "provider": TextForm("a provider", _glob_of("provider", lambda names: names.providers)),
    "live_provider": TextForm("a provider", _one_of("provider", lambda names: names.providers)),
    "payee": TextForm("a payee", _plain(notation.payee_pattern)),
    "currency": TextForm("a currency such as USD", _currency),
    "name": TextForm("a name", _plain(notation.exact_name)),
    "who": TextForm("role:approver, role:owner or a name", _who),
    "list": TextForm("the name of a list", _one_of("list", lambda names: names.lists)),
    "desk": TextForm("a desk", _one_of("desk", lambda names: names.desks)),
    "cap": TextForm("a cap", _one_of("cap", lambda names: names.caps)),
    "rule": TextForm("a rule", _one_of("rule", lambda names: names.rules)),
    "earned_cap": TextForm("a cap", _one_of("cap of '% of earned'", lambda names: names.earned_caps)),
    "sum_rule": TextForm("a rule", _one_of("rule with sum_above", lambda names: names.sum_rules)),
    "count_rule": TextForm("a rule", _one_of("rule with count_above", lambda names: names.count_rules)),
    "plugin": TextForm("a plugin's name", _word),
    "module": TextForm("a module", _module),
    "exact_tool": TextForm("a tool", _one_of("tool", lambda names: names.tools)),
    "code": TextForm("a code", _one_of("code", lambda names: names.codes)),
    "quantity": TextForm('money or calls, such as "3.00 USD" or "2 calls"', _quantity),
    "earned": TextForm(_MONEY, lambda text, _names: Money.parse(text.removeprefix("-"))),
    "new_tool": TextForm("a tool's name", _new_tool),
    "word": TextForm("a name", _word),
    "sentence": TextForm("a text", _sentence),
}
