"""Buying by card: a virtual card for one purchase, made and activated only after the claim (M19 to M21).

The card's limit is the approved amount, for one payment, in one category. Its number never passes through
here: a person completes the checkout with the card shown in Stripe's Dashboard.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

from msgspec import Meta, Struct

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
    since,
    was_used,
)
from plugins.payments.outcomes import is_stored
from plugins.payments.stripe_api import PROVIDER, Answer, StripeApi
from plugins.tool import (
    Described,
    ExecuteContext,
    OutcomeReport,
    Records,
    Replay,
    SendTooLate,
    Tool,
)
from policy.errors import InvalidArguments, NotReady
from policy.language import Kind, Mode, PayeeBasis
from policy.model import Effect
from policy.money import Money, stripe_minor_units
from policy.notation import is_registry

Vendor = Annotated[
    str,
    Meta(
        min_length=4, max_length=100, pattern="^[a-z0-9][a-z0-9-]*([.][a-z0-9][a-z0-9-]*)*[.][a-z][a-z0-9-]*$"
    ),
]


class Category(StrEnum):
    """What may be bought by card; the network holds the card to it."""

    SOFTWARE = "software"
    HOSTING = "hosting"
    ADVERTISING = "advertising"
    OFFICE = "office"
    TRAINING = "training"


# Stripe's names for merchant category codes. Source: docs.stripe.com/issuing/merchant-categories.
_CATEGORIES: Final = {
    Category.SOFTWARE: ("computer_software_stores", "computer_programming", "digital_goods_applications"),
    Category.HOSTING: (
        "computer_network_services",
        "telecommunication_services",
        "information_retrieval_services",
    ),
    Category.ADVERTISING: ("advertising_services", "direct_marketing_other"),
    Category.OFFICE: ("stationery_stores_office_and_school_supply_stores", "electronics_stores"),
    Category.TRAINING: ("educational_services", "book_stores", "digital_goods_media"),
}


class CardPurchase(Struct, forbid_unknown_fields=True):
    """What to buy, where, for how much."""

    vendor: Annotated[Vendor, Meta(description="The vendor's domain, such as example.com.")]
    url: Annotated[
        str,
        Meta(min_length=9, max_length=300, description="The https page to buy on, at the vendor's domain."),
    ]
    category: Annotated[
        Category, Meta(description="What sort of thing it is; the card works for nothing else.")
    ]
    purpose: Annotated[str, Meta(min_length=3, max_length=500, description="What is bought, and what for.")]
    amount: Annotated[Money, Meta(description="The whole price with taxes, such as '19.99 USD'.")]


def card_tool(api: StripeApi, cardholder: str, now: Callable[[], datetime]) -> Tool[CardPurchase]:
    """Return the tool that arms a card; `cardholder` is the owner's, named in the plugin's settings."""
    buyer = _Buyer(api, cardholder, now)
    return Tool(
        name="request_card_purchase",
        kit="buy",
        kind=Kind.SPEND,
        operation="card_purchase",
        provider=PROVIDER,
        description=(
            "Ask to buy something once by card. After approval a single-use card limited to the amount is "
            "made; a person then completes the checkout with it, you never see its number. succeeded means: "
            "card ready, nothing bought yet; call_status shows purchase.state as it changes." + PENDING
        ),
        arguments=CardPurchase,
        result=None,
        annotations=MAKES,
        describe=buyer.describe,
        execute=buyer.buy,
        reconcile=Replay(KEY_LIFETIME_S, buyer.find, SETTLE_DELAY_S),
    )


class _Buyer(Asker):
    """Arm cards, and find them again by their mark."""

    def __init__(self, api: StripeApi, cardholder: str, now: Callable[[], datetime]) -> None:
        super().__init__(api)
        self._now = now
        self._cardholder = cardholder

    def describe(self, args: CardPurchase, _records: Records, who: Described) -> Effect:
        """Say what it would cost and who the agent says is paid."""
        if self.api.keys.spend is None or not self._cardholder:
            missing = (
                "STRIPE_SPEND_KEY" if self.api.keys.spend is None else "the plugin's setting `cardholder`"
            )
            raise NotReady(f"no card can be made: {missing} is not set; tell the owner")
        _check_url(args)
        sendable(args.amount, stripe_minor_units)
        return Effect(
            kind=Kind.SPEND,
            operation="card_purchase",
            provider=PROVIDER,
            mode=who.binding.mode if who.binding else Mode.LIVE,
            payee=args.vendor,
            payee_basis=PayeeBasis.CLAIMED,
            amount=args.amount,
            reversible=True,
            undo="the card can be cancelled until it is used; after that the vendor decides on refunds",
            summary=f"buy {args.category.value} at {args.vendor} by card for {args.amount}, once",
        )

    @sends("spend")
    async def buy(self, args: CardPurchase, context: ExecuteContext) -> OutcomeReport:
        """Make the card inactive, then activate it; one whose activation is refused is cancelled (M20)."""
        made = await self._made(args, context)
        return await self._finished(made, args, context)

    async def _made(self, args: CardPurchase, context: ExecuteContext) -> Answer:
        """Create the card. Raises stripe.StripeError, but not for a stored answer that hides a card."""
        import stripe

        cards = self.api.client("spend").v1.issuing.cards
        categories = list(_CATEGORIES[args.category])
        context.guard()
        try:
            return await self.api.ask(
                cards.create_async(
                    {
                        "cardholder": self._cardholder,
                        "currency": args.amount.currency.lower(),
                        "type": "virtual",
                        "status": "inactive",
                        "metadata": marks(context.call),
                        "lifecycle_controls": {"cancel_after": {"payment_count": 1}},
                        "spending_controls": {
                            "allowed_categories": categories,
                            "spending_limits": [
                                {"amount": stripe_minor_units(args.amount), "interval": "all_time"}
                            ],
                        },
                    },
                    {"idempotency_key": context.key_step("create")},
                )
            )
        except stripe.APIError as broken:
            # Under this key Stripe will answer so for ever; what it did before it broke can be found.
            found = None
            if is_stored(broken):
                with suppress(stripe.StripeError):  # A question refused is no answer: it stays unknown.
                    found = await self._marked(context)
            if found is None:
                raise
            return found

    async def _finished(self, made: Answer, args: CardPurchase, context: ExecuteContext) -> OutcomeReport:
        """Activate the card that is there now, or give it up; whatever is refused from here, it is there."""
        import stripe

        reference = str(made.data["id"])
        try:
            return await self._activate(reference, args, context)
        except (stripe.StripeError, SendTooLate) as unsure:
            # The card may be active, so no refusal means "nothing happened"; a lookup or a replay can tell.
            return _in_doubt(reference, "activation_unknown", f"its state is not known ({unsure})"[:200])

    async def _activate(self, reference: str, args: CardPurchase, context: ExecuteContext) -> OutcomeReport:
        """Activate the card, and cancel it where that is refused. Raises stripe.StripeError, SendTooLate."""
        import stripe

        cards = self.api.client("spend").v1.issuing.cards
        context.guard()
        try:
            active = await self.api.ask(
                cards.update_async(
                    reference, {"status": "active"}, {"idempotency_key": context.key_step("activate")}
                )
            )
        except (stripe.InvalidRequestError, stripe.CardError, stripe.PermissionError) as refused:
            return await self._given_up(reference, refused, context)
        except stripe.StripeError as broken:
            if is_stored(broken):
                return await self._after_stored(reference, args, broken, context)
            raise
        return await self._armed(active, args.amount, context, ProofBy.RESPONSE)

    async def _after_stored(
        self, reference: str, args: CardPurchase, broken: Exception, context: ExecuteContext
    ) -> OutcomeReport:
        """Go by the card itself where the stored answer is an error: under this key nothing more comes."""
        card = await self.api.ask(self.api.client("spend").v1.issuing.cards.retrieve_async(reference))
        if card.data.get("status") == "active":
            return await self._armed(card, args.amount, context, ProofBy.LOOKUP)
        return await self._given_up(reference, broken, context)

    async def _given_up(self, reference: str, refused: Exception, context: ExecuteContext) -> OutcomeReport:
        """Cancel a card that Stripe would not activate. Raises stripe.StripeError, SendTooLate."""
        cards = self.api.client("spend").v1.issuing.cards
        context.guard()
        # A key for each attempt: cancelling twice is cancelling once, and a stored refusal would stand.
        key = context.key_step(f"cancel:{context.attempt}")
        cancelled = await self.api.ask(
            cards.update_async(reference, {"status": "canceled"}, {"idempotency_key": key})
        )
        if cancelled.data.get("status") != "canceled":
            return _in_doubt(reference, "card_not_cancelled", f"it is {cancelled.data.get('status')}")
        return self._over(
            cancelled,
            ProofBy.RESPONSE,
            "activation_refused",
            f"Stripe would not activate the card, so it was cancelled: {str(refused)[:200]}",
        )

    def _over(self, card: Answer, by: ProofBy, code: str, message: str) -> OutcomeReport:
        """Report that a card is cancelled for good and bought nothing."""
        return OutcomeReport(
            outcome=Outcome.FAILED,
            code=code,
            message=message,
            proof=self.api.proof(card, by),
            identity=self.api.answered_by("spend"),
            stored_answer=True,  # The card itself says it is cancelled, whatever went before.
            provider_ref=str(card.data["id"]),
            retry="new_key",
        )

    @looks("spend")
    async def find(self, args: CardPurchase, context: ExecuteContext) -> OutcomeReport:
        """Look for the card among those made since the call was admitted."""
        card = await self._marked(context)
        if card is None:
            return absent(await self.api.account("spend"))
        if card.data.get("status") == "active":
            return await self._armed(card, args.amount, context, ProofBy.LOOKUP)
        reference, status = str(card.data["id"]), str(card.data.get("status"))
        if status == "canceled" and not await was_used(self.api, reference):
            return self._over(
                card, ProofBy.LOOKUP, "card_cancelled", "the card was cancelled, and never used"
            )
        # Found but not armed: a lookup sends nothing, so it cannot finish the job; a replay or a person can.
        return _in_doubt(reference, "card_not_active", f"it is {status}")

    async def _marked(self, context: ExecuteContext) -> Answer | None:
        """Return the call's card as it is now, or None where there is none."""
        cards = self.api.client("spend").v1.issuing.cards
        return await marked(self.api, cards, context, created={"gte": since(context.call)})

    async def _armed(
        self, card: Answer, amount: Money, context: ExecuteContext, by: ProofBy
    ) -> OutcomeReport:
        reference, last4 = str(card.data["id"]), str(card.data.get("last4", ""))
        purchase = Purchase(
            purchase_id=own_id("prc", context.call.call_id),
            call_id=context.call.call_id,
            instrument="card",
            instrument_ref=reference,
            payee=context.call.payee or "",
            approved=amount,
            posted=Money(0, amount.currency),
            authorized=Money(0, amount.currency),
            mode=context.call.mode,
            provider_account=context.call.provider_account,
            state=PurchaseState.ARMED,
            last4=last4,
            armed_at=self._now(),
        )
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data={
                "say": "card ready, nothing bought yet; a person completes the checkout",
                "purchase": {"purchase_id": purchase.purchase_id, "state": "armed", "card_last4": last4},
            },
            proof=self.api.proof(card, by),
            identity=self.api.answered_by("spend"),
            committed=True,
            stored_answer=card.replayed,
            provider_ref=reference,
            changes=(RecordPurchase(purchase=purchase),),
        )


def _in_doubt(reference: str, code: str, why: str) -> OutcomeReport:
    return OutcomeReport(
        outcome=Outcome.UNKNOWN,
        code=code,
        message=f"the card was made; {why}",
        provider_ref=reference,
    )


def _check_url(args: CardPurchase) -> None:
    """Refuse a page that is not the vendor's: the person at the checkout goes where this leads."""
    try:
        parts = urlsplit(args.url)
        host = parts.hostname or ""
        port = parts.port
    except ValueError:
        raise InvalidArguments(f"{args.url[:60]!r} is no address", field="url") from None
    odd = (
        parts.scheme != "https"
        or parts.username is not None
        or port not in {None, 443}
        or not args.url.isascii()
    )
    if odd or any(char in args.url for char in "\\\n\r\t "):
        raise InvalidArguments("give a plain https address of the vendor's page", field="url")
    if is_registry(args.vendor):  # Else every shop under it would be "a part of" one known payee.
        raise InvalidArguments(f"everybody's names end in {args.vendor}; give the shop's", field="vendor")
    if host != args.vendor and not host.endswith(f".{args.vendor}"):
        raise InvalidArguments(f"{host[:60]!r} is not {args.vendor} or a part of it", field="url")
