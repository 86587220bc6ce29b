"""M35: what a call said can be forgotten, and the log still proves that it happened."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import make_url

from ledger.audit import keys
from ledger.audit.receipt import Extra, verify_receipt, write_receipt
from ledger.audit.stored import StoredSource, read_ledger
from ledger.audit.verify import Verified, verify_account
from policy.errors import PolicyDenied, RecordChanged, RecordMissing
from tests.ledger.audit.houses import House, lived_in

DONE, UNKNOWN = "call_000004", "call_000010"  # The first succeeded, the other's answer was lost.


async def erase(house: House, call_id: str, *, by: str = "ada", because: str = "she asked us to") -> int:
    """Erase through the house's own door."""
    async with await house.open() as ledger:
        return await ledger.erase_call(call_id, because=because, by=by, at=house.tick())


def checked(house: House) -> Verified:
    """Verify log and tables."""
    public = keys.load(house.folder).public
    return read_ledger(house.url, lambda source: verify_account(source, house.account, keys=[public]))


def holds(house: House, text: str) -> bool:
    """Whether any table of the file still holds a text."""
    connection = sqlite3.connect(str(make_url(house.url).database))
    dump = "\n".join(connection.iterdump())
    connection.close()
    return text in dump or text.encode().hex() in dump.lower()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A lived-in house on SQLite."""
    return asyncio.run(lived_in(f"sqlite:///{tmp_path}/bursar.db", tmp_path / "keys"))


def test_what_a_call_said_is_gone_and_the_ledger_verifies(house: House) -> None:
    """Salt, payload, and every column that repeats them; money and state stay."""
    assert holds(house, "vendor-100.example")
    assert asyncio.run(erase(house, DONE)) == 2
    said = checked(house)
    assert said.bad is None
    assert said.erased == 2
    known = sqlite3.connect(str(make_url(house.url).database))
    row = known.execute(
        "SELECT state, amount_minor, actual_minor, payee, op_hash, length(args) FROM tool_calls"
        " WHERE call_id = ?",
        (DONE,),
    ).fetchone()
    known.execute("DROP TRIGGER guard_known_payees_delete")
    known.execute("DELETE FROM known_payees")  # The account's own list of whom it paid is not the call's.
    known.commit()
    known.close()
    assert row == ("succeeded", 100, 100, None, "", 0)
    assert not holds(house, "vendor-100.example")
    assert holds(house, "vendor-250.example")


def test_what_a_call_said_is_gone_on_postgresql_too(postgres_url: str, tmp_path: Path) -> None:
    """The guards of the other engine let an erasure through, and only that."""
    house = asyncio.run(lived_in(postgres_url, tmp_path / "keys"))
    assert asyncio.run(erase(house, DONE)) == 2
    said = checked(house)
    assert (said.bad, said.erased) == (None, 2)


def test_an_erased_entry_still_has_its_receipt(house: House) -> None:
    """That it happened stays provable, to the same checkpoint as before."""
    last = keys.last_checkpoint(house.folder, house.account)
    assert last is not None
    asyncio.run(erase(house, DONE))

    def work(source: StoredSource) -> str:
        seq = source.entries_about(house.account, DONE, last.size)[-1]
        stored = source.payload(house.account, seq)
        assert stored is not None
        extra = Extra(source.entry(house.account, seq), stored.salt, stored.body)
        return write_receipt(extra, seq, last, source.lookup(house.account))

    proven = verify_receipt(read_ledger(house.url, work), keys.load(house.folder).verifier(last.origin))
    assert proven.entry.facts["actual_minor"] == 100
    assert proven.payload is None


def test_erasing_again_finds_nothing_and_writes_nothing(house: House) -> None:
    """A repeated request is not a second erasure."""
    asyncio.run(erase(house, DONE))
    entries = checked(house).entries
    assert asyncio.run(erase(house, DONE)) == 0
    assert checked(house).entries == entries


def test_a_column_filled_again_after_an_erasure_is_found(house: House) -> None:
    """Else an erasure would be a licence to write what one likes into the row."""
    asyncio.run(erase(house, DONE))
    connection = sqlite3.connect(str(make_url(house.url).database))
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE tool_calls SET payee = 'someone' WHERE call_id = ?", (DONE,))
    connection.commit()
    connection.close()
    assert f"tool_calls {DONE}: payee is 'someone', the log says ''" in str(checked(house).bad)


@pytest.mark.parametrize(
    ("call_id", "by", "because", "refused"),
    [
        (DONE, "scout", "I would rather", PolicyDenied),
        (DONE, "ada", " ", PolicyDenied),
        ("call_nobody", "ada", "asked", RecordMissing),
        (UNKNOWN, "ada", "asked", RecordChanged),
    ],
)
def test_only_an_owner_erases_with_a_reason_and_only_what_has_ended(
    house: House, call_id: str, by: str, because: str, refused: type[Exception]
) -> None:
    """An agent must not cover its tracks, and what an approver answers for must stay until it ran."""
    with pytest.raises(refused):
        asyncio.run(erase(house, call_id, by=by, because=because))
    assert checked(house).erased == 0
