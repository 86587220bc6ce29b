"""The house of a demo: made once, furnished once, and served like any other house."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from tool_server.cli.demo_place import OWNER, PROJECT, Place, modes
from tool_server.cli.demo_simulator import make_price
from tool_server.settings import Settings

if TYPE_CHECKING:
    from ledger.ledger import Ledger

KITS: Final = {"scout": ("sell", "buy"), "maker": ("fulfil", "care")}
OFFER: Final = "snapshot"
PRICE_MINOR: Final = 100  # 1.00 USD.
_BY: Final = "system:demo"
_WISH: Final = "We would like a snapshot of how our shop looks to a stranger: ten findings, plain words."


class Furnished(Struct, frozen=True):
    """What a start hands to whoever plays: the one-time link, and the tokens by agent."""

    link: str
    tokens: Mapping[str, str]
    password: str


def settings_of(place: Place, simulator: Mapping[str, Any]) -> Settings:
    """Return the settings of the demo's process; nothing of the environment is in them (M32)."""
    return Settings(
        db=place.db,
        policies=place.policies,
        keys=place.keys,
        public_url=place.console_url,
        api_base=str(simulator["address"]),
        allowed_modes=modes(),
        environ={
            "STRIPE_EARN_KEY": str(simulator["earn_key"]),
            "STRIPE_SPEND_KEY": str(simulator["spend_key"]),
        },
    )


async def furnish(place: Place, settings: Settings, simulator: Mapping[str, Any]) -> Furnished:
    """Make what is not there yet, and a sign-in link for this start."""
    from ledger.ledger import open_ledger
    from tool_server.bootstrap import Wiring, judge_of, ledger_url
    from tool_server.ids import id_maker
    from tool_server.office import Means
    from tool_server.office_people import make_link
    from tool_server.policy_file import known_tools

    wiring = Wiring()
    new_id, now = id_maker(wiring.now, wiring.random_bytes), wiring.now()
    judge = judge_of(known_tools(settings.policies, wiring.release))
    if place.fresh:
        await _make(place, settings, judge, new_id, now)
    url = ledger_url(settings.db)
    async with await open_ledger(url, judge=judge, clock=wiring.now, ids=new_id) as ledger:
        if place.fresh:
            await _people(place, ledger, wiring, now)
            await _goods(ledger, simulator, now)
            await _released_lead(ledger, new_id("lead"), now)
        means = Means(
            ledger=ledger,
            now=wiring.now,
            random_bytes=wiring.random_bytes,
            console_url=place.console_url,
        )
        link, _ = await make_link(means, await ledger.operator(OWNER), _BY)
    place.keep()
    return Furnished(link, dict(place.kept.tokens), place.kept.password)


async def _make(place: Place, settings: Settings, judge: Any, new_id: Any, now: datetime) -> None:  # noqa: ANN401 -- handed through
    import secrets

    from ledger.audit.keys import generate
    from ledger.making import make_ledger
    from tool_server.bootstrap import ledger_url
    from tool_server.cli.init import keep_instance

    generate(place.keys)
    instance = secrets.token_hex(16)
    keep_instance(place.keys, instance)
    await make_ledger(
        ledger_url(settings.db),
        account_id=new_id("acc"),
        name="demo",
        instance_id=instance,
        judge=judge,
        ids=new_id,
        at=now,
    )


async def _people(place: Place, ledger: Ledger, wiring: Any, now: datetime) -> None:  # noqa: ANN401 -- bootstrap's, imported late
    """Add the one operator and the two agents."""
    from ledger.records import Role
    from tool_server import passwords
    from tool_server.identity import TokenKind, mint, token_sha256

    await ledger.add_project(PROJECT, by=_BY, at=now)
    stored = await passwords.hashed(place.kept.password)
    await ledger.add_operator(name=OWNER, role=Role.OWNER, by=_BY, at=now, password_hash=stored)
    for name, kits in KITS.items():
        token = mint(TokenKind.AGENT, wiring.random_bytes)
        place.kept.tokens[name] = token
        await ledger.add_agent(
            name=name, project=PROJECT, kits=kits, token_sha256=token_sha256(token), by=_BY, at=now
        )


async def _goods(ledger: Ledger, simulator: Mapping[str, Any], now: datetime) -> None:
    """Put the snapshot on sale for 1.00 USD."""
    from ledger.offers import OfferSet
    from policy.language import Mode
    from policy.money import Money

    address, key = str(simulator["address"]), str(simulator["earn_key"])
    product, price = await make_price(address, key, name="Snapshot", minor_units=PRICE_MINOR)
    wanted = OfferSet(
        offer=OFFER,
        name="Snapshot",
        price=Money(PRICE_MINOR, "USD"),
        product_ref=product,
        price_ref=price,
        mode=Mode.SIMULATED,
        provider_account=str(simulator["account"]),
    )
    await ledger.set_offer(wanted, by=_BY, at=now)


async def _released_lead(ledger: Ledger, lead_id: str, now: datetime) -> None:
    """Bring one lead as the owner, release it and give it to scout, so that there is somebody to sell to."""
    from ledger.records import ReviewState
    from ledger.records_crm import Lead

    lead = Lead(
        lead_id=lead_id,
        project=PROJECT,
        origin="owner",
        name="Ada Example",
        email="ada@shop.example",
        company="Example Shop",
        website="https://shop.example",
        wish=_WISH,
        created_by=_BY,
        created_at=now,
        updated_at=now,
    )
    review_id = await ledger.add_lead(lead, at=now)
    await ledger.answer_review(review_id, OWNER, ReviewState.APPROVED, words="a good fit", at=now)
    await ledger.assign_lead(lead_id, "scout", by=OWNER, at=now)
