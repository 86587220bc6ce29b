"""`bursar policy replay`: which recorded calls another policy would have answered otherwise."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tool_server.cli.command import EXIT_DONE, EXIT_USAGE, CommandError, print_json
from tool_server.cli.ledger_files import add_account, add_database, database_url, one_account, refused
from tool_server.cli.policy_files import add_tools, configured, read_tools

if TYPE_CHECKING:
    from ledger.audit.stored import StoredSource
    from ledger.judge import Judge
    from ledger.judging_again import JudgedAgain, Otherwise
    from policy.language import Policy
    from policy.model import Decision

_SINCE: Final = "7d"


def register(parser: argparse.ArgumentParser) -> None:
    """Add the candidate, and how far back."""
    parser.add_argument("file", metavar="NEW.yaml", help="the policy to try on what has happened")
    parser.add_argument(
        "--since", default=_SINCE, metavar="TIME",
        help=f"7d, 12h, or an instant as 2026-11-20T10:00Z; default: {_SINCE}",
    )  # fmt: skip
    add_tools(parser)
    add_account(parser)
    add_database(parser)


def run(args: argparse.Namespace) -> int:
    """Read the ledger as it is, beside a running server too, and change nothing."""
    from ledger.audit.stored import read_ledger
    from ledger.judge import Judge
    from policy.decide import decide, needs
    from policy.load import load, load_file

    tools, since = read_tools(args), _instant(args.since)
    candidate = configured(lambda: load_file(Path(args.file), tools))
    judge = Judge(needs, decide, lambda text, file: load(text, file, tools))
    with refused():
        done = read_ledger(database_url(args), lambda source: _judged(args, source, judge, candidate, since))
    if args.json:
        print_json(_as_json(done))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _story(done, args.since, Path(args.file).name))
    return EXIT_DONE


def _judged(
    args: argparse.Namespace, source: StoredSource, judge: Judge, candidate: Policy, since: datetime
) -> JudgedAgain:
    from ledger.audit.bad_row import BadRow
    from ledger.judging_again import judge_again
    from ledger.times import to_us

    account = one_account(source, args.account)
    head = source.head(account)
    # It brings asyncio, which the other policy commands answer faster without.
    from tool_server.cli.ledger_verify import progress

    with progress(args, account, 0 if head is None else head.size) as told:
        try:
            return judge_again(source, account, judge, candidate, since_us=to_us(since), progress=told)
        except BadRow as found:
            raise CommandError(f"the log cannot be replayed: {found}; see `bursar ledger verify`") from None


def _instant(text: str) -> datetime:
    """Return the instant that --since names. Raises CommandError."""
    from policy import notation

    try:
        return datetime.now(UTC) - timedelta(seconds=notation.duration_s(text))
    except ValueError:
        pass
    try:
        return notation.instant(text)
    except ValueError:
        met = f"--since {text!r} is neither a duration such as 7d nor an instant such as 2026-11-20T10:00Z"
        raise CommandError(met, exit_code=EXIT_USAGE) from None


def _story(done: JudgedAgain, since: str, name: str) -> Iterable[str]:
    for call in done.otherwise:
        yield _line(call)
        if call.would.message:
            yield f"    {call.would.message}"
        yield from (
            f"    {rule.at} {rule.id}{f': {rule.because}' if rule.because else ''}"
            for rule in call.would.rules
        )
    calls = "1 call" if done.judged == 1 else f"{done.judged:,} calls"
    yield f"{name} would have answered {len(done.otherwise):,} of {calls} since {since} otherwise"
    if done.unclear:
        yield f"  {done.unclear:,} more cannot be judged again: the log does not hold all it takes"


def _line(call: Otherwise) -> str:
    from ledger.times import from_us

    effect = call.effect
    named = (effect.amount, effect.payee and f"to {effect.payee}", effect.mode)
    said = " ".join(str(part) for part in named if part)
    at = from_us(call.at_us).isoformat(timespec="seconds")
    return (
        f"{at} {call.call_id} {call.tool} of {call.agent}, {said}: {_word(call.was)}, now {_word(call.would)}"
    )


def _word(decision: Decision) -> str:
    desks = " and ".join(ask.desk.id for ask in decision.asks)
    return f"{decision.answer} of {desks}" if desks else str(decision.answer)


def _as_json(done: JudgedAgain) -> dict[str, object]:
    import msgspec

    from policy.money import enc_hook

    built: dict[str, object] = msgspec.to_builtins(done, enc_hook=enc_hook)
    return built
