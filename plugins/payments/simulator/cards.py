"""The test cards of the hosted page: what a number does when somebody pays with it.

Source: Stripe's documented test numbers; none of them is a card that exists.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PageCard:
    """One payment method of the page; `code` set means declined, `settles` set means it settles later."""

    number: str
    label: str
    code: str | None = None
    decline_code: str | None = None
    settles: str | None = None
    afterwards: str | None = None
    method: str = "card"

    @property
    def last4(self) -> str:
        """Give the last four digits."""
        return self.number[-4:]


_CARDS = (
    PageCard("4242424242424242", "succeeds at once"),
    PageCard("4000000000000002", "is declined", "card_declined", "generic_decline"),
    PageCard("4000000000009995", "is declined: insufficient funds", "card_declined", "insufficient_funds"),
    PageCard("4000000000009987", "is declined: lost card", "card_declined", "lost_card"),
    PageCard("4000000000009979", "is declined: stolen card", "card_declined", "stolen_card"),
    PageCard("4000000000000069", "is declined: expired card", "expired_card", "expired_card"),
    PageCard("4000000000000127", "is declined: wrong CVC", "incorrect_cvc", "incorrect_cvc"),
    PageCard("4000000000000119", "is declined: processing error", "processing_error", "processing_error"),
    PageCard("4000000000000259", "succeeds, then is disputed as fraudulent", afterwards="dispute"),
    PageCard("4000000000005423", "succeeds, then draws an early fraud warning", afterwards="warning"),
    PageCard("000123456789", "bank debit, settles later", settles="succeeded", method="us_bank_account"),
    PageCard("000111111116", "bank debit, fails later", settles="failed", method="us_bank_account"),
)
BY_NUMBER = {card.number: card for card in _CARDS}
