"""The web listener of one house: the console, and whatever the rooms beside it serve on the same address."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from litestar.types import ASGIApp

from tool_server.bootstrap import House
from tool_server.hosts import Bind, names
from webhooks.app import create_app
from webhooks.console.calls import Calls
from webhooks.console.leads import Leads
from webhooks.console.orders import Orders
from webhooks.console.reviews import Reviews
from webhooks.console.runs import Runs
from webhooks.console.webhooks import Webhooks
from webhooks.deps import Deps
from webhooks.intake import Intake
from webhooks.stripe_side import PATHS, StripeSide, stripe_side

_CSRF_FILE: Final = "console.key"
_CSRF_BYTES: Final = 32
MENU: Final = (
    ("/reviews", "Reviews"),
    ("/leads", "Leads"),
    ("/runs", "Runs"),
    ("/orders", "Orders"),
    ("/calls", "Calls"),
    ("/webhooks", "Webhooks"),
)


def deps_of(house: House, bind: Bind) -> Deps:
    """Return what the web may touch of a house."""
    public = house.settings.public_url
    return Deps(
        ledger=house.ledger,
        now=house.now,
        new_id=house.new_id,
        modes=lambda: house.modes,
        live_spend=house.live_spend,
        names=names(bind, public),
        secure=public.startswith("https://"),
        csrf_secret=csrf_secret(house.settings.keys),
        simulator=house.settings.api_base,
        requests_to=house.settings.requests_to,
    )


def web_app(house: House, bind: Bind, stripe: StripeSide | None = None) -> ASGIApp:
    """Return the application for a house's web listener.

    `stripe` is given where a worker shares it.
    """
    deps = deps_of(house, bind)
    pages = (Reviews(deps), Leads(deps), Runs(deps), Orders(deps), Calls(deps), Webhooks(deps), Intake(deps))
    more = [route for each in (*pages, stripe or stripe_side(house)) for route in each.routes()]
    return create_app(deps, more=more, programs=PATHS, pages=MENU)


def csrf_secret(folder: Path) -> str:
    """Return the secret that signs the console's form tokens; made once, so that processes share it."""
    path = folder / _CSRF_FILE
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text("ascii").strip()
    with os.fdopen(handle, "w") as file:
        secret = secrets.token_hex(_CSRF_BYTES)
        file.write(secret)
    return secret
