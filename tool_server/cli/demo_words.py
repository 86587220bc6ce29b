"""What `./run` prints once everything answers: where to look, how to connect, and what to try."""

from __future__ import annotations

from typing import Final

from tool_server.cli.clients import Connection, settings_for
from tool_server.cli.demo_house import Furnished
from tool_server.cli.demo_place import OWNER, Place

_SHOWN: Final = ("claude-code", "json")  # One that is pasted into a shell, and one that any client reads.


def welcome(place: Place, furnished: Furnished) -> str:
    """Return the first screen."""
    lines = [
        "Bursar runs, on a stand-in for Stripe. Nothing here is real money; every page says SIMULATED.",
        "",
        f"  Console   {furnished.link}",
        f"            (signs you in once as {OWNER}, who exists only here; then {place.console_url})",
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
        "Try: ask it for its status, to sell its lead a snapshot, or to buy software by card for 11.06 USD.",
        "The whole story plays by itself with `./run demo --unattended`. Ctrl-C stops.",
        "",
    ]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.rstrip("\n").split("\n")]
