"""A process that has imported everything, and forks whoever is to be killed: no start costs an import.

    python -m tests.crash.warm

takes one order in JSON on each line of its input, and gives one answer on each of its output.

`{"do": "series", ...}` runs a series of episodes in a fork and answers with what came of it. `{"do": "house",
"life": {...}, "log": FILE}` forks a whole house and answers with its process; `{"do": "wait", "process": N}`
answers with how it stopped or ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash import episodes
from tests.crash.killed_house import Life, live

ROOT = Path(__file__).parents[2]


class Warm:
    """The process, as a test speaks to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: Any) -> Any:  # noqa: ANN401 -- as JSON has it
        """Give one order and wait for its answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("it was started with pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"broken": "the warm process is gone"}')
        if "broken" in answer:
            raise AssertionError(answer["broken"])
        return answer["answer"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _series(order: dict[str, Any]) -> Any:  # noqa: ANN401 -- as JSON has it
    """Run a series in a fork: what it leaves behind is gone with it."""
    hear, say = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(hear)
        with os.fdopen(say, "w") as out:
            out.write(
                _told(
                    lambda: episodes.series(
                        order["url"], order["kills"], seed=order["seed"], twin=order["twin"]
                    )
                )
            )
        os._exit(0)
    os.close(say)
    with os.fdopen(hear) as lines:
        told = lines.read()
    os.waitpid(process, 0)
    answer = json.loads(told or '{"broken": "the series said nothing"}')
    if "broken" in answer:
        raise AssertionError(answer["broken"])
    return answer["answer"]


def _house(order: dict[str, Any]) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            status = asyncio.run(live(Life(**order["life"])))
        except BaseException:  # noqa: BLE001 -- the log is all that is left of this process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return process


def _wait(order: dict[str, Any]) -> dict[str, int | None]:
    """Return by which signal a process was stopped or killed, or with what it ended."""
    _, status = os.waitpid(order["process"], os.WUNTRACED)
    return {
        "stopped": os.WSTOPSIG(status) if os.WIFSTOPPED(status) else None,
        "killed": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "ended": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
    }


DOES: dict[str, Callable[[dict[str, Any]], Any]] = {"series": _series, "house": _house, "wait": _wait}


def _told(work: Callable[[], Any]) -> str:
    try:
        return json.dumps({"answer": work()})
    except BaseException:  # noqa: BLE001 -- whatever it was, who gave the order must hear of it
        return json.dumps({"broken": traceback.format_exc()[-3000:]})


def main() -> None:
    """Take orders until nobody gives any more."""
    gc.freeze()  # A collection in a fork would copy every page that it counts on.
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(_told(partial(DOES[order["do"]], order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
