"""The worker: what it believes, what it waits for, what it refuses, and what it finds without being told."""

import copy
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import Table, update

from ledger.engines.tx import Tx
from ledger.records_revenue import Shown
from ledger.schema_revenue import checkouts, payment_links
from plugins.payments.simulator.faults import Fault
from tests.webhooks.rig import Rig, mirrored, rig_on
from tests.webhooks.test_stripe_histories import deliver
from webhooks.worker import WebhookWorker

# What an event's snapshot must say of its object as it is: the rest names nothing that is booked.
BINDING = {"amount_total", "currency", "livemode", "mode", "payment_link", "created"}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Give a shop to which nothing is delivered but by hand."""
    async with rig_on(f"sqlite:///{tmp_path}/ledger.db") as made:
        made.sim.hooks.targets.clear()
        yield made


def events(rig: Rig, type_: str) -> list[Any]:
    """Give the simulator's events of a type."""
    return [row for row in rig.sim.world.all("event") if row["type"] == type_]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:  # noqa: ANN401  any JSON
    """Yield the path of every field that is no object."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    else:
        yield path


def changed(value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401  any JSON
    """Return a copy with one field changed to something else of its kind."""
    made = copy.deepcopy(value)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    old = inner[path[-1]]
    new: Any = "other"
    if isinstance(old, bool):
        new = not old
    elif isinstance(old, int):
        new = old + 1
    elif isinstance(old, str):
        new = old + "x"
    elif isinstance(old, list):
        new = [*old, "x"]
    inner[path[-1]] = new
    return made


def binds(path: tuple[str, ...]) -> bool:
    """Say whether revenue must not be booked once this field is another."""
    if path in {("object",), ("type",), ("livemode",), ("data", "object", "id")}:
        return True
    if path[:2] == ("data", "object"):
        inner = path[2:]
        return inner[0] in BINDING or (inner[0] == "metadata" and inner[-1].startswith("bursar_"))
    return False


async def test_of_every_field_changed_only_those_that_bind_nothing_book_revenue(
    rig: Rig, tmp_path: Path
) -> None:
    """A valid signature over other facts is no payment.

    A field that names nothing changes nothing.
    """
    _, session = await rig.checkout()
    await rig.pay(session)
    event = events(rig, "checkout.session.completed")[0]
    wrong = []
    async with mirrored(rig, f"sqlite:///{tmp_path}/other.db") as other:
        for path in sorted(set(leaves(event))):
            await _undo(rig)
            spoiled = changed(event, path)
            if path != ("id",):
                spoiled["id"] = f"evt_{'_'.join(path)}"[:200]
            await deliver(rig, spoiled)
            await rig.worker.work_due()
            booked = bool((await rig.ledger.orders()).items)
            if booked is binds(path):
                wrong.append(path)
        assert wrong == []
        del other


async def _undo(rig: Rig) -> None:
    """Take the one sale back to before its payment, as only a test may."""
    tables = ("revenue_events", "orders", "order_intakes", "earnings")

    def work(tx: Tx) -> None:
        connection = tx.connection
        triggers = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).all()
        for name, _ in triggers:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        for table in tables:
            connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  names of our own
        connection.exec_driver_sql("DELETE FROM runs WHERE order_id IS NOT NULL")
        connection.exec_driver_sql("UPDATE checkouts SET state = 'open'")
        connection.exec_driver_sql("UPDATE deals SET stage = 'offered'")
        connection.exec_driver_sql("UPDATE inbox SET next_at_us = NULL")
        for _, text in triggers:
            connection.exec_driver_sql(text)

    await rig.ledger._core.plain("undo", work)  # noqa: SLF001  see above


async def test_a_refund_that_comes_first_books_its_payment_and_then_itself(rig: Rig) -> None:
    """Whatever arrives, in whatever order: the refund's charge leads to the session that nobody told of."""
    charge_id = await _sold(rig)
    session = rig.sim.world.all("checkout.session")[-1]["id"]
    await _set(rig, checkouts, session_ref=session, state="open")  # As its call's answer does.
    refund: Any = {"charge": charge_id, "amount": 40}
    await rig.api.client("earn").v1.refunds.create_async(refund)
    await deliver(rig, events(rig, "refund.created")[0])
    await rig.work()
    assert (await rig.ledger.orders()).items[0].state == "partially_refunded"


async def test_other_peoples_business_on_the_same_account_is_ignored(rig: Rig) -> None:
    """A shared Stripe account must not fill the inbox with what can never match."""
    body: Any = {
        "mode": "payment",
        "line_items": [{"price": await rig.price(), "quantity": 1}],
        "success_url": "https://other.example/",
    }
    session = await rig.api.client("earn").v1.checkout.sessions.create_async(body)
    await rig.pay(str(session.id))
    refund: Any = {"charge": rig.sim.world.all("charge")[-1]["id"]}
    await rig.api.client("earn").v1.refunds.create_async(refund)
    for event in rig.sim.world.all("event"):
        await deliver(rig, event)
    await rig.work()
    assert await rig.ledger.webhook_counts() == {}
    assert (await rig.ledger.orders()).items == ()


