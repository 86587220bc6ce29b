"""Real-time card authorizations: decided in one transaction, answered in two seconds, no in doubt (M20)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from ledger.authorizations import Answered, Question
from ledger.booking import minor, part, ref
from ledger.inbox import Arrival
from policy.errors import BursarError
from policy.language import Mode
from webhooks.bodies import BodyRefusedError
from webhooks.signatures import Refused
from webhooks.stripe_events import OPEN, StripeDeps, arrived, refusal, stored

API_VERSION: Final = "2026-10-28.endive"  # Stripe wants the answer to say which version it is written in.
DECIDE_WITHIN_S: Final = 1.5  # Of the two seconds Stripe waits; the rest is for the way there and back.
REQUEST: Final = "issuing_authorization.request"

_log = structlog.get_logger("bursar.issuing")


def issuing_route(deps: StripeDeps) -> HTTPRouteHandler:
    """Return the handler of POST /webhooks/stripe/issuing."""

    @post(
        "/webhooks/stripe/issuing",
        opt=OPEN,
        status_code=200,
        request_max_body_size=None,  # raw_body cuts it, with one answer for every reason.
        include_in_schema=False,
    )
    async def authorization_request(request: Request[Any, Any, Any]) -> Response[Any]:
        try:
            arrival = await arrived(deps, request, deps.issuing_secrets, route="issuing")
        except (Refused, BodyRefusedError) as refused:
            return refusal(str(refused))
        if arrival.event_type != REQUEST:
            return await stored(deps, arrival)
        return _answer(await _decided(deps, arrival))

    return authorization_request


async def _decided(deps: StripeDeps, arrival: Arrival) -> Answered:
    """Decide in time; whatever goes wrong is a no."""
    if arrival.code:
        return Answered(approved=False, code=arrival.code)
    try:
        question = question_of(deps, arrival)
        # Shielded: a decision that commits too late only holds room that a fetched state then gives back.
        deciding = asyncio.ensure_future(deps.ledger.decide_authorization(question, deps.now()))
        async with asyncio.timeout(DECIDE_WITHIN_S):
            return await asyncio.shield(deciding)
    except TimeoutError:
        return Answered(approved=False, code="too_slow")
    except BursarError as error:
        _log.warning("authorization declined in doubt", error=type(error).__name__)
        return Answered(approved=False, code="in_doubt")
    except Exception:  # noqa: BLE001 -- in doubt decline: an unanswered question may be approved by default
        _log.exception("authorization declined in doubt")
        return Answered(approved=False, code="in_doubt")


def question_of(deps: StripeDeps, arrival: Arrival) -> Question:
    """Read what is asked. Raises MoneyError for an amount that is none."""
    shown: Mapping[str, Any] = part(msgspec.json.decode(arrival.body), "data", "object")
    pending = part(shown, "pending_request")
    currency = str(pending.get("currency") or shown.get("currency") or "")
    amount = pending.get("amount")
    return Question(
        event_id=arrival.event_id,
        authorization_id=str(shown.get("id") or ""),
        instrument_ref=ref(shown.get("card")),
        provider=deps.provider,
        provider_account=arrival.provider_account,
        mode=Mode(arrival.mode or Mode.LIVE),
        # What names no whole amount of zero or more is asked for as -1, which is declined.
        amount_minor=minor(amount, currency) if type(amount) is int and amount >= 0 else -1,
        currency=currency.upper(),
        merchant=str(part(shown, "merchant_data").get("name") or ""),
        live_spend=deps.live_spend,
    )


def _answer(answered: Answered) -> Response[Any]:
    metadata = {"bursar_code": answered.code}
    if answered.purchase_id:
        metadata["bursar_purchase"] = answered.purchase_id
    return Response(
        {"approved": answered.approved, "metadata": metadata},
        status_code=200,
        headers={"Stripe-Version": API_VERSION},
        media_type="application/json",
    )
