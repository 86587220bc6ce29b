"""Every endpoint of the simulated API."""

from plugins.payments.simulator.resources import (
    account,
    authorizations,
    balance,
    catalogue,
    checkout,
    disputes,
    events,
    issuing_cards,
    issuing_transactions,
    links,
    outbound,
    payments,
    refunds,
)
from plugins.payments.simulator.routes import Routes

ROUTES = Routes(
    [
        *account.ROUTES,
        *balance.ROUTES,
        *catalogue.ROUTES,
        *checkout.ROUTES,
        *links.ROUTES,
        *payments.ROUTES,
        *refunds.ROUTES,
        *disputes.ROUTES,
        *issuing_cards.ROUTES,
        *authorizations.ROUTES,
        *issuing_transactions.ROUTES,
        *outbound.ROUTES,
        *events.ROUTES,
    ]
)
