"""`bursar ledger recover` and `upgrade`: what is done to a ledger while nobody serves it.

`recover` only ever tightens, so it takes no password: an owner loosens the posture afterwards, with a reason.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tool_server.cli.asking import read_settings
from tool_server.cli.command import EXIT_DONE, print_json
from tool_server.cli.ledger_files import database_url, keys_folder


def recover(args: argparse.Namespace) -> int:
    """Open a new epoch of the log and say what became of what was open."""
    from ledger.recovering import recover_ledger
    from tool_server.bootstrap import Wiring, judge_of
    from tool_server.ids import id_maker
    from tool_server.policy_file import known_tools

    wiring = Wiring()
    done = asyncio.run(
        recover_ledger(
            database_url(args),
            keys_folder(),
            judge=judge_of(known_tools(read_settings().policies, wiring.release)),
            ids=id_maker(wiring.now, wiring.random_bytes),
            at=wiring.now(),
            because=args.because,
            account=args.account,
        )
    )
    if args.json:
        print_json(
            {
                "account": done.account,
                "epoch": done.epoch,
                "kept": done.kept,
                "signed": done.signed,
                "cancelled": done.cancelled,
                "unknown": done.unknown,
            }
        )
        return EXIT_DONE
    lost = max(0, done.signed - done.kept)
    sys.stdout.write(
        f"{done.account} goes on in epoch {done.epoch} with {done.kept:,} entries; "
        f"{lost:,} signed ones are lost\n"
        f"cancelled {len(done.cancelled)}, unknown {len(done.unknown)}; posture read_only\n"
        "compare the providers with `bursar calls list`, then loosen: bursar posture normal --because TEXT\n"
    )
    return EXIT_DONE


def upgrade(args: argparse.Namespace) -> int:
    """Bring the tables forward."""
    from ledger.making import upgrade_ledger
    from tool_server.bootstrap import Wiring, judge_of
    from tool_server.ids import id_maker
    from tool_server.policy_file import known_tools

    wiring = Wiring()
    before, after = asyncio.run(
        upgrade_ledger(
            database_url(args),
            judge=judge_of(known_tools(read_settings().policies, wiring.release)),
            ids=id_maker(wiring.now, wiring.random_bytes),
            at=wiring.now(),
        )
    )
    if args.json:
        print_json({"before": before, "after": after})
    else:
        said = "was there already" if before == after else f"was at {before}"
        sys.stdout.write(f"the tables are at revision {after}; it {said}\n")
    return EXIT_DONE
