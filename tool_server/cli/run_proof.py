"""A run's proof as a file: writing one, and checking one offline."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policy.errors import Unavailable
from tool_server.cli.command import EXIT_DONE, CommandError, print_json
from tool_server.cli.ledger_files import database_url, keys_folder, one_account, refused

if TYPE_CHECKING:
    from ledger.audit.note import VerifierKey
    from ledger.audit.run_proof import RunProof
    from ledger.audit.stored import StoredSource

_PATIENCE_S: Final = 5.0  # A running server signs once a second.
_LOOK_S: Final = 0.25


def write(args: argparse.Namespace) -> int:
    """Write the proof of a run into a new file."""
    import msgspec

    with refused():
        proof = _proof(args)
        content = msgspec.json.encode(proof)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            handle = os.open(args.proof, flags, 0o600)  # It holds payloads.
        except FileExistsError:
            raise CommandError(f"{args.proof} exists; a proof never overwrites a file") from None
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    said = {
        "file": args.proof,
        "run_id": proof.run_id,
        "parts": len(proof.parts),
        "entries": len(proof.receipts),
    }
    if args.json:
        print_json(said)
    else:
        sys.stdout.write(
            f"{args.proof} proves {said['parts']} records by {said['entries']} entries; "
            f"check it with `bursar ledger verify {args.proof} --key PUBLIC_KEY`\n"
        )
    return EXIT_DONE


def _proof(args: argparse.Namespace) -> RunProof:
    """Return the proof, once the log is signed that far: by the server that runs, else by us."""
    from ledger.audit.stored import read_ledger

    until = time.monotonic() + _PATIENCE_S
    signed_here = False
    while True:
        try:
            return read_ledger(database_url(args), lambda source: _read(args, source))
        except Unavailable as wait:
            if not signed_here:
                signed_here = True
                _sign(args)
            elif time.monotonic() > until:
                raise CommandError(str(wait)) from None
            else:
                time.sleep(_LOOK_S)


def _read(args: argparse.Namespace, source: StoredSource) -> RunProof:
    from ledger.engines.tx import Tx
    from ledger.run_proof import run_proof

    tx = Tx(source.connection)
    return run_proof(tx, one_account(source, args.account), args.run_id, payloads=not args.without_payload)


def _sign(args: argparse.Namespace) -> None:
    """Sign the log where nobody else serves it; a server signs by itself."""
    from ledger.audit.signing import sign_ledger
    from ledger.audit.stored import read_ledger
    from ledger.engines.sqlite import LockHeld

    account = read_ledger(database_url(args), lambda source: one_account(source, args.account))
    try:
        asyncio.run(sign_ledger(database_url(args), account, keys_folder()))
    except LockHeld:
        return


def verify(args: argparse.Namespace, keys: list[VerifierKey]) -> int:
    """Check a file with public keys alone, and say what it proves."""
    from ledger.audit.keys import KEY_FILE, load
    from ledger.audit.receipt import ReceiptRefused
    from ledger.audit.run_proof import RunProofRefused, check_run_proof, read_run_proof

    try:
        proof = read_run_proof(Path(args.file).read_bytes())
        if not keys:
            folder = keys_folder()
            if not (folder / KEY_FILE).exists():
                raise CommandError("a proof proves nothing by itself; give the log's public key with --key")
            keys = [load(folder).verifier(proof.origin)]
        key = next((key for key in keys if key.name == proof.origin), keys[0])
        found = check_run_proof(proof, key)
    except RunProofRefused as refusal:
        raise ReceiptRefused(str(refusal)) from None
    if args.json:
        print_json(
            {
                "verifies": True,
                "origin": proof.origin,
                "run_id": proof.run_id,
                "parts": found.parts,
                "entries": found.entries,
                "signed_size": found.size,
                "earned": proof.earned,
                "spent": proof.spent,
                "connected_by_the_file_only": list(found.unlinked),
            }
        )
        return EXIT_DONE
    sys.stdout.write(
        f"proven: {found.parts} records of {proof.run_id} by {found.entries} entries of {proof.origin}, "
        f"in a log of {found.size:,} signed entries; earned {', '.join(proof.earned) or 'nothing'}, "
        f"spent {', '.join(proof.spent) or 'nothing'}\n"
    )
    for each in found.unlinked:
        sys.stdout.write(f"  {each} is proven to be so, but only the file says that it belongs to the run\n")
    return EXIT_DONE
