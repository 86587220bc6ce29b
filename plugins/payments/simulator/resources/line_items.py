"""Line items of sessions and links: what is sold, how often, for how much."""

from typing import Any

from plugins.payments.simulator.errors import invalid
from plugins.payments.simulator.resources import catalogue, supported
from plugins.payments.simulator.resources.common import positive
from plugins.payments.simulator.routes import Call
from plugins.payments.simulator.world import Obj, World

_MAX_ITEMS = 100  # Stripe's documented limit of one-time line items.


def resolve(call: Call) -> list[Obj]:
    """Give the line items of a create call with their prices. Raises ApiError (400)."""
    items: list[Obj] = call.params.get("line_items") or []
    if not items:
        raise invalid("line_items is required in payment mode", param="line_items", code="parameter_missing")
    if len(items) > _MAX_ITEMS:
        raise invalid(f"At most {_MAX_ITEMS} line items are allowed", param="line_items")
    rows = [_row(call, item, number) for number, item in enumerate(items)]
    if len({row["currency"] for row in rows}) > 1:
        raise invalid("All prices must have the same currency", param="line_items")
    return rows


def _row(call: Call, item: dict[str, Any], number: int) -> Obj:
    where = f"line_items[{number}]"
    if ("price" in item) == ("price_data" in item):
        raise invalid(f"{where}: give exactly one of price and price_data", param=where)
    price = _price(call, item, where)
    quantity = positive(item.get("quantity", 1), f"{where}[quantity]")
    amount = price["unit_amount"] * quantity
    return {
        "id": call.world.ids.new("li"),
        "object": "item",
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": call.world.get("product", price["product"])["name"],
        "price": price,
        "quantity": quantity,
    }


def _price(call: Call, item: dict[str, Any], where: str) -> Obj:
    if "price" in item:
        price = call.world.get("price", item["price"], f"{where}[price]")
        if not price["active"]:
            raise invalid(f"The price '{price['id']}' is inactive", param=f"{where}[price]")
        return price
    supported.require("PriceCreateParams", set(item["price_data"]))
    inner = Call(call.world, call.hooks, item["price_data"], {}, call.path)
    return catalogue.create_price(inner)


def total(rows: list[Obj]) -> int:
    """Give the sum in minor units."""
    return sum(row["amount_total"] for row in rows)


def attach(world: World, owner: Obj, rows: list[Obj]) -> None:
    """Let `expand[]=line_items` of a session or link give its rows."""
    url = f"/v1/{owner['object'].replace('.', '/')}s/{owner['id']}/line_items"
    world.included[owner["id"], "line_items"] = {
        "object": "list",
        "url": url,
        "has_more": False,
        "data": rows,
    }


def of(world: World, owner_id: str) -> list[Obj]:
    """Give the rows of a session or link."""
    rows: list[Obj] = world.included[owner_id, "line_items"]["data"]
    return rows
