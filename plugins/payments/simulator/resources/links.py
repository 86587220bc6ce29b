"""Payment links: every visit makes a new session, until the link is used up or switched off."""

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import checkout, line_items
from plugins.payments.simulator.resources.common import changed, chargeable, merged, positive, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World


def create(call: Call) -> Obj:
    """Create an active link."""
    world, params = call.world, call.params
    rows = line_items.resolve(call)
    chargeable(line_items.total(rows), rows[0]["currency"])
    link_id = world.ids.new("plink")
    link: Obj = {
        "id": link_id,
        "object": "payment_link",
        "active": True,
        "after_completion": _after(params.get("after_completion")),
        "allow_promotion_codes": params.get("allow_promotion_codes", False),
        "application": None,
        "application_fee_amount": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None},
        "billing_address_collection": params.get("billing_address_collection", "auto"),
        "consent_collection": None,
        "currency": rows[0]["currency"],
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer_creation": params.get("customer_creation", "if_required"),
        "inactive_message": params.get("inactive_message"),
        "invoice_creation": {"enabled": False, "invoice_data": None},
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "on_behalf_of": None,
        "payment_intent_data": _intent_data(params.get("payment_intent_data")),
        "payment_method_collection": "always",
        "payment_method_types": None,
        "phone_number_collection": {"enabled": False},
        "restrictions": _restrictions(params.get("restrictions")),
        "shipping_address_collection": None,
        "shipping_options": [],
        "submit_type": params.get("submit_type", "auto"),
        "subscription_data": None,
        "tax_id_collection": {"enabled": False, "required": "never"},
        "transfer_data": None,
        "url": f"{world.settings.base_url}/link/{link_id}",
    }
    line_items.attach(world, link, rows)
    world.add(link)
    world.emit("payment_link.created", link)
    return shown(call, link)


def _after(given: Obj | None) -> Obj:
    if given is None or given["type"] == "hosted_confirmation":
        custom = (given or {}).get("hosted_confirmation", {}).get("custom_message")
        return {"type": "hosted_confirmation", "hosted_confirmation": {"custom_message": custom}}
    if "redirect" not in given:
        raise invalid("after_completion[redirect] is required", param="after_completion[redirect]")
    return {"type": "redirect", "redirect": {"url": given["redirect"]["url"]}}


def _intent_data(given: Obj | None) -> Obj | None:
    if given is None:
        return None
    names = ("capture_method", "description", "setup_future_usage", "statement_descriptor", "transfer_group")
    return {**dict.fromkeys(names), **given, "metadata": merged({}, given.get("metadata"))}


def _restrictions(given: Obj | None) -> Obj | None:
    if not given:
        return None
    limit = positive(given["completed_sessions"]["limit"], "restrictions[completed_sessions][limit]")
    return {"completed_sessions": {"count": 0, "limit": limit}}


def update(call: Call) -> Obj:
    """Switch a link on or off, or change its metadata."""
    link = call.world.get("payment_link", call.id, "payment_link")
    active = call.params.get("active", link["active"])
    limit = (link["restrictions"] or {}).get("completed_sessions")
    if active and limit is not None and limit["count"] >= limit["limit"]:
        raise invalid("The link has reached its completed_sessions limit", param="active")
    before = changed(link, active=active, metadata=merged(link["metadata"], call.params.get("metadata")))
    call.world.emit("payment_link.updated", link, before)
    return shown(call, link)


def retrieve(call: Call) -> Obj:
    """Give a link."""
    return shown(call, call.world.get("payment_link", call.id, "payment_link"))


def list_links(call: Call) -> Obj:
    """List links, all or by activity."""
    rows = paging.matching(call.world.all("payment_link"), call.params, "active")
    return paging.page(call.world, rows, call.params, call.path)


def visit(world: World, link: Obj, fields: dict[str, str]) -> Obj:
    """Make the session of one visit; anybody may set its client_reference_id in the URL."""
    if not link["active"]:
        raise invalid(link["inactive_message"] or "This payment link is no longer active.")
    after = link["after_completion"]
    params: Obj = {
        "metadata": link["metadata"],
        "payment_intent_data": {
            k: v for k, v in (link["payment_intent_data"] or {}).items() if v is not None
        },
        "success_url": after["redirect"]["url"] if after["type"] == "redirect" else None,
        "client_reference_id": fields.get("client_reference_id"),
        "customer_email": fields.get("prefilled_email"),
    }
    session = checkout.new(world, line_items.of(world, link["id"]), params)
    session["payment_link"] = link["id"]
    checkout.start(world, session)
    return session


_LINKS = "/v1/payment_links"
ROUTES = (
    Route(f"POST {_LINKS}", create, scope="payment_links", spec="PaymentLinkCreateParams"),
    Route(f"GET {_LINKS}", list_links, scope="payment_links", spec="PaymentLinkListParams"),
    Route(f"GET {_LINKS}/{{id}}", retrieve, scope="payment_links", spec="PaymentLinkRetrieveParams"),
    Route(f"POST {_LINKS}/{{id}}", update, scope="payment_links", spec="PaymentLinkUpdateParams"),
)
