"""How far rules and caps reach, by what stands in the file alone: before any fact, for `policy.lint` too."""

from __future__ import annotations

from typing import Final

from policy.language import Cap, Kind, Match, Scope, WindowKind
from policy.matching import is_human_only, names
from policy.model import Effect

_DAY_S: Final = 86_400


def fits(match: Match, tool: str, effect: Effect) -> bool:
    """Say whether a match can hold for this kind, tool, operation, provider and mode."""
    return (
        (not match.kind or effect.kind in match.kind)
        and (not match.mode or effect.mode in match.mode)
        and names(match.tool, tool)
        and names(match.operation, effect.operation)
        and names(match.provider, effect.provider)
    )


def passes_denies(match: Match, tool: str, effect: Effect) -> bool:
    """Say whether no deny with this match stops it: taking back must stay possible.

    Only a deny that names the tool outright stops a withdrawal. What only a person may do is none.
    """
    return effect.kind is Kind.WITHDRAW and tool not in match.tool and not is_human_only(effect)


def covers_live_money(cap: Cap) -> bool:
    """Say whether live money may leave under this cap: it is the account's, in money, over a day or more.

    Over a second, it would hold each second to its limit and the day to nothing.
    """
    window = cap.window
    long = window.kind in {WindowKind.DAY, WindowKind.MONTH} or (
        window.kind is WindowKind.ROLLING and window.seconds >= _DAY_S
    )
    return long and cap.limit.money is not None and cap.per is Scope.ACCOUNT
