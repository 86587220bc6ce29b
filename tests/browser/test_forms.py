"""The pages' own forms in a real browser: what a test client fakes (Origin, CSP, cookies) is real here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("demo")  # Two demos that start at once want the same usual ports.
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Start `bursar demo` as a visitor does, and end it with Ctrl-C's signal."""
    command = [sys.executable, "-P", "-m", "tool_server.cli", "demo", "--json"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise AssertionError("the pipe was asked for")
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(
                timeout=30
            )  # It answers what is open, then goes; thirty seconds are a machine in trouble.


@pytest.fixture
def page(chromium: str) -> Iterator[Any]:
    """Open a page of a real browser, and fail on what it complains about."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the browser's driver is not installed")
    complaints: list[str] = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        opened = browser.new_page()
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        yield opened
        browser.close()
    assert complaints == []


@pytest.mark.timeout(120)  # A house, a simulator and a browser start on a machine that is shared.
def test_a_request_is_sent_read_and_released_in_a_browser(demo: dict[str, Any], page: Any) -> None:  # noqa: ANN401 -- playwright's, which is optional
    """A referrer policy once made browsers send `Origin: null`, which is refused: seen only here."""
    page.goto(f"{demo['console']}/request")
    page.get_by_label("Your name").fill("Bea <script>alert(1)</script>")
    page.get_by_label("Your e-mail address").fill("bea@buyer.example")
    page.get_by_label("What you want").fill("A snapshot\u202e of our site.")
    page.get_by_role("button", name="Send").click()
    assert page.get_by_role("heading").inner_text() == "Thank you. Your request has arrived."
    page.goto(demo["sign_in"])
    page.get_by_role("button", name="Sign in").click()
    page.goto(f"{demo['console']}/reviews")
    page.get_by_role("link", name="lead", exact=True).click()
    assert "⟨U+202E⟩" in page.content()
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("button", name="Assign").click()
    assert "Released" in page.content()
    page.get_by_role("button", name="Stop spending").click()
    assert "no_spend" in page.locator("header").inner_text()
