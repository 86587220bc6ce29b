"""The writer: batches, refusals and faults inside them, a bounded queue, a commit that is lost."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from ledger.commands import Changed, Local
from ledger.records import CallState, Change
from policy.errors import Busy, Unavailable
from policy.language import Kind
from tests.ledger.till import ALLOW_ALL, Till, open_till, with_caps

CAPPED = with_caps(ALLOW_ALL, '{id: day, per: account, window: day, limit: "10.00 USD"}')


class Unheard(Change, frozen=True):
    """A change that no table knows."""


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Give a new ledger on SQLite."""
    path = tmp_path / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


async def blocked(till: Till) -> tuple[threading.Event, asyncio.Task[None]]:
    """Keep SQLite's writer busy, so that whatever comes next gathers into one batch."""
    begun, go = threading.Event(), threading.Event()

    def wait(_tx: object) -> None:
        begun.set()
        go.wait(10)

    task = asyncio.create_task(till.ledger._core.plain("block", wait))  # noqa: SLF001 -- the writer's own door
    await asyncio.to_thread(begun.wait, 10)
    return go, task


async def test_a_full_queue_says_busy_and_admits_nothing(sqlite_url: str) -> None:
    """Honesty is kinder than waiting; the same key may come again."""
    till = await open_till(sqlite_url, options={"longest": 3})
    await till.law(ALLOW_ALL)
    go, task = await blocked(till)
    wanted = [till.admission() for _ in range(5)]
    asked = [asyncio.create_task(till.ledger.admit(each)) for each in wanted]
    await asyncio.sleep(0)
    go.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    await task
    assert [type(each).__name__ for each in answers] == ["Admitted"] * 3 + ["Busy"] * 2
    assert isinstance(answers[4], Busy)
    assert answers[4].retry == "same_key"
    assert not (await till.ledger.admit(wanted[4])).replayed
    await till.ledger.close()


async def test_a_command_that_breaks_takes_none_of_its_batch_down(till: Till) -> None:
    """The batch is rolled back and its commands run one by one."""
    await till.law(CAPPED)

    def broken(_records: object, _at: object) -> Changed:
        raise ZeroDivisionError

    wanted: list[Any] = [till.admission("1.00 USD") for _ in range(12)]
    wanted.insert(
        6, till.admission(None, kind=Kind.DRAFT, key=None, local=Local(broken), provider_account="")
    )
    answers = await asyncio.gather(*(till.ledger.admit(each) for each in wanted), return_exceptions=True)
    assert isinstance(answers.pop(6), ZeroDivisionError)
    states = [str(each.call.state) for each in answers if not isinstance(each, BaseException)]
    assert (states.count(CallState.QUEUED), states.count(CallState.DENIED)) == (10, 2)
    assert await till.used("day") == (0, 1_000)


async def test_a_settlement_is_recorded_even_where_its_changes_are_refused(till: Till) -> None:
    """What happened at a provider happened, whatever else is wrong."""
    await till.law(CAPPED)
    claimed = await till.claim((await till.admit("2.00 USD")).call.call_id)
    settled = await till.settle(claimed, changes=(Unheard(),))
    assert (settled.call.state, settled.applied) == ("succeeded", True)
    assert await till.used("day") == (200, 0)
    told = [each for each in (await till.ledger.timeline(settled.call.call_id)).entries if each.payload]
    assert any("changes refused" in str(each.payload.get("evidence")) for each in told if each.payload)


async def test_an_admission_whose_changes_are_refused_admits_nothing(till: Till) -> None:
    """Nothing happened anywhere yet, so nothing is kept."""
    await till.law(CAPPED)
    asked = till.admission("2.00 USD", prepare=(Unheard(),))
    with pytest.raises(Exception, match="Unheard"):
        await till.ledger.admit(asked)
    assert await till.used("day") == (0, 0)
    assert (await till.ledger.calls()).items == ()


