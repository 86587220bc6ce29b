"""`bursar offers`: what is sold, each with one price and stable ids at Stripe."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from tool_server.cli.asking import add_as, ask, read_settings, table
from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json

if TYPE_CHECKING:
    from plugins.payments.offers import Ensured
    from policy.money import Money

_COLUMNS = ("offer", "name", "price", "version", "active", "product_ref", "price_ref")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    commands.add_parser("list", help="show every offer")
    put = commands.add_parser("set", help="put an offer on sale, or change its name or price")
    put.add_argument("offer", metavar="OFFER", help="short name that agents use: a-z, 0-9, - and _")
    put.add_argument("--name", required=True, metavar="TEXT", help="what the buyer reads")
    put.add_argument("--price", required=True, metavar="'1.00 USD'", help="the one price, with its currency")
    add_as(put)
    end = commands.add_parser("end", help="take an offer off sale")
    end.add_argument("offer", metavar="OFFER")
    add_as(end)


def run(args: argparse.Namespace) -> int:
    """Do one of them."""
    if args.what == "list":
        found = ask(args, "offers.list")
        print_json(found) if args.json else print(table(found, _COLUMNS, "nothing is on sale yet"))
        return EXIT_DONE
    if args.what == "end":
        told = ask(args, "offers.end", {"offer": args.offer})
        print_json(told) if args.json else print(f"{args.offer} is off sale; open checkouts stay open")
        return EXIT_DONE
    price = _price(args.price)
    ensured = asyncio.run(_ensured(args.offer, args.name, price))
    params = {
        "offer": args.offer,
        "name": args.name,
        "price": str(price),
        "product_ref": ensured.product_ref,
        "price_ref": ensured.price_ref,
        "mode": ensured.mode.value,
        "provider_account": ensured.provider_account,
    }
    told = ask(args, "offers.set", params)
    said = f"{told['offer']} is on sale for {told['price']}, version {told['version']} ({ensured.mode.value})"
    print_json(told) if args.json else print(said)
    return EXIT_DONE


def _price(text: str) -> Money:
    from policy.errors import MoneyError
    from policy.money import Money

    try:
        return Money.parse(text)
    except MoneyError as error:
        raise CommandError(str(error), exit_code=EXIT_USAGE) from None


async def _ensured(offer: str, name: str, price: Money) -> Ensured:
    """Make or find product and price with the key of this command's own environment."""
    import time
    from datetime import UTC, datetime

    import stripe

    from plugins.hookspecs import PluginContext
    from plugins.payments.keys import EARN_KEY, SPEND_KEY, read_keys
    from plugins.payments.offers import ensure_offer
    from plugins.payments.stripe_api import StripeApi

    settings = read_settings()
    found = {key: settings.secret(key) for key in (EARN_KEY, SPEND_KEY)}
    if found[EARN_KEY] is None:
        raise CommandError(f"{EARN_KEY} is not set; an offer's price is made with it at Stripe")
    context = PluginContext(
        name="payments",
        settings={},
        secrets={key: secret for key, secret in found.items() if secret is not None},
        now=lambda: datetime.now(UTC),
        new_id=str,
        api_base=settings.api_base,
    )
    api = StripeApi(read_keys(context), monotonic=time.monotonic)
    try:
        return await ensure_offer(api, offer, name, price)
    except stripe.StripeError as error:
        unreachable = isinstance(error, stripe.APIConnectionError)
        said = "it cannot be reached" if unreachable else " ".join(str(error.user_message or "").split())
        why = said or type(error).__name__
        raise CommandError(f"Stripe would not put the offer on sale: {why}") from None
    finally:
        await api.close()
