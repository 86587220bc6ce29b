"""What the payment tools share: our marks on Stripe's objects, our ids, finding an object by its mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, TypeVar

from ledger.records import CallRecord, Outcome, RecordRef
from plugins.payments.outcomes import looked_up, reported
from plugins.payments.stripe_api import Answer, StripeApi
from plugins.tool import Annotations, ExecuteContext, OutcomeReport
from policy.errors import InvalidArguments, MoneyError
from policy.money import Money

CALL_MARK: Final = "bursar_call"
SETTLE_DELAY_S: Final = 120  # Stripe's lists show an object within seconds; two minutes is generous.
KEY_LIFETIME_S: Final = 82_800  # 23 h: Stripe forgets keys after 24 h at the earliest.
SKEW_S: Final = 300  # Lists are asked from before the call was admitted, since clocks differ.
MOST_LOOKED_AT: Final = 1_000  # Objects looked through for one mark; more are a person's work.

MAKES: Final = Annotations(read_only=False, destructive=False, idempotent=True, open_world=True)
ENDS: Final = Annotations(read_only=False, destructive=True, idempotent=True, open_world=True)
LOOKS: Final = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)

PENDING: Final = (
    " May answer pending_approval: nothing has run then; do not call again, ask call_status with the "
    "call_id until a person has answered."
)


def marks(call: CallRecord, **more: str) -> dict[str, str]:
    """Return the metadata that lets any later event find its way home."""
    own = {
        CALL_MARK: call.call_id,
        "bursar_account": call.account_id,
        "bursar_project": call.project,
        "bursar_run": call.run_id,
    }
    return own | {f"bursar_{name}": value for name, value in more.items()}


def own_id(prefix: str, call_id: str) -> str:
    """Return the id of the one record that a call makes, so that preparing and executing agree on it."""
    return f"{prefix}_{call_id.removeprefix('call_')}"


def sendable(amount: Money, units: Callable[[Money], int]) -> None:
    """Refuse an amount of nothing, and one that Stripe cannot express as `units` writes it."""
    if not amount.minor_units:
        raise InvalidArguments("it has an amount; give the whole of it", field="amount")
    try:
        units(amount)
    except MoneyError as refused:
        raise InvalidArguments(str(refused), field="amount") from None


def instant(unix_s: object) -> datetime | None:
    """Return Stripe's seconds as an aware instant."""
    return datetime.fromtimestamp(unix_s, tz=UTC) if isinstance(unix_s, int) else None


def assigned(deal: RecordRef, agent: str) -> None:
    """Refuse whoever is not the one agent a deal is assigned to, and deals that are over."""
    if deal.data.get("agent") != agent:
        raise InvalidArguments(f"{deal.record_id} is not assigned to you; ask the owner", field="deal_id")
    if deal.data.get("stage") in {"won", "lost"}:
        raise InvalidArguments(
            f"{deal.record_id} is {deal.data['stage']}; nothing is sold on it", field="deal_id"
        )


class Asker:
    """What speaks to Stripe for a tool; each method that does says with which key, by `sends` or `looks`."""

    def __init__(self, api: StripeApi) -> None:
        self.api = api


_Whose = TypeVar("_Whose", bound=Asker)
_Args = TypeVar("_Args")
_Method = Callable[[_Whose, _Args, ExecuteContext], Awaitable[OutcomeReport]]


def sends(purpose: str) -> Callable[[_Method[_Whose, _Args]], _Method[_Whose, _Args]]:
    """Let a method send with a key, but only to the account its call was admitted for (M4)."""
    return _asks(purpose, reported)


def looks(purpose: str) -> Callable[[_Method[_Whose, _Args]], _Method[_Whose, _Args]]:
    """Let a method look with a key for what became of a call, at the account that call was admitted for."""
    return _asks(purpose, looked_up)


def _asks(
    purpose: str, ended: Callable[[Awaitable[OutcomeReport]], Awaitable[OutcomeReport]]
) -> Callable[[_Method[_Whose, _Args]], _Method[_Whose, _Args]]:
    def wrapped(method: _Method[_Whose, _Args]) -> _Method[_Whose, _Args]:
        async def checked(asker: _Whose, args: _Args, context: ExecuteContext) -> OutcomeReport:
            return await _wrong_account(asker.api, purpose, context) or await method(asker, args, context)

        async def called(asker: _Whose, args: _Args, context: ExecuteContext) -> OutcomeReport:
            return await ended(checked(asker, args, context))

        return wraps(method)(called)

    return wrapped


async def _wrong_account(api: StripeApi, purpose: str, context: ExecuteContext) -> OutcomeReport | None:
    """Return a report where the key answers for another account than the call was admitted for (M4)."""
    identity = await api.identity(purpose)
    expected = context.call.provider_account
    if expected in {"", identity.account} and identity.mode is context.call.mode:
        return None
    return OutcomeReport(
        outcome=Outcome.NOT_SENT,
        identity=identity,
        code="provider_account_changed",
        message=f"the key answers for {identity.account} in {identity.mode.value} mode, not for {expected}",
        retry="later",
    )


async def marked(
    api: StripeApi,
    service: Any,  # noqa: ANN401 -- the SDK's services share no type
    context: ExecuteContext,
    **by: Any,  # noqa: ANN401 -- whatever a list is filtered by, as JSON
) -> Answer | None:
    """Return the object of a service that carries the call's mark now; None once the list is through.

    Raises LookupError past the objects that are looked at: then absence is not proved.
    """
    page = await service.list_async({**by, "limit": 100})
    seen = 0
    async for thing in page.auto_paging_iter():
        data: Mapping[str, Any] = thing.to_dict(for_json=True)
        if (data.get("metadata") or {}).get(CALL_MARK) == context.call.call_id:
            return await api.ask(service.retrieve_async(str(data["id"])))
        seen += 1
        if seen >= MOST_LOOKED_AT:
            raise LookupError(f"{seen} objects looked through without an end")
    return None


async def was_used(api: StripeApi, card: str) -> bool:
    """Say whether a card that works no more was ever paid with; a merchant may also take without asking."""
    issuing = api.client("spend").v1.issuing
    taken = await issuing.transactions.list_async({"card": card, "limit": 1})
    if taken.data:
        return True
    page = await issuing.authorizations.list_async({"card": card, "limit": 100})
    async for each in page.auto_paging_iter():
        if each.to_dict(for_json=True).get("approved"):
            return True
    return False


def since(call: CallRecord) -> int:
    """Return from when lists are looked through, in Unix seconds: a little before the call was admitted."""
    return int(call.admitted_at.timestamp()) - SKEW_S


def absent(api_answer: Answer) -> OutcomeReport:
    """Report that a lookup reached the right account and found nothing."""
    return OutcomeReport(
        outcome=Outcome.FAILED,
        code="absent",
        message=f"Stripe has no object of this call (request {api_answer.request_id})",
        retry="new_key",
    )
