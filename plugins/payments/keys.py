"""The two Stripe keys: one that earns, one that spends, and what their letters prove.

A key that only earns cannot spend even if everything here were wrong, since Stripe itself refuses it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from plugins.hookspecs import PluginContext, Secret
from policy.errors import ConfigurationError
from policy.language import Mode

EARN_KEY: Final = "STRIPE_EARN_KEY"
SPEND_KEY: Final = "STRIPE_SPEND_KEY"
_SIMULATED: Final = re.compile(r"(?:sk|rk)_test_sim_[A-Za-z0-9]+")
_TEST: Final = re.compile(r"(?:sk|rk)_test_[A-Za-z0-9]+")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Keys(Struct, frozen=True):
    """The keys of one process and the mode their letters say. Either may be absent."""

    earn: Secret | None
    spend: Secret | None
    mode: Mode
    api_base: str = ""


def read_keys(context: PluginContext) -> Keys:
    """Return the keys, checked against each other and the address. Raises ConfigurationError.

    An unknown prefix counts as live (M30). A simulator's key goes only to an address on this machine, any
    other only to Stripe's own.
    """
    earn, spend = context.secrets.get(EARN_KEY), context.secrets.get(SPEND_KEY)
    modes = {mode_of(key.reveal()) for key in (earn, spend) if key}
    if len(modes) > 1:
        raise ConfigurationError(f"{EARN_KEY} and {SPEND_KEY} differ in mode; set two of one")
    mode = modes.pop() if modes else Mode.LIVE
    simulated = mode is Mode.SIMULATED
    if context.api_base and not simulated and modes_are_set(earn, spend):
        raise ConfigurationError(
            f"STRIPE_API_BASE is set and the Stripe key is a {mode.value} one; a real key goes only to Stripe"
        )
    if simulated and urlsplit(context.api_base).hostname not in _LOOPBACK:
        raise ConfigurationError(
            "the Stripe key is a simulator's, so STRIPE_API_BASE must be its address on this machine"
        )
    return Keys(earn, spend, mode, context.api_base if simulated else "")


def modes_are_set(*keys: Secret | None) -> bool:
    """Tell whether there is any key whose mode could matter."""
    return any(key is not None for key in keys)


def mode_of(key: str) -> Mode:
    """Return the mode a key's letters prove; what proves nothing is live (M30)."""
    if _SIMULATED.fullmatch(key):
        return Mode.SIMULATED
    return Mode.TEST if _TEST.fullmatch(key) else Mode.LIVE
