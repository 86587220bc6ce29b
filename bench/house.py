"""A house for benches: ledger on SQLite FULL, policy, gate, dispatcher, a plugin that answers at once.

    python -m bench.house AGENTS

Prints its port and a token for each agent on one line.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Any

POLICY = """\
version: 1
plugins: [{name: noop, module: bench.noop_plugin}]
caps:
  - {id: account-month, per: account, window: month, limit: "9000000.00 USD"}
  - {id: run, per: run, window: run, limit: "9000000.00 USD"}
rules:
  - {id: all, match: {kind: [read, draft, earn, spend]}, effect: allow}
"""


async def serve_agents(agents_wanted: int) -> None:
    """Serve a house with so many agents; print its port and their tokens on one line."""
    from ledger.making import make_ledger
    from ledger.records import Role
    from tool_server.agents import AgentsListener
    from tool_server.bootstrap import Wiring, bootstrap, judge_of
    from tool_server.hosts import Bind, names
    from tool_server.identity import TokenKind, mint, token_sha256
    from tool_server.ids import id_maker
    from tool_server.limits import Limits
    from tool_server.logs import configure_logging
    from tool_server.serve import Listener, open_socket, serve
    from tool_server.settings import Settings

    configure_logging(level="WARNING")
    Path("policies.yaml").write_text(POLICY)  # noqa: ASYNC240 - before anything is served
    wiring = Wiring(accept_all=True, release=Path("none.json"))
    url, now = "sqlite:///bursar.db", wiring.now()
    await make_ledger(
        url,
        account_id="acc",
        name="Bench",
        instance_id="i",
        judge=judge_of({}),
        ids=id_maker(wiring.now),
        at=now,
    )
    house = await bootstrap(Settings(db=url, policies=Path("policies.yaml")), wiring=wiring)
    owner = await house.ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=now)
    await house.ledger.add_project("bench", by=owner.name, at=now)
    tokens = [mint(TokenKind.AGENT, secrets.token_bytes) for _ in range(agents_wanted)]
    for number, token in enumerate(tokens):
        await house.ledger.add_agent(
            name=f"scout-{number}",
            project="bench",
            kits=("bench",),
            token_sha256=token_sha256(token),
            by=owner.name,
            at=now,
        )
    free = Limits(calls_at_once=10**9, requests_at_once=10**9, open_per_agent=10**6)
    bind = Bind("127.0.0.1", 0)
    opened = open_socket(bind, "agents")
    agents = AgentsListener(house, names(bind, ""), limits=free)
    async with house.running(), agents.app.running():
        told = lambda: print("serving", opened.getsockname()[1], *tokens, flush=True)  # noqa: E731 -- one line, said once
        await serve([Listener("agents", agents.app, opened)], asyncio.Event(), on_served=told)


def purchase() -> dict[str, Any]:
    """Return a purchase at a vendor of its own, else each would be another's twin and ask a person."""
    name = secrets.token_hex(8)
    return {"vendor": f"v{name}.example", "amount": "0.01 USD", "idempotency_key": f"bench-{name}"}


if __name__ == "__main__":
    asyncio.run(serve_agents(int(sys.argv[1])))
