"""Products and prices; both can be found again by a name the caller chose (id, lookup_key)."""

from plugins.payments.simulator import paging
from plugins.payments.simulator.errors import ApiError, invalid
from plugins.payments.simulator.resources.common import MAX_AMOUNT, changed, currency, merged, shown
from plugins.payments.simulator.routes import Call, Route
from plugins.payments.simulator.world import Obj, World

_PRODUCT_FIELDS = (
    "name",
    "description",
    "active",
    "images",
    "url",
    "statement_descriptor",
    "tax_code",
    "unit_label",
)


def create_product(call: Call) -> Obj:
    """Create a product, under the caller's id if it gives one."""
    product_id = call.params.get("id") or call.world.ids.new("prod")
    if product_id in call.world.kinds.get("product", {}):
        message = f"Product already exists: '{product_id}'"
        raise ApiError(400, "invalid_request_error", message, code="resource_already_exists", param="id")
    if not call.params["name"]:
        raise invalid("Product name must not be empty", param="name", code="parameter_invalid_empty")
    now = call.world.now()
    product: Obj = {
        "id": product_id,
        "object": "product",
        "active": call.params.get("active", True),
        "created": now,
        "default_price": None,
        "description": call.params.get("description"),
        "images": call.params.get("images", []),
        "livemode": False,
        "marketing_features": call.params.get("marketing_features", []),
        "metadata": merged({}, call.params.get("metadata")),
        "name": call.params["name"],
        "package_dimensions": None,
        "shippable": call.params.get("shippable"),
        "statement_descriptor": call.params.get("statement_descriptor"),
        "tax_code": call.params.get("tax_code"),
        "type": call.params.get("type", "service"),
        "unit_label": call.params.get("unit_label"),
        "updated": now,
        "url": call.params.get("url"),
    }
    call.world.add(product)
    call.world.emit("product.created", product)
    if "default_price_data" in call.params:
        price = _new_price(call.world, product_id, {**call.params["default_price_data"]})
        product["default_price"] = price["id"]
    return shown(call, product)


def update_product(call: Call) -> Obj:
    """Change a product."""
    product = call.world.get("product", call.id)
    values: Obj = {name: call.params[name] for name in _PRODUCT_FIELDS if name in call.params}
    if "default_price" in call.params:
        values["default_price"] = call.world.get("price", call.params["default_price"], "default_price")["id"]
    values["metadata"] = merged(product["metadata"], call.params.get("metadata"))
    before = changed(product, **values, updated=call.world.now())
    call.world.emit("product.updated", product, before)
    return shown(call, product)


def retrieve_product(call: Call) -> Obj:
    """Give a product."""
    return shown(call, call.world.get("product", call.id))


def list_products(call: Call) -> Obj:
    """List products."""
    rows = paging.matching(call.world.all("product"), call.params, "active")
    if "ids" in call.params:
        rows = [row for row in rows if row["id"] in call.params["ids"]]
    return paging.page(call.world, rows, call.params, call.path)


def create_price(call: Call) -> Obj:
    """Create a price of a product, or of a product made on the way."""
    params = dict(call.params)
    if ("product" in params) == ("product_data" in params):
        raise invalid("You must give exactly one of product and product_data", param="product")
    if "product" in params:
        product_id = call.world.get("product", params["product"], "product")["id"]
    else:
        inner = Call(call.world, call.hooks, {"name": params["product_data"]["name"]}, {}, call.path)
        product_id = create_product(inner)["id"]
    return shown(call, _new_price(call.world, product_id, params))


def _new_price(world: World, product_id: str, params: Obj) -> Obj:
    code = currency(params["currency"])
    amount = params.get("unit_amount")
    if amount is None and "unit_amount_decimal" not in params:
        raise invalid("Prices require unit_amount or unit_amount_decimal", param="unit_amount")
    if amount is None:
        amount = _whole(params["unit_amount_decimal"])
    if not 0 <= amount <= MAX_AMOUNT:
        raise invalid("Invalid non-negative integer", param="unit_amount", code="parameter_invalid_integer")
    price: Obj = {
        "id": world.ids.new("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "created": world.now(),
        "currency": code,
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": _claim_lookup_key(world, params),
        "metadata": merged({}, params.get("metadata")),
        "nickname": params.get("nickname"),
        "product": product_id,
        "recurring": None,
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    }
    world.add(price)
    world.emit("price.created", price)
    return price


def _whole(text: str) -> int:
    if not text.isdigit():
        raise invalid("This simulator has prices in whole minor units only", param="unit_amount_decimal")
    return int(text)


def _claim_lookup_key(world: World, params: Obj, price_id: str | None = None) -> str | None:
    key = params.get("lookup_key")
    if not key:
        return None
    for other in world.all("price"):
        if other["lookup_key"] != key or not other["active"] or other["id"] == price_id:
            continue
        if not params.get("transfer_lookup_key"):
            raise invalid(f"A price with the lookup key '{key}' already exists.", param="lookup_key")
        world.emit("price.updated", other, changed(other, lookup_key=None))
    return str(key)


def update_price(call: Call) -> Obj:
    """Change what of a price can change: never its amount."""
    price = call.world.get("price", call.id)
    values: Obj = {
        name: call.params[name] for name in ("active", "nickname", "tax_behavior") if name in call.params
    }
    values["metadata"] = merged(price["metadata"], call.params.get("metadata"))
    if "lookup_key" in call.params:
        values["lookup_key"] = _claim_lookup_key(call.world, call.params, price["id"])
    call.world.emit("price.updated", price, changed(price, **values))
    return shown(call, price)


def retrieve_price(call: Call) -> Obj:
    """Give a price."""
    return shown(call, call.world.get("price", call.id))


def list_prices(call: Call) -> Obj:
    """List prices, by lookup keys, product, currency or activity."""
    rows = paging.matching(call.world.all("price"), call.params, "product", "active", "currency", "type")
    if "lookup_keys" in call.params:
        rows = [row for row in rows if row["lookup_key"] in call.params["lookup_keys"]]
    return paging.page(call.world, rows, call.params, call.path)


ROUTES = (
    Route("POST /v1/products", create_product, scope="catalogue", spec="ProductCreateParams"),
    Route("GET /v1/products", list_products, scope="catalogue", spec="ProductListParams"),
    Route("GET /v1/products/{id}", retrieve_product, scope="catalogue", spec="ProductRetrieveParams"),
    Route("POST /v1/products/{id}", update_product, scope="catalogue", spec="ProductUpdateParams"),
    Route("POST /v1/prices", create_price, scope="catalogue", spec="PriceCreateParams"),
    Route("GET /v1/prices", list_prices, scope="catalogue", spec="PriceListParams"),
    Route("GET /v1/prices/{id}", retrieve_price, scope="catalogue", spec="PriceRetrieveParams"),
    Route("POST /v1/prices/{id}", update_price, scope="catalogue", spec="PriceUpdateParams"),
)
