"""The simulator as a process of its own on a loopback socket; one JSON line says how to reach it."""

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plugins.payments.simulator import params, snapshot
from plugins.payments.simulator.options import ChildOptions
from plugins.payments.simulator.simulator import Simulator
from plugins.payments.simulator.webhooks import REQUEST_EVENT
from plugins.payments.simulator.world import WorldSettings

_PARENT_CHECK_S = 1.0  # An orphan with --with-parent is noticed within this time.
_SAVE_EVERY_S = 0.5  # Short enough that a kill loses a click at most, long enough to cost nothing.
_V2_EVENTS = tuple(
    f"v2.money_management.outbound_payment.{what}"
    for what in ("created", "posted", "failed", "canceled", "returned")
)


def serve(options: ChildOptions, announce: Callable[[str], None]) -> None:
    """Run until a signal ends it; `announce` receives the JSON line once the address answers.

    The line has address, account, instance, financial_account, recipient, cardholder, secret_key, earn_key,
    spend_key, webhook_secrets, issuing_webhook_secrets and pid. Raises OSError when the port is taken,
    ValueError when the state file is none.
    """
    asyncio.run(_serve(options, announce))


async def _serve(options: ChildOptions, announce: Callable[[str], None]) -> None:
    import uvicorn

    state = snapshot.read(options.state) if options.state is not None else None
    listener = _listen(options.port, state)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = WorldSettings(
        base_url=address, settle_after_s=options.settle_after_s, post_after_s=options.post_after_s
    )
    seed = secrets.randbits(64) if options.seed is None else options.seed
    simulator = Simulator(seed, settings=settings)
    if state is not None:
        snapshot.restore(simulator, state)
    line = json.dumps(_introduction(simulator, address, options))
    config = uvicorn.Config(
        simulator.app(),
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    # The socket already listens: whoever connects after this line waits for the server at most a moment.
    announce(line)
    tasks = [asyncio.create_task(simulator.run()), asyncio.create_task(asyncio.to_thread(params.warm))]
    if options.state is not None:
        tasks.append(asyncio.create_task(_keep(simulator, options.state)))
    if options.with_parent:
        tasks.append(asyncio.create_task(_end_with_parent(server)))
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        if options.state is not None:
            snapshot.save(simulator, options.state)


def _listen(port: int, state: dict[str, Any] | None) -> socket.socket:
    """Listen on the port asked for; without one on the port of the last run, if nobody took it meanwhile."""
    if port == 0 and state is not None:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", urlsplit(state["base_url"]).port or 0))
    return socket.create_server(("127.0.0.1", port))


async def _keep(simulator: Simulator, path: Path) -> None:
    """Save whenever something changed, so that a kill loses half a second at most."""
    saved: object = None
    while True:
        mark = simulator.mark()
        if mark != saved:
            snapshot.save(simulator, path)
            saved = mark
        await asyncio.sleep(_SAVE_EVERY_S)


def _introduction(simulator: Simulator, address: str, options: ChildOptions) -> dict[str, Any]:
    webhook_secrets: list[str] = []
    issuing_secrets: list[str] = []
    if options.webhook_url:
        url = options.webhook_url
        webhook_secrets.append(simulator.subscribe_as("events", url, ["*"]))
        webhook_secrets.append(simulator.subscribe_as("events_v2", url, _V2_EVENTS, thin=True))
    if options.issuing_webhook_url:
        url = options.issuing_webhook_url
        issuing_secrets.append(simulator.subscribe_as("issuing", url, [REQUEST_EVENT]))
    return {
        "address": address,
        "account": simulator.world.account_id,
        "instance": simulator.instance,
        "financial_account": simulator.world.financial_account,
        "recipient": simulator.world.recipient,
        "cardholder": simulator.world.cardholder,
        "secret_key": simulator.secret_key,
        "earn_key": simulator.earn_key,
        "spend_key": simulator.spend_key,
        "webhook_secrets": webhook_secrets,
        "issuing_webhook_secrets": issuing_secrets,
        "pid": os.getpid(),
    }


async def _end_with_parent(server: Any) -> None:  # noqa: ANN401  uvicorn is imported late
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  the kernel signals no event to an orphan
        await asyncio.sleep(_PARENT_CHECK_S)
    server.should_exit = True
