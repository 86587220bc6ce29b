"""Selling: Checkout Sessions and payment links at the price that the owner set, and ending either.

Each is recorded before its call is made, so that no event can come too early; the price, product and deal
come from our own records and never from the agent.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

from ledger.records import Outcome, ProofBy, Query
from ledger.records_crm import DealFor
from ledger.records_revenue import (
    Checkout,
    CheckoutState,
    OfferByName,
    PaymentLink,
    RecordCheckout,
    RecordPaymentLink,
    UpdateCheckout,
    UpdatePaymentLink,
)
from plugins.payments.common import (
    KEY_LIFETIME_S,
    MAKES,
    PENDING,
    SETTLE_DELAY_S,
    Asker,
    absent,
    assigned,
    instant,
    looks,
    marked,
    marks,
    own_id,
    sends,
    since,
)
from plugins.payments.stripe_api import PROVIDER, Answer, StripeApi
from plugins.tool import ApplyContext, Described, ExecuteContext, OutcomeReport, Records, Replay, Tool
from policy.errors import InvalidArguments, NotReady
from policy.language import Kind, Mode
from policy.model import Effect
from policy.money import Money

RecordId = Annotated[str, Meta(min_length=3, max_length=80, pattern="^[a-z]+_[A-Za-z0-9_-]+$")]
OfferName = Annotated[str, Meta(min_length=1, max_length=60, pattern="^[a-z0-9][a-z0-9_-]*$")]
Email = Annotated[str, Meta(max_length=200, pattern="^$|^[^@ ]+@[^@ ]+$")]
_MOST_PAYMENTS: Final = 100  # Payments one link may take; each is an order somebody has to fulfil.


class CreateCheckout(Struct, forbid_unknown_fields=True):
    """Whom to sell what."""

    deal_id: Annotated[RecordId, Meta(description="The deal, assigned to you; from crm_find_leads.")]
    offer: Annotated[OfferName, Meta(description="The offer's name, as the owner set it.")]
    email: Annotated[Email, Meta(description="The buyer's address, filled in on the page.")] = ""
    expires_in_minutes: Annotated[int, Meta(ge=30, le=1440, description="30 to 1440.")] = 60


class CreateLink(Struct, forbid_unknown_fields=True):
    """Which offer to sell by link."""

    deal_id: Annotated[RecordId, Meta(description="The deal, assigned to you; from crm_find_leads.")]
    offer: Annotated[OfferName, Meta(description="The offer's name, as the owner set it.")]
    most_payments: Annotated[int, Meta(ge=1, le=_MOST_PAYMENTS, description="Then the link ends.")] = 1


def checkout_tools(api: StripeApi) -> tuple[Tool[CreateCheckout], Tool[CreateLink]]:
    """Return the two tools that sell."""
    seller = _Seller(api)
    checkout = Tool(
        name="stripe_create_checkout",
        kit="sell",
        kind=Kind.EARN,
        operation="checkout_create",
        provider=PROVIDER,
        description=(
            "Create a Stripe Checkout page that sells one of the owner's offers, at its price, to the buyer "
            "of a deal assigned to you. Returns its address for the buyer. The deal is won when the payment "
            "arrives, not before." + PENDING
        ),
        arguments=CreateCheckout,
        result=None,
        annotations=MAKES,
        describe=_describe_checkout,
        references=_references,
        prepare=_prepare_checkout,
        execute=seller.create_checkout,
        reconcile=Replay(KEY_LIFETIME_S, seller.find_checkout, SETTLE_DELAY_S),
        priced=True,
    )
    link = Tool(
        name="stripe_create_payment_link",
        kit="sell",
        kind=Kind.EARN,
        operation="payment_link_create",
        provider=PROVIDER,
        description=(
            "Create a Stripe payment link for one of the owner's offers, at its price, on a deal assigned to "
            "you. The link stays until it was paid most_payments times or is closed with stripe_close_offer."
            + PENDING
        ),
        arguments=CreateLink,
        result=None,
        annotations=MAKES,
        describe=_describe_link,
        references=_references,
        prepare=_prepare_link,
        execute=seller.create_link,
        reconcile=Replay(KEY_LIFETIME_S, seller.find_link, SETTLE_DELAY_S),
        priced=True,
    )
    return checkout, link


# --- what it would do ----------------------------------------------------------------------------------


def _references(args: CreateCheckout | CreateLink) -> tuple[Query, ...]:
    return (DealFor(args.deal_id), OfferByName(args.offer))


def _price(records: Records) -> Money:
    return Money.parse(str(records[1].data["price"]))


def _describe_checkout(args: CreateCheckout, records: Records, who: Described) -> Effect:
    return _sale(args, records, who, "checkout_create", 1)


def _describe_link(args: CreateLink, records: Records, who: Described) -> Effect:
    return _sale(args, records, who, "payment_link_create", args.most_payments)


def _sale(
    args: CreateCheckout | CreateLink, records: Records, who: Described, operation: str, times: int
) -> Effect:
    assigned(records[0], who.agent)
    if not records[1].data.get("active"):
        raise InvalidArguments(
            f"the offer {args.offer!r} is not on sale; the owner sets offers", field="offer"
        )
    price = _price(records)
    whole = Money(price.minor_units * times, price.currency)
    often = f", up to {times} times" if times > 1 else ""
    return Effect(
        kind=Kind.EARN,
        operation=operation,
        provider=PROVIDER,
        mode=who.binding.mode if who.binding else Mode.LIVE,
        amount=whole,
        reversible=True,
        undo="it can be closed while it is unpaid",
        summary=f"offer {records[1].data['name']} for {price}{often} on deal {args.deal_id}",
    )


def _binding(context: ApplyContext) -> tuple[Mode, str]:
    if context.binding is None:
        raise NotReady("Stripe is not bound; the owner has to set STRIPE_EARN_KEY")
    return context.binding.mode, context.binding.account


def _prepare_checkout(
    args: CreateCheckout, records: Records, context: ApplyContext
) -> tuple[RecordCheckout, ...]:
    mode, account = _binding(context)
    checkout = Checkout(
        checkout_id=own_id("chk", context.call_id),
        deal_id=args.deal_id,
        offer=args.offer,
        offer_version=int(str(records[1].data["version"])),
        amount=_price(records),
        mode=mode,
        provider_account=account,
        state=CheckoutState.DISPATCHING,
        call_id=context.call_id,
        expires_at=context.now + timedelta(minutes=args.expires_in_minutes),
        created_at=context.now,
    )
    return (RecordCheckout(checkout=checkout),)


def _prepare_link(args: CreateLink, records: Records, context: ApplyContext) -> tuple[RecordPaymentLink, ...]:
    mode, account = _binding(context)
    link = PaymentLink(
        link_id=own_id("lnk", context.call_id),
        deal_id=args.deal_id,
        offer=args.offer,
        offer_version=int(str(records[1].data["version"])),
        amount=_price(records),
        mode=mode,
        provider_account=account,
        state="dispatching",
        call_id=context.call_id,
        most_payments=args.most_payments,
        created_at=context.now,
    )
    return (RecordPaymentLink(link=link),)


# --- making it happen ----------------------------------------------------------------------------------


class _Seller(Asker):
    """Create sessions and links, and find them again by their mark."""

    @sends("earn")
    async def create_checkout(self, args: CreateCheckout, context: ExecuteContext) -> OutcomeReport:
        """Create the session that was recorded."""
        checkout_id = own_id("chk", context.call.call_id)
        mark = marks(context.call, deal=args.deal_id, offer=args.offer, checkout=checkout_id)
        back = f"{context.public_url}/paid/{args.deal_id}"
        # A replay must send what was sent, so the expiry counts from the admission and not from now.
        expires_at = int(context.call.admitted_at.timestamp()) + args.expires_in_minutes * 60 + _SLACK_S
        context.guard()
        answer = await self.api.ask(
            self.api.client("earn").v1.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "line_items": [{"price": str(context.records[1].data["price_ref"]), "quantity": 1}],
                    "client_reference_id": args.deal_id,
                    "metadata": mark,
                    "payment_intent_data": {"metadata": mark},
                    "success_url": f"{back}?session={{CHECKOUT_SESSION_ID}}",
                    "cancel_url": back,
                    "expires_at": expires_at,
                    **({"customer_email": args.email} if args.email else {}),
                },
                {"idempotency_key": context.key_step("create")},
            )
        )
        return await self._checkout_made(answer, checkout_id, ProofBy.RESPONSE)

    @looks("earn")
    async def find_checkout(self, _args: CreateCheckout, context: ExecuteContext) -> OutcomeReport:
        """Look for the session among those made since the call was admitted."""
        sessions = self.api.client("earn").v1.checkout.sessions
        answer = await marked(self.api, sessions, context, created={"gte": since(context.call)})
        if answer is None:
            return absent(await self.api.account("earn"))
        return await self._checkout_made(answer, own_id("chk", context.call.call_id), ProofBy.LOOKUP)

    async def _checkout_made(self, answer: Answer, checkout_id: str, by: ProofBy) -> OutcomeReport:
        url = answer.data.get("url")
        expires_at = instant(answer.data.get("expires_at"))
        change = UpdateCheckout(
            checkout_id=checkout_id,
            state=CheckoutState.OPEN,
            session_ref=str(answer.data["id"]),
            url=str(url) if url else None,
            expires_at=expires_at,
        )
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data={"checkout_id": checkout_id, "url": url, "expires_at": expires_at},
            proof=self.api.proof(answer, by),
            identity=self.api.answered_by("earn"),
            stored_answer=answer.replayed,
            provider_ref=str(answer.data["id"]),
            changes=(change,),
        )

    @sends("earn")
    async def create_link(self, args: CreateLink, context: ExecuteContext) -> OutcomeReport:
        """Create the link that was recorded."""
        link_id = own_id("lnk", context.call.call_id)
        mark = marks(context.call, deal=args.deal_id, offer=args.offer, link=link_id)
        context.guard()
        answer = await self.api.ask(
            self.api.client("earn").v1.payment_links.create_async(
                {
                    "line_items": [{"price": str(context.records[1].data["price_ref"]), "quantity": 1}],
                    "metadata": mark,
                    "payment_intent_data": {"metadata": mark},
                    "restrictions": {"completed_sessions": {"limit": args.most_payments}},
                    "after_completion": {
                        "type": "redirect",
                        "redirect": {"url": f"{context.public_url}/paid/{args.deal_id}"},
                    },
                },
                {"idempotency_key": context.key_step("create")},
            )
        )
        return await self._link_made(answer, link_id, ProofBy.RESPONSE)

    @looks("earn")
    async def find_link(self, _args: CreateLink, context: ExecuteContext) -> OutcomeReport:
        """Look for the link among all of ours."""
        # Links have no filter by time.
        answer = await marked(self.api, self.api.client("earn").v1.payment_links, context)
        if answer is None:
            return absent(await self.api.account("earn"))
        return await self._link_made(answer, own_id("lnk", context.call.call_id), ProofBy.LOOKUP)

    async def _link_made(self, answer: Answer, link_id: str, by: ProofBy) -> OutcomeReport:
        url = answer.data.get("url")
        reference = str(answer.data["id"])
        change = UpdatePaymentLink(
            link_id=link_id, state="active", link_ref=reference, url=str(url) if url else None
        )
        return OutcomeReport(
            outcome=Outcome.SUCCEEDED,
            data={"link_id": link_id, "url": url},
            proof=self.api.proof(answer, by),
            identity=self.api.answered_by("earn"),
            stored_answer=answer.replayed,
            provider_ref=reference,
            changes=(change,),
        )


_SLACK_S: Final = 120  # Stripe wants at least 30 minutes from its own now, and a call may wait a little.
