"""The mission's loop: from a stranger's request to a delivery under review, and the proof of all of it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any, Final

from tool_server.cli.demo_beats import Cast, bursar, sell
from tool_server.cli.demo_cast import Person
from tool_server.cli.demo_story import Story

REQUEST: Final = {
    "name": "Bea Buyer",
    "email": "bea@buyer.example",
    "company": "Buyer Ltd",
    "website": "https://buyer.example",
    "wish": "Please look at our shop as a stranger would.\nWe need it this week.",
}
_REPORT: Final = b"1. The price is below the fold.\n2. The basket forgets its content.\n"
_SEE_OTHER: Final = 303
_FORBIDDEN: Final = 403


async def loop(story: Story, cast: Cast) -> None:
    """Play the loop from the public form to the buyer's delivery."""
    lead_id = await _ask_as_a_stranger(story, cast)
    deal_id = await _release(story, cast, lead_id)
    await _write_to_them(story, cast, lead_id)
    story.beat("sell", "the buyer pays, and the payment opens a run")
    order_id = await sell(story, cast, deal_id, REQUEST["email"], key="loop-1")
    run_id = await _find_run(story, cast, deal_id)
    await _work(story, cast, run_id)
    await _deliver(story, cast, run_id, deal_id)
    await _prove(story, cast, run_id)
    await _give_back(story, cast, order_id, deal_id)


async def _ask_as_a_stranger(story: Story, cast: Cast) -> str:
    story.beat("request", "a stranger asks for a snapshot on the public form")
    page = await cast.stranger.open("/request")
    story.held("the form needs no account and no script", "<script" not in page.text, page.text)
    sent = await cast.stranger.send("/request", **REQUEST)
    story.held("the request is taken", sent.headers.get("location") == "/request/received", sent.text)
    leads = (await cast.operator.open("/leads")).text
    lead_id = _first(r'href="/leads/(lead_[^"]+)"><bdi>Buyer Ltd', leads)
    story.held("the operator sees it as a lead that waits", bool(lead_id), leads)
    seen = await cast.scout.call("crm_find_leads", text="Buyer")
    story.held("no agent sees a word of it yet", seen["data"]["leads"] == [], seen)
    return lead_id


async def _release(story: Story, cast: Cast, lead_id: str) -> str:
    story.beat("lead", "the owner reads it, releases it, and gives it to one agent")
    lead = (await cast.operator.open(f"/leads/{lead_id}")).text
    await approve(cast.operator, _first(r'href="/reviews/(rev_[^"]+)"', lead))
    story.did("the owner approves its review, which releases it and opens its deal")
    await cast.operator.open(f"/leads/{lead_id}")
    answer = await cast.operator.send(f"/leads/{lead_id}/agent", agent="scout")
    story.held("the owner gives it to scout", answer.status_code == _SEE_OTHER, answer.text)
    seen = (await cast.scout.call("crm_find_leads", text="Buyer"))["data"]["leads"]
    story.held("scout finds it now, with its deal", [each["agent"] for each in seen] == ["scout"], seen)
    return str(seen[0]["deal_id"])


async def _write_to_them(story: Story, cast: Cast, lead_id: str) -> None:
    drafted = await cast.scout.call(
        "crm_draft_outreach",
        lead_id=lead_id,
        subject="Your snapshot",
        body="Dear Bea,\n\nwe can do that this week, for 1.00 USD.\n\nBursar's scout",
    )
    story.held(
        "scout drafts an answer, which waits for review", drafted["data"]["review"] == "waiting", drafted
    )
    await approve_waiting(cast.operator)
    page = (await cast.operator.open(f"/leads/{lead_id}")).text
    story.held(
        "approved, it can be opened in the owner's own mail program",
        "mailto:bea%40buyer.example" in page,
        page,
    )
    draft_id = _first(rf'action="/leads/{lead_id}/drafts/([^"]+)"', page)
    sent = await cast.operator.send(f"/leads/{lead_id}/drafts/{draft_id}")
    story.held(
        "the owner marks it as sent; Bursar itself sends nothing", sent.status_code == _SEE_OTHER, sent.text
    )


async def _find_run(story: Story, cast: Cast, deal_id: str) -> str:
    async def runs() -> list[dict[str, Any]]:
        listed = (await cast.maker.call("run_get"))["data"]["runs"]
        shown = [
            await cast.maker.call("run_get", run_id=each["run_id"]) for each in listed if not each["standing"]
        ]
        found = [each["data"]["run"] for each in shown]
        return [each for each in found if each.get("order", {}).get("deal_id") == deal_id]

    found = await story.until(
        "the paid order opened a run that maker sees", runs, lambda rows: len(rows) == 1
    )
    story.held("the buyer's wish is its brief", "as a stranger would" in found[0]["brief"], found)
    return str(found[0]["run_id"])


async def _work(story: Story, cast: Cast, run_id: str) -> None:
    story.beat("fulfil", "maker works under review: plan, draft, delivery")
    plan = {
        "run_id": run_id,
        "title": "Ten findings",
        "text": "Look, note, write ten findings in plain words.",
    }
    await cast.maker.call("run_submit_plan", **plan)
    await approve_waiting(cast.operator, ask="Say how long it takes.")
    run = (await cast.maker.call("run_get", run_id=run_id))["data"]["run"]
    said = run["submissions"][-1]
    story.held(
        "the owner asks for a change and maker reads the words",
        said["words"] == "Say how long it takes.",
        said,
    )
    await cast.maker.call("run_submit_plan", **{**plan, "text": plan["text"] + " It takes a day."})
    await approve_waiting(cast.operator)
    await cast.maker.call(
        "run_record_model_decision",
        run_id=run_id,
        model="example-model-1",
        purpose="choose which findings matter",
        summary="two of ten findings stop buyers; they come first",
    )
    draft = {"run_id": run_id, "title": "Draft", "text": "1. The price is below the fold."}
    await cast.maker.call("run_submit_draft", **draft)
    await approve_waiting(cast.operator)
    story.did("plan, model decision and draft are recorded; the owner approves")


