"""The policy as the ledger knows it: three functions handed in, and the loaded texts by their hash.

The ledger never imports `policy.decide` or `policy.load`: whoever opens it says who judges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ledger.meters import Meter, digests, meters_of
from policy.language import Policy
from policy.model import Call, Decision, Facts, Needs

MOST_POLICIES: Final = 32  # Loaded texts kept in memory: the active one, candidates, and a few behind them.


class Judge(Struct, frozen=True):
    """Who decides: what must be looked up, what the answer is, and how a text becomes a policy."""

    needs: Callable[[Policy, Call], Needs]
    decide: Callable[[Policy, Call, Facts], Decision]
    load: Callable[[str, str], Policy]  # Text and file name; raises PolicyError.


class Law(Struct, frozen=True):
    """One loaded policy and what the ledger counts for it."""

    policy: Policy
    rule_meters: tuple[Meter, ...]
    cap_digests: dict[str, str]


class PolicyBook:
    """The policies this process has loaded, by hash."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._laws: dict[str, Law] = {}

    def law(self, sha256: str, text: Callable[[], tuple[str, str]]) -> Law:
        """Return the policy of that hash; `text` fetches text and file name of one not loaded yet."""
        found = self._laws.get(sha256)
        if found is None:
            found = law_of(self.judge.load(*text()))
            if len(self._laws) >= MOST_POLICIES:
                self._laws.pop(next(iter(self._laws)))
            self._laws[sha256] = found
        return found


def law_of(policy: Policy) -> Law:
    """Return a policy with what is counted for its rules."""
    return Law(policy, meters_of(policy), digests(policy))
