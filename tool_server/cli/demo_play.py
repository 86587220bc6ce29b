"""The whole story in order, with everybody connected over the real wires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tool_server.cli import demo_beats as beats
from tool_server.cli import demo_rules as rules
from tool_server.cli.demo_cast import agent, person
from tool_server.cli.demo_house import Furnished
from tool_server.cli.demo_loop import loop
from tool_server.cli.demo_place import OWNER, Place
from tool_server.cli.demo_simulator import Controls
from tool_server.cli.demo_story import Story
from tool_server.cli.demo_turn import Turn, nobody


async def play_all(
    story: Story,
    place: Place,
    furnished: Furnished,
    simulator: Mapping[str, Any],
    *,
    turn: Turn = nobody,
    full: bool = True,
) -> None:
    """Play the five beats, or all parts, and check every step.

    Raises CommandError at the first step that does not hold.
    """
    broke: list[Exception] = []
    async with connected(place, furnished, simulator, turn=turn) as cast:
        await cast.operator.sign_in_by_password(OWNER, furnished.password)
        try:
            await _parts(story, cast, full=full)
        except Exception as error:  # noqa: BLE001 -- raised below: the clients' task groups would wrap it
            broke.append(error)
    if broke:
        raise broke[0]


@asynccontextmanager
async def connected(
    place: Place, furnished: Furnished, simulator: Mapping[str, Any], *, turn: Turn = nobody
) -> AsyncIterator[beats.Cast]:
    """Connect the agents, the operator and a stranger, each at the far end of a wire."""
    async with AsyncExitStack() as stack:
        controls = Controls(str(simulator["address"]))
        stack.push_async_callback(controls.close)
        yield beats.Cast(
            place=place,
            scout=await stack.enter_async_context(agent(place.mcp_url, furnished.tokens["scout"])),
            maker=await stack.enter_async_context(agent(place.mcp_url, furnished.tokens["maker"])),
            operator=await stack.enter_async_context(person(place.console_url)),
            stranger=await stack.enter_async_context(person(place.console_url)),
            controls=controls,
            simulator=simulator,
            password=furnished.password,
            turn=turn,
        )


async def _parts(story: Story, cast: beats.Cast, *, full: bool) -> None:
    await beats.earn(story, cast)
    call_id = await beats.ask(story, cast)
    if call_id:
        await beats.lose_the_answer(story, cast, call_id)
    await beats.stop(story, cast)
    await beats.prove(story, cast)
    if not full:
        return
    if call_id:  # Without a purchase there is no sum for the next one to bring above anything.
        await rules.many_small_ones(story, cast)
    await rules.a_smaller_cap(story, cast)
    await loop(story, cast)
