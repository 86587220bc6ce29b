"""What `./run` prints once everything answers: where to look, how to connect, and what to try."""

from __future__ import annotations

from typing import Final

from tool_server.cli.clients import Connection, settings_for
from tool_server.cli.demo_house import Furnished
from tool_server.cli.demo_place import OWNER, Place

_SHOWN: Final = ("claude-code", "json")  # One that is pasted into a shell, and one that any client reads.


def starting() -> str:
    """Return what is said while nothing answers yet."""
    return "Starting Bursar and a stand-in for Stripe; this takes a few seconds.\n"


def about(*, full: bool) -> str:
    """Return what a story is, for whoever reads one for the first time."""
    parts = "thirteen" if full else "five"
    return f"Here is a story in {parts} parts; it really happens, over the wire, and each `ok` was checked.\n"


def opening(furnished: Furnished, *, shown: bool, full: bool) -> str:
    """Return what is said before the story: where the visitor reads what is asked."""
    opens = "Your browser opens on the console" if shown else "Open the console in your browser"
    return (
        "Bursar runs, on a stand-in for Stripe. Nothing here is real money; every page says SIMULATED.\n\n"
        f"{opens}: {furnished.link}\n"
        f"It signs you in once as {OWNER}, who exists only here.\n"
        f"{about(full=full)}"
    )


def welcome(place: Place, furnished: Furnished) -> str:
    """Return the first screen."""
    lines = [
        "Bursar runs, on a stand-in for Stripe. Nothing here is real money; every page says SIMULATED.",
        "",
        f"  Console   {furnished.link}",
        f"            (signs you in once as {OWNER}, who exists only here; then {place.console_url},",
        f"            where the password is {furnished.password}: giving money back asks for it)",
        f"  Requests  {place.console_url}/request   (what strangers see)",
        f"  Agents    {place.mcp_url}",
        f"  Policy    {place.policies}   (change it, save it, ask again)",
        "",
    ]
    for name, token in furnished.tokens.items():
        lines += [f"Connect an agent as {name}:", ""]
        for client in _SHOWN:
            settings = settings_for(client, Connection(place.mcp_url, token))
            lines += [f"  {client}, into {settings.where}:", *_indented(settings.text), ""]
    lines += [
        f"Your turn: ask for a snapshot at {place.console_url}/request, release it on the console's Reviews,",
        "give it to scout, and let scout sell it to you. Or let it buy software by card for 11.06 USD.",
        f"Then set the limit of run-total to 5.00 USD in {place.policies}, save, and let it ask again:",
        "it is denied, with the file and the line.",
        "",
        "Once more from the start: ./run --again; with the whole loop: ./run --again --full.",
        "All of it by itself, checked: ./run demo --unattended.",
        "Ctrl-C stops; the next ./run goes on from here.",
        "",
    ]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.rstrip("\n").split("\n")]
