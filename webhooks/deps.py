"""What the web application is given; `bootstrap` made all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from msgspec import Struct

from ledger.ledger import Ledger
from policy.language import Mode
from tool_server.hosts import Names


class Deps(Struct, frozen=True, kw_only=True):
    """The house, as far as the web may touch it."""

    ledger: Ledger
    now: Callable[[], datetime]
    new_id: Callable[[str], str]  # A fresh id for a prefix.
    modes: Callable[[], Mapping[str, Mode]]  # By provider.
    live_spend: bool
    names: Names  # The hosts and origins this listener answers to.
    secure: bool  # Whether browsers reach it by https.
    csrf_secret: str
    requests_to: str = ""  # The project that strangers' requests go to, where there are several.
    simulator: str = ""  # The address of the stand-in for Stripe, where the house is bound to one.

    @property
    def cookie(self) -> str:
        """The session cookie's name; the prefix makes browsers hold it to https and this very host."""
        return "__Host-bursar" if self.secure else "bursar"
