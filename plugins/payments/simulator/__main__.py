"""`python -m plugins.payments.simulator`: the simulator on a loopback port; it prints one JSON line."""

import argparse
import sys

from plugins.payments.simulator.child import serve
from plugins.payments.simulator.options import add_options, options_of


def parser() -> argparse.ArgumentParser:
    """Give the options, which `bursar simulate stripe` shares."""
    made = argparse.ArgumentParser(prog="python -m plugins.payments.simulator", description=__doc__)
    add_options(made)
    return made


def announce(line: str) -> None:
    """Print the introduction at once, for a parent that reads a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve(options_of(parser().parse_args()), announce)
