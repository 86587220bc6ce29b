"""The operator's terminal itself: a password is typed there or nowhere.

An agent on this machine may have a shell, so no flag, variable or pipe can carry a password: it is read from
/dev/tty, which a program without a person in front of it does not have.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tool_server.cli.command import CommandError

_LONGEST: Final = 1_024  # Bytes of one typed line; the terminal itself takes 4,096.


def ask_line(prompt: str) -> str:
    """Ask one line on the terminal. Raises CommandError where there is none."""
    with _terminal() as tty:
        return _asked(tty, prompt)


def ask_password(prompt: str) -> str:
    """Ask a password on the terminal, unseen. Raises CommandError where there is none."""
    with _terminal() as tty, _unseen(tty):
        password = _asked(tty, prompt)
        os.write(tty, b"\n")
        return password


def ask_new_password(name: str) -> str:
    """Ask a new password twice; empty where the person leaves it out."""
    first = ask_password(f"New password for {name} (empty: none yet, sign in with the link): ")
    if first and ask_password("The same again: ") != first:
        raise CommandError("the two passwords differ; nothing was done")
    return first


def has_terminal() -> bool:
    """Say whether a person could be asked."""
    try:
        with _terminal():
            return True
    except CommandError:
        return False


@contextmanager
def _terminal() -> Iterator[int]:
    try:
        tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        raise CommandError(
            "this needs an operator's password typed on a terminal, and there is none; "
            "run it in a terminal of your own"
        ) from None
    try:
        yield tty
    finally:
        os.close(tty)


@contextmanager
def _unseen(tty: int) -> Iterator[None]:
    """Switch the echo off, and on again whatever happens."""
    before = termios.tcgetattr(tty)
    silent = [*before]
    silent[3] = before[3] & ~termios.ECHO
    termios.tcsetattr(tty, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(tty, termios.TCSAFLUSH, before)


def _asked(tty: int, prompt: str) -> str:
    os.write(tty, prompt.encode())
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(tty, _LONGEST)
        if not part:
            raise CommandError("the terminal was closed before an answer; nothing was done")
        line += part
    return line[:-1].decode("utf-8", errors="replace").rstrip("\r")
