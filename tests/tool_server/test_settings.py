"""The environment is read once, and a doubt about it stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.errors import ConfigurationError
from tool_server.settings import Settings


def test_nothing_set_means_the_documented_defaults() -> None:
    """contract, section 2: state, policy and keys lie in the folder one is in."""
    settings = Settings.read({})
    assert (settings.db, str(settings.policies), str(settings.keys)) == (
        "./bursar.db",
        "policies.yaml",
        "keys",
    )
    assert settings.live_spend is False
    assert Settings.read({"BURSAR_DB": ""}).db == "./bursar.db"


@pytest.mark.parametrize("text", ["", "true", "yes", "2", " 1", "1 ", "on", "0x1"])
def test_live_spend_is_one_or_nought(text: str) -> None:
    """A guess at what somebody meant by `true` would cost money."""
    with pytest.raises(ConfigurationError, match="0 or 1 and nothing else"):
        Settings.read({"LIVE_SPEND": text})
    assert Settings.read({"LIVE_SPEND": "1"}).live_spend is True


@pytest.mark.parametrize(
    "url",
    ["http://bursar.example", "ftp://x", "bursar.example", "https://", "https://x/?a=1", "https://x/#a"],
)
def test_a_public_address_is_https(url: str) -> None:
    """Approval links and cookies travel over it."""
    with pytest.raises(ConfigurationError, match="BURSAR_PUBLIC_URL"):
        Settings.read({"BURSAR_PUBLIC_URL": url})


def test_an_address_on_this_machine_may_be_http() -> None:
    """A demo has no certificate."""
    assert (
        Settings.read({"BURSAR_PUBLIC_URL": "http://127.0.0.1:8401/"}).public_url == "http://127.0.0.1:8401"
    )
    assert Settings.read({"BURSAR_PUBLIC_URL": "https://b.example"}).public_url == "https://b.example"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_EARN_KEY", "rk_live_x"),
        ("STRIPE_SPEND_KEY", "sk_live_x"),
        ("STRIPE_WEBHOOK_SECRETS", "test:a,live:b"),
    ],
)
def test_the_simulators_address_refuses_live_keys(name: str, value: str) -> None:
    """M30, M32: a live key sent to another address would be given away."""
    with pytest.raises(ConfigurationError, match="for the simulator"):
        Settings.read({"STRIPE_API_BASE": "http://127.0.0.1:9", name: value})


def test_a_secret_comes_from_its_variable_or_its_file(tmp_path: Path) -> None:
    """NAME_FILE keeps secrets out of the environment of everything that is started."""
    file = tmp_path / "key"
    file.write_text("hush\n")
    settings = Settings.read({"ACME_KEY": "shout", "OTHER_KEY_FILE": str(file)})
    acme, other = settings.secret("ACME_KEY"), settings.secret("OTHER_KEY")
    assert acme is not None
    assert other is not None
    assert (acme.reveal(), other.reveal()) == ("shout", "hush")
    assert settings.secret("NONE_KEY") is None


@pytest.mark.parametrize(
    ("content", "said"), [("", "empty"), ("x" * 20_000, "larger"), (None, "cannot be read")]
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    """An empty key would sign with nothing."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match=said):
        Settings.read({"ACME_KEY_FILE": str(file)}).secret("ACME_KEY")


def test_two_sources_of_one_secret_are_refused() -> None:
    """One of them would be ignored, and nobody would know which."""
    with pytest.raises(ConfigurationError, match="both set"):
        Settings.read({"ACME_KEY": "a", "ACME_KEY_FILE": "/x"}).secret("ACME_KEY")
    with pytest.raises(ConfigurationError, match="names no secret"):
        Settings.read({}).secret("acme")
