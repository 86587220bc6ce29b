"""A server in a process of its own, and what it takes of the machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
STOP_S: Final = 30.0  # A house lets its calls end first; one that takes longer is stuck.


@contextmanager
def serving(
    command: Sequence[str], *, folder: str, said: str = "serving ", quiet: bool = False
) -> Iterator[tuple[int, str]]:
    """Run a server of ours in a folder; give its process id and the line by which it says that it serves."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        line = next((line for line in process.stdout or () if line.startswith(said)), None)
        if line is None:
            raise AssertionError(f"{command} ended before it served")
        yield process.pid, line
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return what a process keeps in memory."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024
