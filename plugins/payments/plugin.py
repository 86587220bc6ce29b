"""Stripe as a plugin: sell by checkout and link, buy by card and transfer, propose what people decide.

Settings in policies.yaml: `account` (which Stripe account must answer), `cardholder` (whose cards are made),
`financial_account` and `recipients` (what pay_vendor pays from and to).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

import msgspec

from ledger.records import Seen
from plugins.hookspecs import Plugin, PluginContext, Provider, hookimpl
from plugins.payments import evidence, sweep
from plugins.payments.cards import card_tool
from plugins.payments.care import human_only_tools, listing_tools
from plugins.payments.checkout import checkout_tools
from plugins.payments.closing import closing_tools
from plugins.payments.keys import EARN_KEY, SPEND_KEY, read_keys
from plugins.payments.payouts import Payouts, payout_tool
from plugins.payments.stripe_api import PROVIDER, StripeApi
from plugins.tool import Binding, Evidence, Readiness
from policy.errors import ConfigurationError

_SETTINGS = frozenset({"account", "cardholder", "financial_account", "recipients"})


@hookimpl
def bursar_secrets() -> tuple[str, ...]:
    """Name the two keys: one that earns, one that spends."""
    return (EARN_KEY, SPEND_KEY)


@hookimpl
def bursar_plugin(context: PluginContext) -> Plugin:
    """Bring the tools and the provider. Raises ConfigurationError for keys or settings that are wrong."""
    settings = context.settings
    _check_settings(settings)
    keys = read_keys(context)
    if keys.mode not in context.allowed_modes:
        raise ConfigurationError(f"a {keys.mode.value} Stripe key is set; this installation takes none")
    api = StripeApi(keys, monotonic=time.monotonic)
    closing, cancelling = closing_tools(api)
    tools = (
        *checkout_tools(api),
        closing,
        card_tool(api, str(settings.get("cardholder", "")), context.now),
        payout_tool(api, _payouts(settings), context.now),
        cancelling,
        *human_only_tools(api),
        *listing_tools(),
    )
    binding = Binding(provider=PROVIDER, account=str(settings.get("account", "")), mode=keys.mode)
    return Plugin(tools=tools, providers=(_provider(api, binding),))


def _provider(api: StripeApi, binding: Binding) -> Provider:
    async def check() -> Readiness:
        return await evidence.check(api)

    async def fetch(reference: str) -> Evidence:
        return await evidence.fetch(api, reference)

    async def events(since: datetime) -> tuple[Evidence, ...]:
        return await evidence.events(api, since)

    async def seen(since: datetime) -> tuple[Seen, ...]:
        return await sweep.seen(api, since)

    async def set_armed(reference: str, armed: bool) -> bool:  # noqa: FBT001 -- the contract's own shape
        return await evidence.set_armed(api, reference, armed=armed)

    return Provider(
        binding=binding,
        check=check,
        fetch=fetch,
        events=events,
        seen=seen,
        set_armed=set_armed,
        close=api.close,
    )


def _check_settings(settings: Mapping[str, object]) -> None:
    strange = sorted(set(settings) - _SETTINGS)
    if strange:
        raise ConfigurationError(f"unknown setting {strange[0]!r}; there are {', '.join(sorted(_SETTINGS))}")


def _payouts(settings: Mapping[str, object]) -> Payouts:
    try:
        return Payouts.read(settings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"the settings for pay_vendor do not fit: {error}") from None
