"""A provider that keeps the truth: a process of its own that no crash of the dispatcher touches.

It does what it is told and remembers every effect, in order. With a key it does it once and answers again
what it answered; without one it does it each time it is asked, as a provider without idempotency does.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

LONGEST_LINE = 16_777_216  # The truth of a long series is long.


class Provider:
    """The far side of the socket."""

    def __init__(self) -> None:
        self.effects: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}

    def serve(self, listener: socket.socket) -> None:
        """Answer one caller after the other, for ever; a caller that dies leaves what it asked for done."""
        listener.settimeout(1)  # Seconds: so that it notices when nobody is left to ask it.
        parent = os.getppid()
        while os.getppid() == parent:
            try:
                caller, _ = listener.accept()
            except TimeoutError:
                continue
            with caller, suppress(OSError), caller.makefile("rwb") as lines:
                self._answer(lines)

    def _answer(self, lines: Any) -> None:  # noqa: ANN401 -- a socket's file has no narrower public type
        try:
            while line := lines.readline(LONGEST_LINE):
                lines.write(json.dumps(self.handle(json.loads(line))).encode() + b"\n")
                lines.flush()
        except (OSError, ValueError):
            return  # A caller that is killed hangs up anywhere, in the middle of a line too.

    def handle(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        if asked["do"] == "truth":
            return {"effects": self.effects}
        if asked["do"] == "find":
            return {"found": [each for each in self.effects if each["call_id"] == asked["call_id"]]}
        key = asked["key"]
        if key is not None and key in self.answers:
            return {**self.answers[key], "replayed": True}
        answer = {"ok": not asked["declines"], "replayed": False}
        if answer["ok"]:
            self.effects.append({name: asked[name] for name in ("call_id", "intention", "amount")})
        if key is not None:
            self.answers[key] = answer
        return answer


class Line:
    """A caller's line to the provider."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)  # Seconds: the provider does nothing that takes one.
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")

    def ask(self, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 -- as JSON has it
        """Ask and wait for the answer."""
        self._lines.write(json.dumps(asked).encode() + b"\n")
        self._lines.flush()
        found: dict[str, Any] = json.loads(self._lines.readline(LONGEST_LINE))
        return found

    def close(self) -> None:
        """Hang up: the provider listens to one caller at a time."""
        self._lines.close()
        self._socket.close()


def truth(path: Path) -> list[dict[str, Any]]:
    """Return every effect there was, in order."""
    line = Line(path)
    try:
        found: list[dict[str, Any]] = line.ask(do="truth")["effects"]
        return found
    finally:
        line.close()


def start(path: Path) -> int:
    """Fork the provider, listening already, and return its process."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    process = os.fork()
    if process == 0:
        try:
            Provider().serve(listener)
        finally:
            os._exit(1)
    listener.close()
    return process
