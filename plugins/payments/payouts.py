"""Paying a vendor's invoice by bank: outbound payments to recipients the owner listed (M22).

The payee is enforced: an agent names one of the owner's recipients, and Stripe pays exactly that party.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct, ValidationError, convert

from ledger.records import Outcome, ProofBy
from ledger.records_revenue import Purchase, PurchaseState, RecordPurchase
from plugins.payments.common import (
    KEY_LIFETIME_S,
    MAKES,
    PENDING,
    SETTLE_DELAY_S,
    Asker,
    absent,
    looks,
    marked,
    marks,
    own_id,
    sendable,
    sends,
)
from plugins.payments.stripe_api import PROVIDER, Answer, StripeApi
from plugins.tool import Described, ExecuteContext, OutcomeReport, Records, Replay, Tool
from policy.errors import InvalidArguments, NotReady
from policy.language import Kind, Mode, PayeeBasis
from policy.model import Effect
from policy.money import Money, stripe_payout_units

_PARTS: Final = ("key", "id", "name", "payout_method")  # Of a recipient, as the settings write one.


class Recipient(Struct, frozen=True, forbid_unknown_fields=True):
    """One party the owner pays: Stripe's ids of it and of where its money goes."""

    id: str  # The recipient account.
    name: str  # As a person reads it on the card.
    payout_method: str = ""


class Payouts(Struct, frozen=True):
    """Where outbound payments come from and whom they may reach, from the plugin's settings."""

    financial_account: str = ""
    recipients: Mapping[str, Recipient] = {}

    @classmethod
    def read(cls, settings: Mapping[str, object]) -> Payouts:
        """Return the settings. Raises msgspec.ValidationError where they do not fit.

        A recipient is a text, as policies.yaml holds no nested settings: `acme = acct_1 = Acme Ltd`, then
        `= payout method` where one is to be used.
        """
        wanted = {name: settings[name] for name in ("financial_account", "recipients") if name in settings}
        listed = wanted.get("recipients")
        if isinstance(listed, list | tuple):
            wanted["recipients"] = dict(_recipient(each) for each in listed)
        return convert(wanted, cls)


def _recipient(text: object) -> tuple[str, dict[str, str]]:
    parts = [part.strip() for part in str(text).split("=")]
    if not len(_PARTS) - 1 <= len(parts) <= len(_PARTS) or not all(parts):
        raise ValidationError(f"{text!r} is no recipient; write `name = Stripe id = shown name`")
    return parts[0], dict(zip(_PARTS[1:], parts[1:], strict=False))


def _whole(recipient: Recipient) -> str:
    """Return a recipient as the card shows it: the name, and what the money will reach."""
    by = f" by {recipient.payout_method}" if recipient.payout_method else ""
    return f"{recipient.name} ({recipient.id}{by})"


class PayVendor(Struct, forbid_unknown_fields=True):
    """Which invoice to pay."""

    recipient: Annotated[
        str, Meta(min_length=1, max_length=60, description="One of the owner's recipients, by name.")
    ]
    invoice: Annotated[str, Meta(min_length=1, max_length=100, description="The invoice's number.")]
    purpose: Annotated[str, Meta(min_length=3, max_length=500, description="What it is for.")]
    amount: Annotated[Money, Meta(description="The whole amount, such as '19.99 USD'.")]


def payout_tool(api: StripeApi, payouts: Payouts, now: Callable[[], datetime]) -> Tool[PayVendor]:
    """Return the tool that pays an invoice."""
    payer = _Payer(api, payouts, now)
    return Tool(
        name="pay_vendor",
        kit="buy",
        kind=Kind.SPEND,
        operation="vendor_payment",
        provider=PROVIDER,
        description=(
            "Ask to pay a vendor's invoice by bank transfer to one of the owner's listed recipients. "
            "succeeded means: the payment is on its way; call_status shows purchase.state as it is posted, "
            "fails or is returned." + PENDING
        ),
        arguments=PayVendor,
        result=None,
        annotations=MAKES,
        describe=payer.describe,
        execute=payer.pay,
        reconcile=Replay(KEY_LIFETIME_S, payer.find, SETTLE_DELAY_S),
    )


