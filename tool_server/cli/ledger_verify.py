"""`bursar ledger verify`: a database, an export or a receipt, against keys and what was kept elsewhere."""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tool_server.cli import run_proof
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.cli.ledger_files import add_account, add_database, database_url, keys_folder

if TYPE_CHECKING:
    from ledger.audit.note import VerifierKey
    from ledger.audit.source import Source
    from ledger.audit.verify import Anchor, Verified

_HEAD_BYTES: Final = 32  # Enough to tell an export, a receipt and a database apart.


def register(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        help="an export, a proof, a receipt or a database; default: the ledger of this folder",
    )
    parser.add_argument(
        "--key", action="append", default=[], metavar="KEY",
        help="a public key as `bursar ledger checkpoint --public-key` prints it, or a file that holds it",
    )  # fmt: skip
    parser.add_argument(
        "--anchor", action="append", default=[], metavar="FILE",
        help="a checkpoint kept elsewhere, which the log must extend",
    )  # fmt: skip
    parser.add_argument("--log-only", action="store_true", help="leave out the tables")
    add_account(parser)
    add_database(parser)


def run(args: argparse.Namespace) -> int:
    """Verify what was asked for; exit 1 where it does not."""
    from ledger.audit.export import ExportSource
    from ledger.audit.receipt import HEADER
    from ledger.audit.run_proof import HEAD as RUN_PROOF
    from ledger.audit.stored import read_ledger

    head = _head(Path(args.file)) if args.file else b""
    if head.startswith(HEADER.encode()):
        return _receipt(args)
    if head.startswith(RUN_PROOF):
        return run_proof.verify(args, _keys(args))
    if head.startswith(b'{"bursar_export":'):
        return _verify(args, ExportSource(Path(args.file)))
    if args.file:
        if not head.startswith(b"SQLite format 3"):
            raise CommandError(f"{args.file} is no export, no receipt and no ledger")
        args.db = args.file
    return read_ledger(database_url(args), lambda source: _verify(args, source))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


# ---- a log


def _verify(args: argparse.Namespace, source: Source) -> int:
    from ledger.audit.verify import verify_account

    accounts = [args.account] if args.account else source.accounts()
    unknown = sorted(set(accounts) - set(source.accounts()))
    if unknown or not accounts:
        raise CommandError(f"there is no log of {', '.join(unknown) or 'any account'} here")
    keys, anchors = _trusted(args), _anchors(args, source, accounts)
    found: list[Verified] = []
    began = time.monotonic()
    for account in accounts:
        head = source.head(account)
        with progress(args, account, 0 if head is None else head.size) as told:
            found.append(
                verify_account(
                    source,
                    account,
                    keys=keys,
                    anchors=anchors[account],
                    tables=not args.log_only,
                    progress=told,
                )
            )
    _report(args, found, signed=keys is not None, seconds=time.monotonic() - began, anchors=anchors)
    return EXIT_DONE if all(each.bad is None for each in found) else EXIT_NO


def _report(
    args: argparse.Namespace,
    found: list[Verified],
    *,
    signed: bool,
    seconds: float,
    anchors: dict[str, list[Anchor]],
) -> None:
    if args.json:
        print_json(
            {
                "verifies": all(each.bad is None for each in found),
                "signatures": "checked" if signed else "not checked",
                "seconds": round(seconds, 3),
                "accounts": [_as_json(each, len(anchors[each.account])) for each in found],
            }
        )
        return
    for each in found:
        if each.bad is not None:
            sys.stdout.write(f"{each.account} does NOT verify: {each.bad}\n")
            continue
        unsigned = each.entries - each.signed_size
        sys.stdout.write(
            f"{each.account} verifies: {each.entries:,} entries, {each.checkpoints:,} checkpoints, "
            f"{each.erased} payloads erased, {unsigned:,} entries after the last checkpoint\n"
        )
        if not anchors[each.account]:
            sys.stdout.write("  no checkpoint kept elsewhere was given: a log cut short could not be told\n")
    if not signed:
        sys.stdout.write("  signatures were not checked: no keys folder, and no --key was given\n")
    rate = sum(each.entries for each in found) / seconds if seconds else 0
    sys.stdout.write(f"  {seconds:.1f} s, {rate:,.0f} entries a second\n")


