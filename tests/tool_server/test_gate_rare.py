"""What the gate meets once in a thousand days: each branch by a ledger that answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import structs

from ledger.commands import Admission, Admitted
from ledger.records import CallRecord, CallState, Change
from plugins.tool import Applied
from policy.errors import Busy, CallRefused, QuoteExpired, RecordChanged, RunClosed
from tests.provider.house import Desk, Shop
from tool_server.envelope import CallResult
from tool_server.gate import Gate
from tool_server.normalize import Intent, Normal

BUY: dict[str, Any] = {"item": "a", "vendor": "b.example", "amount": "5.00 USD"}


class Bent:
    """Something real, but for what a test replaces."""

    def __init__(self, real: object, **instead: object) -> None:
        self._real = real
        self._instead = instead

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the real thing has
        return self._instead.get(name) or getattr(self._real, name)


def bent(desk: Desk, **instead: object) -> Gate:
    """Return the house's gate over books that answer as told."""
    gate = desk.house.gate
    books: Any = Bent(gate.books, **instead)
    return Gate(structs.replace(gate.parts, books=books))


def unwilling(desk: Desk, refusal: CallRefused) -> Gate:
    """Return the house's gate with a tool that no longer describes its effect."""

    async def normal(_intent: Intent) -> Normal:
        raise refusal

    normalizer: Any = Bent(desk.house.gate.parts.normalizer, normal=normal)
    return Gate(structs.replace(desk.house.gate.parts, normalizer=normalizer))


async def put(gate: Gate, desk: Desk, tool: str, meta: Any = None, **arguments: object) -> CallResult:  # noqa: ANN401 -- a CallMeta
    """Call a tool through this gate."""
    from tool_server.envelope import CallMeta

    return await gate.call(desk.agent, tool, json.dumps(arguments).encode(), meta or CallMeta())


async def test_m24_a_used_up_quote_does_not_hide_the_stored_answer(small: Desk, shop: Shop) -> None:
    """M24: what a purchase consumed cannot be described again; its key still gives the answer."""
    first = await small.call("shop_buy", key="k", **BUY)
    expired = QuoteExpired("the quote is over")
    again = await put(unwilling(small, expired), small, "shop_buy", idempotency_key="k", **BUY)
    assert again.envelope.replayed
    assert again.envelope.call_id == first.envelope.call_id
    new = await put(unwilling(small, expired), small, "shop_buy", idempotency_key="new", **BUY)
    assert (new.envelope.status, new.envelope.call_id) == ("cancelled", None)
    keyless = await put(unwilling(small, expired), small, "shop_note", text="x")
    assert keyless.envelope.status == "cancelled"
    assert len(shop.orders()) == 1


def refusing(times: int, refusal: CallRefused, real: Callable[[Admission], Awaitable[Admitted]]) -> Any:  # noqa: ANN401 -- an admit
    """Return an admit that refuses so many times first."""
    left = [refusal] * times

    async def admit(command: Admission) -> Admitted:
        if left:
            raise left.pop()
        return await real(command)

    return admit


async def test_a_record_that_changed_meanwhile_is_read_again(small: Desk) -> None:
    """Between reading a record and admitting the call somebody may write; thrice in a row is a no."""
    changed = RecordChanged("somebody wrote")
    for times, status in ((2, "succeeded"), (3, "cancelled")):
        gate = bent(small, admit=refusing(times, changed, small.house.books.admit))
        assert (await put(gate, small, "shop_note", text=f"{times}")).envelope.status == status


async def test_a_run_that_closed_is_followed_only_where_none_was_named(small: Desk) -> None:
    """A named run is the caller's own choice; only the standing one turns at midnight."""
    closed = RunClosed("it is closed")
    run = await small.house.ledger.open_run("shop", "Work", by="system:test", at=small.house.now())
    gate = bent(small, admit=refusing(1, closed, small.house.books.admit))
    assert (await put(gate, small, "shop_note", text="x", run_id=run.run_id)).envelope.status == "cancelled"
    for times, status in ((1, "succeeded"), (3, "cancelled")):
        gate = bent(small, admit=refusing(times, closed, small.house.books.admit))
        assert (await put(gate, small, "shop_note", text=f"{times}")).envelope.status == status


