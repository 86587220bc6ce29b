"""The controls under /_sim: the clock, faults, keys, accounts, and what only the outside world can do.

Bodies and answers are JSON; a POST needs `Content-Type: application/json`, which no foreign page may send.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import orjson

from plugins.payments.simulator import site
from plugins.payments.simulator.api import Account
from plugins.payments.simulator.clock import SimClock
from plugins.payments.simulator.errors import ApiError
from plugins.payments.simulator.faults import Fault, FaultPlan
from plugins.payments.simulator.http import Request, Response, json_response
from plugins.payments.simulator.keys import KeyRing
from plugins.payments.simulator.resources import disputes, outbound, payments, refunds
from plugins.payments.simulator.webhooks import Delivery
from plugins.payments.simulator.world import Obj, World

Body = dict[str, Any]


class Controlled(Protocol):
    """What the controls need of the simulator."""

    account: Account
    clock: SimClock
    faults: FaultPlan
    instance: str
    keys: KeyRing

    @property
    def world(self) -> World:
        """Give the account's objects."""

    def effects(self) -> list[Obj]:
        """Give the truth."""

    def configure(self, **changes: Any) -> None:  # noqa: ANN401  fields of WorldSettings
        """Change settings."""

    def swap_account(self) -> None:
        """Let the keys belong to another account."""

    def restore_account(self) -> None:
        """Undo the swap."""

    def rotate_key(self, secret: str) -> str:
        """Replace a key."""

    def subscribe(self, url: str, events: list[str], *, thin: bool = False, secret: str | None = None) -> str:
        """Let a URL receive events."""

    async def deliver_due(self) -> int:
        """Make the deliveries that are due."""

    async def advance(self, seconds: float) -> int:
        """Move the clock."""


async def answer(sim: Controlled, request: Request) -> Response:
    """Answer a control request: 404 for an unknown one, 400 with one clear line for a bad body."""
    parts = [part for part in request.path.split("/") if part][1:]
    command = _COMMANDS.get((request.method, _shape(parts)))
    if command is None:
        return _problem(404, f"no control {request.method} {request.path}")
    try:
        body = _body(request)
        return json_response(200, await command(sim, _hole(parts), body))
    except ApiError as error:
        return _problem(error.status, str(error))
    except (KeyError, TypeError, ValueError) as error:
        return _problem(400, f"{type(error).__name__}: {error}")


def _body(request: Request) -> Body:
    if request.method != "POST" or not request.body:
        return {}
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise ValueError("send JSON with Content-Type: application/json")
    value = orjson.loads(request.body)
    if not isinstance(value, dict):
        raise TypeError("send a JSON object")
    return value


def _shape(parts: list[str]) -> str:
    """Give the control's name: ids, which all say _sim, become a star."""
    return "/".join("*" if "_sim_" in part else part for part in parts)


def _hole(parts: list[str]) -> str:
    return next((part for part in parts if "_sim_" in part), "")


def _problem(status: int, text: str) -> Response:
    return json_response(status, {"problem": text})


async def _status(sim: Controlled, _: str, __: Body) -> Obj:
    counts = {kind: len(rows) for kind, rows in sim.world.kinds.items()}
    now = {"now": sim.clock.now(), "queued_deliveries": len(sim.account.hooks.queue)}
    return {"instance": sim.instance, "account": sim.world.account_id, "objects": counts, **now}


async def _effects(sim: Controlled, _: str, __: Body) -> Obj:
    return {"effects": sim.effects()}


async def _advance(sim: Controlled, _: str, body: Body) -> Obj:
    delivered = await sim.advance(float(body["advance_s"]))
    return {"now": sim.clock.now(), "delivered": delivered}


async def _deliver(sim: Controlled, _: str, __: Body) -> Obj:
    return {"delivered": await sim.deliver_due()}


async def _deliveries(sim: Controlled, _: str, __: Body) -> Obj:
    return {"deliveries": sim.account.hooks.log}


async def _faults(sim: Controlled, _: str, __: Body) -> Obj:
    return {"pending": [dataclasses.asdict(f) for f in sim.faults.pending()], "taken": sim.faults.taken}


async def _add_faults(sim: Controlled, _: str, body: Body) -> Obj:
    faults = [Fault(**row) for row in body["faults"]]
    if "seed" in body:
        sim.faults.by_seed(int(body["seed"]), rate=float(body["rate"]), faults=faults)
    else:
        sim.faults.add(*faults)
    return {"added": len(faults)}


async def _clear_faults(sim: Controlled, _: str, __: Body) -> Obj:
    sim.faults.clear()
    return {}


