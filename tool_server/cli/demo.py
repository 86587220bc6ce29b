"""`bursar demo`: the whole product on a state of its own, with a stand-in for Stripe, and its story."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from policy.errors import ConfigurationError, PolicyError
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json

if TYPE_CHECKING:
    from tool_server.cli.demo_house import Furnished
    from tool_server.cli.demo_place import Place
    from tool_server.cli.demo_story import Story

LONGEST_S: Final = 90.0  # The whole story, start and end included; a machine that needs more has a problem.
_ALONE: Final = "unattended"  # Where that story is played, so that a visitor's own state stays as it is.


def register(parser: argparse.ArgumentParser) -> None:
    """Add how it is played."""
    parser.add_argument("--again", action="store_true", help="start from a new, empty .demo/")
    parser.add_argument(
        "--full", action="store_true", help="after the five beats, play the whole loop as well"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="repeat the simulator's ids of another run")
    parser.add_argument(
        "--unattended", action="store_true", help="play everybody, check every step, and end; exit 0 or 1"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C, or play the story through."""
    from tool_server.cli.demo_place import refuse_live
    from tool_server.logs import configure_logging

    try:
        refuse_live(os.environ)
        configure_logging(level="CRITICAL" if not args.debug else "INFO")
        if args.unattended:
            return asyncio.run(_unattended(args))
        asyncio.run(_attended(args))
    except (ConfigurationError, PolicyError) as error:
        raise CommandError(str(error)) from None
    return EXIT_DONE


async def _attended(args: argparse.Namespace) -> None:
    """Start everything, play the story to whoever sits there, say where everything is, and stay up."""
    from tool_server.cli.demo_place import FOLDER, open_place
    from tool_server.cli.demo_turn import is_there

    place = open_place(FOLDER, again=args.again)
    plays = not args.json and is_there()
    if args.full and not (plays and place.fresh):
        raise CommandError("--full plays to a person at a terminal, from a new state; add --again")
    _begin(args)

    async def play(furnished: Furnished, simulator: dict[str, Any]) -> None:
        if plays and place.fresh:
            await _tell(args, place, furnished, simulator)
        _show(args, place, furnished)
        await asyncio.Event().wait()  # Until Ctrl-C, which ends the house around it.

    await hosted(place, play, seed=args.seed)


async def _tell(args: argparse.Namespace, place: Place, furnished: Furnished, simulator: Any) -> None:  # noqa: ANN401 -- the simulator's line
    """Play the story; where a person decides, wait for the visitor."""
    from tool_server.cli.demo_play import play_all
    from tool_server.cli.demo_story import Story
    from tool_server.cli.demo_turn import show, visitor
    from tool_server.cli.demo_words import opening

    sys.stdout.write(opening(furnished, shown=show(furnished.link), full=args.full))
    sys.stdout.flush()
    await play_all(Story(), place, furnished, simulator, turn=visitor, full=args.full)
    sys.stdout.write("\nThat was the story; everything stays up for you.\n\n")


async def _unattended(args: argparse.Namespace) -> int:
    """Play the whole story in a folder of its own."""
    from tool_server.cli.demo_place import FOLDER, open_place
    from tool_server.cli.demo_play import play_all
    from tool_server.cli.demo_story import Story
    from tool_server.cli.demo_words import about

    story = Story(json=args.json)
    _begin(args, about(full=True))
    place = open_place(Path(FOLDER) / _ALONE, again=True)

    async def play(furnished: Furnished, simulator: dict[str, Any]) -> None:
        await play_all(story, place, furnished, simulator)

    try:
        async with asyncio.timeout(LONGEST_S):
            await hosted(place, play, seed=args.seed)
    except TimeoutError:
        raise CommandError(
            f"the story took longer than {LONGEST_S:.0f} s; the machine may be busy", exit_code=EXIT_NO
        ) from None
    _end(args, story)
    return EXIT_DONE


def _begin(args: argparse.Namespace, more: str = "") -> None:
    """Say that it starts: the first page takes some seconds, more on a busy machine."""
    from tool_server.cli.demo_words import starting

    if not args.json:
        sys.stdout.write(starting() + more)
        sys.stdout.flush()


def _end(args: argparse.Namespace, story: Story) -> None:
    seconds = round(story.seconds(), 1)
    if args.json:
        print_json({"held": True, "seconds": seconds, "beats": story.beats})
        return
    steps = sum(len(beat["steps"]) for beat in story.beats)
    print(f"\nAll {len(story.beats)} parts held, {steps} steps, in {seconds} s. Nothing here was real money.")


async def hosted(place: Place, play: Any, *, seed: int | None = None) -> None:  # noqa: ANN401 -- an async function of two
    """Serve the demo's house, with its simulator beside it, for as long as somebody plays."""
    from tool_server.cli.demo_house import furnish, settings_of
    from tool_server.cli.demo_place import write_policy
    from tool_server.cli.demo_simulator import simulator
    from tool_server.cli.serve import Choice, serve_house

    async with simulator(place, seed=seed) as line:
        if place.fresh:
            write_policy(place, line)
        settings = settings_of(place, line)
        furnished = await furnish(place, settings, line)
        choice = Choice(
            agents=place.agents,
            web=place.web,
            simulated=tuple(line["webhook_secrets"]),
            simulated_issuing=tuple(line["issuing_webhook_secrets"]),
            taken="start again, and the demo takes another",  # It was free when the demo looked.
        )
        stop, tasks = asyncio.Event(), []

        async def playing() -> None:
            try:
                await play(furnished, line)
            finally:
                stop.set()

        def served() -> None:
            tasks.append(asyncio.create_task(playing(), name="play"))

        await serve_house(settings, choice, stop=stop, quiet=True, on_served=served)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def _show(args: argparse.Namespace, place: Place, furnished: Furnished) -> None:
    """Say where everything is, once it answers."""
    if args.json:
        print_json(
            {
                "console": place.console_url,
                "sign_in": furnished.link,
                "mcp": place.mcp_url,
                "tokens": furnished.tokens,
                "policy": str(place.policies),
            }
        )
        sys.stdout.flush()
        return
    from tool_server.cli.demo_words import welcome

    sys.stdout.write(welcome(place, furnished))
    sys.stdout.flush()
