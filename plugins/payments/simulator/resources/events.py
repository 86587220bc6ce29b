"""Events and the endpoints they are delivered to, in v1 (snapshots) and v2 (thin)."""

from datetime import datetime

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources.common import changed, merged, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.webhooks import Target, thin
from plugins.payments.simulator.world import API_VERSION, Obj

_RETAINED_S = 30 * 24 * 3600  # Stripe lists events for 30 days.
_MOST_TYPES = 20  # Stripe's documented limit of `types`.


def list_events(call: Call) -> Obj:
    """List events, by type, creation, or whether every delivery of them succeeded."""
    params = call.params
    if "type" in params and "types" in params:
        raise invalid("You may give type or types, not both", param="types")
    types = params.get("types", [params["type"]] if "type" in params else [])
    if len(types) > _MOST_TYPES:
        raise invalid(f"At most {_MOST_TYPES} types are allowed", param="types")
    oldest = call.world.now() - _RETAINED_S
    rows = [row for row in call.world.all("event") if row["created"] >= oldest and _is_of(row["type"], types)]
    if "delivery_success" in params:
        rows = [row for row in rows if _is_delivered(call, row) == params["delivery_success"]]
    return paging.page(call.world, rows, params, call.path)


def _is_of(type_: str, types: list[str]) -> bool:
    return not types or any(type_ == t or (t.endswith(".*") and type_.startswith(t[:-1])) for t in types)


def _is_delivered(call: Call, event: Obj) -> bool:
    return not call.hooks.undelivered.get(event["id"])


def retrieve_event(call: Call) -> Obj:
    """Give an event."""
    return shown(call, call.world.get("event", call.id))


