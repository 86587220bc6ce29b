"""The five beats: earn, ask, lose the answer, stop, prove. Each step is done over the wire, and checked."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from tool_server.cli.command import EXIT_NO
from tool_server.cli.demo_cast import Agent, Person, complete_with_card, pay
from tool_server.cli.demo_place import Place
from tool_server.cli.demo_simulator import Controls
from tool_server.cli.demo_story import Story
from tool_server.cli.demo_turn import Turn

VENDOR: Final = "fonts.example"
SOFTWARE: Final[Mapping[str, str]] = {
    "vendor": VENDOR,
    "url": "https://fonts.example/buy",
    "category": "software",
    "purpose": "a font licence for the snapshot's pages",
    "amount": "11.06 USD",
}
_CARDS: Final = "issuing.card"
_PATIENT_S: Final = 60.0  # For a command of our own on a busy machine.


class Cast(Struct, frozen=True, kw_only=True):
    """Everybody and everything a beat may use."""

    place: Place
    scout: Agent
    maker: Agent
    operator: Person
    stranger: Person
    controls: Controls
    simulator: Mapping[str, Any]
    password: str  # The demo operator's: what moves money back asks for it every time.
    turn: Turn  # Whose turn it is where a person decides: the visitor's, or the demo operator's.


async def earn(story: Story, cast: Cast) -> None:
    """Sell a snapshot: the webhook arrives twice and out of order, and there is one Order."""
    story.beat("earn", "a buyer pays 1.00 USD; its webhook arrives twice and out of order")
    found = await cast.scout.call("crm_find_leads")
    lead = found["data"]["leads"][0]
    story.held("scout sees the lead that the owner released and gave to it", lead["agent"] == "scout", lead)
    await cast.controls.fault("webhook_duplicated", "checkout.session.completed", copies=1)
    await cast.controls.fault("webhook_reordered", "payment_intent.succeeded")
    order_id = await sell(story, cast, lead["deal_id"], lead["email"], key="earn-1")
    story.held("the console shows the event with its two deliveries", await _twice(cast.operator))
    paid = (await cast.scout.call("stripe_payments"))["data"]["payments"]
    story.held(
        "there is one Order for it, and only one", [each["order_id"] for each in paid] == [order_id], paid
    )


async def sell(story: Story, cast: Cast, deal_id: str, email: str, *, key: str) -> str:
    """Create a checkout for a deal, pay it as the buyer, and wait for the Order; return its id."""
    made = await cast.scout.call(
        "stripe_create_checkout", deal_id=deal_id, offer="snapshot", idempotency_key=key
    )
    story.held(
        "scout made a Checkout Session; the policy allows the owner's snapshot",
        made["status"] == "succeeded",
        made,
    )
    story.held("it is marked as what it is: simulated", made["proof"]["level"] == "simulated", made)
    back = await pay(made["data"]["url"], email)
    story.did("the buyer pays on the hosted page and is led back")
    story.held("the way back leads to our own page", back.startswith(cast.place.console_url), back)

    async def paid() -> list[dict[str, Any]]:
        listed = await cast.scout.call("stripe_payments", deal_id=deal_id)
        return list(listed["data"]["payments"])

    booked = await story.until("the signed event became an Order", paid, lambda rows: len(rows) > 0)
    page = await cast.stranger.open(back)
    story.held("the page the buyer returns to says so", "Your payment has arrived" in page.text, page.text)
    return str(booked[0]["order_id"])


async def _twice(operator: Person) -> bool:
    page = await operator.open("/webhooks")
    return re.search(r"checkout\.session\.completed</td><td>[a-z]*</td><td>2</td>", page.text) is not None


async def ask(story: Story, cast: Cast) -> str:
    """Ask for software by card: 11.06 USD wait for a person, who answers for exactly that."""
    story.beat("ask", "the agent wants software for 11.06 USD, paid by card")
    asked = await cast.scout.call("request_card_purchase", idempotency_key="ask-1", **SOFTWARE)
    story.held("nothing ran: a person has to answer first", asked["status"] == "pending_approval", asked)
    url, call_id = asked["approval"]["url"], str(asked["call_id"])
    page = await cast.operator.open(url)
    story.held(
        "the operator reads whom, how much and that it is simulated", _says_it_all(page.text), page.text
    )
    await cast.controls.fault("lost_after_commit", "POST /v1/issuing/cards")

    async def answered() -> bool:
        return bool((await cast.scout.call("call_status", call_id=call_id))["status"] != "pending_approval")

    if not await cast.turn("Read the card and answer it yourself", url, answered):
        await cast.operator.open(url)
        answer = await cast.operator.send(url, verdict="approve")
        story.held("the operator approves on the console's own form", answer.status_code == 303, answer.text)  # noqa: PLR2004 -- HTTP's own
        return call_id
    said = await cast.scout.call("call_status", call_id=call_id)
    if "replaced_by" in said:
        await cast.controls.no_fault()
        story.did("you changed it; a call of yours runs in its place, and the story goes on without it")
        return ""
    if said["status"] in {"denied", "cancelled"}:
        # Or the next purchase, perhaps of the visitor's own agent, would be the one whose answer is lost.
        await cast.controls.no_fault()
        story.held("you said no, and nothing ran", await cast.controls.count(_CARDS) == 0, said)
        return ""
    story.did("you approved it, for exactly that")
    return call_id


def _says_it_all(page: str) -> bool:
    return all(words in page for words in ("11.06 USD", VENDOR, "SIMULATED", "claimed"))


async def lose_the_answer(story: Story, cast: Cast, call_id: str) -> None:
    """Let the provider do it and its answer be lost: unknown, never failed, never bought twice."""
    story.beat("lose the answer", "the card is made, and the provider's answer never arrives")
    seen: list[str] = []

    async def look() -> str:
        status = str((await cast.scout.call("call_status", call_id=call_id))["status"])
        seen.append(status)
        return status

    await story.until("the agent is told outcome_unknown", look, lambda status: status == "outcome_unknown")
    again = await cast.scout.call("request_card_purchase", idempotency_key="ask-1", **SOFTWARE)
    story.held("its retry with the same key buys nothing", again["call_id"] == call_id, again)

    async def settled() -> dict[str, Any]:
        return await cast.scout.status(call_id)

    done = await story.until(
        "reconciliation found the one card that was made",
        settled,
        lambda found: found["status"] == "succeeded",
    )
    made = await cast.controls.count(_CARDS)
    story.held("the provider made exactly one card", made == 1, made)
    story.held("it says ready, and nothing bought yet", "nothing bought yet" in str(done), done)
    await _complete(story, cast, call_id)


async def _complete(story: Story, cast: Cast, call_id: str) -> None:
    page = await cast.operator.open(f"/calls/{call_id}")
    found = re.search(r'href="(http://127\.0\.0\.1:\d+/cards/[A-Za-z0-9_]+)"', page.text)
    story.held("the operator's page leads to the card", found is not None, page.text)
    url = found.group(1) if found else ""
    status = await complete_with_card(url, merchant="Fonts", amount="11.06")
    story.held("the operator completes the merchant's checkout with it", status == 200, status)  # noqa: PLR2004 -- HTTP's own

    async def captured() -> str:
        return (await cast.operator.open(f"/calls/{call_id}")).text

    await story.until("the capture is booked on the purchase", captured, lambda text: "captured" in text)
    seen = await cast.scout.call("call_status", call_id=call_id)
    state = seen["data"]["purchase"]["state"]
    story.held("the agent is told that it is bought, for 11.06 USD", state == "captured", seen)
    second = await complete_with_card(url, merchant="Fonts", amount="11.06")
    story.held("a second payment with the same card is declined", second == 402, second)  # noqa: PLR2004 -- HTTP's own


async def stop(story: Story, cast: Cast) -> None:
    """Press the button: the next call is denied; an owner loosens it again, with a reason."""
    story.beat("stop", "one button, and nothing more is spent")

    async def stopped() -> bool:
        return bool((await cast.scout.call("my_status"))["data"]["posture"] != "normal")

    if not await cast.turn("Press Stop spending yourself", cast.place.console_url, stopped):
        await cast.operator.open("/")
        await cast.operator.send("/posture", posture="no_spend")
        story.did("the operator presses Stop spending")
    wanted = {**SOFTWARE, "amount": "3.00 USD", "purpose": "one more font"}
    denied = await cast.scout.call("request_card_purchase", idempotency_key="stop-1", **wanted)
    story.held("the next purchase is denied", denied["status"] == "denied", denied)
    said = denied["problem"]["code"]
    story.held("the agent is told why", said == "posture_closed", denied)
    await cast.operator.press("/posture", posture="normal", because="the demo goes on")
    page = await cast.operator.open("/posture")
    story.held("the owner loosens it, with a reason that is kept", "the demo goes on" in page.text, page.text)


async def prove(story: Story, cast: Cast) -> None:
    """Change one byte in a copy of the ledger: verify names the row."""
    story.beat("prove", "one byte is changed in a copy of the ledger")
    copy = cast.place.folder / "copy.export"
    copy.unlink(missing_ok=True)
    code, said = await bursar(cast.place, "ledger", "export", str(copy))
    story.held("the ledger is copied beside the running server", code == 0, said)
    code, said = await bursar(cast.place, "ledger", "verify", str(copy))
    story.held("the copy verifies, entry by entry and table by table", code == 0, said)
    row = _change_one_byte(copy)
    story.did(f"one byte of it is changed: the amount of {row}")
    code, said = await bursar(cast.place, "ledger", "verify", str(copy))
    story.held("verify says no", code == EXIT_NO, said)
    story.held("and names the row", f"tool_calls {row}" in said or row in said, said)


def _change_one_byte(copy: Path) -> str:
    """Make 11.06 into 91.06 in the row of the call that asked for it; return the call's id."""
    lines = copy.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith(b'{"row":') and b'"table":"tool_calls"' in line and b'"amount_minor":1106' in line:
            lines[number] = line.replace(b'"amount_minor":1106', b'"amount_minor":9106', 1)
            copy.write_bytes(b"".join(lines))
            return str(msgspec.json.decode(line)["row"]["call_id"])
    raise AssertionError("the copy has no row of the call")


async def bursar(place: Place, *words: str) -> tuple[int, str]:
    """Run a command of our own, as a visitor would; return its exit code and what it said."""
    environ = {
        "BURSAR_DB": place.db,
        "BURSAR_KEYS": str(place.keys),
        "BURSAR_POLICIES": str(place.policies),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tool_server.cli", *words),
        env={**_plain_environment(), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), _PATIENT_S)
    return process.returncode or 0, said.decode("utf-8", "replace")


def _plain_environment() -> dict[str, str]:
    import os

    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "LANG") if name in os.environ}
