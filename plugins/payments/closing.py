"""Taking back: ending a checkout or a link that is unpaid, and cancelling what was armed but not used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ledger.records import Outcome, ProofBy, Query, RecordRef
from ledger.records_revenue import (
    CheckoutById,
    CheckoutState,
    ClosePurchase,
    PaymentLinkById,
    PurchaseById,
    PurchaseState,
    UpdateCheckout,
    UpdatePaymentLink,
)
from plugins.payments.common import ENDS, KEY_LIFETIME_S, PENDING, Asker, sends
from plugins.payments.stripe_api import PROVIDER, Answer, StripeApi
from plugins.tool import Described, ExecuteContext, OutcomeReport, Records, Replay, Tool
from policy.errors import InvalidArguments
from policy.language import Kind, Mode
from policy.model import Effect

SaleId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^(chk|lnk)_[A-Za-z0-9_-]+$")]
PurchaseId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^prc_[A-Za-z0-9_-]+$")]


class CloseOffer(Struct, forbid_unknown_fields=True):
    """What to end."""

    sale_id: Annotated[SaleId, Meta(description="A checkout_id or a link_id that an earlier call returned.")]


class CancelPurchase(Struct, forbid_unknown_fields=True):
    """What to cancel."""

    purchase_id: Annotated[PurchaseId, Meta(description="From the purchase's result.")]


def closing_tools(api: StripeApi) -> tuple[Tool[CloseOffer], Tool[CancelPurchase]]:
    """Return the two tools that take back."""
    closer = _Closer(api)
    close = Tool(
        name="stripe_close_offer",
        kit="sell",
        kind=Kind.WITHDRAW,
        operation="offer_close",
        provider=PROVIDER,
        description=(
            "End one Checkout page or payment link that you created and that is not paid. The owner's offer "
            "itself stays on sale. What is already paid cannot be ended; refunds are a person's decision."
            + PENDING
        ),
        arguments=CloseOffer,
        result=None,
        annotations=ENDS,
        describe=_describe_close,
        references=_sale,
        own=lambda _args, records, agent: records[0].data.get("agent") == agent,
        execute=closer.close_offer,
        reconcile=Replay(KEY_LIFETIME_S),
    )
    cancel = Tool(
        name="cancel_purchase",
        kit="buy",
        kind=Kind.WITHDRAW,
        operation="purchase_cancel",
        provider=PROVIDER,
        description=(
            "Cancel a purchase of yours that was armed but not used: the card stops working, or the payment "
            "that is still processing is stopped. What was authorized or paid is not undone by it." + PENDING
        ),
        arguments=CancelPurchase,
        result=None,
        annotations=ENDS,
        describe=_describe_cancel,
        references=lambda args: (PurchaseById(args.purchase_id),),
        own=lambda _args, records, agent: records[0].data.get("agent") == agent,
        execute=closer.cancel_purchase,
        reconcile=Replay(KEY_LIFETIME_S),
    )
    return close, cancel


def _sale(args: CloseOffer) -> tuple[Query, ...]:
    return (CheckoutById(args.sale_id) if args.sale_id.startswith("chk_") else PaymentLinkById(args.sale_id),)


def _describe_close(args: CloseOffer, records: Records, who: Described) -> Effect:
    _sent(records[0], "session_ref" if args.sale_id.startswith("chk_") else "link_ref")
    if records[0].data.get("state") == CheckoutState.PAID:
        raise InvalidArguments(f"{args.sale_id} is paid; a paid sale is not ended", field="sale_id")
    return _withdrawal(who, "offer_close", f"end {args.sale_id}, which is not paid")


def _describe_cancel(args: CancelPurchase, records: Records, who: Described) -> Effect:
    payee = records[0].data.get("payee")
    return _withdrawal(who, "purchase_cancel", f"cancel the purchase {args.purchase_id} from {payee}")


def _withdrawal(who: Described, operation: str, summary: str) -> Effect:
    return Effect(
        kind=Kind.WITHDRAW,
        operation=operation,
        provider=PROVIDER,
        mode=who.binding.mode if who.binding else Mode.LIVE,
        summary=summary,
    )


def _sent(record: RecordRef, name: str) -> str:
    """Return the provider's id, or refuse where the call that makes it has not ended yet."""
    reference = record.data.get(name)
    if not isinstance(reference, str):
        raise InvalidArguments(f"{record.record_id} does not exist at Stripe yet; look at its call first")
    return reference


