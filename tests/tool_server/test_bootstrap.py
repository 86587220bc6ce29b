"""One function builds the house, and what is not in order keeps it from starting, or is off with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, structs

from ledger.records import CallState
from plugins.registry import PluginRefused
from plugins.tool import Annotations
from policy.errors import ConfigurationError, PolicyError
from policy.model import Kind
from tests.provider.house import Desk, Place, Shop, a_place, opened, settled
from tool_server.bootstrap import bootstrap
from tool_server.catalogue import MOST_TOOLS, Accepted, Catalogue, listed_json
from tool_server.core import CoreTool
from tool_server.policy_file import keep_beside, known_tools

READS = Annotations(read_only=True, destructive=False, idempotent=True, open_world=False)


async def test_a_policy_that_does_not_load_stops_the_start(copied: Path, shop: Shop) -> None:
    """A house without a readable policy would deny everything, or worse, something else."""
    place = await a_place(copied, shop)
    place.rewrite({"quorum: 1": "quorums: 1"})
    with pytest.raises(PolicyError, match="quorums"):
        await bootstrap(place.settings, wiring=place.wiring)
    place.settings.policies.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        await bootstrap(place.settings, wiring=place.wiring)


async def test_a_plugin_that_is_unfit_stops_the_start(copied: Path, shop: Shop) -> None:
    """And nothing is left open: the next start finds the ledger free."""
    place = await a_place(copied, shop)
    place.rewrite({"tests.provider.shop": "tests.provider.absent"})
    with pytest.raises(PluginRefused, match="'shop'"):
        await bootstrap(place.settings, wiring=place.wiring)
    place.rewrite({"tests.provider.absent": "tests.provider.shop"})
    async with opened(place) as desk:
        assert (await desk.buy()).envelope.status == "succeeded"


async def test_a_strangers_tool_is_off_until_an_owner_accepts_it(copied: Path, shop: Shop) -> None:
    """What an agent may call is decided by a person who has looked, not by an import."""
    place = await a_place(copied, shop)
    async with opened(place, accept_all=False) as desk:
        assert {tool.name for tool in desk.house.gate.listing(desk.agent)} == set(desk.house.catalogue.core)
        off = await desk.buy()
        assert off.envelope.status == "not_executed"
        assert "plugin accept shop" in off.text
        loaded = desk.house.registry.tools["shop_buy"]
        people = {person.name: person.operator_id for person in await desk.house.ledger.operators()}
        await desk.house.ledger.accept_tool(
            "shop_buy", loaded.info.definition_hash, "spend", by=people["olga"], at=desk.house.now()
        )
    async with opened(place, accept_all=False) as desk:
        assert (await desk.buy()).envelope.status == "succeeded"
        assert (await desk.call("shop_note", text="x")).envelope.status == "not_executed"


async def test_a_tool_that_changed_is_off_until_it_is_accepted_again(small: Desk) -> None:
    """Rug pull: the name is the same, what it says is not."""
    house = small.house
    accepted = {
        name: Accepted(loaded.info.definition_hash, loaded.tool.kind)
        for name, loaded in house.registry.tools.items()
    }
    house.catalogue.accept({**accepted, "shop_buy": Accepted("another hash", Kind.SPEND)})
    result = await small.buy()
    assert result.envelope.status == "not_executed"
    assert "changed since it was accepted" in result.text
    assert "shop_buy" not in {tool.name for tool in house.gate.listing(small.agent)}


async def test_m30_a_tool_below_its_accepted_kind_is_refused(small: Desk) -> None:
    """M30: a spend that comes back as a draft would pass under every cap."""
    with pytest.raises(PluginRefused, match="below spend as it was accepted"):
        small.house.catalogue.accept({"shop_note": Accepted("hash", Kind.SPEND)})


class Nothing(Struct):
    """Takes nothing."""


async def _never(*_anything: object) -> Any:  # noqa: ANN401 -- it is not called
    raise AssertionError


async def test_kits_that_no_client_could_hold_are_refused(small: Desk) -> None:
    """Above 24 tools or 18 kB, clients hide or drop tools in silence."""
    house = small.house
    core = CoreTool(
        name="core_tool",
        kind=Kind.READ,
        description="d" * 600,
        arguments=Nothing,
        annotations=READS,
        answer=_never,
    )
    house.catalogue.check_kits(("shop",))
    with pytest.raises(ConfigurationError, match="no kit 'mail'"):
        house.catalogue.check_kits(("mail",))
    many = [structs.replace(core, name=f"core_{number}") for number in range(MOST_TOOLS + 1)]
    crowded = Catalogue(house.registry, many, {})
    with pytest.raises(ConfigurationError, match="give fewer kits"):
        crowded.check_kits(("shop",))


async def test_a_listing_is_stable_and_in_the_protocols_words(small: Desk) -> None:
    """Clients cache it; a change of order would look like a change of tools."""
    listing = small.house.gate.listing(small.agent)
    assert listing is small.house.gate.listing(small.agent)
    shown = listed_json(listing[0])
    assert set(shown) == {"name", "description", "inputSchema", "annotations"}
    assert all(isinstance(hint, bool) for hint in shown["annotations"].values())
    names = [tool.name for tool in listing]
    core = len(small.house.catalogue.core)
    assert names[core:] == sorted(names[core:])


# --- the policy file while it runs ----------------------------------------------------------------------


async def active(desk: Desk) -> str:
    """Return the hash of the active policy."""
    found = await desk.house.ledger.active()
    assert found is not None
    return found[0]


async def test_an_edited_policy_takes_effect_while_the_house_runs(copied: Path, shop: Shop) -> None:
    """Set a cap to 5.00 USD, save, ask again: denied, with file and line."""
    place = await a_place(copied, shop)
    async with opened(place) as desk:
        before = await active(desk)
        place.rewrite({'limit: "100.00 USD"': 'limit: "4.00 USD"'})
        await _changed(desk, before)
        result = await desk.buy("5.00 USD")
        assert result.envelope.problem is not None
        assert result.envelope.problem.code == "cap_exceeded"
        assert "policies.yaml:" in result.text


async def _changed(desk: Desk, before: str) -> None:
    for _ in range(100):
        if await active(desk) != before:
            return
        await desk.house.books.wait_changes(await desk.house.ledger.log_size(), 0.1)
    raise AssertionError("the policy did not change")


async def test_an_edit_that_does_not_load_keeps_the_old_policy_and_shouts(copied: Path, shop: Shop) -> None:
    """A slip of the keyboard at night must not open or close the house."""
    place: Place = await a_place(copied, shop)
    async with opened(place) as desk:
        before, good = await active(desk), place.settings.policies.read_text()
        for damage in ("quorum: 1", "version: 1"):
            place.rewrite({damage: "nonsense"})
            await settled(lambda: bool(desk.house.policy_file.problem))
            assert await active(desk) == before
            place.settings.policies.write_text(good)
            await settled(lambda: not desk.house.policy_file.problem)
        place.settings.policies.unlink()
        await settled(lambda: bool(desk.house.policy_file.problem))
        assert (await desk.buy()).envelope.status == "succeeded"


async def test_while_live_spending_is_at_stake_an_edit_is_only_a_candidate(copied: Path, shop: Shop) -> None:
    """An owner sees its cases and differences first."""
    place = await a_place(copied, shop)
    async with opened(place) as desk:
        # A policy may name a stranger's provider once `plugin accept` wrote its tools beside it.
        infos = [loaded.info for loaded in desk.house.registry.tools.values()]
        keep_beside(place.settings.policies, infos[:3])
        keep_beside(place.settings.policies, infos[3:])
        assert set(known_tools(place.settings.policies, place.wiring.release)) == {
            tool.name for tool in infos
        }
    place.rewrite({"caps:\n": "live_spend: {enabled: true, providers: [shop]}\ncaps:\n"})
    async with opened(place) as desk:
        before = await active(desk)
        place.rewrite({'limit: "100.00 USD"': 'limit: "4.00 USD"'})
        for _ in range(100):
            if await desk.house.ledger.policies("candidate"):
                break
            await desk.house.books.wait_changes(await desk.house.ledger.log_size(), 0.1)
        assert await active(desk) == before
        assert len(await desk.house.ledger.policies("candidate")) >= 1


async def test_a_house_can_be_drained_twice(small: Desk) -> None:
    """A second signal comes while the first is obeyed."""
    result = await small.buy()
    await small.house.drain(1.0)
    await small.house.drain(1.0)
    assert (await small.stored(result)).state is CallState.SUCCEEDED