def _as_json(each: Verified, anchors: int) -> dict[str, object]:
    bad = each.bad
    return {
        "account": each.account,
        "verifies": bad is None,
        "entries": each.entries,
        "root": base64.b64encode(each.root).decode(),
        "checkpoints": each.checkpoints,
        "signed_size": each.signed_size,
        "erased": each.erased,
        "anchors": anchors,
        "bad": None if bad is None else {"table": bad.table, "key": bad.key, "wrong": bad.wrong},
    }


# ---- what is trusted


def _keys(args: argparse.Namespace) -> list[VerifierKey]:
    from ledger.audit.note import VerifierKey

    return [VerifierKey.parse(_text_or_file(text)) for text in args.key]


def _text_or_file(text: str) -> str:
    path = Path(text)
    return path.read_text() if "+" not in text and path.is_file() else text


def _trusted(args: argparse.Namespace) -> list[bytes] | None:
    """Return the public keys given, else this folder's, else None for a ledger of one's own."""
    from ledger.audit import keys

    if args.key:
        return [key.public for key in _keys(args)]
    folder = keys_folder()
    if (folder / keys.KEY_FILE).exists():
        return [keys.load(folder).public]
    if args.file:
        raise CommandError(
            "a file from elsewhere proves nothing by itself; give the log's public key with --key"
        )
    return None


def _anchors(args: argparse.Namespace, source: Source, accounts: list[str]) -> dict[str, list[Anchor]]:
    """Return the roots each log must have had: beside the key, and those given."""
    from ledger.audit import keys
    from ledger.audit.checkpoint import origin_of, parse_checkpoint
    from ledger.audit.verify import Anchor

    anchors: dict[str, list[Anchor]] = {account: [] for account in accounts}
    origins = {}
    folder = keys_folder()
    for account in accounts:
        head = source.head(account)
        for epoch in range(1 + (0 if head is None else head.epoch)):
            origins[origin_of(source.instance(account), account, epoch)] = account, epoch
            last = keys.last_checkpoint(folder, account, epoch)
            if last is not None and last.origin == origin_of(source.instance(account), account, epoch):
                anchors[account].append(Anchor(epoch, last.size, last.root, f"the checkpoint in {folder}"))
    for name in args.anchor:
        given = parse_checkpoint(Path(name).read_text())
        if given.origin not in origins:
            raise CommandError(f"{name} is a checkpoint of {given.origin}, which is no log here")
        account, epoch = origins[given.origin]
        anchors[account].append(Anchor(epoch, given.size, given.root, name))
    return anchors


# ---- a receipt


def _receipt(args: argparse.Namespace) -> int:
    from ledger.audit.checkpoint import parse_checkpoint
    from ledger.audit.receipt import parse_receipt, verify_receipt

    text = Path(args.file).read_text()
    origin = parse_checkpoint(parse_receipt(text).note).origin
    keys = _keys(args) or [_own_key(origin)]
    key = next((key for key in keys if key.name == origin), keys[0])
    proven = verify_receipt(text, key)
    payload = None if proven.payload is None else proven.payload.decode()
    if args.json:
        print_json({"verifies": True, "origin": origin, "entry": proven.entry, "payload": payload})
        return EXIT_DONE
    entry = proven.entry
    sys.stdout.write(
        f"proven: entry {entry.seq} of {origin}: {entry.kind} about {entry.subject_id} by {entry.actor}, "
        f"in a log of {proven.checkpoint.size:,} signed entries\n"
    )
    for name, value in entry.facts.items():
        sys.stdout.write(f"  {name}: {value}\n")
    if payload is not None:
        sys.stdout.write(f"  payload: {payload}\n")
    return EXIT_DONE


def _own_key(origin: str) -> VerifierKey:
    from ledger.audit import keys

    folder = keys_folder()
    if not (folder / keys.KEY_FILE).exists():
        raise CommandError("a receipt proves nothing by itself; give the log's public key with --key")
    return keys.load(folder).verifier(origin)


# ---- progress


@contextmanager
def progress(args: argparse.Namespace, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal while something long goes on; say nothing elsewhere and with --json."""
    if args.json or not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