async def test_an_admitted_call_that_cannot_be_shown_still_gives_its_id(small: Desk) -> None:
    """Without the id the agent would believe that nothing was admitted, and call again."""

    async def waits(*_anything: object, **_more: object) -> CallRecord:
        raise OSError("the ledger is gone")

    gate = Gate(structs.replace(small.house.gate.parts, waiting=Bent(None, moved=waits)))
    result = await put(gate, small, "shop_buy", idempotency_key="k", **BUY)
    assert result.envelope.status == "in_progress"
    assert result.envelope.call_id
    assert not result.broken


async def test_a_refused_attempt_that_cannot_be_recorded_is_still_refused(small: Desk) -> None:
    """A full queue must not turn a plain answer into a breakdown."""

    async def full(*_anything: object) -> None:
        raise Busy("full")

    result = await put(bent(small, note_invalid=full), small, "shop_note", text=5)
    assert (result.envelope.status, result.broken) == ("invalid", False)


async def test_a_read_that_takes_too_long_is_not_waited_for(small: Desk) -> None:
    """The tool's own limit ends it, and nothing was done."""
    result = await small.call("shop_orders", text="wait")
    assert result.envelope.status == "not_executed"
    assert result.envelope.problem is not None
    assert (result.envelope.problem.code, result.envelope.problem.ran) == ("not_ready", False)


class Kept(Change, frozen=True):
    """Something that a read keeps, like a quote."""


async def test_a_read_that_keeps_something_answers_after_its_commit(small: Desk) -> None:
    """A price that is quoted and not kept could not be bought at; the answer waits for the ledger."""
    taken: list[Admission] = []

    async def admit(command: Admission) -> Admitted:
        taken.append(command)
        return await small.house.books.admit(structs.replace(command, local=None, call_id=command.call_id))

    async def read(*_anything: object) -> Applied:
        return Applied({"price": "1.00 USD"}, (Kept(),))

    gate = bent(small, admit=admit)
    loaded = small.house.registry.tools["shop_orders"]
    quoting = structs.replace(loaded, tool=structs.replace(loaded.tool, read=read))
    gate.parts.catalogue.registry.tools["shop_orders"] = quoting  # type: ignore[index]  # a dict, read-only by its type
    await put(gate, small, "shop_orders", text="x")
    local = taken[0].local
    assert local is not None
    changed = local.apply((), small.house.now())
    assert (changed.data, changed.changes) == ({"price": "1.00 USD"}, (Kept(),))


async def test_call_status_hears_of_a_verdict_while_it_waits(small: Desk, shop: Shop) -> None:
    """A long poll ends with the call's end, not with its own patience."""
    pending = await small.buy("50.00 USD")
    waiting = asyncio.create_task(
        small.call("call_status", call_id=pending.envelope.call_id, wait_seconds=20)
    )
    await asyncio.sleep(0.05)  # The poll has to be waiting before the verdict comes.
    await small.approve(pending)
    result = await asyncio.wait_for(waiting, 10)
    assert result.envelope.status == "succeeded"
    assert len(shop.orders()) == 1


async def test_call_status_shows_the_open_question_again(small: Desk) -> None:
    """An agent that lost its answer finds the same request, never a second one."""
    pending = await small.buy("50.00 USD")
    shown = await small.call("call_status", call_id=pending.envelope.call_id)
    assert shown.envelope.approval is not None
    assert pending.envelope.approval is not None
    assert shown.envelope.approval.approval_id == pending.envelope.approval.approval_id
    assert (await small.stored(pending)).state is CallState.AWAITING_APPROVAL