async def _deliver(story: Story, cast: Cast, run_id: str, deal_id: str) -> None:
    file = f"findings.txt|text/plain|{base64.b64encode(_REPORT).decode()}"
    made = await cast.maker.call(
        "run_submit_delivery", run_id=run_id, title="Your snapshot", text="Two findings.", artifacts=[file]
    )
    digest = hashlib.sha256(_REPORT).hexdigest()
    story.held("the delivery's file is kept by its hash", made["data"]["artifacts"] == [digest], made)
    await approve_waiting(cast.operator)
    run = (await cast.maker.call("run_get", run_id=run_id))["data"]["run"]
    story.held("the approved delivery closes the run", run["state"] == "closed", run)
    page = (await cast.operator.open(f"/runs/{run_id}")).text
    link = _first(r'href="(/delivery/[^"]+)"', page)
    story.held(
        "the buyer's page opens by a signed link, without an account",
        "Two findings" in (await cast.stranger.open(link)).text,
    )
    saved = await cast.stranger.open(f"{link}/{digest}")
    story.held("and gives the file, byte for byte", saved.content == _REPORT, saved.headers)
    shown = await cast.stranger.open(f"/paid/{deal_id}?session={_first(r'(cs_[A-Za-z0-9_]+)', page)}")
    story.held("the page the buyer returned to leads there too", link in shown.text, shown.text)


async def _prove(story: Story, cast: Cast, run_id: str) -> None:
    story.beat("proof", "everything behind the run, as a page and as one file")
    page = (await cast.operator.open(f"/runs/{run_id}")).text
    kinds = (
        "event",
        "order",
        "revenue",
        "deal",
        "lead",
        "checkout",
        "call",
        "intake",
        "review",
        "artifact",
        "model decision",
    )
    missing = [kind for kind in kinds if f"<td>{kind}<br>" not in page]
    story.held(
        "the page links payment, order, revenue, deal, lead, calls, reviews and files", missing == [], missing
    )
    file = cast.place.folder / "run.proof.json"
    file.unlink(missing_ok=True)
    code, said = await bursar(cast.place, "runs", "show", run_id, "--proof", str(file))
    story.held("the same is exported beside the running server", code == 0, said)
    code, said = await bursar(cast.place, "ledger", "verify", str(file))
    story.held("and checks offline, with nothing but the log's public key", code == 0, said)
    file.write_bytes(file.read_bytes().replace(b'"amount_minor":100,', b'"amount_minor":900,', 1))
    code, said = await bursar(cast.place, "ledger", "verify", str(file))
    story.held("with one digit changed it does not", code == 1 and "the log says" in said, said)


async def _give_back(story: Story, cast: Cast, order_id: str, deal_id: str) -> None:
    story.beat("refund", "maker proposes to give the money back; only a person can")
    why = "the buyer found two findings too few"
    asked = await cast.maker.call(
        "refund_payment", order_id=order_id, amount="1.00 USD", why=why, idempotency_key="refund-1"
    )
    story.held(
        "no rule allows it by itself: it waits for a person", asked["status"] == "pending_approval", asked
    )
    url, call_id = asked["approval"]["url"], str(asked["call_id"])
    await cast.operator.open(url)
    bare = await cast.operator.send(url, verdict="approve", password=cast.password[1:])
    story.held(
        "a signed-in browser is not enough: the password is asked", bare.status_code == _FORBIDDEN, bare.text
    )
    await cast.operator.open(url)
    answer = await cast.operator.send(url, verdict="approve", password=cast.password)
    story.held("the owner approves it with the password", answer.status_code == _SEE_OTHER, answer.text)

    async def settled() -> str:
        return str((await cast.maker.status(call_id))["status"])

    await story.until("the money went back", settled, lambda status: status == "succeeded")

    async def shown() -> str:
        return (await cast.operator.open(f"/orders/{order_id}")).text

    await story.until("the signed event made the order a refunded one", shown, lambda text: "on hold" in text)
    again = await cast.maker.call(
        "refund_payment", order_id=order_id, amount="1.00 USD", why=why, idempotency_key="refund-2"
    )
    story.held("nothing is left to give back", again["status"] == "invalid", again)
    page = await cast.stranger.open(f"/paid/{deal_id}")
    story.held("the buyer reads that it is refunded", "This order is refunded" in page.text, page.text)


async def approve(operator: Person, review_id: str) -> None:
    """Approve one review on its page."""
    await operator.press(f"/reviews/{review_id}", answer="approve", words="good")


async def approve_waiting(operator: Person, *, ask: str = "") -> None:
    """Answer the one review that waits: approve it, or ask for a change."""
    page = (await operator.open("/reviews")).text
    review_id = _first(r'href="/reviews/(rev_[^"]+)"', page)
    answer = {"answer": "ask", "words": ask} if ask else {"answer": "approve", "words": "good"}
    await operator.press(f"/reviews/{review_id}", **answer)


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""
