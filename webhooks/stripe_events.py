"""Stripe's events on their way in: verified, stored once, answered, and only then worked.

Both forms arrive here: snapshots, which carry the object, and thin events, which only name it. Either way the
object is fetched again before anything is booked, so nothing an event says becomes money.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from ledger.inbox import Arrival
from ledger.ledger import Ledger
from plugins.tool import Binding
from policy.errors import Unavailable
from policy.language import Mode
from webhooks.bodies import BodyRefusedError, raw_body
from webhooks.signatures import Refused, WebhookSecret, check

REFUSAL: Final = (
    "this is not an event for this address\n"  # The same for every reason: a forger learns nothing.
)
# The signature is the authentication: no session, no CSRF token.
OPEN: Final = {"public": True, "exclude_from_csrf": True}
_LONGEST_ID: Final = 255
_EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)

_log = structlog.get_logger("bursar.webhooks")
_decoder = msgspec.json.Decoder(dict[str, Any])


class StripeDeps(Struct, frozen=True, kw_only=True):
    """What Stripe's routes and their worker stand on."""

    ledger: Ledger
    binding: Callable[[], Binding | None]  # What the provider is bound to; its account once measured.
    now: Callable[[], datetime]
    secrets: tuple[WebhookSecret, ...] = ()
    issuing_secrets: tuple[WebhookSecret, ...] = ()
    live_spend: bool = False
    wake: Callable[[], None] = lambda: None  # Tells the worker that something arrived.
    # Says that the provider shows an effect of this call: one that is unknown is looked into at once.
    seen: Callable[[str], object] = lambda _call_id: None
    provider: str = "stripe"


def stripe_routes(deps: StripeDeps) -> list[HTTPRouteHandler]:
    """Return the handlers of Stripe's routes: those whose secrets are set, and no others."""
    from webhooks.issuing import issuing_route

    routes: list[HTTPRouteHandler] = []
    if deps.secrets:
        routes.append(events_route(deps))
    if deps.issuing_secrets:
        routes.append(issuing_route(deps))
    return routes


def events_route(deps: StripeDeps) -> HTTPRouteHandler:
    """Return the handler of POST /webhooks/stripe."""

    @post(
        "/webhooks/stripe",
        opt=OPEN,
        status_code=200,
        request_max_body_size=None,  # raw_body cuts it, with one answer for every reason.
        include_in_schema=False,
    )
    async def stripe_event(request: Request[Any, Any, Any]) -> Response[str]:
        try:
            arrival = await arrived(deps, request, deps.secrets, route="stripe")
        except (Refused, BodyRefusedError) as refused:
            return refusal(str(refused))
        return await stored(deps, arrival)

    return stripe_event


async def stored(deps: StripeDeps, arrival: Arrival) -> Response[str]:
    """Store an event, then answer; where it cannot be stored, Stripe is asked to come again."""
    try:
        fresh = await deps.ledger.receive(arrival, deps.now())
    except Unavailable:
        return Response("come again later\n", status_code=503, media_type="text/plain")
    if fresh and not arrival.code:
        deps.wake()
    if arrival.code:
        _log.warning("event quarantined", event=arrival.event_id, code=arrival.code)
    return Response("", status_code=200, media_type="text/plain")


def refusal(why: str) -> Response[str]:
    """Return the one answer to what is not an event for this address."""
    _log.info("webhook refused", why=why)
    return Response(REFUSAL, status_code=400, media_type="text/plain")


async def arrived(
    deps: StripeDeps, request: Request[Any, Any, Any], secrets: tuple[WebhookSecret, ...], *, route: str
) -> Arrival:
    """Return the event a request carries, its signature checked. Raises Refused, BodyRefusedError."""
    body = await raw_body(request)
    mode = check(request.headers.get("stripe-signature"), body, secrets, int(deps.now().timestamp()))
    return read_event(deps, body, mode, route=route, source="webhook")


def read_event(deps: StripeDeps, body: bytes, mode: Mode | None, *, route: str, source: str) -> Arrival:
    """Read an event of either form, and say why it is quarantined where it is not for us. Raises Refused."""
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("the body is no JSON object") from None
    event_id, event_type, livemode = event.get("id"), event.get("type"), event.get("livemode")
    known = str(event.get("object")) in {"event", "v2.core.event"}
    if not known or not _is_name(event_id) or not _is_name(event_type) or type(livemode) is not bool:
        raise Refused("the body is no event")
    account = event.get("account") or event.get("context")
    code, why = _not_ours(deps, mode, livemode=livemode, account=account)
    version = event.get("api_version")
    return Arrival(
        event_id=str(event_id),
        route=route,
        source=source,
        provider=deps.provider,
        event_type=str(event_type).removeprefix("v1."),
        object_ref=_object_ref(event),
        livemode=livemode,
        mode=None if mode is None else mode.value,
        created_at=_created(event.get("created")),
        body=body,
        provider_account=str(account)[:_LONGEST_ID] if account else None,
        api_version=str(version)[:_LONGEST_ID] if version else None,
        code=code,
        why=why,
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isprintable()


def _not_ours(deps: StripeDeps, mode: Mode | None, *, livemode: bool, account: object) -> tuple[str, str]:
    """Return why an event is quarantined: livemode = tag = key mode (M31), and nobody else's account."""
    binding = deps.binding()
    bound = None if binding is None else binding.mode
    if mode is not None and bound is not None and mode is not bound:
        return "wrong_mode", f"signed with a {mode} secret, the key is a {bound} one"
    if livemode is not ((mode or bound) is Mode.LIVE):
        return "wrong_mode", f"its livemode is {livemode}, its secret is a {mode or bound} one"
    if account and (binding is None or account != binding.account):
        return "wrong_account", f"it is of the account {str(account)[:_LONGEST_ID]}"
    return "", ""


def _object_ref(event: Mapping[str, Any]) -> str:
    related = event.get("related_object")
    data = event.get("data")
    thing = related if isinstance(related, dict) else data.get("object") if isinstance(data, dict) else None
    found = thing.get("id") if isinstance(thing, dict) else None
    return str(found) if _is_name(found) else ""


def _created(value: object) -> datetime:
    """Return when an event was made: Unix seconds in v1, ISO 8601 in v2."""
    try:
        if type(value) is int:
            return max(_EARLIEST, datetime.fromtimestamp(value, tz=UTC))
        if isinstance(value, str):
            return max(_EARLIEST, datetime.fromisoformat(value))
    except (ValueError, OverflowError, OSError, TypeError):
        return _EARLIEST
    return _EARLIEST
