"""Signed deliveries of events to their targets, with retries, and the synchronous authorization request."""

import asyncio
import hashlib
import hmac
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from plugins.payments.simulator.faults import WEBHOOK_KINDS, Fault, FaultPlan
from plugins.payments.simulator.world import Obj, World

# Three days in all, as Stripe retries in live mode.
RETRY_DELAYS_S = (2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0, 86400.0, 86400.0)
ANSWER_WITHIN_S = 2.0  # Stripe's limit for issuing_authorization.request.
_DELIVERY_TIMEOUT_S = 10.0  # A receiver that takes longer has failed, as at Stripe.
_OVERTAKE_S = 5.0  # A reordered delivery waits no longer for another to overtake it.
_OLD_VERSION = "2019-12-03"
REQUEST_EVENT = "issuing_authorization.request"


@dataclass(frozen=True)
class Answer:
    """What a receiver answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Deliver = Callable[[str, bytes, dict[str, str]], Awaitable[Answer]]


@dataclass
class Target:
    """A place that wants events; each secret signs until its end, which None leaves open."""

    id: str
    url: str
    events: frozenset[str]
    secrets: list[tuple[str, float | None]]
    is_thin: bool = False
    api_version: str | None = None
    is_enabled: bool = True

    def wants(self, type_: str) -> bool:
        """Tell whether it subscribed; "*" leaves out v2 types and the authorization request."""
        if not self.is_enabled:
            return False
        if type_ in self.events:
            return True
        return "*" in self.events and type_ != REQUEST_EVENT and not type_.startswith("v2.")


@dataclass
class Delivery:
    """One event on its way to one target."""

    event_id: str
    target_id: str
    due: float
    attempt: int = 0
    behind: int = 0
    fault: Fault | None = None
    is_fresh: bool = True


class Webhooks:
    """The delivery queue of one account."""

    def __init__(self, world: World, faults: FaultPlan, deliver: Deliver) -> None:
        self._world = world
        self._faults = faults
        self._deliver = deliver
        self._lock = asyncio.Lock()
        self.targets: dict[str, Target] = {}
        self.queue: list[Delivery] = []
        self.log: list[Obj] = []
        self.undelivered: dict[str, set[str]] = {}
        self.wake: Callable[[], None] = lambda: None
        world.listeners.append(self._enqueue)

    def add_target(self, target: Target) -> Target:
        """Subscribe a target to all events from now on."""
        self.targets[target.id] = target
        return target

    def rotate(self, target_id: str, overlap_s: float) -> str:
        """Give a target a new secret; the old ones sign too until the overlap ends."""
        target = self.targets[target_id]
        end = self._world.clock.time() + overlap_s
        old = [(secret, end if until is None else until) for secret, until in target.secrets]
        secret = self._world.ids.new("whsec")
        target.secrets = [(secret, None), *old]
        return secret

    def next_due(self) -> float | None:
        """Give the instant at which the next delivery is due, if there is one."""
        return min((d.due + (_OVERTAKE_S if d.behind else 0) for d in self.queue), default=None)

    async def pump(self) -> int:
        """Make every delivery that is due, one after the other; give their number."""
        async with self._lock:
            made = 0
            while due := self._due():
                for delivery in due:
                    await self._attempt(delivery)
                made += len(due)
            return made

    async def ask(self, event: Obj) -> Answer | None:
        """Send an authorization request and wait for its answer; None when nobody answers in time.

        Raises LookupError when no target subscribed to it.
        """
        target = next((t for t in self.targets.values() if t.wants(REQUEST_EVENT)), None)
        if target is None:
            raise LookupError("no target for issuing_authorization.request")
        faults = self._faults.take(REQUEST_EVENT, WEBHOOK_KINDS)
        if any(fault.kind == "webhook_dropped" for fault in faults):
            return None
        fault = faults[0] if faults else None
        body, headers = self._signed(event, target, fault)
        copies = fault.copies if fault is not None and fault.kind == "webhook_duplicated" else 0
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answers = [await self._deliver(target.url, body, headers) for _ in range(1 + copies)]
        except (TimeoutError, OSError) as error:
            self._record(event["id"], target.id, 0, f"{type(error).__name__}")
            return None
        except Exception as error:  # noqa: BLE001  whatever a receiver's side raises is a receiver that did not answer
            self._record(event["id"], target.id, 0, f"{type(error).__name__}: {error}")
            return None
        self._record(event["id"], target.id, answers[0].status, None)
        return answers[0]

    def _enqueue(self, event: Obj) -> None:
        if event["type"] == REQUEST_EVENT:
            return
        wanting = [t for t in self.targets.values() if t.wants(event["type"])]
        if event["object"] == "event":
            event["pending_webhooks"] = len(wanting)
        for target in wanting:
            self.undelivered.setdefault(event["id"], set()).add(target.id)
            self._schedule(event, target)
        if wanting:
            self.wake()

    def _schedule(self, event: Obj, target: Target) -> None:
        now = self._world.clock.time()
        faults = self._faults.take(event["type"], WEBHOOK_KINDS)
        delivery = Delivery(event["id"], target.id, now)
        for fault in faults:
            _apply(delivery, fault)
            if fault.kind == "webhook_duplicated":
                copies = (Delivery(event["id"], target.id, now, is_fresh=False) for _ in range(fault.copies))
                self.queue.extend(copies)
        self.queue.append(delivery)

    def _due(self) -> list[Delivery]:
        """Take what is due off the queue, in the order of its time."""
        now = self._world.clock.time()
        due = [d for d in self.queue if d.due + (_OVERTAKE_S if d.behind else 0) <= now]
        taken = {id(d) for d in due}
        self.queue = [d for d in self.queue if id(d) not in taken]
        return sorted(due, key=lambda d: d.due)

    async def _attempt(self, delivery: Delivery) -> None:
        target = self.targets.get(delivery.target_id)
        event = self._world.by_id[delivery.event_id]
        if target is None or not target.is_enabled:
            return
        fault, delivery.fault = delivery.fault, None  # A fault spoils one attempt; the retry is sound.
        if fault is not None and fault.kind == "webhook_dropped":
            self._record(event["id"], target.id, 0, "dropped")
            if not fault.for_ever:
                self._retry(delivery)
            return
        status, problem = await self._send(event, target, fault)
        self._record(event["id"], target.id, status, problem)
        if 200 <= status < 300:  # noqa: PLR2004  the success class of HTTP
            self._delivered(event, target)
        elif delivery.is_fresh:
            self._retry(delivery)
        for other in self.queue:
            if other.target_id == target.id and other.behind:
                other.behind -= 1

    async def _send(self, event: Obj, target: Target, fault: Fault | None) -> tuple[int, str | None]:
        body, headers = self._signed(event, target, fault)
        try:
            async with asyncio.timeout(_DELIVERY_TIMEOUT_S):
                return (await self._deliver(target.url, body, headers)).status, None
        except Exception as error:  # noqa: BLE001  whatever a receiver's side raises is a delivery that failed
            return 0, f"{type(error).__name__}: {error}"

    def _signed(self, event: Obj, target: Target, fault: Fault | None) -> tuple[bytes, dict[str, str]]:
        payload = self._payload(event, target, fault)
        body = orjson.dumps(payload)
        stamp = int(self._world.clock.wall())
        now = self._world.clock.time()
        secrets = [secret for secret, until in target.secrets if until is None or until > now]
        if fault is not None and fault.kind == "webhook_stale":
            stamp -= int(fault.seconds or 600)
        if fault is not None and fault.kind == "webhook_rotated_secret":
            secrets = [self._world.ids.new("whsec")]
        header = sign(body, secrets, stamp)
        return body, {"content-type": "application/json; charset=utf-8", "stripe-signature": header}

    def _payload(self, event: Obj, target: Target, fault: Fault | None) -> Obj:
        payload = dict(event)
        if event["object"] == "event":
            payload["api_version"] = target.api_version or event["api_version"]
            if fault is not None and fault.kind == "webhook_old_version":
                payload["api_version"] = _OLD_VERSION
            if target.is_thin:
                payload = thin(event)
        if fault is not None and fault.kind == "webhook_wrong_mode":
            payload["livemode"] = True
        return payload

    def _delivered(self, event: Obj, target: Target) -> None:
        waiting = self.undelivered.get(event["id"], set())
        if target.id in waiting:
            waiting.discard(target.id)
            if event["object"] == "event":
                event["pending_webhooks"] -= 1

    def _retry(self, delivery: Delivery) -> None:
        if delivery.attempt < len(RETRY_DELAYS_S):
            delivery.due = self._world.clock.time() + RETRY_DELAYS_S[delivery.attempt]
            delivery.attempt += 1
            self.queue.append(delivery)

    def _record(self, event_id: str, target_id: str, status: int, problem: str | None) -> None:
        row = {"event": event_id, "type": self._world.by_id[event_id]["type"], "target": target_id}
        self.log.append({**row, "status": status, "problem": problem, "at": self._world.now()})


def sign(body: bytes, secrets: list[str], timestamp: int) -> str:
    """Give the Stripe-Signature header: one v1 HMAC-SHA256 over "timestamp.body" for each secret."""
    message = str(timestamp).encode() + b"." + body
    marks = (hmac.new(secret.encode(), message, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join(itertools.chain([f"t={timestamp}"], (f"v1={mark}" for mark in marks)))


def thin(event: Obj) -> Obj:
    """Give the thin form of a v1 event: its type and a reference, no snapshot."""
    related: dict[str, Any] = event["data"]["object"]
    created = datetime.fromtimestamp(event["created"], UTC).isoformat(timespec="milliseconds")
    return {
        "id": event["id"],
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "livemode": event["livemode"],
        "created": created.replace("+00:00", "Z"),
        "context": None,
        "reason": None,
        "snapshot_event": event["id"],
        "related_object": {"id": related.get("id"), "type": related["object"], "url": _url(related)},
    }


_PATHS = {
    "checkout.session": "/v1/checkout/sessions",
    "issuing.card": "/v1/issuing/cards",
    "issuing.cardholder": "/v1/issuing/cardholders",
    "issuing.authorization": "/v1/issuing/authorizations",
    "issuing.transaction": "/v1/issuing/transactions",
    "radar.early_fraud_warning": "/v1/radar/early_fraud_warnings",
}


def _url(related: Obj) -> str:
    kind = related["object"]
    return f"{_PATHS.get(kind, f'/v1/{kind}s')}/{related.get('id')}"


def _apply(delivery: Delivery, fault: Fault) -> None:
    if fault.kind == "webhook_duplicated":
        return
    if fault.kind == "webhook_delayed":
        delivery.due += 30.0 if fault.seconds is None else fault.seconds
    elif fault.kind == "webhook_reordered":
        delivery.behind = 1
    else:
        delivery.fault = fault
