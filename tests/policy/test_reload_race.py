"""A policy file that is saved again while its cases run: the very text that was tried is activated."""

from __future__ import annotations

import argparse
import os
import threading
from collections import UserDict
from collections.abc import ValuesView
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from policy.tools import ToolInfo, load_tools
from tool_server.cli.policy_activate import tried
from tool_server.policy_file import PolicyFile

GOOD = "version: 1\nrules:\n  - {id: look, match: {kind: read}, effect: allow}\n"
EDITED = "version: 1\nrules:\n  - {id: look, match: {kind: [read, draft]}, effect: allow}\n"
# It loads, and no case of it ever ran.
UNTRIED = "version: 1\nrules:\n  - {id: all, match: {kind: spend}, effect: allow}\n"
CASE = b"""
- why: nothing is bought
  call: {tool: pay_vendor, amount: 1.00 USD, mode: test}
  expect: {effect: deny}
"""
WAIT_S = 30  # For a machine many times slower than this one.


class SavedMeanwhile(UserDict[str, ToolInfo]):
    """The tools there are; whoever looks through them finds the file saved anew afterwards."""

    def __init__(self, file: Path) -> None:
        super().__init__(load_tools())
        self.file, self.text = file, ""

    def values(self) -> ValuesView[ToolInfo]:
        """Return the tools, once somebody's editor has saved."""
        if self.text:
            self.file.write_text(self.text)
        return super().values()


class Books:
    """A ledger that keeps whatever policy it is given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def activate(self, text: str, file: str, *, by: str, at: datetime) -> object:
        """Keep the text."""
        assert (file, at.tzinfo, bool(by)) == ("policies.yaml", UTC, True)
        self.texts.append(text)
        return None

    async def active(self) -> tuple[str, str, str] | None:
        """Return what was kept last."""
        return sha256(self.texts[-1].encode()).hexdigest(), self.texts[-1], "policies.yaml"


async def test_a_file_saved_while_it_is_taken_up_is_taken_up_as_it_was_tried(tmp_path: Path) -> None:
    """Else a policy that breaks its cases could be in force: it is tried when its own turn comes."""
    file = tmp_path / "policies.yaml"
    file.write_text(GOOD)
    tools, books = SavedMeanwhile(file), Books()
    taken = PolicyFile(file, tools, books, lambda: datetime(2026, 11, 20, tzinfo=UTC))
    await taken.start()
    (tmp_path / "policies.cases.yaml").write_bytes(CASE)
    file.write_text(EDITED)
    tools.text = UNTRIED
    await taken.look()
    assert file.read_text() == UNTRIED
    assert books.texts == [GOOD, EDITED]
    await taken.look()
    assert books.texts == [GOOD, EDITED]
    assert "1 of its cases fail" in taken.problem


def test_a_file_saved_while_its_cases_run_is_signed_as_it_was_tried(tmp_path: Path) -> None:
    """An owner's password must not carry a text that nobody tried into force."""
    file, pipe = tmp_path / "policies.yaml", tmp_path / "policies.cases.yaml"
    file.write_text(EDITED)
    os.mkfifo(pipe)  # Opened by the command only when it comes to the cases.

    def save_then_tell() -> None:
        with pipe.open("wb") as cases:
            file.write_text(UNTRIED)
            cases.write(CASE)

    saving = threading.Thread(target=save_then_tell, daemon=True)
    saving.start()
    assert tried(argparse.Namespace(file=str(file), tools=[])) == (
        sha256(EDITED.encode()).hexdigest(),
        EDITED,
    )
    saving.join(WAIT_S)
    assert file.read_text() == UNTRIED
