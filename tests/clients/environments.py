"""Environments of clients that cannot live beside our own packages: made when a test first asks for one.

Each has a lock with hashes beside this file, and lies in the suite's own environment, which nobody commits.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
INSTALL_S: Final = 60  # Of one environment from a registry; thirty to fifty small packages take ten at most.


def python_of(kind: str) -> Path | None:
    """Return an environment's Python, made where it is not yet; None where no registry can be reached."""
    lock = HERE / f"{kind}.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = Path(sys.prefix) / "clients" / f"{kind}-{digest}"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".making").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)  # Workers of one run ask at the same time.
        whole = folder / "whole"
        if not whole.exists() and not _made(folder, lock):
            return None
        whole.touch()
    return folder / "bin" / "python"


def _made(folder: Path, lock: Path) -> bool:
    """Install what a lock names, and nothing else; leave nothing half done behind."""
    python = str(folder / "bin" / "python")
    uv = _uv()
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    steps.append([python, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r", str(lock)])
    if uv is not None:
        steps = [[uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)]]
        steps.append([uv, "pip", "sync", "-q", "--require-hashes", "--python", python, str(lock)])
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True, timeout=INSTALL_S)
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True


def _uv() -> str | None:
    """Return the installer that `./test` uses, where there is one."""
    own = ROOT / ".uv" / "bin" / "uv"
    return shutil.which("uv") or (str(own) if os.access(own, os.X_OK) else None)
