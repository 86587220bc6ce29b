"""The guard around all tests: whatever reaches for a provider is refused, and its test fails."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import stripe

from ledger.records import Outcome
from plugins.hookspecs import PluginContext, Secret
from plugins.payments.keys import EARN_KEY, read_keys
from plugins.payments.outcomes import report_of
from plugins.payments.stripe_api import StripeApi

ROOT = Path(__file__).parent.parent
ASKS = "import socket; socket.getaddrinfo('api.stripe.com', 443)"
CARELESS = f"""
def test_that_swallows_what_it_met():
    try:
        {ASKS}
    except OSError:
        pass
"""


async def test_the_plugin_with_a_key_for_stripe_itself_is_refused(strayed: Callable[[], list[str]]) -> None:
    """LIVE_SPEND: over the whole run no request leaves for Stripe; here one tries, with the real SDK."""
    context = PluginContext(
        name="payments",
        settings={},
        secrets={EARN_KEY: Secret(EARN_KEY, "sk_test_" + "a" * 24)},
        now=lambda: None,  # type: ignore[arg-type,return-value]  # nothing here asks for the time
        new_id=str,
        api_base="",
    )
    api = StripeApi(read_keys(context), monotonic=lambda: 0.0)
    with pytest.raises(stripe.APIConnectionError) as refused:
        await api.account("earn")
    await api.close()
    assert strayed() == ["api.stripe.com"]
    assert report_of(refused.value).outcome is not Outcome.SUCCEEDED


def test_a_process_that_a_test_starts_is_refused_too(strayed: Callable[[], list[str]]) -> None:
    """The houses of journeys and crash harnesses are processes of their own."""
    done = subprocess.run(
        [sys.executable, "-c", ASKS], capture_output=True, text=True, timeout=30, check=False
    )
    assert "tests stay on this machine" in done.stderr
    assert strayed() == ["api.stripe.com"]


def test_a_test_that_swallows_the_refusal_fails_all_the_same(tmp_path: Path) -> None:
    """A guard whose word can be caught and forgotten guards nothing: the broken twin is caught."""
    (tmp_path / "conftest.py").symlink_to(ROOT / "tests/conftest.py")
    (tmp_path / "test_careless.py").write_text(CARELESS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "something tried to reach api.stripe.com" in done.stdout
