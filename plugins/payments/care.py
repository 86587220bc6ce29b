"""What only a person may decide: giving money back and answering a dispute; and looking at both.

An agent proposes; nothing runs without a person's verdict, one at a time. The amount is always explicit.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ledger.records import Outcome, ProofBy, RecordRef
from ledger.records_revenue import DisputeById, Disputes, OrderById, Payments
from plugins.payments.common import (
    CALL_MARK,
    ENDS,
    LOOKS,
    PENDING,
    SETTLE_DELAY_S,
    Asker,
    absent,
    looks,
    marked,
    marks,
    sends,
)
from plugins.payments.stripe_api import PROVIDER, Answer, StripeApi
from plugins.tool import (
    Applied,
    ApplyContext,
    Described,
    ExecuteContext,
    Lookup,
    OutcomeReport,
    Records,
    Tool,
)
from policy.errors import InvalidArguments
from policy.language import Kind, Mode, PayeeBasis
from policy.model import Effect
from policy.money import Money, stripe_minor_units

OrderId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^ord_[A-Za-z0-9_-]+$")]
After = Annotated[str, Meta(max_length=200, description="The `after` of the page before.")]
Limit = Annotated[int, Meta(ge=1, le=50, description="1 to 50.")]


class RefundPayment(Struct, forbid_unknown_fields=True):
    """What to give back."""

    order_id: Annotated[OrderId, Meta(description="From stripe_payments.")]
    amount: Annotated[
        Money, Meta(description="What to give back, such as '1.00 USD'; never more than is left.")
    ]
    why: Annotated[str, Meta(min_length=3, max_length=500, description="Why, for the person who decides.")]


class AnswerDispute(Struct, forbid_unknown_fields=True):
    """What to say to the buyer's bank."""

    dispute_id: Annotated[str, Meta(min_length=3, max_length=80, description="From stripe_disputes.")]
    text: Annotated[
        str, Meta(min_length=10, max_length=10_000, description="The whole answer, as it is sent.")
    ]


class ListPayments(Struct, forbid_unknown_fields=True):
    """Which payments to show."""

    deal_id: Annotated[str, Meta(max_length=80, description="Only those of this deal.")] = ""
    after: After = ""
    limit: Limit = 20


class ListDisputes(Struct, forbid_unknown_fields=True):
    """Which disputes to show."""

    after: After = ""
    limit: Limit = 20


def human_only_tools(api: StripeApi) -> tuple[Tool[RefundPayment], Tool[AnswerDispute]]:
    """Return the two tools that only a person's verdict runs."""
    carer = _Carer(api)
    refund = Tool(
        name="refund_payment",
        kit="care",
        kind=Kind.HUMAN_ONLY,
        operation="refund",
        provider=PROVIDER,
        description=(
            "Propose to give a buyer money back for an order. A person always decides, which may take days; "
            "the amount is what you name, at most what is left of the payment." + PENDING
        ),
        arguments=RefundPayment,
        result=None,
        annotations=ENDS,
        describe=_describe_refund,
        references=lambda args: (OrderById(args.order_id),),
        execute=carer.refund,
        reconcile=Lookup(carer.find_refund, SETTLE_DELAY_S),
    )
    answer = Tool(
        name="answer_dispute",
        kit="care",
        kind=Kind.HUMAN_ONLY,
        operation="dispute_answer",
        provider=PROVIDER,
        description=(
            "Propose what to answer to a payment's dispute. A person always decides, which may take days; it "
            "is sent once and cannot be taken back." + PENDING
        ),
        arguments=AnswerDispute,
        result=None,
        annotations=ENDS,
        describe=_describe_answer,
        references=lambda args: (DisputeById(args.dispute_id),),
        execute=carer.answer,
        reconcile=Lookup(carer.find_answer, SETTLE_DELAY_S),
    )
    return refund, answer


def listing_tools() -> tuple[Tool[ListPayments], Tool[ListDisputes]]:
    """Return the two tools that look at what was paid and what is disputed."""
    payments = Tool(
        name="stripe_payments",
        kit="sell",
        kind=Kind.READ,
        operation="payments_list",
        provider=PROVIDER,
        description=(
            "List the project's payments, newest first: order, deal, amount, what was refunded or is "
            "disputed, and what the record proves (live, test or simulated). It reads the ledger and asks "
            "nobody."
        ),
        arguments=ListPayments,
        result=None,
        annotations=LOOKS,
        describe=_looks,
        references=lambda args: (
            Payments(deal_id=args.deal_id or None, after=args.after or None, limit=args.limit),
        ),
        read=_listed,
    )
    disputes = Tool(
        name="stripe_disputes",
        kit="care",
        kind=Kind.READ,
        operation="disputes_list",
        provider=PROVIDER,
        description=(
            "List disputed payments, newest first: order, amount, reason, state and until when an answer "
            "counts. It reads the ledger and asks nobody."
        ),
        arguments=ListDisputes,
        result=None,
        annotations=LOOKS,
        describe=_looks,
        references=lambda args: (Disputes(after=args.after or None, limit=args.limit),),
        read=_listed,
    )
    return payments, disputes


def _looks(args: ListPayments | ListDisputes, _records: Records, who: Described) -> Effect:
    what = "payments" if isinstance(args, ListPayments) else "disputes"
    mode = who.binding.mode if who.binding else Mode.LIVE
    operation = f"{what}_list"
    return Effect(
        kind=Kind.READ, operation=operation, provider=PROVIDER, mode=mode, summary=f"look at {what}"
    )


