"""What the ledger commands share: which database, which account, whose keys, and refusals as one line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tool_server.cli.command import EXIT_NO, CommandError

if TYPE_CHECKING:
    from ledger.audit.source import Source


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add --db."""
    parser.add_argument(
        "--db", metavar="DB", help="a file or a postgresql:// address; default: $BURSAR_DB, else ./bursar.db"
    )


def add_account(parser: argparse.ArgumentParser) -> None:
    """Add --account."""
    parser.add_argument("--account", metavar="ID", help="needed where there is more than one")


def database_url(args: argparse.Namespace) -> str:
    """Return the address of the ledger's database."""
    db = args.db or os.environ.get("BURSAR_DB") or "./bursar.db"
    return db if "://" in db else f"sqlite:///{db}"


def keys_folder() -> Path:
    """Return where the signing key lies."""
    return Path(os.environ.get("BURSAR_KEYS") or "keys")


def one_account(source: Source, asked: str | None) -> str:
    """Return the account asked for, or the only one."""
    accounts = source.accounts()
    if asked is None and len(accounts) == 1:
        return accounts[0]
    if asked in accounts:
        return str(asked)
    met = "name one with --account" if asked is None else f"there is no account {asked!r}"
    raise CommandError(f"{met}; this ledger holds {', '.join(accounts) or 'none'}")


@contextmanager
def refused() -> Iterator[None]:
    """Turn what the audit log refuses into one line: exit 1 where something is wrong with the log, else 3."""
    from ledger.audit.checkpoint import ForkFound
    from ledger.audit.export import ExportRefused
    from ledger.audit.keys import KeyRefused
    from ledger.audit.note import NoteRefused
    from ledger.audit.receipt import ReceiptRefused
    from policy.errors import ConfigurationError, PolicyError

    try:
        yield
    except (ForkFound, ReceiptRefused) as error:
        raise CommandError(str(error), exit_code=EXIT_NO) from None
    except (ExportRefused, KeyRefused, NoteRefused, ConfigurationError, PolicyError, LookupError) as error:
        raise CommandError(str(error)) from None
