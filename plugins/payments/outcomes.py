"""What Stripe's answers, refusals and silences mean for a call: the outcome table, in one place.

Not sent is only what provably never left; a definite no is only what Stripe says it did not do; the rest is
unknown. Source: docs.stripe.com/error-low-level, and each row run against the SDK 16.1.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from ledger.records import Outcome
from plugins.tool import OutcomeReport
from policy.errors import NotReady

if TYPE_CHECKING:
    import stripe

# httpx's ways to say that no connection came about, and what is wrong before one is tried.
_UNSENT: Final = frozenset(
    {"ConnectError", "ConnectTimeout", "PoolTimeout", "InvalidURL", "UnsupportedProtocol"}
)
_BEFORE_ANY_REQUEST: Final = (TypeError, AttributeError, KeyError)
_TOO_MANY: Final = 429
_CONFLICT: Final = 409
_REFUSED: Final = frozenset({400, 401, 402, 403, 404})
_SHOWN: Final = 200  # Characters of Stripe's words; they are for people, not for parsing.


async def reported(work: Awaitable[OutcomeReport]) -> OutcomeReport:
    """Await an execution and turn what the SDK raises into a report. SendTooLate passes through."""
    import stripe

    try:
        return await work
    except stripe.StripeError as error:
        return report_of(error)
    except NotReady as refused:
        return OutcomeReport(
            outcome=Outcome.FAILED, code=refused.code, message=str(refused), retry=refused.retry
        )


async def looked_up(work: Awaitable[OutcomeReport]) -> OutcomeReport:
    """Await a lookup: a question that is refused says nothing about the deed it asks for (M2)."""
    import stripe

    try:
        return await work
    except stripe.StripeError as error:
        return structs.replace(report_of(error), outcome=Outcome.UNKNOWN, stored_answer=False)


def report_of(error: stripe.StripeError) -> OutcomeReport:
    """Return the outcome that an error of the SDK stands for."""
    import stripe

    if isinstance(error, stripe.APIConnectionError):
        return _no_answer(error)
    status = error.http_status or 0
    code = _code(error)
    stored = is_stored(error)
    if status == _TOO_MANY:
        return _report(
            Outcome.NOT_SENT, "provider_busy", "Stripe takes no more requests just now", retry="later"
        )
    if status == _CONFLICT:
        return _report(Outcome.UNKNOWN, code or "in_flight", "Stripe is still working on this very request")
    # What names neither a type nor a code is no answer of Stripe's but of something on the way.
    if status in _REFUSED and (_kind(error) or code):
        return _refused(error, status, code, stored=stored)
    return _report(Outcome.UNKNOWN, "provider_broke", f"Stripe answered {status}; it may have happened")


def is_stored(error: stripe.StripeError) -> bool:
    """Say whether an error is Stripe's stored answer to a key: its first attempt ended so, and is over."""
    return (error.headers or {}).get("idempotent-replayed") == "true"


def _no_answer(error: stripe.APIConnectionError) -> OutcomeReport:
    cause = error.__cause__
    unsent = type(cause).__name__ in _UNSENT or isinstance(cause, _BEFORE_ANY_REQUEST)
    if unsent:
        return _report(Outcome.NOT_SENT, "not_sent", "Stripe could not be reached", retry="later")
    return _report(Outcome.UNKNOWN, "no_answer", "the connection ended before Stripe's answer came")


def _refused(error: stripe.StripeError, status: int, code: str, *, stored: bool) -> OutcomeReport:
    if _kind(error) == "idempotency_error":
        # The key was used with other parameters: our own bug or a forged record. A person has to look.
        return _report(
            Outcome.UNKNOWN, "provider_key_conflict", "Stripe knows this key with other parameters"
        )
    words = {401: "credentials_refused", 403: "permission_refused"}.get(status, code or "refused")
    said = str(error.user_message or "")[:_SHOWN]
    return OutcomeReport(
        outcome=Outcome.FAILED,
        code="declined" if status == 402 else words,  # noqa: PLR2004 -- 402 is Stripe's status for declines
        message=f"Stripe refused: {said}" if said else f"Stripe refused ({words})",
        stored_answer=stored,
        retry="new_key",
    )


def _report(outcome: Outcome, code: str, message: str, *, retry: str = "never") -> OutcomeReport:
    return OutcomeReport(outcome=outcome, code=code, message=message, retry=retry)


def _code(error: stripe.StripeError) -> str:
    """Return the error's code; the SDK fills its own attribute for some classes only."""
    return str(error.code or _body(error).get("code") or "")


def _kind(error: stripe.StripeError) -> str:
    return str(_body(error).get("type") or "")


def _body(error: stripe.StripeError) -> dict[str, Any]:
    body = error.json_body
    inner = body.get("error") if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else {}