class _Payer(Asker):
    """Send outbound payments, and find them again by their mark."""

    def __init__(self, api: StripeApi, payouts: Payouts, now: Callable[[], datetime]) -> None:
        super().__init__(api)
        self._payouts = payouts
        self._now = now

    def describe(self, args: PayVendor, _records: Records, who: Described) -> Effect:
        """Say who is paid how much."""
        if self.api.keys.spend is None or not self._payouts.financial_account:
            raise NotReady(
                "no invoice can be paid: STRIPE_SPEND_KEY and the plugin's `financial_account` must be set"
            )
        recipient = self._recipient(args.recipient)
        sendable(args.amount, stripe_payout_units)
        return Effect(
            kind=Kind.SPEND,
            operation="vendor_payment",
            provider=PROVIDER,
            mode=who.binding.mode if who.binding else Mode.LIVE,
            payee=args.recipient,
            payee_basis=PayeeBasis.ENFORCED,
            amount=args.amount,
            reversible=False,
            undo="it can be stopped only while it is processing",
            # The ids too: an approval is for this account, whatever the name stands for later.
            summary=f"pay {args.amount} to {_whole(recipient)} for invoice {args.invoice}, once",
        )

    def _recipient(self, name: str) -> Recipient:
        if name not in self._payouts.recipients:
            known = ", ".join(sorted(self._payouts.recipients)) or "none yet"
            raise InvalidArguments(f"{name!r} is none of the owner's recipients: {known}", field="recipient")
        return self._payouts.recipients[name]

    @sends("spend")
    async def pay(self, args: PayVendor, context: ExecuteContext) -> OutcomeReport:
        """Send the payment."""
        recipient = self._recipient(args.recipient)
        currency = args.amount.currency.lower()
        method = {"payout_method": recipient.payout_method} if recipient.payout_method else {}
        context.guard()
        answer = await self.api.ask(
            self.api.client("spend").v2.money_management.outbound_payments.create_async(
                {
                    "amount": {"value": stripe_payout_units(args.amount), "currency": currency},
                    "from": {"financial_account": self._payouts.financial_account, "currency": currency},
                    "to": {"recipient": recipient.id, "currency": currency, **method},  # type: ignore[typeddict-item]  # mypy loses TypedDicts in a spread
                    "description": f"invoice {args.invoice}",
                    "metadata": marks(context.call, invoice=args.invoice),
                },
                {"idempotency_key": context.key_step("create")},
            )
        )
        return await self._sent(answer, args, context, ProofBy.RESPONSE)

    @looks("spend")
    async def find(self, args: PayVendor, context: ExecuteContext) -> OutcomeReport:
        """Look for the payment among those made since the call was admitted."""
        payments = self.api.client("spend").v2.money_management.outbound_payments
        answer = await marked(self.api, payments, context)
        if answer is None:
            return absent(await self.api.account("spend"))
        return await self._sent(answer, args, context, ProofBy.LOOKUP)

    async def _sent(
        self, answer: Answer, args: PayVendor, context: ExecuteContext, by: ProofBy
    ) -> OutcomeReport:
        reference = str(answer.data["id"])
        purchase = Purchase(
            purchase_id=own_id("prc", context.call.call_id),
            call_id=context.call.call_id,
            instrument="outbound_payment",
            instrument_ref=reference,
            payee=args.recipient,
            approved=args.amount,
            posted=Money(0, args.amount.currency),
            authorized=Money(0, args.amount.currency),
            mode=context.call.mode,
            provider_account=context.call.provider_account,
            state=PurchaseState.PROCESSING,
            armed_at=self._now(),
        )
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data={
                "say": "the payment is on its way, not yet posted",
                "purchase": {"purchase_id": purchase.purchase_id, "state": "processing"},
            },
            proof=self.api.proof(answer, by),
            identity=self.api.answered_by("spend"),
            committed=True,
            stored_answer=answer.replayed,
            provider_ref=reference,
            changes=(RecordPurchase(purchase=purchase),),
        )
