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
from contextlib import contextmanager
from pathlib import Path

import pytest

from tool_server.cli.demo_beats import SOFTWARE
from tool_server.cli.demo_cast import agent, person
from tool_server.cli.demo_place import OWNER

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
            self.read += self._words()
        return found

    def _words(self) -> str:
        try:
            return os.read(self._line, 65_536).decode("utf-8", "replace").replace("\r", "")
        except OSError:  # So a terminal says that nobody is at its other end any more.
            raise AssertionError(f"the demo ended: {self.read[-2_000:]}") from None

    def enter(self) -> None:
        """Press Enter."""
        os.write(self._line, b"\n")


@contextmanager
def visiting(folder: Path, *words: str) -> Iterator[Visitor]:
    """Start `./run` on a terminal, and leave with Ctrl-C."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "tool_server.cli", "demo", "--seed", "5", *words]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            yield Visitor(ours)
        finally:
            process.terminate()
            process.wait(timeout=30)  # It answers what is open, then goes.
    os.close(ours)


@pytest.mark.timeout(240)  # The story takes half a minute on a machine that is busy with other tests.
async def test_the_story_waits_for_the_visitor_and_takes_either_answer(tmp_path: Path) -> None:
    """The first card is answered in the browser, the stop by Enter, which says whose hand it was."""
    with visiting(tmp_path) as visitor:
        await _answers(visitor, "approve")
        visitor.until("you approved it, for exactly that")
        visitor.until("reconciliation found the one card")
        _goes_on(visitor)
        visitor.until("names the row")
        told = visitor.until(r"(?s)Your turn: .* goes on from here")
        assert "where the password is" in visitor.read
        assert "it is denied, with the file and the line" in told[0]


@pytest.mark.timeout(300)  # The whole story, on a machine that is busy with other tests.
async def test_whoever_says_no_is_told_the_rest_of_the_whole_story(
    tmp_path: Path,
    deep: bool,  # noqa: FBT001 -- pytest's fixture
) -> None:
    """What rests on the purchase is left out, and no fault that was meant for it waits for the next one."""
    if not deep:
        pytest.skip("a whole story more; --deep plays it")
    with visiting(tmp_path, "--full") as visitor:
        await _answers(visitor, "deny")
        visitor.until("you said no, and nothing ran")
        _goes_on(visitor)
        visitor.until("the buyer reads that it is refunded")
        address = visitor.until(r"Agents +(\S+)")[1]
        token = visitor.until(r"as scout:(?s:.)*?Bearer ([\w]+)")[1]
        wanted = {**SOFTWARE, "amount": "1.50 USD"}
        async with agent(address, token) as scout, person(_link(visitor).split("/link/")[0]) as operator:
            made = await scout.call("request_card_purchase", idempotency_key="own-1", **wanted)
            password = visitor.until(r"where the password is (\S+):")[1]
            await operator.sign_in_by_password(OWNER, password)
            await operator.open(made["approval"]["url"])
            await operator.send(made["approval"]["url"], verdict="approve")
            assert (await scout.status(made["call_id"]))["status"] == "succeeded"


def _link(visitor: Visitor) -> str:
    return visitor.until(r"http://127\.0\.0\.1:\d+/link/\S+")[0]


async def _answers(visitor: Visitor, verdict: str) -> None:
    """Answer the first card in the browser."""
    link = _link(visitor)
    card = visitor.until(r"YOUR TURN +Read the card and answer it yourself: (\S+)")[1]
    async with person(link.split("/link/")[0]) as somebody:
        await somebody.sign_in(link)
        page = await somebody.open(card)
        assert "11.06 USD" in page.text
        assert (await somebody.send(card, verdict=verdict, comment="read it")).status_code == 303


def _goes_on(visitor: Visitor) -> None:
    visitor.until("YOUR TURN +Press Stop spending yourself")
    visitor.enter()
    visitor.until("Enter: the demo operator does it")
