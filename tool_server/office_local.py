"""The office without a server: this process opens the ledger, does one thing, and lets go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from ledger.ledger import open_ledger
from tool_server.bootstrap import Wiring, bootstrap, judge_of, ledger_url
from tool_server.ids import id_maker
from tool_server.office import Means, Office, Verb
from tool_server.office_calls import VERBS as CALLS
from tool_server.office_ledger import VERBS as LEDGER
from tool_server.office_people import VERBS as PEOPLE
from tool_server.office_policy import VERBS as POLICY
from tool_server.office_sales import VERBS as SALES
from tool_server.policy_file import known_tools
from tool_server.settings import Settings

AGENTS_URL: Final = "http://127.0.0.1:8400/mcp"
CONSOLE_URL: Final = "http://127.0.0.1:8401"
VERBS: Final[Mapping[str, Verb]] = {**PEOPLE, **CALLS, **SALES, **LEDGER, **POLICY}
# The rest must work also where a plugin does not load.
_NEEDS_PLUGINS: Final = ("agent.add", "plugin.", "doctor")


@asynccontextmanager
async def open_office(settings: Settings, verb: str) -> AsyncIterator[Office]:
    """Open the ledger, with plugins where the verb needs them. Raises ConfigurationError, PolicyError."""
    wiring = Wiring()
    console = settings.public_url or CONSOLE_URL
    if verb.startswith(_NEEDS_PLUGINS):
        house = await bootstrap(settings, wiring=wiring)
        try:
            means = Means(
                ledger=house.ledger,
                now=wiring.now,
                random_bytes=wiring.random_bytes,
                catalogue=house.catalogue,
                console_url=console,
                agents_url=agents_url(settings),
                keys=settings.keys,
                policies=settings.policies,
                providers=house.providers,
            )
            yield Office(means, VERBS)
        finally:
            await house.close()
        return
    judge = judge_of(known_tools(settings.policies, wiring.release))
    ids = id_maker(wiring.now, wiring.random_bytes)
    async with await open_ledger(ledger_url(settings.db), judge=judge, clock=wiring.now, ids=ids) as ledger:
        means = Means(
            ledger=ledger,
            now=wiring.now,
            random_bytes=wiring.random_bytes,
            console_url=console,
            agents_url=agents_url(settings),
            keys=settings.keys,
        )
        yield Office(means, VERBS)


def agents_url(settings: Settings) -> str:
    """Return where agents connect: below the public address, else on this machine."""
    return f"{settings.public_url}/mcp" if settings.public_url.startswith("https://") else AGENTS_URL