async def test_a_link_that_nobody_has_recorded_yet_keeps_its_payment_waiting(rig: Rig) -> None:
    """Never dropped: our own mark on an unknown link is tried again, ever more rarely, until it matches."""
    _, link = await rig.link()
    visit = await rig.web.get(f"/link/{link}")
    session = visit.headers["location"].rsplit("/", 1)[-1]
    await rig.pay(session)
    await _set(rig, payment_links, link_ref=None)
    await deliver(rig, events(rig, "checkout.session.completed")[0])
    await rig.work()
    assert [event.attempts for event in (await rig.ledger.webhook_events("unmatched")).items] == [1]
    await _set(rig, payment_links, link_ref=link)
    rig.clock.move(2)
    await rig.work()
    assert [order.session_ref for order in (await rig.ledger.orders()).items] == [session]


async def _set(rig: Rig, table: Table, **values: str | None) -> None:
    def work(tx: Tx) -> None:
        tx.connection.execute(update(table).values(values))

    await rig.ledger._core.plain("set", work)  # noqa: SLF001  as the settlement of its call does


async def test_a_provider_that_gives_no_answer_costs_only_time(rig: Rig) -> None:
    """An event whose object cannot be fetched is tried again, and nothing is guessed meanwhile."""
    await _sold(rig)
    rig.sim.faults.add(Fault("html_502", match="GET /v1/checkout/sessions/*"))
    await deliver(rig, events(rig, "checkout.session.completed")[0])
    await rig.worker.work_due()
    event = (await rig.ledger.webhook_events("received")).items[0]
    assert event.attempts == 1
    assert event.next_at is not None
    assert (await rig.ledger.orders()).items == ()
    rig.clock.move(5)
    await rig.work()
    assert len((await rig.ledger.orders()).items) == 1


async def test_what_was_never_delivered_is_found_by_listing_events(rig: Rig) -> None:
    """The reconciler finds what a webhook lost, and feeds it through the same door."""
    await _sold(rig)
    found = await rig.worker.reconcile()
    await rig.work()
    assert found.new > 0
    order = (await rig.ledger.orders()).items[0]
    assert order.state == "paid"
    again = await rig.worker.reconcile()
    assert again.new == 0
    sources = {event.source for event in (await rig.ledger.webhook_events()).items}
    assert sources == {"reconciler"}


async def test_what_no_event_tells_is_found_by_looking_at_open_sessions(rig: Rig) -> None:
    """The backstop behind the backstop: even an empty event list hides no payment."""
    await _sold(rig)
    rig.sim.world.kinds["event"].clear()
    await rig.ledger.apply_seen(await _shown(rig, "open"), rig.clock())
    rig.clock.move(600)
    await rig.worker.reconcile()
    assert len((await rig.ledger.orders()).items) == 1


async def test_an_account_that_was_swapped_books_nothing(rig: Rig) -> None:
    """M4, M31: another account's session of the same id would be another account's money."""
    await _sold(rig)
    seen = await _shown(rig, "paid")
    assert seen.identity is not None
    other = structs.replace(seen, identity=structs.replace(seen.identity, account="acct_other"))
    verdict = await rig.ledger.apply_seen(other, rig.clock())
    assert (verdict.state, verdict.code) == ("quarantined", "wrong_account")
    assert (await rig.ledger.orders()).items == ()


async def test_a_worker_that_believes_its_events_would_be_caught(rig: Rig, tmp_path: Path) -> None:
    """A broken twin: it takes the event's snapshot for the object, and an old event undoes what is known."""

    class Believing(WebhookWorker):
        """Books what events say."""

        async def _fetch(self, ref: str) -> Shown:
            carried = [
                row["data"]["object"]
                for row in rig.sim.world.all("event")
                if row["data"]["object"]["id"] == ref
            ]
            honest = await super()._fetch(ref)
            return structs.replace(honest, data=random.Random(1).choice(carried))

    async with mirrored(rig, f"sqlite:///{tmp_path}/twin.db") as twin:
        twin.worker = Believing(twin.deps, twin.provider)
        charge_id = await _sold(rig)
        body: Any = {"charge": charge_id, "amount": 100}
        refund = await rig.api.client("earn").v1.refunds.create_async(body)
        await rig.web.post(f"/_sim/refunds/{refund.id}/fail")
        for each in (rig, twin):
            for event in rig.sim.world.all("event"):
                await deliver(each, event)
            await each.work()
        assert (await rig.ledger.orders()).items[0].state == "paid"
        assert await rig.ledger.revenue_sums() != await twin.ledger.revenue_sums()


async def _sold(rig: Rig) -> str:
    """Sell and pay one snapshot; give the charge."""
    _, session = await rig.checkout()
    await rig.pay(session)
    return str(rig.sim.world.all("charge")[-1]["id"])


async def _shown(rig: Rig, what: str) -> Shown:
    """Give the session as it is, or as it was while it was open."""
    session = rig.sim.world.all("checkout.session")[-1]
    seen = await rig.provider.fetch(session["id"])
    data = dict(seen.data)
    if what == "open":
        data |= {"status": "open", "payment_status": "unpaid", "payment_intent": None}
    return Shown(
        ref=seen.ref, found=True, asked_at=rig.clock(), identity=seen.identity, proof=seen.proof, data=data
    )
