"""Whether each provider can be used now, and as which account it answers; asked at intervals and remembered.

A provider is ready only while a check has measured the identity it is bound to (M4). What a plugin's
configuration says counts for nothing here: no measured identity, another account, another mode or another
instance of the simulator makes it not ready, with the reason an operator can act on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import structlog
from msgspec import Struct, structs

from ledger.commands import ProcessFacts
from ledger.records import ProviderIdentity
from plugins.hookspecs import Provider
from plugins.tool import Binding, Readiness

FRESH_S: Final = (
    5.0  # A measurement this young serves for the next attempt too; a key cannot change faster unseen.
)
EVERY_S: Final = 30.0  # Between checks of a provider nobody uses, for the health page.

_log = structlog.get_logger("bursar.providers")


class Checked(Struct, frozen=True):
    """One check and when it was begun, on the monotonic clock and on the wall."""

    readiness: Readiness
    at_s: float
    at: datetime


class Providers:
    """The providers of this process and what the last check of each one said."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        monotonic: Callable[[], float],
        now: Callable[[], datetime],
        fresh_s: float = FRESH_S,
    ) -> None:
        self._providers = providers
        self._bindings = {name: provider.binding for name, provider in providers.items()}
        self._checked: dict[str, Checked] = {}
        self._running: dict[str, asyncio.Task[Readiness]] = {}
        self._distrusted: dict[str, str] = {}
        self._monotonic = monotonic
        self._now = now
        self._fresh_s = fresh_s

    def binding(self, name: str) -> Binding | None:
        """Return what a provider is bound to; None for the house itself."""
        return self._bindings.get(name)

    def readiness(self, name: str) -> Readiness:
        """Return what the last check said, without asking anew."""
        found = self._checked.get(name)
        return found.readiness if found else Readiness(ready=False, missing=("it has not been checked yet",))

    def last_checks(self) -> Mapping[str, Checked]:
        """Return every provider's last check, for the health page."""
        return dict(self._checked)

    async def fresh(self, name: str) -> Readiness:
        """Return readiness measured at most `fresh_s` ago, asking the provider where it is older."""
        if self.is_fresh(name):
            return self._checked[name].readiness
        asked_s = self._monotonic()
        readiness = await self.check(name)
        found = self._checked.get(name)
        if found is not None and found.at_s < asked_s - self._fresh_s:
            # Begun for another caller, it may tell of an account that was changed before this one came.
            readiness = await self.check(name)
        return readiness

    def is_fresh(self, name: str) -> bool:
        """Say whether a provider was measured at most `fresh_s` ago."""
        found = self._checked.get(name)
        return found is not None and self._monotonic() - found.at_s < self._fresh_s

    async def check(self, name: str) -> Readiness:
        """Ask a provider now; callers that come meanwhile share the answer."""
        if name not in self._providers:
            return Readiness(ready=True)
        task = self._running.get(name)
        if task is None or task.done():  # One that has just ended tells of a moment ago, not of now.
            task = self._running[name] = asyncio.create_task(self._measure(name))
        return await asyncio.shield(task)

    async def check_all(self) -> None:
        """Ask every provider, at once."""
        await asyncio.gather(*(self.check(name) for name in self._providers))

    def distrust(self, name: str, why: str) -> None:
        """Take a provider for not ready until the program starts anew.

        Its evidence contradicted its binding.
        """
        self._distrusted[name] = why
        found = self.readiness(name)
        readiness = structs.replace(found, ready=False, missing=(*found.missing, why))
        self._keep(name, Checked(readiness, self._monotonic(), self._now()))

    def facts(self, *, live_spend: bool) -> ProcessFacts:
        """Return what this process knows, for a decision."""
        checked = {name: self.readiness(name) for name in self._providers}
        return ProcessFacts(
            live_spend=live_spend,
            ready={name: readiness.ready for name, readiness in checked.items()} | {"bursar": True},
            missing={name: readiness.missing for name, readiness in checked.items() if readiness.missing},
            identities={name: found.identity for name, found in checked.items() if found.identity},
        )

    async def close(self) -> None:
        """End checks that are under way and let every plugin close what it opened."""
        for task in tuple(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        for name, provider in self._providers.items():
            try:
                await provider.close()
            except Exception:  # noqa: BLE001 -- one plugin's mistake must not keep the others open
                _log.exception("a provider did not close", provider=name)

    async def _measure(self, name: str) -> Readiness:
        provider, begun = self._providers[name], (self._monotonic(), self._now())
        try:
            async with asyncio.timeout(provider.check_timeout_s):
                readiness = await provider.check()
        except TimeoutError:
            readiness = _red(f"{name} did not answer within {provider.check_timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 -- a stranger's check may raise anything: not ready
            _log.exception("a readiness check broke", provider=name)
            readiness = _red(f"the check of {name} broke with {type(error).__name__}; see the log")
        readiness = self._against_binding(name, readiness)
        self._keep(name, Checked(readiness, *begun))
        return readiness

    def _against_binding(self, name: str, readiness: Readiness) -> Readiness:
        """Hold what was measured to what the provider is bound to.

        The first account measured fills an open binding.
        """
        if name in self._distrusted:
            return structs.replace(
                readiness, ready=False, missing=(*readiness.missing, self._distrusted[name])
            )
        measured = readiness.identity
        if measured is None:
            missing = () if readiness.missing else (f"the check of {name} measured no account",)
            return structs.replace(readiness, ready=False, missing=(*readiness.missing, *missing))
        bound = self._bindings[name]
        if not bound.account and measured.mode is bound.mode:
            bound = self._bindings[name] = structs.replace(
                bound, account=measured.account, instance=measured.instance
            )
        if differs(bound, measured):
            why = f"{name} answers as {_named(measured)}, not {_named(bound)}; restore the key or restart"
            return structs.replace(readiness, ready=False, missing=(*readiness.missing, why))
        return readiness

    def _keep(self, name: str, checked: Checked) -> None:
        before, readiness = self._checked.get(name), checked.readiness
        if before is None or before.readiness.ready != readiness.ready:
            _log.info("readiness", provider=name, ready=readiness.ready, missing=readiness.missing)
        self._checked[name] = checked


def differs(bound: Binding | ProviderIdentity, measured: ProviderIdentity) -> bool:
    """Say whether another account, mode or simulator answered than the one bound.

    No instance bound: any fits.
    """
    same_instance = bound.instance in {"", measured.instance}
    return (bound.account, bound.mode) != (measured.account, measured.mode) or not same_instance


def _named(identity: Binding | ProviderIdentity) -> str:
    return f"{identity.account or 'no account'} ({identity.mode})"


def _red(why: str) -> Readiness:
    return Readiness(ready=False, missing=(why,))
