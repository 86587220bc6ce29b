"""`bursar init`: prepare a house in this folder: keys, database, first project, first owner."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from policy.errors import ConfigurationError, PolicyError
from tool_server.cli.asking import read_settings
from tool_server.cli.command import EXIT_DONE, CommandError, print_json
from tool_server.cli.terminal import ask_new_password, has_terminal
from tool_server.passwords import check_choice, hashed

if TYPE_CHECKING:
    from tool_server.settings import Settings

INSTANCE_FILE: Final = (
    "instance"  # Beside the signing key: a copy of the database elsewhere is told by it (M33).
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{1,31}")


def register(parser: argparse.ArgumentParser) -> None:
    """Add the first names."""
    parser.add_argument("--account", default="main", metavar="NAME", help="what this account is called")
    parser.add_argument("--project", default="main", metavar="NAME", help="the first project")
    parser.add_argument(
        "--owner", default=_login_name(), metavar="NAME", help="the first owner (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Make everything, and print the owner's one-time sign-in link."""
    settings = read_settings()
    for name in (args.project, args.owner):
        if _NAME.fullmatch(name) is None:
            raise CommandError(
                f"{name!r} is no name here; take a to z, digits, - and _, at most 32 characters"
            )
    _refuse_second(settings)
    password = ask_new_password(args.owner) if has_terminal() else ""
    try:
        if password:
            check_choice(password, args.owner)
        made = asyncio.run(_make(settings, args, password))
    except (ConfigurationError, PolicyError) as error:
        raise CommandError(str(error)) from None
    if args.json:
        print_json(made)
        return EXIT_DONE
    until = str(made["expires_at"])[:16]
    print(f"The house stands: ledger {settings.db}, keys in {settings.keys}/, policy {settings.policies}.")
    print(f"Serve it with `bursar serve`; {args.owner} (owner) signs in once, until {until} UTC, at:\n")
    print(f"  {made['link']}\n\nand sets a password.")
    print(f"Then: bursar agent add NAME --project {args.project} --kit KIT")
    print("`bursar doctor` says what is missing; `bursar simulate stripe` stands in for Stripe and its keys.")
    return EXIT_DONE


def _refuse_second(settings: Settings) -> None:
    """Refuse to touch what is there; keys and ledgers are never overwritten."""
    if "://" not in settings.db and Path(settings.db).exists():
        raise CommandError(f"there is a ledger at {settings.db} already; `bursar doctor` says how it is")


async def _make(settings: Settings, args: argparse.Namespace, password: str) -> dict[str, object]:
    from ledger.audit.keys import KEY_FILE, KeyRefused, generate
    from ledger.ledger import open_ledger
    from ledger.making import make_ledger
    from ledger.records import Role
    from tool_server.bootstrap import Wiring, judge_of, ledger_url
    from tool_server.ids import id_maker
    from tool_server.office import Means
    from tool_server.office_people import make_link
    from tool_server.policy_file import known_tools

    wiring = Wiring()
    new_id, now = id_maker(wiring.now, wiring.random_bytes), wiring.now()
    _starter_policy(settings.policies)
    judge, url = judge_of(known_tools(settings.policies, wiring.release)), ledger_url(settings.db)
    instance = secrets.token_hex(16)
    if not (settings.keys / KEY_FILE).exists():
        try:
            generate(settings.keys)
        except KeyRefused as refused:
            raise CommandError(str(refused)) from None
    keep_instance(settings.keys, instance)
    await make_ledger(
        url,
        account_id=new_id("acc"),
        name=args.account,
        instance_id=instance,
        judge=judge,
        ids=new_id,
        at=now,
    )
    async with await open_ledger(url, judge=judge, clock=wiring.now, ids=new_id) as ledger:
        await ledger.add_project(args.project, by="system:init", at=now)
        stored = await hashed(password) if password else None
        owner = await ledger.add_operator(
            name=args.owner, role=Role.OWNER, by="system:init", at=now, password_hash=stored
        )
        console = settings.public_url or "http://127.0.0.1:8401"
        means = Means(ledger=ledger, now=wiring.now, random_bytes=wiring.random_bytes, console_url=console)
        link, expires_at = await make_link(means, owner, "system:init")
    return {
        "account": args.account,
        "project": args.project,
        "owner": args.owner,
        "link": link,
        "expires_at": expires_at,
    }


def _starter_policy(path: Path) -> None:
    """Put the shipped policy where there is none, so that a new house denies by rules one can read."""
    shipped = Path(__file__).parents[2] / "policies.yaml"
    if not path.exists() and shipped.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped, path)


def keep_instance(keys: Path, instance: str) -> None:
    """Write this installation's id beside its key, for this user alone."""
    path = keys / INSTANCE_FILE
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(instance + "\n")


def _login_name() -> str:
    """Return this user's name where it fits, since people look for their own."""
    try:
        name = getpass.getuser().lower()
    except (KeyError, OSError):
        return "owner"
    return name if _NAME.fullmatch(name) else "owner"
