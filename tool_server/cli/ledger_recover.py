"""`bursar ledger recover`, `migrate` and `upgrade`: what is done to a ledger while nobody serves it.

`recover` only ever tightens, so it takes no password: an owner loosens the posture afterwards, with a reason.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from tool_server.cli.asking import read_settings
from tool_server.cli.command import EXIT_DONE, print_json
from tool_server.cli.ledger_files import add_account, add_database, database_url, keys_folder
from tool_server.cli.ledger_verify import progress

if TYPE_CHECKING:
    from ledger.recovering import Recovered


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `recover`."""
    parser.add_argument("--because", required=True, metavar="TEXT", help="what happened; the log keeps it")
    parser.add_argument(
        "--since", metavar="INSTANT", type=_instant,
        help="ask the providers from here, as 2026-11-20T10:00Z; default: the last thing the ledger knows of",
    )  # fmt: skip
    parser.add_argument(
        "--without-providers", action="store_true", help="ask no provider what it did; look there yourself"
    )
    add_account(parser)
    add_database(parser)


def recover(args: argparse.Namespace) -> int:
    """Open a new epoch of the log and say what became of what was open, and what the providers did since."""
    done, left = asyncio.run(_recover(args))
    if args.json:
        told = {name: getattr(done, name) for name in done.__struct_fields__ if name != "armed"}
        print_json({**told, "switched_off": _switched_off(done, left), "not_switched_off": left})
        return EXIT_DONE
    lost = max(0, done.signed - done.kept)
    sys.stdout.write(
        f"{done.account} goes on in epoch {done.epoch} with {done.kept:,} entries; "
        f"{lost:,} signed ones are lost\n"
        f"cancelled {len(done.cancelled)}, unknown {len(done.unknown)}; posture read_only\n"
    )
    if args.without_providers:
        sys.stdout.write("no provider was asked: compare them with `bursar calls list` before you loosen\n")
    else:
        sys.stdout.write(
            f"{len(done.discrepancies)} effects at the providers that it had not recorded, "
            f"{len(done.lost)} of calls it has lost; each is a discrepancy, and spending counts on the caps\n"
        )
    for reference in _switched_off(done, left):
        sys.stdout.write(f"switched off {reference}: no purchase is recorded for it\n")
    for reference in left:
        sys.stdout.write(f"STILL ARMED: {reference} could not be switched off; do that at the provider\n")
    sys.stdout.write("once an owner has looked: bursar posture normal --because TEXT\n")
    return EXIT_DONE


def _switched_off(done: Recovered, left: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(each.provider_ref for each in done.armed if each.provider_ref not in left)


async def _recover(args: argparse.Namespace) -> tuple[Recovered, tuple[str, ...]]:
    from ledger.recovering import last_instant, recover_ledger
    from tool_server.bootstrap import Wiring, judge_of
    from tool_server.ids import id_maker
    from tool_server.policy_file import known_tools
    from tool_server.sweep import Sweep, sweep_of

    settings, wiring, url = read_settings(), Wiring(), database_url(args)
    sweep = Sweep({}) if args.without_providers else sweep_of(settings)
    try:
        since = args.since or await last_instant(url, args.account)
        done = await recover_ledger(
            url,
            keys_folder(),
            judge=judge_of(known_tools(settings.policies, wiring.release)),
            ids=id_maker(wiring.now, wiring.random_bytes),
            at=wiring.now(),
            because=args.because,
            account=args.account,
            seen=await sweep.seen(since),
        )
        return done, await sweep.switch_off(done.armed)
    finally:
        await sweep.close()


def _instant(text: str) -> datetime:
    """Return an instant that is written with its offset."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset; write 2026-11-20T10:00Z")
    return found


def register_migrate(parser: argparse.ArgumentParser) -> None:
    """Add where a ledger moves to."""
    parser.add_argument("to", metavar="postgresql://...", help="an empty database")
    add_database(parser)


def migrate(args: argparse.Namespace) -> int:
    """Move a SQLite ledger to PostgreSQL; the file left behind never serves again (M34)."""
    from ledger.moving import move_ledger
    from tool_server.bootstrap import Wiring, judge_of
    from tool_server.ids import id_maker
    from tool_server.policy_file import known_tools

    wiring = Wiring()
    with progress(args, "rows", None) as told:
        moved = asyncio.run(
            move_ledger(
                database_url(args),
                args.to,
                judge=judge_of(known_tools(read_settings().policies, wiring.release)),
                ids=id_maker(wiring.now, wiring.random_bytes),
                at=wiring.now(),
                progress=told,
            )
        )
    if args.json:
        print_json(moved)
        return EXIT_DONE
    sys.stdout.write(
        f"{', '.join(moved.accounts)}: {moved.entries:,} entries of the log, and all they tell of, "
        f"are in {moved.to} and verify there\n"
        "set BURSAR_DB to it; the file left behind never serves again\n"
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
