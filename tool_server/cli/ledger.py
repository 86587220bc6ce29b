"""`bursar ledger`: verify, sign, prove and export what was done.

`verify` and `export` read one snapshot and write nothing, so they work beside a running server. `checkpoint`
signs and therefore writes; while a server runs, it signs by itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tool_server.cli import ledger_recover, ledger_verify
from tool_server.cli.asking import add_as, ask
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.cli.ledger_files import (
    add_account,
    add_database,
    database_url,
    keys_folder,
    one_account,
    refused,
)

if TYPE_CHECKING:
    from ledger.audit.checkpoint import Checkpoint
    from ledger.audit.stored import StoredSource

T = TypeVar("T")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    ledger_verify.register(commands.add_parser("verify", help="replay the log and name the first bad row"))

    checkpoint = commands.add_parser("checkpoint", help="sign the log as it stands; print the signed note")
    checkpoint.add_argument(
        "--show", action="store_true", help="print the last note and sign nothing; works beside a server"
    )
    checkpoint.add_argument(
        "--public-key",
        action="store_true",
        help="print the key that others verify notes with, and sign nothing",
    )
    add_account(checkpoint)
    add_database(checkpoint)

    proof = commands.add_parser("proof", help="write a receipt that proves one entry offline")
    proof.add_argument(
        "of", metavar="CALL_OR_SEQ", help="a call, approval or other id (its last entry), or a seq"
    )
    proof.add_argument("-o", "--out", metavar="FILE", help="default: CALL_OR_SEQ.tlog-proof; - prints it")
    proof.add_argument("--without-payload", action="store_true", help="leave out what could be erased")
    add_account(proof)
    add_database(proof)

    export = commands.add_parser("export", help="write an account's log to a file that verifies alone")
    export.add_argument("out", metavar="FILE", help="must not exist yet; - writes to standard output")
    add_account(export)
    add_database(export)

    ledger_recover.register(
        commands.add_parser(
            "recover", help="go on after a restored backup: read_only, in a new epoch, with what was lost"
        )
    )

    ledger_recover.register_migrate(
        commands.add_parser("migrate", help="move a SQLite ledger to PostgreSQL; the file never serves again")
    )
    upgrade = commands.add_parser("upgrade", help="bring the tables forward to this program's revision")
    add_database(upgrade)

    rotate = commands.add_parser("rotate-key", help="sign with a new key from now on; an owner signs for it")
    add_as(rotate)
    erase = commands.add_parser(
        "erase", help="forget what a call said or who a lead is; the log proves the rest"
    )
    erase.add_argument("call", metavar="CALL|LEAD")
    erase.add_argument("--because", metavar="TEXT", required=True, help="the reason, for the log")
    add_as(erase)


def run(args: argparse.Namespace) -> int:
    """Run one subcommand."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "verify": ledger_verify.run,
        "checkpoint": _checkpoint,
        "proof": _proof,
        "export": _export,
        "recover": ledger_recover.recover,
        "migrate": ledger_recover.migrate,
        "upgrade": ledger_recover.upgrade,
        "rotate-key": _rotate,
        "erase": _erase,
    }
    with refused():
        return actions[args.action](args)


# ---- checkpoint


def _checkpoint(args: argparse.Namespace) -> int:
    from ledger.audit import keys
    from ledger.audit.checkpoint import origin_of

    folder = keys_folder()
    if args.public_key:
        origin = _read(
            args,
            lambda source, account: origin_of(source.instance(account), account, _epoch(source, account)),
        )
        key = str(keys.load(folder).verifier(origin))
        if args.json:
            print_json({"origin": origin, "public_key": key})
        else:
            sys.stdout.write(key + "\n")
        return EXIT_DONE
    made = (
        _read(args, lambda source, account: _last(source, account, folder))
        if args.show
        else _sign(args, folder)
    )
    if made is None:
        raise CommandError("nothing was signed yet; run `bursar ledger checkpoint`", exit_code=EXIT_NO)
    if args.json:
        print_json({"origin": made.origin, "size": made.size, "root": made.root.hex(), "note": made.note})
    else:
        sys.stdout.write(made.note)
    return EXIT_DONE


def _epoch(source: StoredSource, account: str) -> int:
    head = source.head(account)
    return 0 if head is None else head.epoch


def _last(source: StoredSource, account: str, folder: Path) -> Checkpoint | None:
    from ledger.audit import keys

    return keys.last_checkpoint(folder, account, _epoch(source, account))