async def _listed(_args: ListPayments | ListDisputes, records: Records, _context: ApplyContext) -> Applied:
    return Applied(records[0].data)


# --- what it would do ----------------------------------------------------------------------------------


def _describe_refund(args: RefundPayment, records: Records, who: Described) -> Effect:
    left = Money.parse(str(records[0].data["refundable"]))
    if args.amount.currency != left.currency or not 0 < args.amount.minor_units <= left.minor_units:
        raise InvalidArguments(
            f"{args.amount} cannot be given back: {left} is left of {args.order_id}", field="amount"
        )
    return Effect(
        kind=Kind.HUMAN_ONLY,
        operation="refund",
        provider=PROVIDER,
        mode=who.binding.mode if who.binding else Mode.LIVE,
        payee=f"buyer of {args.order_id}",
        payee_basis=PayeeBasis.ENFORCED,
        amount=args.amount,
        reversible=False,
        undo="a refund cannot be taken back",
        summary=f"give {args.amount} back to the buyer of {args.order_id}",
    )


def _describe_answer(args: AnswerDispute, records: Records, who: Described) -> Effect:
    _open(records[0])
    return Effect(
        kind=Kind.HUMAN_ONLY,
        operation="dispute_answer",
        provider=PROVIDER,
        mode=who.binding.mode if who.binding else Mode.LIVE,
        reversible=False,
        undo="an answer is sent once and cannot be taken back",
        summary=f"answer the dispute {args.dispute_id} of {records[0].data['amount']}",
    )


def _open(dispute: RecordRef) -> None:
    if dispute.data.get("status") not in {"needs_response", "warning_needs_response"}:
        raise InvalidArguments(
            f"{dispute.record_id} is {dispute.data.get('status')}; it takes no answer", field="dispute_id"
        )


# --- making it happen ----------------------------------------------------------------------------------


class _Carer(Asker):
    """Refund payments and answer disputes, and find out what became of either."""

    @sends("earn")
    async def refund(self, args: RefundPayment, context: ExecuteContext) -> OutcomeReport:
        """Give the money back. The webhook books it, as any refund."""
        context.guard()
        answer = await self.api.ask(
            self.api.client("earn").v1.refunds.create_async(
                {
                    "payment_intent": str(context.records[0].data["payment_ref"]),
                    "amount": stripe_minor_units(args.amount),
                    "metadata": marks(context.call, order=args.order_id),
                },
                {"idempotency_key": context.key_step("create")},
            )
        )
        return await self._refunded(answer, args, ProofBy.RESPONSE)

    @looks("earn")
    async def find_refund(self, args: RefundPayment, context: ExecuteContext) -> OutcomeReport:
        """Look for the refund among those of the payment."""
        refunds = self.api.client("earn").v1.refunds
        payment = str(context.records[0].data["payment_ref"])
        answer = await marked(self.api, refunds, context, payment_intent=payment)
        if answer is None:
            return absent(await self.api.account("earn"))
        return await self._refunded(answer, args, ProofBy.LOOKUP)

    async def _refunded(self, answer: Answer, args: RefundPayment, by: ProofBy) -> OutcomeReport:
        status = str(answer.data.get("status"))
        gone = status in {"failed", "canceled"}
        return OutcomeReport(
            outcome=Outcome.FAILED if gone else Outcome.SUCCEEDED,
            data={"order_id": args.order_id, "refund": str(answer.data["id"]), "state": status},
            proof=self.api.proof(answer, by),
            identity=self.api.answered_by("earn"),
            stored_answer=answer.replayed,
            provider_ref=str(answer.data["id"]),
            code="refund_failed" if gone else "",
            message="the refund did not go through" if gone else "",
        )

    @sends("earn")
    async def answer(self, args: AnswerDispute, context: ExecuteContext) -> OutcomeReport:
        """Send the answer to the bank."""
        context.guard()
        answer = await self.api.ask(
            self.api.client("earn").v1.disputes.update_async(
                args.dispute_id,
                {
                    "evidence": {"uncategorized_text": args.text},
                    "metadata": marks(context.call),
                    "submit": True,
                },
                {"idempotency_key": context.key_step("submit")},
            )
        )
        return await self._answered(answer, ProofBy.RESPONSE)

    @looks("earn")
    async def find_answer(self, args: AnswerDispute, context: ExecuteContext) -> OutcomeReport:
        """Look whether the dispute carries this call's mark and was submitted."""
        dispute = await self.api.ask(self.api.client("earn").v1.disputes.retrieve_async(args.dispute_id))
        submitted = (dispute.data.get("evidence_details") or {}).get("submission_count", 0)
        if submitted and (dispute.data.get("metadata") or {}).get(CALL_MARK) == context.call.call_id:
            return await self._answered(dispute, ProofBy.LOOKUP)
        return absent(dispute)

    async def _answered(self, answer: Answer, by: ProofBy) -> OutcomeReport:
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data={"dispute_id": str(answer.data["id"]), "state": str(answer.data.get("status"))},
            proof=self.api.proof(answer, by),
            identity=self.api.answered_by("earn"),
            stored_answer=answer.replayed,
            provider_ref=str(answer.data["id"]),
        )
