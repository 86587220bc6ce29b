"""What `bursar doctor` says of a good house and of bad ones."""

from pathlib import Path

import pytest
from msgspec import structs

from ledger.audit.keys import generate
from ledger.records import Role
from policy.model import Posture
from tests.provider.house import Desk, Shop
from tool_server.cli.main import main
from tool_server.doctor import Finding, of_files, of_house
from tool_server.office import Means
from tool_server.passwords import hashed
from tool_server.settings import Settings

POLICY = "version: 1\nrules:\n  - {id: look, match: {kind: [read]}, effect: allow}\n"


def a_folder(path: Path) -> Settings:
    """Return a house's files as `init` makes them."""
    (path / "policies.yaml").write_text(POLICY)
    generate(path / "keys")
    (path / "bursar.db").touch(mode=0o600)
    return Settings(db=str(path / "bursar.db"), policies=path / "policies.yaml", keys=path / "keys")


def bad(found: list[Finding]) -> dict[str, str]:
    """Return what is bad, by check."""
    return {each.check: f"{each.said}; {each.do}" for each in found if each.level == "bad"}


def test_files_as_init_makes_them_are_in_order(tmp_path: Path) -> None:
    """A doctor that finds fault with a fresh house is switched off."""
    assert bad(list(of_files(a_folder(tmp_path)))) == {}


def test_each_bad_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Readable keys and ledgers are how tokens and evidence leave a house."""
    settings = a_folder(tmp_path)
    (tmp_path / "keys").chmod(0o755)
    (tmp_path / "bursar.db").chmod(0o644)
    (tmp_path / "policies.yaml").write_text("version: 1\nruls: []\n")
    found = bad(list(of_files(settings)))
    assert set(found) == {"policy", "keys folder", "ledger"}
    assert "policies.yaml:1:1" in found["policy"]
    assert "chmod 700" in found["keys folder"]
    assert "chmod 600" in found["ledger"]


def test_nothing_at_all_is_said_and_not_a_traceback(tmp_path: Path) -> None:
    """The first command of many people is doctor, in an empty folder."""
    settings = Settings(db=str(tmp_path / "x.db"), policies=tmp_path / "x.yaml", keys=tmp_path / "keys")
    assert set(bad(list(of_files(settings)))) == {"policy", "signing key", "keys folder", "ledger"}


def test_a_live_key_that_may_do_everything_is_pointed_at_and_not_shown(tmp_path: Path) -> None:
    """Restricted keys bound what a stolen one can do; doctor prints no secret."""
    key = "sk_live_51abcdefghijklmnop"
    settings = structs.replace(a_folder(tmp_path), live_spend=True, environ={"STRIPE_SPEND_KEY": key})
    found = list(of_files(settings))
    assert {each.check for each in found if each.level == "warn"} >= {"live spending", "STRIPE_SPEND_KEY"}
    assert key not in repr(found)


def means(desk: Desk) -> Means:
    """Return what the office has of a house."""
    house = desk.house
    return Means(
        ledger=house.ledger,
        now=house.now,
        random_bytes=bytes,
        catalogue=house.catalogue,
        providers=house.providers,
    )


async def test_a_house_with_people_agents_and_a_provider_is_in_order(small: Desk) -> None:
    """Owner with a password, desks filled, kits that fit, provider ready."""
    text = (await small.house.ledger.active() or ("", "", ""))[1]
    now = small.house.now()
    await small.house.ledger.set_password_hash("olga", await hashed("plum anchor violet"), by="olga", at=now)
    found = await of_house(means(small), text)
    assert bad(found) == {}
    assert {each.check for each in found} >= {"active policy", "owner", "agents", "tools", "provider shop"}


async def test_everything_that_keeps_a_house_from_working_is_named(small: Desk, shop: Shop) -> None:
    """No owner's password, an empty desk, a changed file, a provider away, a posture, an unknown call."""
    house = small.house
    shop.fault("lose")
    unknown = await small.buy("2.00 USD", tool="shop_buy_manual")
    assert unknown.envelope.status == "outcome_unknown"
    await house.ledger.change_operator("anton", by="olga", at=house.now(), role=Role.VIEWER)
    await house.ledger.add_operator(name="otto", role=Role.OWNER, by="olga", at=house.now())
    await house.ledger.disable_operator("olga", by="otto", at=house.now())
    await house.ledger.disable_operator("anton", by="otto", at=house.now())
    await house.ledger.set_posture(
        "account", "", Posture.NO_SPEND, because="trouble", by="otto", at=house.now()
    )
    shop.control(ready=False)
    found = await of_house(means(small), "something else")
    assert {"owner", "provider shop"} <= set(bad(found))
    assert {each.check for each in found if each.level == "warn"} >= {
        "active policy",
        "unknown calls",
        "posture",
    }


def test_a_bad_set_up_is_a_list_and_not_the_first_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever sets a house up wants all that is wrong at once, a policy that does not load included."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies.yaml").write_text("version: 1\nrulez: []\n")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRETS", "whsec_untagged")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out.splitlines()
    bad = [line.split(":")[0].removeprefix("BAD").strip() for line in said if line.startswith("BAD")]
    assert {"policy", "webhooks", "ledger", "signing key", "house"} <= set(bad)
    assert any("policies.yaml:" in line for line in said)