def _sign(args: argparse.Namespace, folder: Path) -> Checkpoint:
    import asyncio

    from ledger.audit.signing import sign_ledger

    account = _read(args, lambda _source, account: account)
    return asyncio.run(sign_ledger(database_url(args), account, folder))


# ---- proof


def _proof(args: argparse.Namespace) -> int:
    from ledger.audit.receipt import SUFFIX

    seq, text = _read(args, lambda source, account: _receipt(args, source, account))
    out = args.out or f"{args.of}{SUFFIX}"
    if out == "-":
        sys.stdout.write(text)
        return EXIT_DONE
    _write_private(Path(out), text.encode())
    if args.json:
        print_json({"file": out, "seq": seq})
    else:
        sys.stdout.write(
            f"{out} proves entry {seq}; check it with `bursar ledger verify {out} --key PUBLIC_KEY`\n"
        )
    return EXIT_DONE


def _receipt(args: argparse.Namespace, source: StoredSource, account: str) -> tuple[int, str]:
    from ledger.audit.checkpoint import parse_checkpoint
    from ledger.audit.receipt import Extra, write_receipt

    notes = [row.note for row in source.checkpoints(account)]
    if not notes:
        raise CommandError("nothing was signed yet; run `bursar ledger checkpoint` first")
    signed = parse_checkpoint(notes[-1])
    seq = _seq(args.of, source, account, signed.size)
    payload = None if args.without_payload else source.payload(account, seq)
    extra = Extra(source.entry(account, seq))
    if payload is not None:
        extra = Extra(extra.entry, payload.salt, payload.body)
    return seq, write_receipt(extra, seq, signed, source.lookup(account))


def _seq(of: str, source: StoredSource, account: str, signed: int) -> int:
    """Return the seq asked for, below the size that is signed."""
    if of.isascii() and of.isdigit():
        if int(of) < signed:
            return int(of)
        raise CommandError(
            f"entry {of} is not signed yet, {signed} entries are; run `bursar ledger checkpoint`",
            exit_code=EXIT_NO,
        )
    found = source.entries_about(account, of, signed)
    if not found:
        raise CommandError(
            f"no signed entry speaks of {of!r}; is it this account's, and was a checkpoint signed since?",
            exit_code=EXIT_NO,
        )
    return found[-1]


# ---- export


def _export(args: argparse.Namespace) -> int:
    from ledger.audit.export import write_export

    if args.out == "-":
        _read(args, lambda source, account: write_export(source, account, sys.stdout.buffer))
        return EXIT_DONE
    path = Path(args.out)
    if path.exists():
        raise CommandError(f"{path} exists; an export never overwrites a file")

    def work(source: StoredSource, account: str) -> int:
        head = source.head(account)
        total = 0 if head is None else head.size
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        handle = os.open(
            part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )  # It holds payloads.
        with (
            os.fdopen(handle, "wb") as file,
            ledger_verify.progress(args, f"export {account}", total) as told,
        ):
            write_export(source, account, file, told)
        part.rename(path)
        return total

    entries = _read(args, work)
    if args.json:
        print_json({"file": str(path), "entries": entries})
    else:
        sys.stdout.write(
            f"{path} holds {entries:,} entries; check it with `bursar ledger verify {path} --key ...`\n"
        )
    return EXIT_DONE


# ---- changing


def _rotate(args: argparse.Namespace) -> int:
    told = ask(args, "ledger.rotate_key")
    if args.json:
        print_json(told)
    else:
        sys.stdout.write(
            f"Signed with a new key from now on; the old one stays in {told['folder']}.\n"
            "Give verifiers the new public key: bursar ledger checkpoint --public-key\n"
        )
    return EXIT_DONE


def _erase(args: argparse.Namespace) -> int:
    told = ask(args, "ledger.erase", {"call_id": args.call, "because": args.because})
    if args.json:
        print_json(told)
    else:
        sys.stdout.write(f"{told['call_id']} is forgotten: {told['erased']} payloads; its entries stay.\n")
    return EXIT_DONE


# ---- shared


def _read(args: argparse.Namespace, work: Callable[[StoredSource, str], T]) -> T:
    """Run `work` on a snapshot, for the account asked for."""
    from ledger.audit.stored import read_ledger

    return read_ledger(database_url(args), lambda source: work(source, one_account(source, args.account)))


def _write_private(path: Path, content: bytes) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise CommandError(f"{path} exists; a receipt never overwrites a file") from None
    with os.fdopen(handle, "wb") as file:
        file.write(content)
