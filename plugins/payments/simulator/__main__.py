"""`python -m plugins.payments.simulator`: the simulator on a loopback port; it prints one JSON line."""

import argparse
import sys

from plugins.payments.simulator.child import ChildOptions, serve


def parser() -> argparse.ArgumentParser:
    """Give the options, which `bursar simulate stripe` shares."""
    made = argparse.ArgumentParser(prog="python -m plugins.payments.simulator", description=__doc__)
    add_options(made)
    return made


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
    )


def announce(line: str) -> None:
    """Print the introduction at once, for a parent that reads a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(options_of(parser().parse_args()), announce)
