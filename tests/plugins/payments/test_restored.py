"""M33 on the simulator: a backup is restored, and what Stripe did since is found, booked and switched off."""

import asyncio
import json
import sqlite3
import time
from pathlib import Path

import pytest
import respx

from ledger.audit import keys
from ledger.ledger import Ledger, open_ledger
from ledger.records import CallState
from plugins.payments.simulator.simulator import Simulator
from policy.errors import ConfigurationError
from policy.language import Posture
from tests.plugins.payments.desk import BASE, POLICY, Stage, desk_on
from tool_server.bootstrap import Wiring, judge_of
from tool_server.cli.main import main
from tool_server.ids import id_maker
from tool_server.policy_file import known_tools


async def lived(folder: Path, sim: Simulator) -> None:
    """Spend, back up, spend more in four ways, and put the backup in the ledger's place."""
    key = keys.generate(folder / "keys")
    async with desk_on(folder, stage=Stage(sim=sim)) as desk:
        assert (await desk.card("5.00 USD", "before.example")).envelope.status == "succeeded"
        waits = await desk.card("60.00 USD", "waits.example")
        assert waits.envelope.status == "pending_approval"
        backed_up(folder)
        await desk.approve(waits)
        await desk.until(waits, CallState.SUCCEEDED)
        for made in (
            await desk.card("7.00 USD", "after.example"),
            await desk.call(
                "pay_vendor", recipient="acme", invoice="1", purpose="hosting", amount="9.00 USD"
            ),
            await desk.call("stripe_create_checkout", deal_id=desk.deal_id, offer="snapshot"),
        ):
            assert made.envelope.status == "succeeded", made.text
        await desk.ledger.sign_log(key, folder / "keys")
    for name in ("bursar.db-wal", "bursar.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "backup.db").replace(folder / "bursar.db")


def backed_up(folder: Path) -> None:
    """Take a backup as an owner does, beside the running house."""
    source, kept = sqlite3.connect(folder / "bursar.db"), sqlite3.connect(folder / "backup.db")
    source.backup(kept)
    source.close()
    kept.close()


async def opened(folder: Path) -> Ledger:
    """Open the ledger of a folder, as a house would."""
    wiring = Wiring()
    judge = judge_of(known_tools(folder / "policies.yaml", wiring.release))
    return await open_ledger(
        f"sqlite:///{folder / 'bursar.db'}", judge=judge, clock=wiring.now, ids=id_maker(wiring.now)
    )


async def bursar(*words: str) -> int:
    """Run the command line as it runs: in a thread without a loop."""
    return await asyncio.to_thread(main, words)


@pytest.fixture
def sim() -> Simulator:
    """Give a Stripe."""
    return Simulator(7, time.time)


@pytest.fixture
async def restored(tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder whose ledger was restored from a backup, and the environment it is served in."""
    await lived(tmp_path, sim)
    for name, value in {
        "BURSAR_DB": str(tmp_path / "bursar.db"),
        "BURSAR_POLICIES": str(tmp_path / "policies.yaml"),
        "BURSAR_KEYS": str(tmp_path / "keys"),
        "STRIPE_API_BASE": BASE,
        "STRIPE_EARN_KEY": sim.earn_key,
        "STRIPE_SPEND_KEY": sim.spend_key,
    }.items():
        monkeypatch.setenv(name, value)
    return tmp_path


async def test_m33_recover_finds_what_stripe_did_since_the_backup(
    restored: Path, sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a cent that left after the backup is forgotten, and no card of a lost call stays armed."""
    ledger = await opened(restored)
    with pytest.raises(ConfigurationError, match="bursar ledger recover"):
        await ledger.check_not_forked(restored / "keys")
    await ledger.close()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").mock(side_effect=respx.handlers.ASGIHandler(sim.app()))
        assert await bursar("ledger", "recover", "--because", "the disk died", "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert (len(told["discrepancies"]), len(told["lost"]), told["not_switched_off"]) == (4, 3, [])
        assert await bursar("ledger", "recover", "--because", "again", "--json") == 0
        assert json.loads(capsys.readouterr().out)["discrepancies"] == []
    cards = sim.world.all("issuing.card")
    assert sorted(each["status"] for each in cards) == ["active", "inactive", "inactive"]
    await _after(await opened(restored), restored)


async def _after(ledger: Ledger, folder: Path) -> None:
    """Look at what a recovered ledger knows."""
    await ledger.check_not_forked(folder / "keys")
    codes = sorted(each["code"] for each in await ledger.discrepancies())
    assert codes == ["found_by_recovery", "lost_call", "lost_call", "lost_call"]
    caps = {view.cap_id: view for view in await ledger.caps(Wiring().now())}
    assert (caps["account-month"].posted, caps["account-month"].held) == (6_000 + 700 + 900, 500)
    assert Posture.READ_ONLY in {each.posture for each in await ledger.postures()}
    later = POLICY.replace(
        "caps:", 'caps:\n  - {{id: later, per: account, window: month, limit: "1.00 USD"}}'
    )
    text = later.format(settings="{}")
    await ledger.activate(text, "policies.yaml", by="system:test", at=Wiring().now())
    caps = {view.cap_id: view for view in await ledger.caps(Wiring().now())}
    assert caps["later"].posted == 6_000 + 700 + 900
    verified = await ledger.checked()
    assert verified.bad is None, str(verified.bad)
    await ledger.close()


async def test_m33_a_stripe_that_cannot_be_asked_is_no_stripe_that_did_nothing(
    restored: Path, sim: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a sweep would call the account whole: recover refuses, unless the owner looks there himself."""
    del sim
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").respond(500)
        assert await bursar("ledger", "recover", "--because", "the disk died") == 3
        assert "--without-providers" in capsys.readouterr().err
        words = ("ledger", "recover", "--because", "the disk died", "--without-providers")
        assert await bursar(*words) == 0
    assert "no provider was asked" in capsys.readouterr().out
    ledger = await opened(restored)
    assert Posture.READ_ONLY in {each.posture for each in await ledger.postures()}
    await ledger.close()
