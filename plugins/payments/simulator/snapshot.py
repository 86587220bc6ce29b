"""The simulator's state as a JSON file, so that a demo finds its sessions, cards and events after a restart.

The file holds the keys and signing secrets of this simulator: it is written with mode 0600, whole or not at
all. Faults, deliveries already made and a swapped account are not kept.
"""

import os
from pathlib import Path
from typing import Any, Protocol

import orjson

from plugins.payments.simulator.api import Account
from plugins.payments.simulator.clock import SimClock
from plugins.payments.simulator.keys import KeyRing
from plugins.payments.simulator.resources import authorizations, checkout, outbound, payments
from plugins.payments.simulator.webhooks import Delivery, Target, Webhooks
from plugins.payments.simulator.world import Obj, Origin, World

FORMAT = 1
_NAMED = ("instance", "secret_key", "earn_key", "spend_key")


class Kept(Protocol):
    """What a snapshot needs of the simulator."""

    account: Account
    clock: SimClock
    keys: KeyRing
    instance: str
    secret_key: str
    earn_key: str
    spend_key: str


def save(sim: Kept, path: Path) -> None:
    """Write the state of the account the keys belong to. Raises OSError."""
    world = sim.account.world
    state = {
        "format": FORMAT,
        "base_url": world.settings.base_url,
        "offset_s": sim.clock.offset_s,
        "rng": world.rng.getstate(),
        "keys": sim.keys.dump(),
        **{name: getattr(sim, name) for name in _NAMED},
        "world": _dump_world(world),
        "hooks": _dump_hooks(sim.account.hooks),
        "replays": sim.account.replays.dump(),
    }
    beside = path.with_name(path.name + ".new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(orjson.dumps(state))
    beside.replace(path)


def read(path: Path) -> Obj | None:
    """Give the saved state, or None when there is no file. Raises ValueError for a file of another make."""
    if not path.exists():
        return None
    state = orjson.loads(path.read_bytes())
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is no state of this simulator (format {FORMAT}); remove it to start anew")
    return state


def restore(sim: Kept, state: Obj) -> None:
    """Put a saved state into a fresh simulator whose settings are set: addresses and timers follow those."""
    world = sim.account.world
    version, internal, gauss = state["rng"]
    world.rng.setstate((version, tuple(internal), gauss))
    sim.clock.advance(state["offset_s"])
    sim.keys.load(state["keys"])
    for name in _NAMED:
        setattr(sim, name, state[name])
    _load_world(world, state["world"])
    _move(world, state["base_url"])
    _load_hooks(sim.account.hooks, state["hooks"])
    sim.account.replays.load(state["replays"])
    for family in (checkout, payments, authorizations, outbound):
        family.rearm(world)


def _dump_world(world: World) -> Obj:
    return {
        "account_id": world.account_id,
        "born": world.born,
        "financial_account": world.financial_account,
        "recipient": world.recipient,
        "cardholder": world.cardholder,
        "objects": [obj for rows in world.kinds.values() for obj in rows.values()],
        "included": [[*key, value] for key, value in world.included.items()],
        "hidden": [[*key, value] for key, value in world.hidden.items()],
        "issuing_spent": [[*key, value] for key, value in world.issuing_spent.items()],
        "origins": {key: [o.request_id, o.idempotency_key] for key, o in world.origins.items()},
    }


def _load_world(world: World, saved: Obj) -> None:
    for name in ("account_id", "born", "financial_account", "recipient", "cardholder"):
        setattr(world, name, saved[name])
    world.by_id.clear()
    world.kinds.clear()
    for obj in saved["objects"]:
        world.add(obj)
    world.included.update({(a, b): value for a, b, value in saved["included"]})
    world.hidden.update({(a, b): value for a, b, value in saved["hidden"]})
    world.issuing_spent.update({(a, b): value for a, b, value in saved["issuing_spent"]})
    world.origins.update({key: Origin(*origin) for key, origin in saved["origins"].items()})
    _link(world)


def _link(world: World) -> None:
    """Make one object of what the file repeats: a card's holder, an authorization's card and transactions."""
    for card in world.all("issuing.card"):
        card["cardholder"] = world.by_id[card["cardholder"]["id"]]
    for row in world.all("issuing.authorization"):
        row["card"] = world.by_id[row["card"]["id"]]
        for name in ("balance_transactions", "transactions"):
            row[name] = [world.by_id[one["id"]] for one in row[name]]


def _move(world: World, old: str) -> None:
    """Let pages that are still open be found at the address of now."""
    for kind in ("checkout.session", "payment_link"):
        for obj in world.all(kind):
            if obj["url"]:
                obj["url"] = world.settings.base_url + obj["url"].removeprefix(old)


def _dump_hooks(hooks: Webhooks) -> Obj:
    targets: list[Any] = [
        {**vars(target), "events": sorted(target.events)} for target in hooks.targets.values()
    ]
    queue = [[d.event_id, d.target_id, d.due, d.attempt] for d in hooks.queue]
    waiting = {event: sorted(targets) for event, targets in hooks.undelivered.items() if targets}
    return {"targets": targets, "queue": queue, "undelivered": waiting}


def _load_hooks(hooks: Webhooks, saved: Obj) -> None:
    for row in saved["targets"]:
        secrets = [(secret, until) for secret, until in row["secrets"]]
        hooks.add_target(Target(**{**row, "events": frozenset(row["events"]), "secrets": secrets}))
    hooks.queue.extend(
        Delivery(event, target, due, attempt) for event, target, due, attempt in saved["queue"]
    )
    hooks.undelivered.update({event: set(targets) for event, targets in saved["undelivered"].items()})
