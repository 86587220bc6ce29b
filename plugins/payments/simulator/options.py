"""The command line options of the simulator's process; imports nothing heavy."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ChildOptions:
    """How the process shall run; times in seconds of its clock."""

    port: int = 0
    seed: int | None = None
    webhook_url: str | None = None
    issuing_webhook_url: str | None = None
    settle_after_s: float | None = None
    post_after_s: float | None = None
    with_parent: bool = False
    state: Path | None = None


def add_options(made: argparse.ArgumentParser) -> None:
    """Add the simulator's options to a parser."""
    made.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    made.add_argument("--seed", type=int, help="repeat the ids and keys of another run")
    made.add_argument("--webhook", metavar="URL", help="deliver all events there, signed")
    made.add_argument("--issuing-webhook", metavar="URL", help="ask there for card authorizations")
    made.add_argument(
        "--settle-after", type=float, metavar="S", help="delayed payments settle after S seconds"
    )
    made.add_argument("--post-after", type=float, metavar="S", help="outbound payments post after S seconds")
    made.add_argument("--state", type=Path, metavar="FILE", help="keep everything in FILE over restarts")
    made.add_argument("--with-parent", action="store_true", help="end when the starting process ends")


def options_of(given: argparse.Namespace) -> ChildOptions:
    """Turn parsed arguments into options."""
    return ChildOptions(
        port=given.port,
        seed=given.seed,
        webhook_url=given.webhook,
        issuing_webhook_url=given.issuing_webhook,
        settle_after_s=given.settle_after,
        post_after_s=given.post_after,
        with_parent=given.with_parent,
        state=given.state,
    )
