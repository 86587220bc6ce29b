"""One API request on its way: faults, key, route, scope, idempotency key, parameters, execution, answer."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from plugins.payments.simulator import errors, forms, params
from plugins.payments.simulator.errors import ApiError, invalid
from plugins.payments.simulator.faults import API_KINDS, Fault, FaultPlan
from plugins.payments.simulator.http import BrokenError, Request, Response, html_response, json_response
from plugins.payments.simulator.idempotency import Replays, fingerprint
from plugins.payments.simulator.keys import KeyRing, require
from plugins.payments.simulator.resources import supported
from plugins.payments.simulator.routes import Call, Route, Routes
from plugins.payments.simulator.webhooks import Webhooks
from plugins.payments.simulator.world import API_VERSION, ORIGIN, Obj, Origin, World

_VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(\.\w+)?$")
_HTML_502 = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_LATENCY_S = 1.0  # What a latency fault waits when it names no time.

Sleep = Callable[[float], Awaitable[None]]


@dataclass
class Account:
    """Everything that belongs to one simulated account."""

    world: World
    hooks: Webhooks
    replays: Replays


@dataclass(frozen=True)
class _Job:
    """One request and what was made of it so far."""

    account: Account
    request: Request
    request_id: str
    faults: list[Fault]
    headers: dict[str, str]

    @property
    def family(self) -> str:
        return "v2" if self.request.path.startswith("/v2/") else "v1"

    @property
    def key(self) -> str | None:
        """Give the idempotency key where it means something: GET never, DELETE only in v2."""
        writes = {"POST"} if self.family == "v1" else {"POST", "DELETE"}
        return self.request.headers.get("idempotency-key") if self.request.method in writes else None

    def fault(self, *kinds: str, after_commit: bool | None = None) -> Fault | None:
        fitting = (f for f in self.faults if f.kind in kinds and after_commit in {None, f.after_commit})
        return next(fitting, None)


class Owner(Protocol):
    """What the API needs of the simulator it belongs to."""

    faults: FaultPlan
    keys: KeyRing
    instance: str
    account: Account

    def swap_account(self) -> None:
        """Let the keys belong to another, empty account."""


class Api:
    """The simulated API over whichever account the keys belong to at the moment."""

    def __init__(self, owner: Owner, routes: Routes, sleep: Sleep = asyncio.sleep) -> None:
        self._owner = owner
        self._routes = routes
        self._sleep = sleep

    async def answer(self, request: Request) -> Response:
        """Take one request through its steps. Raises BrokenError where a fault cuts the connection.

        1. Network faults, keys, rate limits: nothing was executed, nothing is stored.
        2. Route and scope; then the idempotency key is claimed, or its stored answer given.
        3. Parameters are checked; a refusal here gives the key back.
        4. The endpoint executes and its answer is stored, a refusal or a 500 included.
        5. Faults after the commit: latency, a lost answer, a proxy's page.
        """
        faults = self._owner.faults.take(f"{request.method} {request.path}", API_KINDS)
        if any(fault.kind == "account_swapped" for fault in faults):
            self._owner.swap_account()
        account = self._owner.account
        request_id = account.world.ids.new("req")
        version = request.headers.get("stripe-version", API_VERSION)
        headers = {
            "request-id": request_id,
            "stripe-version": version,
            "bursar-simulator": self._owner.instance,
            "cache-control": "no-store",
        }
        job = _Job(account, request, request_id, faults, headers)
        try:
            return await self._answer(job)
        except ApiError as error:
            return json_response(error.status, error.body(request_id), headers)

    async def _answer(self, job: _Job) -> Response:
        job.account.world.run_due()
        route, holes = self._admit(job)
        raw = _raw(job)
        if job.fault("html_502", after_commit=False):
            return html_response(502, _HTML_502)
        key = job.key
        if key is None:
            return await self._finish(job, await self._execute(job, route, holes, raw))
        mark = fingerprint(job.request.method, job.request.path, raw)
        stored = job.account.replays.claim(job.family, key, mark)
        if stored is not None:
            return await self._finish(job, _replayed(stored, job))
        try:
            answer = await self._execute(job, route, holes, raw)
        except BaseException:
            job.account.replays.release(job.family, key)
            raise
        job.account.replays.store(job.family, key, answer)
        return await self._finish(job, answer)

    def _admit(self, job: _Job) -> tuple[Route, dict[str, str]]:
        request = job.request
        cut = job.fault("lost_before_commit", "unreachable") or job.fault("reset", after_commit=False)
        if cut is not None:
            raise BrokenError(cut.how)
        if job.fault("key_rotated"):
            raise errors.unauthorized("Expired API Key provided: it was rotated.")
        key = self._owner.keys.authenticate(request.headers.get("authorization", ""))
        if job.fault("rate_limited"):
            raise errors.rate_limited()
        if not _VERSION.match(job.headers["stripe-version"]):
            raise invalid(f"Invalid Stripe API version: {job.headers['stripe-version']}")
        other = request.headers.get("stripe-account")
        if other is not None and other != job.account.world.account_id:
            raise errors.forbidden(f"The provided key does not have access to account '{other}'.")
        found = self._routes.find(request.method, request.path)
        if found is None:
            raise errors.unrecognized(request.method, request.path)
        require(key, found[0].scope, is_write=request.method != "GET")
        return found

    async def _execute(self, job: _Job, route: Route, holes: dict[str, str], raw: dict[str, Any]) -> Response:
        is_form = job.family == "v1" or job.request.method == "GET"
        # A v2 page token is in the address Stripe gives for the next page, not among the typed parameters.
        page = {"page": raw.pop("page")} if job.family == "v2" and "page" in raw else {}
        checked = raw if route.spec is None else params.check(route.spec, raw, is_form=is_form)
        if route.spec is not None:
            supported.require(route.spec, set(checked))
        checked = {**checked, **page}
        call = Call(job.account.world, job.account.hooks, checked, holes, job.request.path)
        await self._wait(job, after_commit=False)
        broken = job.fault("stored_500")
        if broken is not None and not broken.after_commit:
            return self._refusal(job, errors.internal())
        token = ORIGIN.set(Origin(job.request_id, job.key))
        try:
            outcome = route.handler(call)
            value: Obj = await outcome if inspect.isawaitable(outcome) else outcome
        except ApiError as error:
            # Execution had begun, so this refusal is the key's answer from now on.
            return self._refusal(job, error)
        finally:
            ORIGIN.reset(token)
        if broken is not None:
            return self._refusal(job, errors.internal())
        return json_response(200, value, job.headers)

    def _refusal(self, job: _Job, error: ApiError) -> Response:
        return json_response(error.status, error.body(job.request_id), job.headers)

    async def _finish(self, job: _Job, answer: Response) -> Response:
        await self._wait(job, after_commit=True)
        cut = job.fault("lost_after_commit") or job.fault("reset", after_commit=True)
        if cut is not None:
            raise BrokenError(cut.how)
        if job.fault("html_502", after_commit=True):
            return html_response(502, _HTML_502)
        return answer

    async def _wait(self, job: _Job, *, after_commit: bool) -> None:
        fault = job.fault("latency", after_commit=after_commit)
        if fault is not None:
            await self._sleep(_LATENCY_S if fault.seconds is None else fault.seconds)


def _raw(job: _Job) -> dict[str, Any]:
    request = job.request
    if request.method == "GET":
        return forms.decode(request.query)
    if job.family == "v1":
        if request.headers.get("content-type", "").startswith("application/json"):
            raise invalid("v1 takes application/x-www-form-urlencoded, not JSON")
        return forms.decode(request.body.decode("utf-8", "replace"))
    try:
        value = orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError as error:
        raise invalid(f"v2 takes JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid("v2 takes a JSON object")
    return value


def _replayed(stored: Response, job: _Job) -> Response:
    original = stored.headers.get("request-id", "")
    extra = {"idempotent-replayed": "true", "original-request": original}
    return Response(stored.status, stored.body, {**stored.headers, **job.headers, **extra})
