"""`bursar doctor`: say what is missing before money can move."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from policy.errors import ConfigurationError, PolicyError
from tool_server.cli.asking import ask, read_settings
from tool_server.cli.command import EXIT_DONE, EXIT_NO, CommandError, print_json
from tool_server.doctor import Finding, of_files
from tool_server.settings import Settings

_MARKS = {"ok": "ok  ", "warn": "warn", "bad": "BAD "}


def register(parser: argparse.ArgumentParser) -> None:
    """Take nothing: everything is checked."""


def run(args: argparse.Namespace) -> int:
    """Print one line per check; 1 where anything is bad."""
    settings = read_settings()
    found = [*of_files(settings), *_of_webhooks(settings), *_of_house(args)]
    bad = sum(each.level == "bad" for each in found)
    if args.json:
        print_json({"findings": found, "bad": bad})
        return EXIT_NO if bad else EXIT_DONE
    for each in found:
        print(f"{_MARKS[each.level]}  {each.check}: {each.said}{f'; {each.do}' if each.do else ''}")
    warned = sum(each.level == "warn" for each in found)
    print(f"\n{bad} bad, {warned} to look at, {len(found) - bad - warned} in order")
    return EXIT_NO if bad else EXIT_DONE


def _of_house(args: argparse.Namespace) -> list[Finding]:
    """Ask the house; one that does not open is itself a finding."""
    try:
        told: list[dict[str, Any]] = ask(args, "doctor")
    except (CommandError, ConfigurationError, PolicyError) as error:
        return [Finding("house", "bad", str(error).partition("\n")[0], "it does not start like this")]
    return msgspec.convert(told, list[Finding])


def _of_webhooks(settings: Settings) -> Iterator[Finding]:
    """Read the signing secrets as a start does; without any, no report of a payment is taken."""
    from webhooks.signatures import read_secrets
    from webhooks.stripe_side import EVENTS, ISSUING

    for name in (EVENTS, ISSUING):
        secret = settings.secret(name)
        try:
            read = read_secrets(name, secret.reveal()) if secret else ()
        except ConfigurationError as error:
            yield Finding("webhooks", "bad", str(error), "bursar serve refuses to start like this")
            continue
        if read:
            yield Finding("webhooks", "ok", f"{name}: {', '.join(each.mode.value for each in read)}")
        elif name == EVENTS and settings.secret("STRIPE_EARN_KEY"):
            yield Finding(
                "webhooks", "warn", f"{name} is not set, so no payment is heard of", "copy it from Stripe"
            )
