"""Many callers at once on one hot cap: no window above its limit, nothing leaked at rest.

A log that verifies.

A schedule is a burst of whole calls (admit, claim, settle) whose holds together are several times the cap.
On SQLite callers are threads with event loops of their own before the one writer; on PostgreSQL they are
several ledgers, each with its writer and connection, on one database. Default 200 and 50 schedules, with
`--deep` 2,000 and 500. The broken twin lets go of holds behind the ledger's back.
"""

import asyncio
import functools
import os
import random
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from ledger.audit.bad_row import BadRow
from ledger.audit.stored import StoredSource, read_ledger
from ledger.audit.verify import verify_account
from ledger.commands import Claimed
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import Outcome
from tests.ledger.instants import instants
from tests.ledger.till import ACCOUNT, ALLOW_ALL, JUDGE, NOON, Till, make, open_till, with_caps

CALLERS: Final = 6
LIMIT: Final = 300  # Minor units a payee may be paid: three calls of six.
POLICY: Final = with_caps(
    ALLOW_ALL,
    '{id: shop, per: payee, window: day, limit: "3.00 USD"}',
    '{id: all, per: account, window: day, limit: "90000.00 USD"}',
)
OUTCOMES: Final = (Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.FAILED, Outcome.UNKNOWN)


async def one(till: Till, schedule: int, caller: int, outcome: Outcome) -> str:
    """Run one whole call, under a key that two callers share."""
    admitted = await till.admit(
        "1.00 USD", payee=f"shop-{schedule}.example",
        key=f"key-{schedule}-{caller // 2}-{caller % 2 * (caller > 1)}",
        args={"n": caller if caller > 1 else 0, "of": schedule}, tool=f"buy{caller if caller > 1 else 0}",
    )  # fmt: skip
    claimed = await till.ledger.claim(till.claiming(admitted.call.call_id))
    if not isinstance(claimed, Claimed):
        return "no"
    if outcome is Outcome.UNKNOWN:
        await till.settle(claimed, outcome, identity=None)
    else:
        await till.settle(claimed, outcome)
    return outcome.value


def till_on(ledger: Ledger, run: str) -> Till:
    """Return a till of its own on a ledger."""
    till = Till(ledger, lambda prefix: f"{prefix}_{secrets.token_hex(8)}")
    till.run = run
    return till


async def at_rest(till: Till) -> None:
    """Compare usage with the calls, every payee with its cap, and the log with the tables."""
    spent: dict[str, int] = {}
    after = None
    while True:
        page = await till.ledger.calls(after=after, limit=200)
        for call in page.items:
            if call.state in {"succeeded", "unknown"}:
                spent[str(call.payee)] = spent.get(str(call.payee), 0) + 100
            assert call.state != "executing", call
        after = page.after
        if after is None:
            break
    assert max(spent.values()) <= LIMIT, "a cap was exceeded"
    posted, held = await till.used("all")
    waiting = sum(100 for _ in await till.ledger.runnable(10_000))
    assert posted + held == sum(spent.values()) + waiting, "usage leaked"
    verified = await till.ledger.checked()
    assert verified.bad is None, str(verified.bad)


def in_threads(works: Sequence[Callable[[], Any]]) -> list[BaseException]:
    """Run works in threads, each with an event loop of its own, and return what broke."""
    broken: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(work())
        except BaseException as error:  # noqa: BLE001 -- a thread's fault is the test's
            broken.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    return broken


async def bursts(till: Till, mine: list[tuple[int, int, Outcome]]) -> None:
    """Run this caller's part of every schedule."""
    for schedule, caller, outcome in mine:
        await one(till, schedule, caller, outcome)


def parts(schedules: int, seed: int) -> list[list[tuple[int, int, Outcome]]]:
    """Deal the calls of all schedules to the callers."""
    dice = random.Random(seed)
    return [[(s, caller, dice.choice(OUTCOMES)) for s in range(schedules)] for caller in range(CALLERS)]


