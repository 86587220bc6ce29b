"""Effects that stay in the house: what local tools of every plugin share."""

from __future__ import annotations

from policy.model import Effect, Kind, Mode

HOUSE = "bursar"  # The provider of whatever touches nothing but the ledger.


def house_effect(kind: Kind, operation: str, summary: str) -> Effect:
    """Return the effect of a local tool: no payee, no money, always to be taken back by a person.

    Its mode is live: nothing proves it simulated or test (M30), and a draft in the demo is a draft.
    """
    return Effect(
        kind=kind,
        operation=operation,
        provider=HOUSE,
        mode=Mode.LIVE,
        reversible=True,
        undo="a person can undo it in the console",
        summary=summary,
    )
