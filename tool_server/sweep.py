"""Ask every provider what it did for us since an instant: for a ledger that lost its end (M33)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from ledger.records import Seen
from plugins.hookspecs import Provider
from plugins.registry import load
from policy.errors import ConfigurationError
from tool_server.bootstrap import Wiring, plugin_context
from tool_server.ids import id_maker
from tool_server.policy_file import known_tools, read_policy
from tool_server.settings import Settings

SKEW: Final = timedelta(
    minutes=5
)  # Our clock and a provider's differ; what is known already is not told twice.
LONGEST_S: Final = 300.0  # For one provider's lists; a person is waiting.


class Sweep:
    """The providers of a policy file, without a ledger or a gate: they are asked, and tools are not run."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = providers

    @property
    def names(self) -> tuple[str, ...]:
        """Return who is asked."""
        return tuple(self._providers)

    async def seen(self, since: datetime) -> tuple[Seen, ...]:
        """Return what all of them show. Raises ConfigurationError for one that cannot be asked."""
        found: list[Seen] = []
        for name, provider in self._providers.items():
            await self._same_account(name, provider)
            try:
                async with asyncio.timeout(LONGEST_S):
                    found += await provider.seen(since - SKEW)
            except Exception as error:
                # A plugin may raise anything, and half a sweep is none.
                raise ConfigurationError(
                    f"{name} could not be asked what it did ({type(error).__name__}); mend that and recover, "
                    "or recover with --without-providers and look there yourself"
                ) from error
        return tuple(found)

    async def switch_off(self, armed: tuple[Seen, ...]) -> tuple[str, ...]:
        """Switch instruments off that nobody answers for; return those that could not be."""
        left = []
        for each in armed:
            try:
                done = await self._providers[each.provider].set_armed(each.provider_ref, False)  # noqa: FBT003 -- the contract's own shape
            except Exception:  # noqa: BLE001 -- a plugin may raise anything; the person is told which are left
                done = False
            if not done:
                left.append(each.provider_ref)
        return tuple(left)

    async def close(self) -> None:
        """Let go of the providers."""
        for provider in self._providers.values():
            await provider.close()

    async def _same_account(self, name: str, provider: Provider) -> None:
        """Refuse a provider whose account is not the bound one: its lists would say that nothing was done."""
        ready = await provider.check()
        if ready.identity is None:
            why = "; ".join(ready.missing) or "nobody answers"
            raise ConfigurationError(
                f"{name} could not be asked what it did: {why}; mend that and recover, or recover with "
                "--without-providers and look there yourself"
            )
        if provider.binding.account not in {"", ready.identity.account}:
            raise ConfigurationError(
                f"{name} answers for {ready.identity.account}, the policy names {provider.binding.account}"
            )


def sweep_of(settings: Settings) -> Sweep:
    """Load the plugins that the policy file names. Raises PolicyError, ConfigurationError."""
    wiring = Wiring()
    policy, _ = read_policy(settings.policies, known_tools(settings.policies, wiring.release))
    new_id = id_maker(wiring.now, wiring.random_bytes)
    registry = load(
        policy.plugins, lambda entry, names: plugin_context(settings, wiring, new_id, entry, names)
    )
    return Sweep(registry.providers)