def create_endpoint(call: Call) -> Obj:
    """Subscribe a URL; only this answer carries its secret."""
    world, params = call.world, call.params
    if not params["url"].startswith(("http://", "https://")):
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", param="url")
    if not params["enabled_events"]:
        raise invalid("enabled_events must not be empty", param="enabled_events")
    secret = world.ids.new("whsec")
    endpoint: Obj = {
        "id": world.ids.new("we"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": world.now(),
        "description": params.get("description"),
        "enabled_events": list(params["enabled_events"]),
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "status": "enabled",
        "url": params["url"],
    }
    world.add(endpoint)
    events = frozenset(endpoint["enabled_events"])
    target = Target(
        endpoint["id"], endpoint["url"], events, [(secret, None)], api_version=endpoint["api_version"]
    )
    call.hooks.add_target(target)
    return {**shown(call, endpoint), "secret": secret}


def update_endpoint(call: Call) -> Obj:
    """Change, disable or enable an endpoint."""
    endpoint = call.world.get("webhook_endpoint", call.id)
    values: Obj = {
        name: call.params[name] for name in ("url", "enabled_events", "description") if name in call.params
    }
    if "disabled" in call.params:
        values["status"] = "disabled" if call.params["disabled"] else "enabled"
    changed(endpoint, **values, metadata=merged(endpoint["metadata"], call.params.get("metadata")))
    target = call.hooks.targets[endpoint["id"]]
    target.url, target.events = endpoint["url"], frozenset(endpoint["enabled_events"])
    target.is_enabled = endpoint["status"] == "enabled"
    return shown(call, endpoint)


def delete_endpoint(call: Call) -> Obj:
    """Remove an endpoint; what was on its way to it is not delivered."""
    endpoint = call.world.get("webhook_endpoint", call.id)
    del call.world.kinds["webhook_endpoint"][endpoint["id"]]
    call.hooks.targets.pop(endpoint["id"])
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def retrieve_endpoint(call: Call) -> Obj:
    """Give an endpoint, without its secret."""
    return shown(call, call.world.get("webhook_endpoint", call.id))


def list_endpoints(call: Call) -> Obj:
    """List endpoints."""
    return paging.page(call.world, call.world.all("webhook_endpoint"), call.params, call.path)


def create_destination(call: Call) -> Obj:
    """Subscribe a URL through v2, which also knows v2 events and thin payloads."""
    world, params = call.world, call.params
    url = params.get("webhook_endpoint", {}).get("url")
    if params["type"] != "webhook_endpoint" or url is None:
        raise invalid("This simulator delivers to webhook_endpoint destinations only", param="type")
    secret = world.ids.new("whsec")
    is_thin = params["event_payload"] == "thin"
    destination: Obj = {
        "id": world.ids.new("ed"),
        "object": "v2.core.event_destination",
        "created": world.clock.iso(),
        "description": params.get("description", ""),
        "enabled_events": list(params["enabled_events"]),
        "event_payload": params["event_payload"],
        "events_from": params.get("events_from", ["self"]),
        "livemode": False,
        "metadata": merged({}, params.get("metadata")),
        "name": params["name"],
        "snapshot_api_version": None if is_thin else params.get("snapshot_api_version", API_VERSION),
        "status": "enabled",
        "status_details": None,
        "type": "webhook_endpoint",
        "updated": world.clock.iso(),
        "webhook_endpoint": {"url": url, "signing_secret": None},
    }
    world.add(destination)
    events = frozenset(name.removeprefix("v1.") for name in destination["enabled_events"])
    call.hooks.add_target(Target(destination["id"], url, events, [(secret, None)], is_thin=is_thin))
    answer = world.render(destination)
    if "webhook_endpoint.signing_secret" in params.get("include", []):
        answer["webhook_endpoint"]["signing_secret"] = secret
    return answer


def list_v2_events(call: Call) -> Obj:
    """List v2's own events, by type, object and creation."""
    params = call.params
    types, of = params.get("types", []), params.get("object_id")
    if len(types) > _MOST_TYPES:
        raise invalid(f"At most {_MOST_TYPES} types are allowed", param="types")
    rows = [
        row
        for row in call.world.all("v2.core.event")
        if (not types or row["type"] in types)
        and (of is None or row["related_object"]["id"] == of)
        and _is_within(row["created"], params.get("created", {}))
    ]
    return paging.page_v2(call.world, rows, params, call.path)


def _is_within(created: str, bounds: dict[str, str]) -> bool:
    at = datetime.fromisoformat(created)
    tests = {"gt": at.__gt__, "gte": at.__ge__, "lt": at.__lt__, "lte": at.__le__}
    try:
        return all(tests[name](datetime.fromisoformat(bound)) for name, bound in bounds.items())
    except ValueError:
        raise invalid("Invalid timestamp: it must be in RFC 3339 format", param="created") from None


def retrieve_v2_event(call: Call) -> Obj:
    """Give a v2 event, or the thin form of a v1 event."""
    found = call.world.kinds.get("event", {}).get(call.id)
    return thin(found) if found is not None else call.world.get("v2.core.event", call.id)


ROUTES = (
    Route("GET /v1/events", list_events, scope="events", spec="EventListParams"),
    Route("GET /v1/events/{id}", retrieve_event, scope="events", spec="EventRetrieveParams"),
    Route(
        "POST /v1/webhook_endpoints", create_endpoint, scope="webhooks", spec="WebhookEndpointCreateParams"
    ),
    Route("GET /v1/webhook_endpoints", list_endpoints, scope="webhooks", spec="WebhookEndpointListParams"),
    Route(
        "GET /v1/webhook_endpoints/{id}",
        retrieve_endpoint,
        scope="webhooks",
        spec="WebhookEndpointRetrieveParams",
    ),
    Route(
        "POST /v1/webhook_endpoints/{id}",
        update_endpoint,
        scope="webhooks",
        spec="WebhookEndpointUpdateParams",
    ),
    Route(
        "DELETE /v1/webhook_endpoints/{id}",
        delete_endpoint,
        scope="webhooks",
        spec="WebhookEndpointDeleteParams",
    ),
    Route(
        "POST /v2/core/event_destinations",
        create_destination,
        scope="webhooks",
        spec="v2.core.EventDestinationCreateParams",
    ),
    Route("GET /v2/core/events", list_v2_events, scope="events", spec="v2.core.EventListParams"),
    Route("GET /v2/core/events/{id}", retrieve_v2_event, scope="events", spec="v2.core.EventRetrieveParams"),
)
