"""What every page shows around its own: the mode, LIVE_SPEND, the posture and the stop button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.response import Template
from msgspec import Struct

from ledger.records import OperatorRecord
from policy.language import Mode, Posture
from webhooks.deps import Deps
from webhooks.sessions import Session

PageRequest = Request[OperatorRecord, Session, Any]

_STRICTNESS = {posture: rank for rank, posture in enumerate(Posture)}


class Frame(Struct, frozen=True):
    """The state of the house, for the top of each page."""

    mode: str  # The most serious mode a provider is bound to: LIVE, TEST, SIMULATED, or none.
    live_spend: bool
    posture: str
    closed: tuple[str, ...]  # Narrower postures, in words.


async def frame(deps: Deps) -> Frame:
    """Return the state of the house as it is now."""
    postures = await deps.ledger.postures()
    account = [each.posture for each in postures if each.scope == "account"]
    narrower = [
        f"{each.scope} {each.scope_key}: {each.posture.value}"
        for each in postures
        if each.scope != "account" and each.posture is not Posture.NORMAL
    ]
    strictest = max(account, key=lambda posture: _STRICTNESS[posture], default=Posture.NORMAL)
    return Frame(_mode(tuple(deps.modes().values())), deps.live_spend, strictest.value, tuple(narrower))


def _mode(modes: tuple[Mode, ...]) -> str:
    for mode in (Mode.LIVE, Mode.TEST, Mode.SIMULATED):
        if mode in modes:
            return mode.value.upper()
    return "NO PROVIDER"


async def page(
    deps: Deps,
    request: PageRequest,
    name: str,
    content: Mapping[str, object],
    *,
    status: int = 200,
) -> Template:
    """Render a page for whoever is signed in."""
    context = {"operator": request.user, "frame": await frame(deps), "path": request.url.path, **content}
    return Template(template_name=name, context=context, status_code=status)