class Faults:
    """Connections to SQLite that fail when they are told to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.fail_commits = 0
        self.fail_after = 0
        self.refuse = False

    def connect(self) -> sqlite3.Connection:
        """Open a connection."""
        faults = self
        if self.refuse:
            raise sqlite3.OperationalError("unable to open database file")

        class Connection(sqlite3.Connection):
            def commit(self) -> None:
                if faults.fail_commits:
                    faults.fail_commits -= 1
                    raise sqlite3.OperationalError("database or disk is full")
                super().commit()
                if faults.fail_after:
                    faults.fail_after -= 1
                    raise sqlite3.OperationalError("the answer was lost")

        return sqlite3.connect(self.path, factory=Connection, check_same_thread=False)


async def test_a_commit_that_fails_admits_nothing_and_the_same_key_comes_again(sqlite_url: str) -> None:
    """A full disk is said as `unavailable`, and it heals."""
    faults = Faults(sqlite_url.removeprefix("sqlite:///"))
    till = await open_till(sqlite_url, options={"connect": faults.connect})
    await till.law(CAPPED)
    asked = till.admission("2.00 USD")
    faults.fail_commits = 1
    with pytest.raises(Unavailable) as told:
        await till.ledger.admit(asked)
    assert told.value.retry == "same_key"
    admitted = await till.ledger.admit(asked)
    assert (admitted.replayed, await till.used("day")) == (False, (0, 200))
    assert (await till.ledger.checked()).bad is None
    await till.ledger.close()


async def test_a_commit_whose_answer_was_lost_is_found_again_under_its_key(sqlite_url: str) -> None:
    """Nobody knows whether it is there; the key does."""
    faults = Faults(sqlite_url.removeprefix("sqlite:///"))
    till = await open_till(sqlite_url, options={"connect": faults.connect})
    await till.law(CAPPED)
    asked = till.admission("2.00 USD")
    faults.fail_after = 1
    with pytest.raises(Unavailable):
        await till.ledger.admit(asked)
    admitted = await till.ledger.admit(asked)
    assert (admitted.replayed, admitted.call.call_id) == (True, asked.call_id)
    assert await till.used("day") == (0, 200)
    claim = till.claiming(asked.call_id)
    faults.fail_after = 1
    with pytest.raises(Unavailable):
        await till.ledger.claim(claim)
    assert (await till.refused(asked.call_id)).code == "not_queued"
    await till.ledger.sweep(till.later(seconds=31))
    assert (await till.ledger.call(asked.call_id)).state == "unknown"
    await till.ledger.close()


async def test_a_closed_ledger_takes_nothing_more(sqlite_url: str) -> None:
    """Closing finishes what is queued first."""
    till = await open_till(sqlite_url)
    await till.law(ALLOW_ALL)
    go, task = await blocked(till)
    asked = asyncio.create_task(till.ledger.admit(till.admission()))
    await asyncio.sleep(0)
    closing = asyncio.create_task(till.ledger.close())
    go.set()
    assert (await asked).call.state == "queued"
    await closing
    await task
    with pytest.raises(Unavailable):
        await till.ledger.admit(till.admission())


async def test_a_caller_who_goes_away_interrupts_nothing(till: Till) -> None:
    """A client that hangs up does not undo what was committed for it."""
    await till.law(CAPPED)
    asked = till.admission("2.00 USD")
    task = asyncio.create_task(till.ledger.admit(asked))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await till.ledger.admit(asked)).replayed
    assert await till.used("day") == (0, 200)


async def test_many_callers_never_exceed_a_cap(till: Till) -> None:
    """Batched or not, each command sees what was planned before it."""
    await till.law(CAPPED)

    async def whole(number: int) -> str:
        admitted = await till.admit("0.30 USD", key=f"k{number}")
        if admitted.call.state != "queued":
            return admitted.call.state
        return (await till.settle(await till.claim(admitted.call.call_id))).call.state

    states = await asyncio.gather(*(whole(number) for number in range(60)))
    assert (states.count("succeeded"), states.count("denied")) == (33, 27)
    assert await till.used("day") == (990, 0)
