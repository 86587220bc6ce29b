"""What the writer remembers between batches is true, or forgotten."""

from __future__ import annotations

import pytest

from ledger.audit.house_kinds import RunChanged
from ledger.engines.tx import Tx
from ledger.flush import flush
from ledger.kept import Kept
from ledger.load import open_world
from ledger.world import House, World
from policy.errors import RecordMissing
from tests.ledger.till import JUDGE, Till

SEAL = (1, 0, 7, 3)


def world() -> World:
    """Return an account's World with nothing in it."""
    return World(
        account_id="acct", judge=JUDGE, law=None, house=House(version=1), next_ordinal=1, new_id=lambda _: ""
    )


def test_a_world_is_remembered_once_its_transaction_has_committed() -> None:
    """What a transaction leaves may still be rolled back."""
    kept, left = Kept(), world()
    kept.leave(left, SEAL)
    assert kept.take("acct", SEAL) is None
    kept.committed()
    assert kept.take("acct", SEAL) is left
    assert kept.take("acct", SEAL) is None, "it is one transaction's at a time"


@pytest.mark.parametrize("place", range(len(SEAL)))
def test_any_sign_of_another_writer_makes_it_forgotten(place: int) -> None:
    """House version, epoch, length of the log, foreign commits: each alone says that somebody wrote."""
    kept = Kept()
    kept.leave(world(), SEAL)
    kept.committed()
    assert kept.take("acct", tuple(value + (at == place) for at, value in enumerate(SEAL))) is None


def test_a_failure_forgets_everything() -> None:
    """M1: planners may have moved its rows along edges that were rolled back."""
    kept = Kept()
    kept.leave(world(), SEAL)
    kept.committed()
    kept.leave(world(), SEAL)
    kept.forget()
    kept.committed()
    assert kept.take("acct", SEAL) is None


async def test_a_house_that_was_read_before_a_refusal_is_forgotten_too(till: Till) -> None:
    """Rolled back with the refusal, its version is given once more, perhaps by another process' change."""
    core = till.ledger._core  # noqa: SLF001 -- a rare command that refuses late
    sources, account = core.machine.sources, till.ledger.account_id

    def work(tx: Tx, world: World) -> None:
        world.close(("provider", "stripe"), "a test says so", 1)
        world.log(RunChanged(state="open", project="shop", order_id=None), "run_none", "system:test", 1)
        flush(tx, world, core.machine.sinks)
        assert open_world(tx, account, sources).house.postures
        raise RecordMissing("nothing of it counts")

    with pytest.raises(RecordMissing):
        await core.rare("refused", work)
    assert account not in sources.houses
    assert not (await core.house()).postures