async def _subscribe(sim: Controlled, _: str, body: Body) -> Obj:
    events = list(body.get("enabled_events", ["*"]))
    secret = sim.subscribe(body["url"], events, thin=bool(body.get("thin")), secret=body.get("secret"))
    return {"secret": secret, "id": next(reversed(sim.account.hooks.targets))}


async def _rotate_secret(sim: Controlled, target_id: str, body: Body) -> Obj:
    return {"secret": sim.account.hooks.rotate(target_id, float(body.get("overlap_s", 86400)))}


async def _make_key(sim: Controlled, _: str, body: Body) -> Obj:
    scopes = body.get("scopes")
    return {"key": sim.keys.make(None if scopes is None else frozenset(scopes)).secret}


async def _rotate_key(sim: Controlled, _: str, body: Body) -> Obj:
    return {"key": sim.rotate_key(body["key"])}


async def _swap(sim: Controlled, _: str, __: Body) -> Obj:
    sim.swap_account()
    return {"account": sim.world.account_id}


async def _restore(sim: Controlled, _: str, __: Body) -> Obj:
    sim.restore_account()
    return {"account": sim.world.account_id}


async def _configure(sim: Controlled, _: str, body: Body) -> Obj:
    sim.configure(**body)
    return dataclasses.asdict(sim.world.settings)


async def _pay(sim: Controlled, session_id: str, body: Body) -> Obj:
    session = sim.world.get("checkout.session", session_id)
    return site.pay(sim.world, session, body.get("card", "4242424242424242"), body.get("email"))


async def _settle(sim: Controlled, session_id: str, body: Body) -> Obj:
    session = sim.world.get("checkout.session", session_id)
    payments.settle(sim.world, session, _one_of(body["outcome"], "succeeded", "failed"))
    return session


async def _dispute(sim: Controlled, _: str, body: Body) -> Obj:
    charge = sim.world.get("charge", body["charge"])
    return disputes.open_dispute(
        sim.world, charge, reason=body.get("reason", "general"), amount=body.get("amount")
    )


async def _close_dispute(sim: Controlled, dispute_id: str, body: Body) -> Obj:
    status = _one_of(body["status"], "won", "lost")
    return disputes.end(sim.world, sim.world.get("dispute", dispute_id), status)


async def _warn(sim: Controlled, _: str, body: Body) -> Obj:
    return payments.warn(sim.world, sim.world.get("charge", body["charge"]))


async def _fail_refund(sim: Controlled, refund_id: str, _: Body) -> Obj:
    return refunds.fail(sim.world, sim.world.get("refund", refund_id))


async def _move_outbound(sim: Controlled, payment_id: str, body: Body) -> Obj:
    status = _one_of(body["status"], "posted", "failed", "returned")
    return outbound.move(sim.world, sim.world.get(outbound.PAYMENT, payment_id), status)


async def _resend(sim: Controlled, event_id: str, _: Body) -> Obj:
    hooks = sim.account.hooks
    event = sim.world.by_id[event_id]
    wanting = [target.id for target in hooks.targets.values() if target.wants(event["type"])]
    hooks.queue.extend(Delivery(event_id, target_id, sim.clock.time()) for target_id in wanting)
    hooks.wake()
    return {"queued": len(wanting)}


def _one_of(value: str, *known: str) -> str:
    if value not in known:
        raise ValueError(f"'{value}' is not one of {', '.join(known)}")
    return value


_COMMANDS: dict[tuple[str, str], Callable[[Controlled, str, Body], Awaitable[Obj]]] = {
    ("GET", ""): _status,
    ("GET", "effects"): _effects,
    ("POST", "clock"): _advance,
    ("POST", "deliver"): _deliver,
    ("GET", "deliveries"): _deliveries,
    ("GET", "faults"): _faults,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "webhook_endpoints"): _subscribe,
    ("POST", "webhook_endpoints/*/rotate"): _rotate_secret,
    ("POST", "keys"): _make_key,
    ("POST", "keys/rotate"): _rotate_key,
    ("POST", "account/swap"): _swap,
    ("POST", "account/restore"): _restore,
    ("POST", "settings"): _configure,
    ("POST", "checkout/sessions/*/pay"): _pay,
    ("POST", "checkout/sessions/*/settle"): _settle,
    ("POST", "disputes"): _dispute,
    ("POST", "disputes/*/close"): _close_dispute,
    ("POST", "early_fraud_warnings"): _warn,
    ("POST", "refunds/*/fail"): _fail_refund,
    ("POST", "outbound_payments/*"): _move_outbound,
    ("POST", "events/*/resend"): _resend,
}
