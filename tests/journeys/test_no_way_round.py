"""No tool wins a deal, releases a lead, approves a review or closes a run, whatever it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ledger.records import ReviewState
from tests.journeys.conftest import KITS, Front
from tool_server.cli.demo_place import PROJECT

WORDS = ("won", "approved", "released", "closed", "payment_pending", "succeeded", "paid", "waiting")
EXTRA: dict[str, Any] = {
    "approved": True,
    "released": True,
    "review": "approved",
    "state": "won",
    "stage": "won",
    "agent": "rogue",
    "assigned_to": "rogue",
    "run_state": "closed",
    "verdict": "approve",
    "operator": "demo-operator",
    "_meta": {"approved": True},
}


REALLY_DONE = (
    *("crm_create_lead", "crm_update_lead", "crm_move_deal", "crm_draft_outreach", "stripe_create_checkout"),
    *("run_submit_plan", "run_submit_draft", "run_submit_delivery", "run_record_model_decision"),
)


class World:
    """What must not move: a lead and a review that wait, a deal that is open, a run with work in it."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.ids: dict[str, str] = {}

    async def make(self) -> None:
        """Bring a stranger's lead, open a run, and let the rogue agent be assigned a released lead."""
        ledger, now = self.front.ledger, self.front.house.now()
        await ledger.add_agent(
            name="rogue", project=PROJECT, kits=KITS, token_sha256="0" * 64, by="system:test", at=now
        )
        hidden_lead, review_id = await self.front.stranger()
        released = next(each for each in (await ledger.leads()).items if each.released)
        await ledger.assign_lead(released.lead_id, "rogue", by="demo-operator", at=now)
        (deal,) = (await ledger.deals()).items
        run = await ledger.open_run(PROJECT, "work", by="demo-operator", at=now)
        self.ids = {
            "lead_id": released.lead_id,
            "hidden_lead": hidden_lead,
            "hidden_review": review_id,
            "deal_id": deal.deal_id,
            "run_id": run.run_id,
        }
        for tool in ("run_submit_plan", "run_submit_draft", "run_submit_delivery"):
            given = {"run_id": run.run_id, "title": "t", "text": "x"}
            made = await self.front.call("rogue", tool, given)
            assert made.envelope.status == "succeeded", made.text

    async def unmoved(self) -> None:
        """Check that nothing an owner or a payment decides was decided."""
        ledger, ids = self.front.ledger, self.ids
        hidden = await ledger.lead(ids["hidden_lead"])
        assert (hidden.released, hidden.agent, hidden.review) == (False, None, ReviewState.WAITING)
        assert (await ledger.deal(ids["deal_id"])).stage.value not in {"won", "payment_pending"}
        assert (await ledger.run(ids["run_id"])).state == "open"
        answered = {state for state in ReviewState if state is not ReviewState.WAITING}
        for review in (await ledger.reviews(limit=200)).items:
            if review.agent == "rogue" or review.review_id == ids["hidden_review"]:
                assert review.state not in answered, review
        assert (await ledger.orders()).items == ()

    def attempts(self, schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield arguments for a tool: plausible ones, then each field in turn with what looks like power."""
        names = dict(schema.get("properties", {}))
        base = {name: self._plausible(name, about) for name, about in names.items()}
        yield base
        for name, value in EXTRA.items():
            yield {**base, name: value}
        for name in names:
            for word in (*WORDS, *self.ids.values(), True):
                yield {**base, name: word}

    def _plausible(self, name: str, about: dict[str, Any]) -> Any:  # noqa: ANN401 -- any JSON value
        if name in self.ids:
            return self.ids[name]
        if "enum" in about:
            return about["enum"][0]
        kinds = {"integer": about.get("minimum", 1), "boolean": True, "array": [], "number": 1}
        known = {"amount": "1.00 USD", "offer": "snapshot", "email": "a@b.example", "text": "text"}
        return kinds.get(str(about.get("type")), known.get(name, "text"))


async def test_nothing_an_agent_can_call_decides_what_people_and_payments_decide(front: Front) -> None:
    """Every tool, every argument that looks like power: what people and payments decide stays theirs."""
    world = World(front)
    await world.make()
    tools = {each.name: each for each in front.house.gate.listing(front.who("rogue"))}
    assert tools.keys() > {*front.house.registry.tools, "call_preview", "call_cancel"}
    said: dict[str, Counter[str]] = {}
    first: dict[str, str] = {}
    # Selling first: a deal that another tool has lost sells nothing any more.
    for name in sorted(tools, key=lambda name: (not name.startswith("stripe_"), name)):
        loaded = front.house.registry.tools.get(name)  # None for the core's own.
        said[name] = Counter()
        for arguments in world.attempts(dict(tools[name].input_schema)):
            if loaded is not None and loaded.key_required:
                arguments.setdefault("idempotency_key", f"key-{said[name].total()}")
            answer = await front.call("rogue", name, arguments)
            said[name][answer.envelope.status] += 1
            first.setdefault(name, answer.text)
        await world.unmoved()
    assert sum(each.total() for each in said.values()) > 1_000
    # Had the tools refused everything, nothing would have been tried.
    for name in REALLY_DONE:
        assert said[name]["succeeded"] >= 1, (name, said[name], first[name])
