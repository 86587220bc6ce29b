"""Orders and what was earned and lost with each of them."""

from __future__ import annotations

from collections.abc import Sequence

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Template

from ledger.records_revenue import RevenueEvent
from policy.money import written
from webhooks.console.frame import PageRequest, page
from webhooks.deps import Deps


class Orders:
    """The pages of orders."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def routes(self) -> list[HTTPRouteHandler]:
        """Return the handlers."""

        @get("/orders")
        async def orders(
            request: PageRequest, deal: FromQuery[str] = "", after: FromQuery[str] = ""
        ) -> Template:
            found = await self._deps.ledger.orders(deal_id=deal or None, after=after or None)
            sums = await self._deps.ledger.revenue_sums()
            content = {
                "page": found,
                "deal": deal,
                "sums": [(mode, written(minor, code)) for (mode, code), minor in sorted(sums.items())],
            }
            return await page(self._deps, request, "orders.html", content)

        @get("/orders/{order_id:str}")
        async def order(request: PageRequest, order_id: FromPath[str]) -> Template:
            ledger = self._deps.ledger
            found = await ledger.order(order_id)
            revenue = await ledger.revenue(order_id=found.order_id)
            content = {
                "order": found,
                "deal": await ledger.deal(found.deal_id),
                "revenue": [(each, written(each.minor_units, each.currency)) for each in _in_order(revenue)],
                "disputes": [
                    {**row, "amount": written(row["amount_minor"], row["currency"])}
                    for row in await ledger.disputes(order_id=found.order_id)
                ],
            }
            return await page(self._deps, request, "order.html", content)

        return [orders, order]


def _in_order(revenue: Sequence[RevenueEvent]) -> list[RevenueEvent]:
    """Return the payment first, and what was taken from it as it came."""
    return sorted(revenue, key=lambda each: (each.booked_at, each.kind != "payment"))