class _Closer(Asker):
    """End sessions, links, cards and payments."""

    @sends("earn")
    async def close_offer(self, args: CloseOffer, context: ExecuteContext) -> OutcomeReport:
        """Expire the session or deactivate the link."""
        if args.sale_id.startswith("chk_"):
            return await self._expire(args.sale_id, context)
        return await self._deactivate(args.sale_id, context)

    async def _expire(self, checkout_id: str, context: ExecuteContext) -> OutcomeReport:
        reference = _sent(context.records[0], "session_ref")
        sessions = self.api.client("earn").v1.checkout.sessions
        context.guard()
        answer = await self.api.ask(
            sessions.expire_async(reference, options={"idempotency_key": context.key_step("expire")})
        )
        change = UpdateCheckout(checkout_id=checkout_id, state=CheckoutState.EXPIRED, session_ref=reference)
        return await self._ended(answer, "earn", {"sale_id": checkout_id, "state": "expired"}, change)

    async def _deactivate(self, link_id: str, context: ExecuteContext) -> OutcomeReport:
        reference = _sent(context.records[0], "link_ref")
        links = self.api.client("earn").v1.payment_links
        context.guard()
        answer = await self.api.ask(
            links.update_async(
                reference, {"active": False}, {"idempotency_key": context.key_step("deactivate")}
            )
        )
        change = UpdatePaymentLink(link_id=link_id, state="inactive", link_ref=reference)
        return await self._ended(answer, "earn", {"sale_id": link_id, "state": "inactive"}, change)

    @sends("spend")
    async def cancel_purchase(self, args: CancelPurchase, context: ExecuteContext) -> OutcomeReport:
        """Cancel the card, or the payment while it is processing."""
        if context.records[0].data.get("instrument") == "card":
            return await self._cancel_card(args, context)
        return await self._cancel_payment(args, context)

    async def _cancel_card(self, args: CancelPurchase, context: ExecuteContext) -> OutcomeReport:
        cards = self.api.client("spend").v1.issuing.cards
        reference = _sent(context.records[0], "instrument_ref")
        context.guard()
        answer = await self.api.ask(
            cards.update_async(
                reference, {"status": "canceled"}, {"idempotency_key": context.key_step("cancel")}
            )
        )
        # The commitment outlives the card: a late capture may come (M19), so the ledger closes it, not we.
        change = ClosePurchase(purchase_id=args.purchase_id, state=PurchaseState.CLOSED_UNUSED)
        data = {"purchase_id": args.purchase_id, "card": "canceled"}
        return await self._ended(answer, "spend", data, change)

    async def _cancel_payment(self, args: CancelPurchase, context: ExecuteContext) -> OutcomeReport:
        payments = self.api.client("spend").v2.money_management.outbound_payments
        reference = _sent(context.records[0], "instrument_ref")
        context.guard()
        answer = await self.api.ask(
            payments.cancel_async(reference, options={"idempotency_key": context.key_step("cancel")})
        )
        change = ClosePurchase(purchase_id=args.purchase_id, state=PurchaseState.FAILED)
        data = {"purchase_id": args.purchase_id, "payment": str(answer.data.get("status"))}
        return await self._ended(answer, "spend", data, change)

    async def _ended(
        self,
        answer: Answer,
        purpose: str,
        data: dict[str, str],
        change: UpdateCheckout | UpdatePaymentLink | ClosePurchase,
    ) -> OutcomeReport:
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data=data,
            proof=self.api.proof(answer, ProofBy.RESPONSE),
            identity=self.api.answered_by(purpose),
            stored_answer=answer.replayed,
            provider_ref=str(answer.data["id"]),
            changes=(change,),
        )
