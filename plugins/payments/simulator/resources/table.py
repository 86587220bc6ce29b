"""Every endpoint of the simulated API."""

from plugins.payments.simulator.resources import (
    account,
    balance,
    catalogue,
    checkout,
    disputes,
    events,
    links,
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
        *events.ROUTES,
    ]
)