async def test_threads_on_one_sqlite_ledger_never_exceed_a_cap(tmp_path: Path, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M10 to M12, M24: callers of many event loops before the one writer."""
    schedules, seed = (2_000 if deep else 200), int(os.environ.get("BURSAR_SEED", "0"))
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    await till.law(POLICY)
    tills = [till_on(till.ledger, till.run) for _ in range(CALLERS)]
    dealt = parts(schedules, seed)
    works = [lambda t=t, p=p: bursts(t, p) for t, p in zip(tills, dealt, strict=True)]
    broken = await asyncio.to_thread(in_threads, works)
    assert not broken, broken
    await at_rest(till)
    await till.ledger.close()
    assert (await asyncio.to_thread(instants, url, ACCOUNT)).exceeded == []


async def test_several_ledgers_on_one_postgres_never_exceed_a_cap(postgres_url: str, deep: bool) -> None:  # noqa: FBT001 -- a fixture
    """M10 to M12, M24: writers that know nothing of each other meet at the account's lock."""
    schedules, seed = (500 if deep else 50), int(os.environ.get("BURSAR_SEED", "0"))
    await make(postgres_url)
    till = await open_till(postgres_url)
    await till.law(POLICY)
    dealt = parts(schedules, seed)

    async def another(mine: list[tuple[int, int, Outcome]]) -> None:
        def ids(prefix: str) -> str:
            return f"{prefix}_{secrets.token_hex(8)}"

        async with await open_ledger(postgres_url, judge=JUDGE, clock=lambda: NOON, ids=ids) as ledger:
            await bursts(till_on(ledger, till.run), mine)

    works = [functools.partial(another, part) for part in dealt]
    broken = await asyncio.to_thread(in_threads, works)
    assert not broken, broken
    await at_rest(till)
    await till.ledger.close()
    assert (await asyncio.to_thread(instants, postgres_url, ACCOUNT)).exceeded == []


async def test_the_harness_sees_a_hold_that_was_let_go(tmp_path: Path) -> None:
    """A broken twin: what an unknown call holds is taken away by hand, and the comparison at rest says so."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    await till.law(POLICY)
    await one(till, 1, 2, Outcome.UNKNOWN)

    def let_go(tx: Any) -> None:  # noqa: ANN401 -- the ledger's transaction
        tx.connection.exec_driver_sql("UPDATE cap_usage SET held = 0")

    await till.ledger._core.plain("twin", let_go)  # noqa: SLF001 -- a twin breaks what nobody else may touch
    with pytest.raises(AssertionError, match="usage leaked"):
        await at_rest(till)
    await till.ledger.close()


async def test_a_retry_in_the_batch_of_its_own_settlement_leaks_nothing(tmp_path: Path) -> None:
    """The retry needs the call without its holds, the settlement with them; loaded once, it must be whole."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    await till.law(POLICY)
    asked = till.admission(payee="shop.example")
    claimed = await till.claim((await till.ledger.admit(asked)).call.call_id)
    gate = threading.Event()
    core = till.ledger._core  # noqa: SLF001 -- the seam that lets a batch gather
    waiting = asyncio.ensure_future(core.plain("gate", lambda _tx: gate.wait(30)))
    await asyncio.sleep(0)
    both = [asyncio.ensure_future(till.ledger.admit(asked)), asyncio.ensure_future(till.settle(claimed))]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(waiting, *both)
    await at_rest(till)
    assert await till.used("all") == (100, 0)
    await till.ledger.close()


async def test_two_accounts_in_one_database_never_mix(ledger_url: str) -> None:
    """Calls, caps, keys and logs of one account are nothing to another; each log verifies alone."""
    url = ledger_url
    first = await open_till(url)
    await first.law(POLICY)
    await first.bought(key="same", payee="shop.example", args={"n": 1})
    await first.ledger.close()
    await make_ledger(
        url, account_id="acct_other", name="other", instance_id="instance", judge=JUDGE,
        ids=lambda prefix: f"{prefix}_{secrets.token_hex(8)}", at=NOON,
    )  # fmt: skip
    second = await open_till(url, account_id="acct_other", token="token-other")
    assert (await second.admit(key="same", args={"n": 1})).call.code == "no_active_policy"
    await second.law(POLICY)
    for number in range(3):
        await second.bought(
            key=f"same-{number}", payee="shop.example", args={"n": number}, tool=f"buy{number}"
        )
    assert await second.used("all") == (300, 0)
    assert (await second.ledger.checked()).bad is None
    await second.ledger.close()

    def both(source: StoredSource) -> list[BadRow | None]:
        return [verify_account(source, each, keys=None).bad for each in source.accounts()]

    assert await asyncio.to_thread(read_ledger, url, both) == [None, None]
