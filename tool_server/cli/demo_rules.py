"""Two beats about the policy file: many small purchases are one large one, and a smaller cap denies."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from tool_server.cli.demo_beats import SOFTWARE, Cast
from tool_server.cli.demo_story import Story

_SMALL: Final = {**SOFTWARE, "amount": "1.50 USD", "purpose": "one more weight of the font"}
_LARGE: Final = {**SOFTWARE, "purpose": "the same font once more"}
_CAP: Final = re.compile(r"(id: run-total,.*limit: )\"[^\"]+\"")


async def many_small_ones(story: Story, cast: Cast) -> None:
    """Ask for what would be small change, were it the first of the day."""
    story.beat("sum", "1.50 USD to a known vendor would pass, were it not for the 11.06 USD before it")
    asked = await cast.scout.call("request_card_purchase", idempotency_key="sum-1", **_SMALL)
    story.held("it waits for a person", asked["status"] == "pending_approval", asked)
    rules = [rule["id"] for rule in asked["decision"]["rules"]]
    story.held("because of the rule that adds up", "many-small-ones" in rules, asked)
    url = asked["approval"]["url"]
    await cast.operator.open(url)
    await cast.operator.send(url, verdict="deny", comment="one weight is enough")
    told = await cast.scout.call("call_status", call_id=asked["call_id"])
    story.held("the owner says no, and the agent reads the words", "one weight is enough" in str(told), told)


async def a_smaller_cap(story: Story, cast: Cast) -> None:
    """Change the policy file while everything runs: the next call is decided by it, with file and line."""
    story.beat("cap", "the owner sets run-total to 5.00 USD in the policy file, and saves")
    path = cast.place.policies
    before = path.read_text()
    path.write_text(_CAP.sub(r'\1"5.00 USD"', before, count=1))

    async def preview() -> dict[str, Any]:
        wanted = msgspec.json.encode({**_LARGE, "idempotency_key": "cap-0"}).decode()
        return await cast.scout.call("call_preview", tool="request_card_purchase", arguments=wanted)

    await story.until(
        "the file is read again by itself",
        preview,
        lambda said: said["data"]["would"] == "deny",
    )
    denied = await cast.scout.call("request_card_purchase", idempotency_key="cap-1", **_LARGE)
    story.held("11.06 USD are denied", denied["status"] == "denied", denied)
    said = denied["problem"]["message"]
    named = re.search(r"run-total.*policies\.yaml:\d+", said) is not None
    story.held("with the cap, the file and the line", named, denied)
    path.write_text(before)
    story.did("the owner takes it back")
