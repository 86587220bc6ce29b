"""A serving house signs what it wrote, and refuses to serve a log that was cut or forked (M33, M35)."""

import asyncio
import shutil
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ledger.audit import keys
from ledger.ledger import Ledger, open_ledger
from ledger.making import make_ledger
from ledger.records import Role
from policy.errors import ConfigurationError
from tool_server.bootstrap import judge_of
from tool_server.ids import id_maker
from tool_server.signing import Signer, signed_log

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LONG_S = 3_600.0  # One round at the start; what follows is signed by the end alone.


def now() -> datetime:
    """Tell the one instant of these tests."""
    return NOW


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Make a ledger with a key beside it."""
    keys.generate(tmp_path / "keys")
    await make_ledger(
        url(tmp_path), account_id="acc_1", name="Test", instance_id="instance-1",
        judge=judge_of({}), ids=id_maker(now), at=NOW,
    )  # fmt: skip
    return tmp_path


def url(folder: Path) -> str:
    """Return the address of the ledger in a folder."""
    return f"sqlite:///{folder / 'bursar.db'}"


async def opened(folder: Path) -> Ledger:
    """Open the ledger of a folder."""
    return await open_ledger(url(folder), judge=judge_of({}), clock=now, ids=id_maker(now))


def signed(ledger: Ledger, folder: Path, told: list[str]) -> AbstractAsyncContextManager[None]:
    """Serve a ledger, and note in `told` where serving had to stop."""
    return signed_log(ledger, folder / "keys", lambda: told.append("gave up"), period_s=LONG_S)


def size(folder: Path) -> int:
    """Return how many entries the checkpoint beside the key covers."""
    last = keys.last_checkpoint(folder / "keys", "acc_1")
    return 0 if last is None else last.size


async def project(ledger: Ledger, name: str) -> None:
    """Let the log grow."""
    await ledger.add_project(name, by="system:init", at=NOW)


async def test_what_the_last_answer_wrote_is_signed_before_the_house_is_left(folder: Path) -> None:
    """A checkpoint that misses the last second would let that second be taken back."""
    told: list[str] = []
    async with await opened(folder) as ledger:
        async with signed(ledger, folder, told):
            await project(ledger, "shop")
        assert size(folder) == await ledger.log_size() > 0
    assert not told


async def test_a_running_house_signs_without_being_asked(folder: Path) -> None:
    """M33: only what is signed can be proven to have been cut off."""
    async with (
        await opened(folder) as ledger,
        signed_log(ledger, folder / "keys", lambda: None, period_s=0.01),
        asyncio.timeout(30),  # Rounds come every hundredth of a second; a busy machine gets time.
    ):
        await project(ledger, "shop")
        while size(folder) < (grown := await ledger.log_size()):
            await ledger.wait_changes(grown, 0.02)


async def test_a_log_that_did_not_grow_is_not_signed_again(folder: Path) -> None:
    """A quiet night must not write sixty thousand checkpoints."""
    async with await opened(folder) as ledger:
        signer = Signer(ledger, folder / "keys", lambda: None)
        await signer.sign()
        kept = folder / "keys" / "acc_1.checkpoint"
        before = kept.stat().st_mtime_ns
        await signer.sign()
        assert kept.stat().st_mtime_ns == before


async def test_a_restored_backup_is_not_served(folder: Path) -> None:
    """M33: the key's folder remembers more than the backup; whoever sells from it would sell twice."""
    shutil.copy(folder / "bursar.db", folder / "backup.db")
    async with await opened(folder) as ledger, signed(ledger, folder, []):
        await project(ledger, "shop")
    shutil.copy(folder / "backup.db", folder / "bursar.db")
    async with await opened(folder) as ledger:
        with pytest.raises(ConfigurationError, match="ledger recover"):
            async with signed(ledger, folder, []):
                pytest.fail("it was served")


async def test_a_log_that_forks_while_it_is_served_stops_the_house(folder: Path) -> None:
    """M33: a tree beside the one that was signed is worse than no answer."""
    shutil.copy(folder / "bursar.db", folder / "backup.db")
    async with await opened(folder) as ledger, signed(ledger, folder, []):
        await project(ledger, "shop")
    shutil.copy(folder / "backup.db", folder / "bursar.db")
    told: list[str] = []
    async with await opened(folder) as ledger:
        await project(ledger, "other")
        signer = Signer(ledger, folder / "keys", lambda: told.append("gave up"))
        await signer.sign()
    assert told == ["gave up"]
    assert "cannot be signed any more" in signer.refused


async def test_a_house_without_its_key_does_not_start(folder: Path) -> None:
    """A key made anew in silence would hide that the old one is gone."""
    (folder / "keys" / keys.KEY_FILE).unlink()
    async with await opened(folder) as ledger:
        with pytest.raises(ConfigurationError, match="is missing"):
            async with signed(ledger, folder, []):
                pytest.fail("it was served")


async def test_a_key_that_vanishes_stops_the_house_but_not_at_the_first_look(folder: Path) -> None:
    """A rotation writes its entry first and moves the file a moment later."""
    told: list[str] = []
    async with await opened(folder) as ledger:
        signer = Signer(ledger, folder / "keys", lambda: told.append("gave up"))
        (folder / "keys" / keys.KEY_FILE).unlink()
        await signer.sign()
        assert not told
        await signer.sign()
    assert told == ["gave up"]


async def test_the_key_may_change_while_the_house_serves(folder: Path) -> None:
    """M35: both keys sign the change, and what follows is signed by the new one without a restart."""
    told: list[str] = []
    async with await opened(folder) as ledger:
        await ledger.add_operator(name="olga", role=Role.OWNER, by="system:init", at=NOW)
        async with signed(ledger, folder, told):
            before = keys.load(folder / "keys").public
            made = await ledger.rotate_key(folder / "keys", by="operator:olga", at=NOW)
            await project(ledger, "shop")
        assert size(folder) == await ledger.log_size()
    assert not told
    assert made.public == keys.load(folder / "keys").public != before
