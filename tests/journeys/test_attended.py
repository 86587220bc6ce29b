"""`./run` with somebody at the terminal: the story waits for them, in the browser or for Enter."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tool_server.cli.demo_cast import person

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90  # For the next words on a machine that is shared.
pytestmark = pytest.mark.xdist_group("demo")  # Two demos that start at once want the same usual ports.


class Visitor:
    """Somebody who reads the terminal and types."""

    def __init__(self, line: int) -> None:
        self._line = line
        self.read = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read until something is said."""
        end = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, self.read)) is None:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._line], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} was never said: {self.read[-2_000:]}")
            self.read += os.read(self._line, 65_536).decode("utf-8", "replace").replace("\r", "")
        return found

    def enter(self) -> None:
        """Press Enter."""
        os.write(self._line, b"\n")


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    """Start `./run` on a terminal, and leave with Ctrl-C."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "tool_server.cli", "demo", "--seed", "5"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield Visitor(ours)
        finally:
            process.terminate()
            process.wait(timeout=30)  # It answers what is open, then goes.
    os.close(ours)


@pytest.mark.timeout(240)  # The story takes half a minute on a machine that is busy with other tests.
async def test_the_story_waits_for_the_visitor_and_takes_either_answer(visitor: Visitor) -> None:
    """The first card is answered in the browser, the stop by Enter, which says whose hand it was."""
    visitor.until(r"http://127\.0\.0\.1:\d+/link/\S+")
    card = visitor.until(r"YOUR TURN +Read the card and answer it yourself: (\S+)")[1]
    link = visitor.until(r"http://127\.0\.0\.1:\d+/link/\S+")[0]
    origin = link.split("/link/")[0]
    async with person(origin) as somebody:
        await somebody.sign_in(link)
        page = await somebody.open(card)
        assert "11.06 USD" in page.text
        assert (await somebody.send(card, verdict="approve")).status_code == 303
    visitor.until("you approved it, for exactly that")
    visitor.until("reconciliation found the one card")
    visitor.until("YOUR TURN +Press Stop spending yourself")
    visitor.enter()
    visitor.until("Enter: the demo operator does it")
    visitor.until("names the row")
    told = visitor.until(r"(?s)Your turn: .* goes on from here")
    assert "where the password is" in visitor.read
    assert "it is denied, with the file and the line" in told[0]
