"""`bursar simulate stripe`: start the stand-in for Stripe on a loopback port and keep it running."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from plugins.payments.simulator.options import add_options, options_of
from tool_server.cli.command import EXIT_DONE, CommandError


def register(parser: argparse.ArgumentParser) -> None:
    """Add the providers that can be simulated."""
    providers = parser.add_subparsers(dest="provider", metavar="PROVIDER", required=True)
    add_options(providers.add_parser("stripe", help="a stateful stand-in for Stripe's API"))


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted; with `--json` the introduction is one line of JSON, as for a child process."""
    from plugins.payments.simulator.child import serve

    def announce(line: str) -> None:
        sys.stdout.write((line if args.json else _for_people(json.loads(line), args.state)) + "\n")
        sys.stdout.flush()

    try:
        serve(options_of(args), announce)
    except OSError as error:
        raise CommandError(
            f"port {args.port} cannot be used ({error.strerror}); choose another --port"
        ) from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        pass
    return EXIT_DONE


def _for_people(line: dict[str, Any], state: Path | None) -> str:
    rows = [
        f"SIMULATED Stripe at {line['address']} (no card is charged, no money moves)",
        f"  STRIPE_API_BASE={line['address']}",
        f"  STRIPE_EARN_KEY={line['earn_key']}",
        f"  STRIPE_SPEND_KEY={line['spend_key']}",
    ]
    for name, field in (("", "webhook_secrets"), ("ISSUING_", "issuing_webhook_secrets")):
        if line[field]:
            tagged = ",".join(f"test:{secret}" for secret in line[field])
            rows.append(f"  STRIPE_{name}WEBHOOK_SECRETS={tagged}")
    settings = [f"{name}: {line[name]}" for name in ("cardholder", "financial_account")]
    settings.append(f'recipients: ["hosting = {line["recipient"]} = Hosting Ltd"]')
    rows.append("and in policies.yaml, for cards and bank payments, in place of {name: payments}:")
    rows.append(f"  {{name: payments, settings: {{{', '.join(settings)}}}}}")
    forgets = "everything it knows is then forgotten" if state is None else f"{state} keeps what it knows"
    rows.append(f"End it with Ctrl-C; {forgets}.")
    return "\n".join(rows)
