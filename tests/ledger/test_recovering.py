"""M33: a restored backup is found and refused, and `recover` starts anew without spending twice."""

import shutil
from pathlib import Path

import pytest
from msgspec import structs

from ledger.audit import keys
from ledger.audit.stored import read_ledger
from ledger.audit.verify import Anchor, verify_account
from ledger.ledger import open_ledger
from ledger.records import Seen
from ledger.recovering import Recovered, recover_ledger
from policy.errors import ConfigurationError
from policy.language import Kind, Mode, Posture
from policy.money import Money
from tests.ledger.till import ACCOUNT, ALLOW_ALL, JUDGE, NOON, Till, make, open_till


async def _backed_up(folder: Path) -> tuple[str, dict[str, str]]:
    """Make a ledger, back it up, go on, sign, and put the backup in its place."""
    database, kept = folder / "ledger.db", folder / "backup.db"
    url = f"sqlite:///{database}"
    await make(url)
    key = keys.generate(folder / "keys")
    till = await open_till(url)
    await till.law(ALLOW_ALL)
    queued = (await till.admit()).call.call_id
    later = (await till.admit()).call.call_id
    running = (await till.claim((await till.admit()).call.call_id)).call.call_id
    await till.ledger.sign_log(key, folder / "keys")
    await till.ledger.close()
    shutil.copy(database, kept)
    till = await open_again(url)
    await till.settle(await till.claim(later))
    await till.ledger.sign_log(key, folder / "keys")
    await till.ledger.close()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(kept, database)
    return url, {"queued": queued, "later": later, "running": running}


async def open_again(url: str) -> Till:
    """Open a ledger that has its shop already."""
    numbers = iter(range(10_000, 20_000))

    def ids(prefix: str) -> str:
        return f"{prefix}_{next(numbers)}"

    return Till(await open_ledger(url, judge=JUDGE, clock=lambda: NOON, ids=ids), ids)


def _seen(call_id: str, reference: str) -> Seen:
    """Return a purchase of a dollar as a provider shows it."""
    return Seen(
        call_id=call_id, provider_ref=reference, provider="stripe", kind=Kind.SPEND, operation="card",
        mode=Mode.SIMULATED, account_id=ACCOUNT, project="shop", amount=Money(100, "USD"),
    )  # fmt: skip


async def _recovered(url: str, folder: Path, *seen: Seen) -> Recovered:
    numbers = iter(range(50_000, 60_000))
    return await recover_ledger(
        url, folder / "keys", judge=JUDGE, ids=lambda prefix: f"{prefix}_{next(numbers)}", at=NOON,
        because="the disk died", seen=seen,
    )  # fmt: skip


async def test_m33_a_restored_backup_is_found_at_the_start(tmp_path: Path) -> None:
    """The checkpoint beside the key knows more than the database."""
    url, _ = await _backed_up(tmp_path)
    till = await open_again(url)
    with pytest.raises(ConfigurationError, match="bursar ledger recover"):
        await till.ledger.check_not_forked(tmp_path / "keys")
    await till.ledger.close()


async def test_m33_recover_cancels_doubts_and_closes(tmp_path: Path) -> None:
    """What waited is cancelled, what ran is unknown and keeps its hold, what the provider shows is said."""
    url, calls = await _backed_up(tmp_path)
    done = await _recovered(
        url,
        tmp_path,
        _seen(calls["later"], "ch_1"),
        _seen("call_no", "ch_2"),
        structs.replace(_seen("call_of_others", "ch_3"), account_id="acct_other"),
    )
    assert set(done.cancelled) == {calls["queued"], calls["later"]}
    assert done.unknown == (calls["running"],)
    assert (done.epoch, len(done.discrepancies), done.lost) == (1, 2, ("ch_2",))
    till = await open_again(url)
    await till.ledger.check_not_forked(tmp_path / "keys")
    assert (await till.ledger.call(calls["running"])).state == "unknown"
    assert Posture.READ_ONLY in {each.posture for each in await till.ledger.postures()}
    verified = await till.ledger.checked()
    assert verified.bad is None, str(verified.bad)
    await till.ledger.close()


async def test_m33_the_log_says_what_was_lost(tmp_path: Path) -> None:
    """An outsider who kept the last checkpoint sees that a recovery declared its end as lost."""
    url, _ = await _backed_up(tmp_path)
    signed = keys.last_checkpoint(tmp_path / "keys", ACCOUNT)
    assert signed is not None
    await _recovered(url, tmp_path)
    anchor = Anchor(0, signed.size, signed.root, "elsewhere")
    found = read_ledger(url, lambda source: verify_account(source, ACCOUNT, keys=None, anchors=[anchor]))
    assert found.bad is None, str(found.bad)


async def test_m33_a_clone_is_read_only(tmp_path: Path) -> None:
    """A copy of the database beside another instance's key must not spend the same money."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    await make(url)
    till = await open_till(url)
    (tmp_path / "instance").write_text("instance\n")
    marked = await till.ledger.close_clone(tmp_path, NOON)
    assert marked is False
    (tmp_path / "instance").write_text("another\n")
    marked = await till.ledger.close_clone(tmp_path, NOON)
    assert marked is True
    assert [each.posture for each in await till.ledger.postures()] == [Posture.READ_ONLY]
    await till.ledger.close()
