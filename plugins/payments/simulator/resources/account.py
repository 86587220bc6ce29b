"""The account itself: who it is and what it may do."""

from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj


def retrieve(call: Call) -> Obj:
    """Give the account that the key belongs to."""
    settings = call.world.settings
    charges = "active" if settings.charges_enabled else "inactive"
    issuing = "active" if settings.issuing_enabled else "inactive"
    return {
        "id": call.world.account_id,
        "object": "account",
        "business_profile": {"name": "SIMULATED account", "url": None, "mcc": None},
        "business_type": "company",
        "capabilities": {"card_payments": charges, "transfers": charges, "card_issuing": issuing},
        "charges_enabled": settings.charges_enabled,
        "country": settings.country,
        "created": call.world.born,
        "default_currency": settings.currency,
        "details_submitted": True,
        "email": "simulated@example.com",
        "metadata": {},
        "payouts_enabled": settings.payouts_enabled,
        "requirements": {"currently_due": [], "past_due": [], "disabled_reason": None, "errors": []},
        "settings": None,
        "type": "standard",
    }


ROUTES = (Route("GET /v1/account", retrieve, scope="account", spec="AccountRetrieveCurrentParams"),)
