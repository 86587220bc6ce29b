"""Commands that share a commit: in order, together, and one that breaks takes nobody with it."""

import asyncio
from collections.abc import Sequence
from sqlite3 import IntegrityError

import pytest

from ledger.sharing import Shared
from policy.errors import RecordMissing, Unavailable


class Book:
    """Writes numbers; a batch with a zero in it breaks, as a transaction does."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def write(self, items: Sequence[int]) -> list[int]:
        """Write a batch whole, or nothing of it."""
        await asyncio.sleep(0)  # Others arrive while this one is being written.
        if 0 in items:
            raise ZeroDivisionError
        if -1 in items:
            raise Unavailable("the ledger cannot be written now")
        self.batches.append(list(items))
        return [-item for item in items]


async def test_what_arrives_meanwhile_shares_the_next_batch_in_its_order() -> None:
    """One commit for many senders; nobody waits for a batch to fill up."""
    book = Book()
    shared = Shared(book.write, most=4)
    answers = await asyncio.gather(*(shared.put(number) for number in range(1, 8)))
    assert answers == [-1, -2, -3, -4, -5, -6, -7]
    assert book.batches == [[1, 2, 3, 4], [5, 6, 7]]


async def test_one_that_breaks_takes_nobody_with_it() -> None:
    """A booking with a fault of ours must not keep its neighbours' money from being booked."""
    book = Book()
    shared = Shared(book.write, most=4)
    answers = await asyncio.gather(*(shared.put(number) for number in (1, 0, 2)), return_exceptions=True)
    assert answers[0] == -1
    assert isinstance(answers[1], ZeroDivisionError)
    assert answers[2] == -2
    assert await shared.put(3) == -3


async def test_a_ledger_that_cannot_be_written_is_told_to_each_and_tried_once() -> None:
    """Trying one by one would only keep every sender waiting for the same answer."""
    book = Book()
    shared = Shared(book.write, most=4)
    answers = await asyncio.gather(*(shared.put(number) for number in (1, -1)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert book.batches == []


async def test_whoever_stops_waiting_stops_nobody_else() -> None:
    """A sender that hangs up leaves its event to be stored all the same."""
    book = Book()
    shared = Shared(book.write, most=4)
    gone = asyncio.create_task(shared.put(1))
    stays = asyncio.create_task(shared.put(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == -2
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert book.batches == [[1, 2]]


async def test_a_row_that_the_database_refuses_takes_nobody_with_it() -> None:
    """The writer says `unavailable` of those, too; told to all, they would come back together for ever."""
    kept: list[int] = []

    async def write(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise Unavailable("the ledger cannot be written now") from IntegrityError("a key is there twice")
        if -1 in items:
            raise RecordMissing("there is no such call")
        kept.extend(items)
        return list(items)

    shared = Shared(write, most=4)
    answers = await asyncio.gather(*(shared.put(number) for number in (1, 0, 2)), return_exceptions=True)
    assert isinstance(answers[1], Unavailable)
    answers = await asyncio.gather(*(shared.put(number) for number in (3, -1, 4)), return_exceptions=True)
    assert isinstance(answers[1], RecordMissing)
    assert kept == [1, 2, 3, 4]
